"""Image classifiers: a backbone with the head that its authors gave it."""

from dataclasses import dataclass
from typing import ClassVar

from raydg.models.architecture import Architecture
from raydg.models.network import Network
from raydg.types import Task


@dataclass(frozen=True)
class Classifier(Architecture):
    """The backbone's own network, its last layer for as many classes as the label space has."""

    task: ClassVar[Task] = "classification"

    def assemble(self, num_classes: int) -> Network:
        return Network(*self.backbone.classifier(num_classes))
