"""Transforms that change colours and sharpness and leave every pixel where it is: label maps are not touched."""

import math
from dataclasses import dataclass, replace

from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from raydg.augmentation.sample import Occasional, Sample, uniform


@dataclass(frozen=True)
class ColorJitter(Occasional):
    """Random brightness, contrast, saturation and hue, in random order: torchvision's transform.

    Pin the Memory's code: 0.4, 0.4, 0.4, 0.1 half of the time, its hard variant 0.8, 0.8, 0.8, 0.3 always;
    self-adaptation's: 0.3, 0.3, 0.3, 0.1 half of the time; DMG's on PACS: 0.4, 0.4, 0.4, 0.4 always. Hue is four
    fifths of the cost; 0 leaves it out.

    Raises:
        ValueError: a strength is negative or not finite, or `hue` is above 0.5.
    """

    brightness: float
    """The factor is drawn from [max(0, 1 - brightness), 1 + brightness]."""
    contrast: float
    """As brightness."""
    saturation: float
    """As brightness."""
    hue: float
    """The shift is drawn from [-hue, hue]; 1 is the whole circle."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("brightness", "contrast", "saturation"):
            self.require(0 <= getattr(self, name) < math.inf, name, "at least 0")
        self.require(0 <= self.hue <= 0.5, "hue", "in [0, 0.5]")

    def change(self, sample: Sample) -> Sample:
        jitter = v2.ColorJitter(self.brightness, self.contrast, self.saturation, self.hue)
        return replace(sample, image=jitter(sample.image))


@dataclass(frozen=True)
class GaussianBlur(Occasional):
    """Blur by a Gaussian whose standard deviation is drawn uniformly, cut off at three of them, mirrored at the border.

    Pin the Memory's code: 0.15 to 1.3 always; self-adaptation's: 0.1 to 2 always; TSMLDG's: 0 to 1 half of the time.

    Raises:
        ValueError: not 0 < sigma_min <= sigma_max, or one of them is not finite.
    """

    sigma_min: float
    """Smallest standard deviation in pixels."""
    sigma_max: float
    """Largest standard deviation in pixels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(0 < self.sigma_min < math.inf, "sigma_min", "above 0")
        self.require(self.sigma_min <= self.sigma_max < math.inf, "sigma_max", f"at least sigma_min = {self.sigma_min}")

    def change(self, sample: Sample) -> Sample:
        sigma = uniform(self.sigma_min, self.sigma_max)
        # A picture can be mirrored by one pixel less than it has.
        kernel = [2 * min(math.ceil(3 * sigma), length - 1) + 1 for length in reversed(sample.image.shape[1:])]
        return replace(sample, image=F.gaussian_blur(sample.image, kernel, [sigma, sigma]))


@dataclass(frozen=True)
class Grayscale(Occasional):
    """Luma (ITU-R BT.601) in all three channels. Self-adaptation's code: one image in ten."""

    def change(self, sample: Sample) -> Sample:
        return replace(sample, image=F.rgb_to_grayscale(sample.image, num_output_channels=3))
