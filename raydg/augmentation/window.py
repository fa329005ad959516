"""Windows of a picture: where they are placed, and how they are cut out of image and label map together.

Image and label map follow the same map from output to input, with pixel centres at half-integers.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from raydg.augmentation.sample import Sample, below
from raydg.domains.labels import IGNORE


@dataclass(frozen=True)
class Span:
    """One axis of a cut: pixels [start, start + length) of the input become [at, at + size) of the output.

    The rest of the output is fill: 0 in the image, 255 in the label map.
    """

    start: int
    length: int
    at: int
    size: int

    @property
    def pixels(self) -> slice:
        return slice(self.start, self.start + self.length)

    @property
    def nearest(self) -> Tensor:
        """(size,) the input pixel in which each of the output pixels' centres lies."""
        return self.start + nearest(self.length, self.size)


def nearest(length: int, size: int) -> Tensor:
    """(size,) the pixel of `length` in which the centre of each of `size` equal parts lies, in exact integers."""
    return (2 * torch.arange(size) + 1) * length // (2 * size)


def cut(sample: Sample, rows: Span, columns: Span, size: tuple[int, int]) -> Sample:
    """The window that two spans name, resized and padded to `size` (height, width).

    The image is interpolated (bilinear, antialiased), a label map takes the nearest pixel.
    """
    padding = [columns.at, rows.at, size[1] - columns.at - columns.size, size[0] - rows.at - rows.size]
    window = F.resize(sample.image[:, rows.pixels, columns.pixels], [rows.size, columns.size])
    image, label = F.pad(window, padding, fill=0), sample.label
    if isinstance(label, Tensor):
        # F.resize takes for a mask the pixel at the upper left of each centre, up to half a pixel off the image.
        label = F.pad(tv_tensors.Mask(label[rows.nearest[:, None], columns.nearest]), padding, fill=IGNORE)
    return replace(sample, image=tv_tensors.Image(image), label=label)


def place(length: int, window: int, size: int, focus: int | None) -> int:
    """Where a window on an axis of `length` pixels starts, drawn uniformly: anywhere, or where it shows `focus`.

    A window that shrinks to `size` pixels skips some: a start that skips the focus is taken only if there is no other.
    """
    if focus is None:
        return below(length - window + 1)
    starts = torch.arange(max(0, focus - window + 1), min(focus, length - window) + 1)
    visible = torch.zeros(window, dtype=torch.bool)
    visible[nearest(window, size)] = True
    shown = starts[visible[focus - starts]]
    starts = shown if len(shown) else starts
    return int(starts[below(len(starts))].item())


def focus_pixel(sample: Sample) -> tuple[int, int] | None:
    """(row, column) of a pixel of the focus class, drawn uniformly; None without a focus or where no pixel has it."""
    if sample.focus is None or not isinstance(sample.label, Tensor):
        return None
    pixels = np.flatnonzero(sample.label.numpy() == sample.focus)  # an eighth of the time of torch.nonzero
    return divmod(int(pixels[below(len(pixels))]), sample.label.shape[1]) if len(pixels) else None
