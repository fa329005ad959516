"""What is augmented, and what a transform is."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torchvision import tv_tensors

from raydg.values import Value


@dataclass(frozen=True)
class Sample:
    """One image and its label.

    `image` (3, h, w) uint8; `label` (h, w) uint8 class ids, 255 where a pixel has none, or the class id of the whole
    image; `focus` the class that class-uniform sampling drew this image for: a crop of a label map then shows it.

    Raises:
        ValueError: `image` or `label` has another shape or dtype.
    """

    image: tv_tensors.Image
    label: tv_tensors.Mask | int
    focus: int | None = None

    def __post_init__(self) -> None:
        image, label = self.image, self.label
        if image.dtype != torch.uint8 or image.ndim != 3 or len(image) != 3:
            raise ValueError(f"Sample.image is {image.dtype} {tuple(image.shape)}: it must be torch.uint8 (3, h, w).")
        if isinstance(label, Tensor) and (label.dtype != torch.uint8 or label.shape != image.shape[1:]):
            legal = f"torch.uint8 {tuple(image.shape[1:])}, as its image"
            raise ValueError(f"Sample.label is {label.dtype} {tuple(label.shape)}: it must be {legal}.")


@dataclass(frozen=True)
class Transform(Value, ABC):
    """A random change of a sample; it draws from torch's global CPU generator only, so that one seed decides all."""

    @abstractmethod
    def apply(self, sample: Sample) -> Sample:
        """The changed sample; the given one stays as it is."""

    @property
    def output_size(self) -> tuple[int, int] | None:
        """(height, width) of every result; None if a result has the size of its input."""
        return None


@dataclass(frozen=True)
class Occasional(Transform, ABC):
    """A transform that happens with a probability and keeps the size.

    Raises:
        ValueError: `probability` is not in [0, 1].
    """

    probability: float = field(kw_only=True)
    """How often it happens, 0 to 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(0 <= self.probability <= 1, "probability", "in [0, 1]")

    def apply(self, sample: Sample) -> Sample:
        return self.change(sample) if uniform(0, 1) < self.probability else sample

    @abstractmethod
    def change(self, sample: Sample) -> Sample:
        """The changed sample, every time."""


def uniform(low: float, high: float) -> float:
    """A number drawn from [low, high), or `low` if they are equal."""
    return torch.empty((), dtype=torch.float64).uniform_(low, high).item()


def below(count: int) -> int:
    """An integer drawn from 0, ..., count - 1."""
    return int(torch.randint(count, ()).item())
