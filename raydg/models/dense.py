"""What the networks that segment on a dilated backbone share: their base value, a head and the auxiliary head."""

from abc import ABC
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from raydg.models.architecture import Architecture
from raydg.models.backbone import DilatableBackbone, Dilation, OutputStride
from raydg.models.layers import initialise
from raydg.models.network import Encoder, Features, Site
from raydg.types import Task
from raydg.values import subclasses


@dataclass(frozen=True)
class DilatedArchitecture(Architecture, ABC):
    """A network that segments on a backbone whose last stages trade stride for dilation."""

    backbone: DilatableBackbone
    """The encoder and its first weights."""
    output_stride: OutputStride = 8
    """Pixels of the image per position of the deepest map, along each side."""
    dilation: Dilation = "uniform"
    """Dilation of the first block of a dilated stage: the stage's own (uniform), that of the stage before (lagging) or
    1 (reset)."""

    task: ClassVar[Task] = "segmentation"

    def __post_init__(self) -> None:
        dilatable = ", ".join(sorted(cls.__name__ for cls in subclasses(DilatableBackbone)))
        legal = f"one of {dilatable}; {type(self.backbone).__name__} cannot be dilated"
        self.require(isinstance(self.backbone, DilatableBackbone), "backbone", legal)
        super().__post_init__()

    def encoder(self) -> Encoder:
        """The dilated backbone, with random weights."""
        return self.backbone.dilated(self.output_stride, self.dilation)

    def require_probability(self, field: str) -> None:
        self.require(0 <= getattr(self, field) < 1, field, "at least 0 and below 1")

    def require_positive(self, *names: str) -> None:
        for name in names:
            self.require(getattr(self, name) >= 1, name, "at least 1")

    def require_rates(self, field: str) -> None:
        rates = getattr(self, field)
        legal = "at least one dilation, each at least 1"
        self.require(rates is None or (bool(rates) and min(rates) >= 1), field, legal)


class DenseHead(nn.Module):
    """The deepest features to logits (b, k, h', w') of their size: `body`, then `classifier`.

    What passes between them, (b, channels, h', w'), is the site `context`, where Pin the Memory reads and writes.
    """

    def __init__(
        self, body: nn.Module, channels: int, classifier: nn.Module, auxiliary: "AuxiliaryHead | None" = None
    ) -> None:
        super().__init__()
        self.body, self.context, self.classifier, self.auxiliary = body, Site(channels), classifier, auxiliary

    def forward(self, features: Features) -> Tensor:
        return self.classifier(self.context(self.body(features[-1])))


class AuxiliaryHead(nn.Module):
    """Logits (b, k, h', w') from the features before the deepest, a ResNet's layer3: 3x3 with a bias, BatchNorm, ReLU,
    Dropout2d 0.1, 1x1.

    Source: `dsn` of Pin the Memory's networks, Kaiming initialisation included. It has 512 channels in between, half of
    what it gets from ResNet-50 or -101; here it is half for every backbone.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        hidden = channels // 2
        self.layers = nn.Sequential(
            nn.Conv2d(channels, hidden, 3, padding=1),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            nn.Dropout2d(0.1),
            nn.Conv2d(hidden, num_classes, 1),
        )
        initialise(self)

    def forward(self, features: Features) -> Tensor:
        return self.layers(features[-2])
