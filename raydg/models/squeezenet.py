"""SqueezeNet, as torchvision has it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from torch import Tensor, nn
from torchvision import models
from torchvision.models.squeezenet import Fire

from raydg.models.backbone import Normalisation
from raydg.models.layers import Head
from raydg.models.network import Encoder, Features, Site
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
        dropout, *last = net.classifier
        return SqueezeNetEncoder(net, minimum_size), Head(dropout, nn.Sequential(*last, nn.Flatten()), 512)


class SqueezeNetEncoder(Encoder):
    """The maps of the last fire module, stride 16. The inputs of the last two fire modules are sites, those of fire4
    and fire6 early ones."""

    channels = (512,)
    groups = (("features", ("features",)),)

    def __init__(self, net: models.SqueezeNet, minimum_size: int) -> None:
        super().__init__()
        self.features = net.features
        self.minimum_size = minimum_size
        self.before_fire4, self.before_fire6 = Site(128, early=True), Site(256, early=True)
        self.before_fire8, self.before_fire9 = Site(384), Site(512)
        # Both releases number their fire modules from 2 to 9.
        fires = [position for position, module in enumerate(net.features) if isinstance(module, Fire)]
        self._sites = {fires[number - 2]: f"before_fire{number}" for number in (4, 6, 8, 9)}

    def forward(self, images: Tensor) -> Features:
        maps = images
        for position, module in enumerate(self.features):
            if position in self._sites:
                maps = getattr(self, self._sites[position])(maps)
            maps = module(maps)
        return (maps,)
