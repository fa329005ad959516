"""Backbones that are torchvision's networks."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from raydg.licence import CommercialUse
from raydg.models.pretrained_backbone import Library, PretrainedBackbone
from raydg.models.weights import State, download


@dataclass(frozen=True)
class TorchvisionBackbone(PretrainedBackbone):
    """A network of torchvision's. Its published weights are torchvision's IMAGENET1K_V1."""

    library: ClassVar[Library] = "torchvision"
    terms: ClassVar[tuple[str, CommercialUse]] = (
        "torchvision, BSD-3-Clause, states none for its weights; the images of ImageNet are for research.",
        "unknown",
    )
    head: ClassVar[str]

    @property
    @abstractmethod
    def builder(self) -> Callable[..., nn.Module]:
        """torchvision's function for the whole network."""

    def download(self) -> State:
        return download(self.builder)
