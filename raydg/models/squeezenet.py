"""SqueezeNet, as torchvision has it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from torch import Tensor, nn
from torchvision import models

from raydg.models.backbone import Normalisation
from raydg.models.layers import Head
from raydg.models.network import Encoder, Features
from raydg.models.torchvision_backbone import TorchvisionBackbone


@dataclass(frozen=True)
class SqueezeNet(TorchvisionBackbone):
    """Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size".

    The decoder is all after the last fire module: dropout, 1x1 convolution, ReLU (so no logit is negative) and pooling.
    """

    version: Literal["1.0", "1.1"]
    """The authors' release; 1.1 computes 2.4 times less for the same accuracy."""

    normalisation: ClassVar[Normalisation] = "none"
    head: ClassVar[str] = "classifier."

    @property
    def builder(self) -> Callable[..., models.SqueezeNet]:
        return {"1.0": models.squeezenet1_0, "1.1": models.squeezenet1_1}[self.version]

    @classmethod
    def variants(cls) -> tuple[Self, ...]:
        return cls("1.0"), cls("1.1")

    def classifier(self, num_classes: int) -> tuple[Encoder, nn.Module]:
        net = self.builder(num_classes=num_classes)
        minimum_size = {"1.0": 21, "1.1": 17}[self.version]
        return SqueezeNetEncoder(net, minimum_size), Head(*net.classifier, nn.Flatten())


class SqueezeNetEncoder(Encoder):
    """The maps of the last fire module, stride 16."""

    channels = (512,)

    def __init__(self, net: models.SqueezeNet, minimum_size: int) -> None:
        super().__init__()
        self.features = net.features
        self.minimum_size = minimum_size

    def forward(self, images: Tensor) -> Features:
        return (self.features(images),)
