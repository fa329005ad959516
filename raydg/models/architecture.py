"""Architectures: the values that networks are built from."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from raydg.domains.labels import LabelSpace
from raydg.models.backbone import Backbone, Normalisation
from raydg.models.network import Network
from raydg.types import Task
from raydg.values import Value, subclasses


@dataclass(frozen=True)
class Architecture(Value, ABC):
    """A backbone and what turns its features into logits."""

    backbone: Backbone
    """The encoder and its first weights."""

    task: ClassVar[Task]
    minimum_batch: ClassVar[int] = 1
    """Fewest images that a forward in training mode is defined for."""

    @property
    def normalisation(self) -> Normalisation:
        """Whether the encoder has BatchNorm layers ("batch") or not ("none"), known without building it: adaptations to
        a domain's statistics are refused without, although a decoder may have some."""
        return self.backbone.normalisation

    def build(self, label_space: LabelSpace, pretrained: bool = True) -> Network:
        """A new network, in training mode, for the classes of `label_space`.

        Random weights come from torch's global generator, and the same ones whether or not pretrained weights replace
        some of them. `pretrained=False` reads no weights: for a network that waits for a checkpoint, or on the meta
        device. (`to_empty` cannot bring a network back from there: it would not know the mean and std of the images.)

        Raises:
            ValueError: a label space of the other task, or weights that cannot be read or do not fit.
        """
        if label_space.task != self.task:
            others = (cls.__name__ for cls in subclasses(Architecture) if cls.task == label_space.task)
            raise ValueError(
                f"{type(self).__name__} is for {self.task}, but the label space {label_space.name!r} is for "
                f"{label_space.task}, which needs one of {', '.join(sorted(others))}."
            )
        network = self.assemble(label_space.num_classes)
        if pretrained:
            self.backbone.load_weights(network.encoder)
        return network

    @abstractmethod
    def assemble(self, num_classes: int) -> Network:
        """The network with random weights."""
