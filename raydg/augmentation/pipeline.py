"""The sequence of transforms that a source's images pass, and the seed that decides what they do."""

from dataclasses import dataclass

import torch

from raydg.augmentation.sample import Sample, Transform
from raydg.types import Role
from raydg.values import Value


@dataclass(frozen=True)
class Augmentation(Value):
    """Transforms in their order, for both roles or for each its own.

    Raises:
        ValueError: no transform fixes the size, or the two roles' sizes differ: an episode's images could not be
        stacked.
    """

    transforms: tuple[Transform, ...]
    """What is done to an image, in order; crop early, since what follows costs what it is given."""
    meta_test: tuple[Transform, ...] | None = None
    """What is done instead to images of meta-test domains; None: the same."""

    def __post_init__(self) -> None:
        super().__post_init__()
        train, test = (final_size(self.of_role(role)) for role in ("meta-train", "meta-test"))
        if train is None or test is None:
            field = "transforms" if train is None else "meta_test"
            raise ValueError(
                f"Augmentation.{field} holds no transform that fixes the size, but an episode's images have one size: "
                "add Resize, RandomScaleCrop or RandomResizedCrop."
            )
        if train != test:
            raise ValueError(
                f"Augmentation.meta_test ends at {test[0]} x {test[1]} pixels, transforms at {train[0]} x {train[1]}: "
                "an episode stacks images of both roles, so give them one size."
            )

    @property
    def output_size(self) -> tuple[int, int]:
        """(height, width) in pixels of every augmented image."""
        size = final_size(self.transforms)
        assert size is not None  # checked at construction
        return size

    def of_role(self, role: Role) -> tuple[Transform, ...]:
        """The transforms that an image of a domain in `role` passes, in order."""
        return self.transforms if role == "meta-train" or self.meta_test is None else self.meta_test

    def apply(self, sample: Sample, seed: int, role: Role) -> Sample:
        """The augmented sample, a function of the three arguments alone.

        `seed` is any integer of 64 bits. torchvision draws from torch's global generator, which is seeded and then put
        back as it was; so threads of one process must not augment at the same time.
        """
        with torch.random.fork_rng(devices=[]):
            # torch.manual_seed would seed the accelerators as well, and nothing would put those back.
            torch.default_generator.manual_seed(seed)
            for transform in self.of_role(role):
                sample = transform.apply(sample)
        return sample


def final_size(transforms: tuple[Transform, ...]) -> tuple[int, int] | None:
    """(height, width) after the last transform that fixes it, or None."""
    return next((size for transform in reversed(transforms) if (size := transform.output_size)), None)
