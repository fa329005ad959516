"""Transforms that move pixels: of the image, and of the label map with it.

Images are interpolated bilinearly, label maps take the nearest pixel; what lies outside the picture becomes 0 in the
image and 255 in the label map. Crops are cut before they are resized, so that their cost follows the crop and not the
frame.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from raydg.augmentation.sample import Occasional, Sample, Transform, below, uniform
from raydg.augmentation.window import Span, cut, focus_pixel, place
from raydg.domains.labels import IGNORE


@dataclass(frozen=True)
class Sized(Transform):
    """A transform whose results all have one size.

    Raises:
        ValueError: `height` or `width` is below 1.
    """

    height: int
    """Height of the result in pixels."""
    width: int
    """Width of the result in pixels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("height", "width"):
            self.require(getattr(self, name) >= 1, name, "at least 1 pixel")

    @property
    def output_size(self) -> tuple[int, int]:
        return self.height, self.width


@dataclass(frozen=True)
class Resize(Sized):
    """The whole picture at another size; its proportions give way."""

    def apply(self, sample: Sample) -> Sample:
        height, width = sample.image.shape[1:]
        return cut(sample, Span(0, height, 0, self.height), Span(0, width, 0, self.width), self.output_size)


@dataclass(frozen=True)
class RandomScaleCrop(Sized):
    """A crop at a random place of the picture scaled by a factor s drawn uniformly, the same for both axes.

    It shows what "resize the frame by s, then crop" shows, but resizes only a window of height/s x width/s of the
    frame. What differs: the window is cut at whole pixels of the frame, so that places come in steps of s and an axis
    is stretched by at most half a pixel of the window; and at the crop's border the antialias filter sees no pixel
    beyond it. An axis on which the scaled picture is smaller than the crop is shown whole, at a random place, with
    fill around it. Scale 1 is the plain random crop.

    A crop of a sample with a focus shows a pixel of that class, drawn uniformly, at a place drawn uniformly. Only
    shrinking can lose it: an object thinner than 1/s pixels, where the frame leaves the window no other place.

    The scale is relative to the picture's own size, as in Pin the Memory (0.5 to 2); TSMLDG's published code takes it
    relative to a long side fixed per dataset. The former's fill is shared by both sides, the latter's goes right and
    below.

    Raises:
        ValueError: not 0 < scale_min <= scale_max, or one of them is not finite.
    """

    scale_min: float = 0.5
    """Smallest factor; 0.5 halves height and width."""
    scale_max: float = 2.0
    """Largest factor."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(0 < self.scale_min < math.inf, "scale_min", "above 0")
        self.require(self.scale_min <= self.scale_max < math.inf, "scale_max", f"at least scale_min = {self.scale_min}")

    def apply(self, sample: Sample) -> Sample:
        scale = uniform(self.scale_min, self.scale_max)
        focus = focus_pixel(sample)
        rows, columns = (
            self._span(length, size, scale, focus and focus[axis])
            for axis, (length, size) in enumerate(zip(sample.image.shape[1:], self.output_size, strict=True))
        )
        return cut(sample, rows, columns, self.output_size)

    @staticmethod
    def _span(length: int, size: int, scale: float, focus: int | None) -> Span:
        scaled = max(1, round(length * scale))
        if scaled <= size:
            return Span(0, length, below(size - scaled + 1), scaled)
        window = min(length, max(1, round(size / scale)))
        return Span(place(length, window, size, focus), window, 0, size)


@dataclass(frozen=True)
class RandomResizedCrop(Sized):
    """A crop of random area and aspect ratio, resized to `height` x `width`: torchvision's transform of this name.

    A crop of a sample with a focus is of the same random size, and shows a pixel of the class as RandomScaleCrop's
    does. Self-adaptation trains with the defaults, DMG's PACS runs with areas from 0.8.

    Raises:
        ValueError: not 0 < area_min <= area_max <= 1, or not 0 < aspect_min <= aspect_max < infinity.
    """

    area_min: float = 0.08
    """Smallest area, as a fraction of the picture's."""
    area_max: float = 1.0
    """Largest area, as a fraction of the picture's."""
    aspect_min: float = 3 / 4
    """Smallest width : height of the crop before it is resized; drawn uniformly in the logarithm."""
    aspect_max: float = 4 / 3
    """Largest width : height."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(0 < self.area_min <= 1, "area_min", "in (0, 1]")
        self.require(self.area_min <= self.area_max <= 1, "area_max", f"in [area_min, 1] = [{self.area_min}, 1]")
        self.require(0 < self.aspect_min < math.inf, "aspect_min", "above 0")
        legal = f"at least aspect_min = {self.aspect_min}"
        self.require(self.aspect_min <= self.aspect_max < math.inf, "aspect_max", legal)

    def apply(self, sample: Sample) -> Sample:
        areas, aspects = (self.area_min, self.area_max), (self.aspect_min, self.aspect_max)
        box = v2.RandomResizedCrop(self.output_size, scale=areas, ratio=aspects).make_params([sample.image])
        top, left, height, width = (box[name] for name in ("top", "left", "height", "width"))
        if focus := focus_pixel(sample):
            top = place(sample.image.shape[1], height, self.height, focus[0])
            left = place(sample.image.shape[2], width, self.width, focus[1])
        return cut(sample, Span(top, height, 0, self.height), Span(left, width, 0, self.width), self.output_size)


@dataclass(frozen=True)
class HorizontalFlip(Occasional):
    """Left becomes right."""

    probability: float = 0.5
    """How often it happens, 0 to 1."""

    def change(self, sample: Sample) -> Sample:
        label = F.horizontal_flip(sample.label) if isinstance(sample.label, Tensor) else sample.label
        return replace(sample, image=F.horizontal_flip(sample.image), label=label)


@dataclass(frozen=True)
class Rotation(Occasional):
    """A turn about the centre by an angle drawn from [-degrees, degrees]; the size stays, the corners are fill.

    TSMLDG's published code turns by up to 10 degrees half of the time, before it crops, and labels the corners 0,
    which is road in two of its datasets. A turn after the crop costs less, but may turn a sample's focus out of the
    picture.

    Raises:
        ValueError: `degrees` is not in (0, 180].
    """

    degrees: float
    """Largest angle."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(0 < self.degrees <= 180, "degrees", "in (0, 180]")

    def change(self, sample: Sample) -> Sample:
        angle = uniform(-self.degrees, self.degrees)
        image, label = F.rotate(sample.image, angle, v2.InterpolationMode.BILINEAR), sample.label
        if isinstance(label, Tensor):
            label, inside = F.rotate(torch.stack([label, torch.ones_like(label)]), angle, fill=[IGNORE, 0])
            # Bilinear interpolation fades out over the edge; here the image ends where its labels do.
            image = image * inside
            label = tv_tensors.Mask(label)
        return replace(sample, image=tv_tensors.Image(image), label=label)
