"""AlexNet, as torchvision has it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from torchvision import models

from raydg.models.backbone import Normalisation
from raydg.models.layers import Head
from raydg.models.network import Encoder, Features, Site
from raydg.models.torchvision_backbone import TorchvisionBackbone


@dataclass(frozen=True)
class AlexNet(TorchvisionBackbone):
    """Krizhevsky, "One weird trick for parallelizing convolutional neural networks".

    The encoder includes fc6 and fc7, the first two fully connected layers, with their dropout, since their weights are
    pretrained; the decoder is the last one.
    """

    normalisation: ClassVar[Normalisation] = "none"
    head: ClassVar[str] = "classifier.6."

    @property
    def builder(self) -> Callable[..., models.AlexNet]:
        return models.alexnet

    @classmethod
    def variants(cls) -> tuple[Self, ...]:
        return (cls(),)

    def classifier(self, num_classes: int) -> tuple[Encoder, nn.Module]:
        net = self.builder(num_classes=num_classes)
        return AlexNetEncoder(net), Head(nn.Identity(), net.classifier[-1], 4096)


class AlexNetEncoder(Encoder):
    """The vector after fc7. The inputs of fc6 and of fc7, after their dropout, are sites (DMG masks them)."""

    channels = (4096,)
    groups = (("features", ("features",)), ("fc6", ("classifier.1",)), ("fc7", ("classifier.4",)))
    minimum_size = 63

    def __init__(self, net: models.AlexNet) -> None:
        super().__init__()
        self.features, self.avgpool = net.features, net.avgpool
        self.classifier = net.classifier[:-1]
        self.before_fc6, self.before_fc7 = Site(9216), Site(4096)

    def forward(self, images: Tensor) -> Features:
        dropout6, fc6, relu6, dropout7, fc7, relu7 = self.classifier
        vector = dropout6(torch.flatten(self.avgpool(self.features(images)), 1))
        vector = dropout7(relu6(fc6(self.before_fc6(vector))))
        return (relu7(fc7(self.before_fc7(vector))),)
