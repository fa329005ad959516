"""DeepLabV3: ASPP on a dilated backbone."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from raydg.models.aspp import ASPP, RATES
from raydg.models.backbone import Dilation
from raydg.models.dense import AuxiliaryHead, DenseHead, DilatedArchitecture
from raydg.models.layers import conv_norm_relu
from raydg.models.network import Network, bilinear


@dataclass(frozen=True)
class DeepLabV3(DilatedArchitecture):
    """Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation".

    As in torchvision: output stride 8, dilation by its `replace_stride_with_dilation`, ASPP with dropout 0.5 after its
    projection, a 3x3 convolution with BatchNorm and ReLU, a 1x1 to the classes; PyTorch's own initialisation; bilinear
    upsampling without aligned corners. Pin the Memory's Table 11 has a DeepLabV3, of which its code shows nothing. What
    ASPP makes of the deepest map is the site `context`.
    """

    dilation: Dilation = "lagging"
    """Dilation of the first block of a dilated stage: the stage's own (uniform), that of the stage before (lagging) or
    1 (reset)."""
    aspp_rates: tuple[int, ...] | None = None
    """Dilations of ASPP's 3x3 branches. None: 6, 12, 18 at output stride 16, and twice that at 8."""
    aspp_channels: int = 256
    """Channels of each ASPP branch, of their projection and of the 3x3 after it."""
    dropout: float = 0.5
    """Probability of element-wise dropout after ASPP's projection."""
    auxiliary: bool = False
    """Whether there is a second head, on layer3's features, for an auxiliary loss: Pin the Memory's; torchvision's has
    half the channels and no bias."""

    # ASPP's image pooling leaves one value a channel and image, and BatchNorm needs two to have a variance.
    minimum_batch: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_rates("aspp_rates")
        self.require_positive("aspp_channels")
        self.require_probability("dropout")

    def assemble(self, num_classes: int) -> Network:
        encoder, channels = self.encoder(), self.aspp_channels
        rates = self.aspp_rates or RATES[self.output_stride]
        decoder = DenseHead(
            ASPP(encoder.channels[-1], channels, rates, self.dropout),
            channels,
            nn.Sequential(conv_norm_relu(channels, channels, 3), nn.Conv2d(channels, num_classes, 1)),
            AuxiliaryHead(encoder.channels[-2], num_classes) if self.auxiliary else None,
        )
        return Network(encoder, decoder, upsample=bilinear)
