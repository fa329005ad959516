"""ResNet, as torchvision has it: the stride of a bottleneck sits on its 3x3."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from torch import Tensor, nn
from torchvision import models

from raydg.models.backbone import DilatableBackbone, Normalisation, OutputStride, dilate
from raydg.models.layers import Head
from raydg.models.network import Encoder, Features
from raydg.models.torchvision_backbone import TorchvisionBackbone


@dataclass(frozen=True)
class ResNet(TorchvisionBackbone, DilatableBackbone):
    """He et al., "Deep Residual Learning for Image Recognition". A classifier's decoder is global pooling and `fc`.

    Output stride 32. Dilated to 16, layer4 has dilation 2; dilated to 8, layer3 has 2 and layer4 has 4.
    """

    depth: Literal[18, 50, 101]
    """Layers with weights."""

    normalisation: ClassVar[Normalisation] = "batch"
    head: ClassVar[str] = "fc."

    @property
    def builder(self) -> Callable[..., models.ResNet]:
        return {18: models.resnet18, 50: models.resnet50, 101: models.resnet101}[self.depth]

    @classmethod
    def variants(cls) -> tuple[Self, ...]:
        return cls(18), cls(50), cls(101)

    def classifier(self, num_classes: int) -> tuple[Encoder, nn.Module]:
        net = self.builder(num_classes=num_classes)
        return ResNetEncoder(net), Head(net.avgpool, nn.Flatten(), net.fc)

    def dilated(self, output_stride: OutputStride) -> Encoder:
        encoder = ResNetEncoder(self.builder())
        if output_stride == 8:
            dilate(encoder.layer3, 2)
            dilate(encoder.layer4, 4)
        else:
            dilate(encoder.layer4, 2)
        return encoder


class ResNetEncoder(Encoder):
    """Features of layer1 to layer4: strides 4, 8, 16 and 32 unless dilated."""

    def __init__(self, net: models.ResNet) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu, self.maxpool = net.conv1, net.bn1, net.relu, net.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = net.layer1, net.layer2, net.layer3, net.layer4
        deepest = net.fc.in_features
        self.channels = (deepest // 8, deepest // 4, deepest // 2, deepest)

    def forward(self, images: Tensor) -> Features:
        stem = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        maps1 = self.layer1(stem)
        maps2 = self.layer2(maps1)
        maps3 = self.layer3(maps2)
        return maps1, maps2, maps3, self.layer4(maps3)
