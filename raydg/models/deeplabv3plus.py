"""DeepLabV3+: ASPP on a dilated backbone, sharpened by features of stride 4."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from raydg.models.architecture import Architecture
from raydg.models.aspp import ASPP, RATES
from raydg.models.backbone import DilatableBackbone, OutputStride
from raydg.models.layers import conv_norm_relu, initialise
from raydg.models.network import Features, Network, bilinear_aligned
from raydg.types import Task
from raydg.values import subclasses


@dataclass(frozen=True)
class DeepLabV3Plus(Architecture):
    """Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation".

    As in Pin the Memory's code: plain convolutions; ASPP dilations 6, 12, 18 at output stride 16 and twice that at 8;
    every block of a dilated stage dilated; bilinear upsampling with aligned corners throughout; no dropout; Kaiming
    initialisation of what is new. The decoder is all that is not backbone, ASPP included. ResNet-50 and 19 classes make
    40.35 million parameters; the auxiliary head, which is not here, makes up the 45.08 of that paper's Table 8.
    """

    backbone: DilatableBackbone
    """The encoder and its first weights."""
    output_stride: OutputStride = 16
    """Pixels of the image per position of the deepest map, along each side."""
    aspp_channels: int = 256
    """Channels of each ASPP branch, and of their projection."""
    low_level_channels: int = 48
    """Channels that the features of stride 4 are reduced to."""
    decoder_channels: int = 256
    """Channels of the two 3x3 convolutions before the last layer."""

    task: ClassVar[Task] = "segmentation"
    # ASPP's image pooling leaves one value a channel and image, and BatchNorm needs two to have a variance.
    minimum_batch: ClassVar[int] = 2

    def __post_init__(self) -> None:
        dilatable = ", ".join(sorted(cls.__name__ for cls in subclasses(DilatableBackbone)))
        legal = f"one of {dilatable}; {type(self.backbone).__name__} cannot be dilated"
        self.require(isinstance(self.backbone, DilatableBackbone), "backbone", legal)
        super().__post_init__()
        for field in ("aspp_channels", "low_level_channels", "decoder_channels"):
            self.require(getattr(self, field) >= 1, field, "at least 1")

    def assemble(self, num_classes: int) -> Network:
        encoder = self.backbone.dilated(self.output_stride)
        aspp = ASPP(encoder.channels[-1], self.aspp_channels, RATES[self.output_stride])
        low_level = conv_norm_relu(encoder.channels[0], self.low_level_channels, 1)
        fuse = nn.Sequential(
            conv_norm_relu(self.low_level_channels + self.aspp_channels, self.decoder_channels, 3),
            conv_norm_relu(self.decoder_channels, self.decoder_channels, 3),
        )
        decoder = DeepLabV3PlusDecoder(aspp, low_level, fuse, nn.Conv2d(self.decoder_channels, num_classes, 1))
        initialise(decoder)
        return Network(encoder, decoder, upsample=bilinear_aligned)


class DeepLabV3PlusDecoder(nn.Module):
    """Features to logits (b, k, h', w') at the size of the finest features."""

    def __init__(self, aspp: nn.Module, low_level: nn.Module, fuse: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.aspp, self.low_level, self.fuse, self.classifier = aspp, low_level, fuse, classifier

    def forward(self, features: Features) -> Tensor:
        fine, deep = features[0], features[-1]
        context = bilinear_aligned(self.aspp(deep), fine.shape[-2:])
        return self.classifier(self.fuse(torch.cat([self.low_level(fine), context], dim=1)))
