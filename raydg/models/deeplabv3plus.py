"""DeepLabV3+: ASPP on a dilated backbone, sharpened by features of stride 4."""

from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from raydg.models.aspp import ASPP, RATES
from raydg.models.backbone import DilatableBackbone, OutputStride
from raydg.models.dense import AuxiliaryHead, DilatedArchitecture
from raydg.models.layers import conv_norm_relu, initialise
from raydg.models.network import Features, Network, Site, Upsampling, bilinear, bilinear_aligned


@dataclass(frozen=True)
class DeepLabV3Plus(DilatedArchitecture):
    """Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation".

    Plain convolutions; Kaiming initialisation of what is new; the decoder is all that is not backbone, ASPP included.
    The defaults are Pin the Memory's code (network/deepv3plus.py) without its auxiliary head, which `pin_the_memory`
    adds: output stride 16, every block of a dilated stage dilated, two 3x3 convolutions in the decoder, no dropout,
    bilinear upsampling with aligned corners throughout. `self_adaptation` is that paper's network. On ResNet-50 with 19
    classes there are 40.35 million parameters, with the auxiliary head 45.08 (Pin the Memory's Table 8).
    """

    output_stride: OutputStride = 16
    """Pixels of the image per position of the deepest map, along each side."""
    aspp_rates: tuple[int, ...] | None = None
    """Dilations of ASPP's 3x3 branches. None: 6, 12, 18 at output stride 16, and twice that at 8."""
    aspp_channels: int = 256
    """Channels of each ASPP branch, and of their projection."""
    low_level_channels: int = 48
    """Channels that the features of stride 4 are reduced to."""
    decoder_channels: int = 256
    """Channels of the 3x3 convolutions before the last layer."""
    decoder_convolutions: Literal[1, 2] = 2
    """How many 3x3 convolutions there are before the last layer."""
    dropout: float = 0.0
    """Probability of element-wise dropout after ASPP's projection."""
    align_corners: bool = True
    """Whether bilinear upsampling, of ASPP's map and of the logits, aligns the centres of corner pixels."""
    auxiliary: bool = False
    """Whether there is a second head, on layer3's features, for an auxiliary loss (Pin the Memory's `dsn`)."""

    # ASPP's image pooling leaves one value a channel and image, and BatchNorm needs two to have a variance.
    minimum_batch: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_rates("aspp_rates")
        self.require_positive("aspp_channels", "low_level_channels", "decoder_channels")
        self.require_probability("dropout")

    @classmethod
    def pin_the_memory(cls, backbone: DilatableBackbone) -> Self:
        """The network of most of that paper's tables, auxiliary head included; on `ResNet(50, weights="imagenet")`."""
        return cls(backbone, auxiliary=True)

    @classmethod
    def self_adaptation(cls, backbone: DilatableBackbone, output_stride: OutputStride = 8) -> Self:
        """The network of that paper's Table 8, and with output stride 16 of its Table 9 (models/deeplabv3.py).

        Dilation as in torchvision, dropout 0.1 after ASPP's projection, one 3x3 convolution in the decoder, no aligned
        corners.
        """
        return cls(backbone, output_stride, "lagging", decoder_convolutions=1, dropout=0.1, align_corners=False)

    def assemble(self, num_classes: int) -> Network:
        encoder, width = self.encoder(), self.decoder_channels
        rates = self.aspp_rates or RATES[self.output_stride]
        fuse = nn.Sequential(conv_norm_relu(self.low_level_channels + self.aspp_channels, width, 3))
        if self.decoder_convolutions == 2:
            fuse.append(conv_norm_relu(width, width, 3))
        upsample = bilinear_aligned if self.align_corners else bilinear
        decoder = DeepLabV3PlusDecoder(
            ASPP(encoder.channels[-1], self.aspp_channels, rates, self.dropout),
            self.aspp_channels,
            conv_norm_relu(encoder.channels[0], self.low_level_channels, 1),
            fuse,
            nn.Conv2d(width, num_classes, 1),
            upsample,
            AuxiliaryHead(encoder.channels[-2], num_classes) if self.auxiliary else None,
        )
        initialise(decoder)
        return Network(encoder, decoder, upsample=upsample)


class DeepLabV3PlusDecoder(nn.Module):
    """Features to logits (b, k, h', w') at the size of the finest features.

    What ASPP makes of the deepest map, (b, channels, h'', w''), is the site `context`: Pin the Memory reads and writes
    there.
    """

    def __init__(
        self,
        aspp: nn.Module,
        channels: int,
        low_level: nn.Module,
        fuse: nn.Module,
        classifier: nn.Module,
        upsample: Upsampling,
        auxiliary: AuxiliaryHead | None,
    ) -> None:
        super().__init__()
        self.aspp, self.context = aspp, Site(channels)
        self.low_level, self.fuse, self.classifier, self.upsample = low_level, fuse, classifier, upsample
        self.auxiliary = auxiliary

    def forward(self, features: Features) -> Tensor:
        fine, deep = features[0], features[-1]
        context = self.upsample(self.context(self.aspp(deep)), fine.shape[-2:])
        return self.classifier(self.fuse(torch.cat([self.low_level(fine), context], dim=1)))
