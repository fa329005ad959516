"""ResNet, as torchvision has it or with a deep stem."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from torch import Tensor, nn
from torchvision import models
from torchvision.models.resnet import Bottleneck

from raydg.models.backbone import DilatableBackbone, Dilation, Normalisation, OutputStride, dilate
from raydg.models.layers import Head, conv_norm_relu
from raydg.models.network import Encoder, Features, Site
from raydg.models.torchvision_backbone import TorchvisionBackbone
from raydg.models.weights import IMAGENET


@dataclass(frozen=True)
class ResNet(TorchvisionBackbone, DilatableBackbone):
    """He et al., "Deep Residual Learning for Image Recognition". A classifier's decoder is global pooling and `fc`.

    Output stride 32. Dilated to 16, layer4 has dilation 2; dilated to 8, layer3 has 2 and layer4 has 4.
    """

    depth: Literal[18, 50, 101]
    """Layers with weights."""
    stem: Literal["7x7", "3x3"] = "7x7"
    """7x7: one convolution to 64 channels, torchvision's. 3x3: the deep stem of Zhang's "encoding" networks, which
    TSMLDG starts from: three convolutions to 64, 64 and 128 channels; weights of those, by path, have the keys conv1.0,
    conv1.1, ... and fit."""
    stride_on: Literal["3x3", "1x1"] = "3x3"
    """Which convolution of a bottleneck has the stride. 3x3: torchvision's. 1x1: the first one, as in He et al.; Pin
    the Memory's DeepLabV2 strides so in layer2, all that has a stride there, with torchvision's weights."""

    normalisation: ClassVar[Normalisation] = "batch"
    head: ClassVar[str] = "fc."

    def __post_init__(self) -> None:
        super().__post_init__()
        legal = "'7x7' for depth 18 (the deep stem is for 50 and 101)"
        self.require(self.stem == "7x7" or self.depth != 18, "stem", legal)
        legal = "'7x7' for weights 'imagenet' (for '3x3' give None or the path of weights with a deep stem)"
        self.require(self.stem == "7x7" or self.weights != IMAGENET, "stem", legal)
        legal = "'3x3' for depth 18 (only the bottlenecks of 50 and 101 have a 1x1 to stride)"
        self.require(self.stride_on == "3x3" or self.depth != 18, "stride_on", legal)

    @property
    def builder(self) -> Callable[..., models.ResNet]:
        return {18: models.resnet18, 50: models.resnet50, 101: models.resnet101}[self.depth]

    @classmethod
    def variants(cls) -> tuple[Self, ...]:
        return cls(18), cls(50), cls(101), cls(50, stem="3x3"), cls(101, stem="3x3")

    def network(self, **arguments: int) -> models.ResNet:
        """torchvision's network, built with `arguments`, with this value's stem and strides."""
        net = self.builder(**arguments)
        if self.stem == "3x3":
            deepen_stem(net)
        if self.stride_on == "1x1":
            for block in net.modules():
                if isinstance(block, Bottleneck) and block.stride == 2:
                    block.conv1.stride, block.conv2.stride = (2, 2), (1, 1)
        return net

    def classifier(self, num_classes: int) -> tuple[Encoder, nn.Module]:
        net = self.network(num_classes=num_classes)
        return ResNetEncoder(net), Head(nn.Sequential(net.avgpool, nn.Flatten()), net.fc, net.fc.in_features)

    def dilated(self, output_stride: OutputStride, dilation: Dilation = "uniform") -> Encoder:
        encoder = ResNetEncoder(self.network())
        if output_stride == 8:
            dilate(encoder.layer3, 2, dilation)
            dilate(encoder.layer4, 4, dilation)
        else:
            dilate(encoder.layer4, 2, dilation)
        return encoder


def deepen_stem(net: models.ResNet) -> None:
    """Three 3x3 convolutions for the one of 7x7, and a first bottleneck that takes their 128 channels.

    Initialised as torchvision does the rest of the network.
    """
    last = nn.Conv2d(64, 128, 3, padding=1, bias=False)
    stem = [*conv_norm_relu(3, 64, 3, stride=2), *conv_norm_relu(64, 64, 3), last]
    net.add_module("conv1", nn.Sequential(*stem))
    net.add_module("bn1", nn.BatchNorm2d(128))
    block = net.layer1[0]
    assert isinstance(block, Bottleneck) and isinstance(block.downsample, nn.Sequential)
    block.conv1 = nn.Conv2d(128, 64, 1, bias=False)
    block.downsample[0] = nn.Conv2d(128, 256, 1, bias=False)
    for layer in (*stem, block.conv1, block.downsample[0]):
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")


class ResNetEncoder(Encoder):
    """Features of layer1 to layer4: strides 4, 8, 16 and 32 unless dilated.

    The inputs of layer3 and of layer4 are sites: DMG's code masks them.
    """

    groups = (
        ("stem", ("conv1", "bn1")),
        ("layer1", ("layer1",)),
        ("layer2", ("layer2",)),
        ("layer3", ("layer3",)),
        ("layer4", ("layer4",)),
    )

    def __init__(self, net: models.ResNet) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu, self.maxpool = net.conv1, net.bn1, net.relu, net.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = net.layer1, net.layer2, net.layer3, net.layer4
        deepest = net.fc.in_features
        self.channels = (deepest // 8, deepest // 4, deepest // 2, deepest)
        self.before_layer3, self.before_layer4 = Site(self.channels[1]), Site(self.channels[2])

    def forward(self, images: Tensor) -> Features:
        stem = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        maps1 = self.layer1(stem)
        maps2 = self.layer2(maps1)
        maps3 = self.layer3(self.before_layer3(maps2))
        return maps1, maps2, maps3, self.layer4(self.before_layer4(maps3))
