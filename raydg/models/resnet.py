"""ResNet, as torchvision has it or with a deep stem."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.resnet import BasicBlock, Bottleneck

from raydg.models.backbone import DilatableBackbone, Dilation, Normalisation, OutputStride, dilate
from raydg.models.layers import Head, conv_norm_relu
from raydg.models.network import Encoder, Features, Site
from raydg.models.normalisation import (
    InstanceBatchNorm,
    InstanceNorm,
    Norm,
    layer_of,
    normalisation_of,
    standardisation,
)
from raydg.models.torchvision_backbone import TorchvisionBackbone
from raydg.models.weights import IMAGENET, State


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

    norm: Norm = "batch"
    """Which layers normalise (see `raydg.models.normalisation.Norm`). Files of a plain network, torchvision's own
    included, fit with any: `translate` says how. IBN-Net's files, given by path, have the keys layer1.0.bn1.IN.weight,
    layer1.0.bn1.BN.weight (a) or layer1.2.IN.weight (b) beside the plain ones, and fit as they are."""

    head: ClassVar[str] = "fc."

    @property
    def normalisation(self) -> Normalisation:  # pyright: ignore[reportIncompatibleVariableOverride]
        return normalisation_of(self.norm)

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
        plain = cls(18), cls(50), cls(101), cls(50, stem="3x3"), cls(101, stem="3x3")
        ibn = (cls(depth, norm=norm) for depth in (18, 50, 101) for norm in ("ibn-a", "ibn-b"))
        return (*plain, *ibn)

    def translate(self, state: State) -> State:
        """The weights of a plain network as this one wants them; those of its own kind stay as they are.

        ibn-a: of a BatchNorm that is split, IN takes scale and shift of the first half of the channels, BN all four
        tensors of the others. ibn-b: the stem's instance normalisation takes BatchNorm's scale and shift, those after
        the sums start at 1 and 0. robustnet: the stem's BatchNorm is left out. switchable: all shares start equal.
        batch-instance: all gates start at 1. RobustNet's code too keeps what fits of torchvision's weights.
        """
        stem_is_plain = "bn1.running_mean" in state
        if self.norm == "ibn-a":
            split = re.compile(r"layer[123]\.\d+\.bn1\.[a-z_]+")
            pairs = [pair for k, t in state.items() for pair in (halves(k, t) if split.fullmatch(k) else [(k, t)])]
            return dict(pairs)
        if self.norm == "ibn-b" and stem_is_plain:
            moved = {k: t for k, t in state.items() if not k.startswith(("bn1.running", "bn1.num_"))}
            for stage in SUM_NORMALISED:
                last = self.last_norm(stage)
                if f"{last}.weight" in state:
                    block = last.rpartition(".")[0]
                    moved[f"{block}.IN.weight"] = torch.ones_like(state[f"{last}.weight"])
                    moved[f"{block}.IN.bias"] = torch.zeros_like(state[f"{last}.weight"])
            return moved
        if self.norm == "robustnet":
            return {k: t for k, t in state.items() if not k.startswith("bn1.")}
        norms = [k.removesuffix(".running_var") for k in state if k.endswith(".running_var")]
        if self.norm == "switchable":
            return {f"{n}.{name}": torch.ones(3) for n in norms for name in ("mean_weight", "var_weight")} | state
        if self.norm == "batch-instance":
            return {f"{n}.gate": torch.ones_like(state[f"{n}.running_var"]) for n in norms} | state
        return state

    def last_norm(self, stage: str) -> str:
        """Name of the last BatchNorm of layer1 or layer2."""
        blocks = {18: 2, 50: 3, 101: 3}[self.depth] if stage == "layer1" else {18: 2, 50: 4, 101: 4}[self.depth]
        return f"{stage}.{blocks - 1}.{'bn2' if self.depth == 18 else 'bn3'}"

    def network(self, **arguments: int) -> models.ResNet:
        """torchvision's network, built with `arguments`, with this value's stem, strides and normalisation."""
        norm = layer_of(self.norm)
        net = self.builder(norm_layer=norm, **arguments)
        if self.stem == "3x3":
            deepen_stem(net, norm)
        if self.stride_on == "1x1":
            for block in net.modules():
                if isinstance(block, Bottleneck) and block.stride == 2:
                    block.conv1.stride, block.conv2.stride = (2, 2), (1, 1)
        normalise_instances(net, self.norm)
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


SUM_NORMALISED = ("layer1", "layer2")
"""Stages whose last block normalises its sum in IBN-b and RobustNet."""


def halves(key: str, tensor: Tensor) -> list[tuple[str, Tensor]]:
    """What `InstanceBatchNorm` takes of a tensor of the BatchNorm that it replaces, with the names."""
    layer, _, name = key.rpartition(".")
    if name == "num_batches_tracked":
        return [(f"{layer}.BN.{name}", tensor)]
    first, second = tensor[: len(tensor) // 2], tensor[len(tensor) // 2 :]
    of_instances = [(f"{layer}.IN.{name}", first)] if name in ("weight", "bias") else []
    return [*of_instances, (f"{layer}.BN.{name}", second)]


def normalise_instances(net: models.ResNet, norm: Norm) -> None:
    """Put instance normalisation where IBN-Net or RobustNet has it; nothing for the other values."""
    if norm == "ibn-a":
        for stage in (net.layer1, net.layer2, net.layer3):
            for block in stage:
                assert isinstance(block, BasicBlock | Bottleneck)
                block.bn1 = InstanceBatchNorm(block.conv1.out_channels)
    if norm not in ("ibn-b", "robustnet"):
        return
    assert isinstance(net.bn1, nn.BatchNorm2d)
    channels = net.bn1.num_features
    plain = norm == "robustnet"
    net.add_module("bn1", standardisation("stem", channels) if plain else InstanceNorm(channels, affine=True))
    # What looks at a site must not find it changed by a ReLU in place.
    net.relu = nn.ReLU()
    for stage in SUM_NORMALISED:
        blocks = net.get_submodule(stage)
        assert isinstance(blocks, nn.Sequential)
        block = blocks[-1]
        assert isinstance(block, BasicBlock | Bottleneck)
        channels = block.conv3.out_channels if isinstance(block, Bottleneck) else block.conv2.out_channels
        layer = standardisation(stage, channels) if plain else InstanceNorm(channels, affine=True)
        blocks[-1] = SumNormalised(block, layer)


class SumNormalised(nn.Module):
    """A residual block of torchvision's, its layers by their names, that normalises its sum before the last ReLU."""

    conv1: nn.Module
    bn1: nn.Module
    conv2: nn.Module
    bn2: nn.Module
    conv3: nn.Module | None
    bn3: nn.Module | None
    relu: nn.Module

    def __init__(self, block: BasicBlock | Bottleneck, norm: nn.Module) -> None:
        super().__init__()
        for name, layer in block.named_children():
            self.add_module(name, layer)
        self.conv3, self.bn3 = getattr(block, "conv3", None), getattr(block, "bn3", None)
        # The authors' name, so that their files fit.
        self.IN = norm
        self.last_relu = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(maps)))))
        if self.conv3 is not None and self.bn3 is not None:
            residual = self.bn3(self.conv3(self.relu(residual)))
        # The last block of a stage keeps size and channels: its shortcut is the identity.
        return self.last_relu(self.IN(residual + maps))


def deepen_stem(net: models.ResNet, norm: Callable[[int], nn.Module]) -> None:
    """Three 3x3 convolutions for the one of 7x7, and a first bottleneck that takes their 128 channels.

    Initialised as torchvision does the rest of the network.
    """
    last = nn.Conv2d(64, 128, 3, padding=1, bias=False)
    stem = [*conv_norm_relu(3, 64, 3, stride=2, norm=norm), *conv_norm_relu(64, 64, 3, norm=norm), last]
    net.add_module("conv1", nn.Sequential(*stem))
    net.add_module("bn1", norm(128))
    block = net.layer1[0]
    assert isinstance(block, Bottleneck) and isinstance(block.downsample, nn.Sequential)
    block.conv1 = nn.Conv2d(128, 64, 1, bias=False)
    block.downsample[0] = nn.Conv2d(128, 256, 1, bias=False)
    for layer in (*stem, block.conv1, block.downsample[0]):
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")


class ResNetEncoder(Encoder):
    """Features of layer1 to layer4: strides 4, 8, 16 and 32 unless dilated.

    The inputs of layer3 and of layer4 are sites, which DMG's code masks; that of layer2 is an early one.
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
        self.before_layer2 = Site(self.channels[0], early=True)
        self.before_layer3, self.before_layer4 = Site(self.channels[1]), Site(self.channels[2])

    def forward(self, images: Tensor) -> Features:
        stem = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        maps1 = self.layer1(stem)
        maps2 = self.layer2(self.before_layer2(maps1))
        maps3 = self.layer3(self.before_layer3(maps2))
        return maps1, maps2, maps3, self.layer4(self.before_layer4(maps3))
