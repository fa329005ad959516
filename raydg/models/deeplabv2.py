"""DeepLabV2: dilated 3x3 convolutions side by side on a dilated backbone, summed."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Self

from torch import Tensor, nn

from raydg.models.backbone import DilatableBackbone
from raydg.models.dense import AuxiliaryHead, DenseHead, DilatedArchitecture
from raydg.models.layers import conv_norm_relu, initialise, initialise_narrowly
from raydg.models.network import Network, bilinear_aligned


@dataclass(frozen=True)
class DeepLabV2(DilatedArchitecture):
    """Chen et al., "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous Convolution, and Fully
    Connected CRFs", without the CRF and on one scale.

    Two networks go by that name (`head`). Both have output stride 8, every block of a dilated stage dilated, and
    bilinear upsampling with aligned corners. Pin the Memory's own network is `pin_the_memory`.
    """

    head: Literal["paper", "pin"] = "paper"
    """paper: each branch is a convolution to the classes, with bias, of N(0, 0.01) and bias 0; their sum is the logits;
    the site `context` is the deepest map. pin: Pin the Memory's code (network/deepv2.py); each branch is convolution,
    BatchNorm and ReLU; their sum, the site `context`, goes through a 3x3 convolution with BatchNorm and ReLU, and a 1x1
    to the classes; Kaiming initialisation."""
    aspp_rates: tuple[int, ...] = (6, 12, 18, 24)
    """Dilations of the branches."""
    aspp_channels: int = 256
    """Channels of each branch of the head "pin", and of its 3x3."""
    auxiliary: bool = False
    """Whether there is a second head, on layer3's features, for an auxiliary loss (Pin the Memory's `dsn`)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_rates("aspp_rates")
        self.require_positive("aspp_channels")

    @classmethod
    def pin_the_memory(cls, backbone: DilatableBackbone) -> Self:
        """The network of that paper's Tables 4 and 12, auxiliary head included.

        Its backbone is `ResNet(101, weights="imagenet", stride_on="1x1")`.
        """
        return cls(backbone, head="pin", auxiliary=True)

    def assemble(self, num_classes: int) -> Network:
        encoder = self.encoder()
        deepest, channels = encoder.channels[-1], self.aspp_channels
        auxiliary = AuxiliaryHead(encoder.channels[-2], num_classes) if self.auxiliary else None
        if self.head == "paper":
            branches = Sum(nn.Conv2d(deepest, num_classes, 3, padding=r, dilation=r) for r in self.aspp_rates)
            initialise_narrowly(branches)
            decoder = DenseHead(nn.Identity(), deepest, branches, auxiliary)
        else:
            branches = Sum(conv_norm_relu(deepest, channels, 3, dilation=rate) for rate in self.aspp_rates)
            classifier = nn.Sequential(conv_norm_relu(channels, channels, 3), nn.Conv2d(channels, num_classes, 1))
            decoder = DenseHead(branches, channels, classifier, auxiliary)
            initialise(decoder)
        return Network(encoder, decoder, upsample=bilinear_aligned)


class Sum(nn.Module):
    """The sum of what the branches make of the same maps."""

    def __init__(self, branches: Iterable[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, maps: Tensor) -> Tensor:
        first, *others = self.branches
        total = first(maps)
        for branch in others:
            total = total + branch(maps)
        return total
