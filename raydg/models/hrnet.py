"""HRNet, which keeps a branch of stride 4 from end to end, and its segmentation head."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from raydg.licence import CommercialUse
from raydg.models.architecture import Architecture
from raydg.models.backbone import Normalisation
from raydg.models.layers import Head
from raydg.models.network import Encoder, Features, Network, Site, bilinear, bilinear_aligned
from raydg.models.timm_backbone import TimmBackbone
from raydg.types import Task

Branches = list[Tensor]
"""Maps (b, c, h', w') of strides 4, 8, 16 and 32, as many as the stage has."""


@dataclass(frozen=True)
class HRNet(TimmBackbone):
    """Wang et al., "Deep High-Resolution Representation Learning for Visual Recognition", as timm has it.

    timm's key names are those of the authors' ImageNet files. Coarser branches are brought to a finer one's size by
    bilinear interpolation with aligned corners, as in the authors' segmentation code and self-adaptation's
    (models/hrnet.py), so any image size will do; timm and the authors' classifier repeat the nearest value.
    The decoder of a classifier is global pooling and the last linear layer.
    """

    width: Literal[18, 48]
    """Channels of the branch of stride 4. The others have 2, 4 and 8 times as many."""

    normalisation: ClassVar[Normalisation] = "batch"
    terms: ClassVar[tuple[str, CommercialUse]] = (
        "MIT, says timm's hub; the images of ImageNet are for research.",
        "unknown",
    )
    head: ClassVar[tuple[str, ...]] = ("incre_modules.", "downsamp_modules.", "final_layer.", "classifier.")

    @property
    def timm_name(self) -> str:
        return f"hrnet_w{self.width}.ms_in1k"

    @classmethod
    def variants(cls) -> tuple[Self, ...]:
        return cls(18), cls(48)

    def branches(self) -> "HRNetEncoder":
        """Encoder, with random weights, whose features are the four branches of the last stage."""
        return HRNetEncoder(self.create(head=""))

    def classifier(self, num_classes: int) -> tuple[Encoder, nn.Module]:
        net = self.create(num_classes=num_classes)
        pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return HRNetClassifierEncoder(net), Head(pool, net.classifier, net.num_features)

    def head_of(self, encoder: Encoder) -> tuple[str, ...]:
        return self.head[-1:] if isinstance(encoder, HRNetClassifierEncoder) else self.head


class HRNetEncoder(Encoder):
    """The four branches: strides 4, 8, 16 and 32."""

    groups: tuple[tuple[str, tuple[str, ...]], ...] = (
        ("stem", ("conv1", "bn1", "conv2", "bn2")),
        ("stage1", ("layer1",)),
        ("stage2", ("transition1", "stage2")),
        ("stage3", ("transition2", "stage3")),
        ("stage4", ("transition3", "stage4")),
    )

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.conv1, self.bn1, self.act1 = net.conv1, net.bn1, net.act1
        self.conv2, self.bn2, self.act2 = net.conv2, net.bn2, net.act2
        self.layer1 = net.layer1
        self.transition1, self.stage2 = net.transition1, net.stage2
        self.transition2, self.stage3 = net.transition2, net.stage3
        self.transition3, self.stage4 = net.transition3, net.stage4
        self.channels = tuple(net.stage4_cfg["num_channels"])
        # `fuse` interpolates in their stead.
        for parent in list(self.modules()):
            for name, child in parent.named_children():
                if isinstance(child, nn.Upsample):
                    setattr(parent, name, nn.Identity())

    def forward(self, images: Tensor) -> Features:
        stem = self.act2(self.bn2(self.conv2(self.act1(self.bn1(self.conv1(images))))))
        branches = [self.layer1(stem)]
        for transition, stage in (
            (self.transition1, self.stage2),
            (self.transition2, self.stage3),
            (self.transition3, self.stage4),
        ):
            # In the first transition every branch comes from the only one; later the new one comes from the coarsest.
            deepest = len(branches) - 1
            branches = [layer(branches[min(position, deepest)]) for position, layer in enumerate(transition)]
            for module in stage:
                branches = fuse(module, branches)
        return tuple(branches)


class HRNetClassifierEncoder(HRNetEncoder):
    """The branches widened to 128, 256, 512 and 1024 channels, added up from fine to coarse, and 2048 at stride 32."""

    groups = (*HRNetEncoder.groups, ("neck", ("incre_modules", "downsamp_modules", "final_layer")))

    def __init__(self, net: Any) -> None:
        super().__init__(net)
        self.incre_modules, self.downsamp_modules = net.incre_modules, net.downsamp_modules
        self.final_layer = net.final_layer
        self.channels = (net.num_features,)

    def forward(self, images: Tensor) -> Features:
        finest, *coarser = (
            widen(maps) for widen, maps in zip(self.incre_modules, super().forward(images), strict=True)
        )
        total = finest
        for down, maps in zip(self.downsamp_modules, coarser, strict=True):
            total = maps + down(total)
        return (self.final_layer(total),)


def fuse(module: Any, branches: Branches) -> Branches:
    """What one of HRNet's modules makes of the branches: each through its blocks, then each the sum of all."""
    branches = [blocks(maps) for blocks, maps in zip(module.branches, branches, strict=True)]
    return [
        module.fuse_act(added(branches[position].shape[-2:], position, layers, branches))
        for position, layers in enumerate(module.fuse_layers)
    ]


def added(size: torch.Size, position: int, layers: Iterable[nn.Module], branches: Branches) -> Tensor:
    """The branches, through their layers and at `size`, that of branch `position`, added from fine to coarse."""
    maps = [layer(branch) for layer, branch in zip(layers, branches, strict=True)]
    total = maps[0]
    for other, term in enumerate(maps[1:], start=1):
        total = total + (bilinear_aligned(term, size) if other > position else term)
    return total


@dataclass(frozen=True)
class HRNetV2(Architecture):
    """HRNet with the segmentation head of its authors: all branches at stride 4, concatenated, two 1x1 convolutions.

    As in self-adaptation's code (models/hrnet.py): the branches are brought together by bilinear interpolation
    without aligned corners, the logits to the image's size with; the first convolution keeps its channels (270 for
    width 18, 720 for 48) and has a bias although BatchNorm follows; torch's own initialisation of what is new. The
    paper does not describe its HRNet. With 19 classes width 48 has 65.86 million parameters and width 18 has 9.64.
    """

    backbone: HRNet
    """The encoder and its first weights."""

    task: ClassVar[Task] = "segmentation"

    def assemble(self, num_classes: int) -> Network:
        encoder = self.backbone.branches()
        return Network(encoder, HRNetV2Decoder(sum(encoder.channels), num_classes), upsample=bilinear_aligned)


class HRNetV2Decoder(nn.Module):
    """Features to logits (b, k, h', w') at stride 4. The maps before the last layer are the site `context`."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        self.context = Site(channels)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Features) -> Tensor:
        finest, *coarser = features
        together = torch.cat([finest, *(bilinear(maps, finest.shape[-2:]) for maps in coarser)], dim=1)
        return self.classifier(self.context(self.project(together)))
