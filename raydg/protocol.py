"""What of an image a network is shown when it is scored, and what of the label counts: the papers' evaluation sizes."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from raydg.adaptation import Predictor
from raydg.domains.labels import IGNORE
from raydg.values import Value


@dataclass(frozen=True)
class Protocol(Value, ABC):
    """How an image comes before a network, and which label its prediction is compared with.

    Predictions are brought to the size of that label, which is the dataset's own unless the protocol cuts it.
    """

    one_size: ClassVar[bool] = False
    """Whether all images come out at one size, which classifiers need."""
    cuts: ClassVar[bool] = False
    """Whether parts of an image are not scored."""

    @property
    @abstractmethod
    def label(self) -> str:
        """Short text for tables."""

    @abstractmethod
    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of what is made of an image of that size, px."""

    @abstractmethod
    def image(self, pixels: Tensor) -> Tensor:
        """What is made of images (b, 3, h, w) in [0, 1]: (b, 3, *size(h, w))."""

    def truth(self, label: np.ndarray) -> np.ndarray:
        """The label map (h', w') that counts, from the dataset's (h, w)."""
        return label

    def pieces(self, images: Tensor) -> Iterator[Tensor]:
        """What of `image`'s result shares a forward: (b, 3, h'', w''), one after another."""
        yield images

    def predict(self, predictor: Predictor, images: Tensor) -> Tensor:
        """Probabilities (v, b, k, h, w) or (v, b, k) of what `image` made, by every variant of an adaptation."""
        return predictor.all(images)


@dataclass(frozen=True)
class WholeImage(Protocol):
    """The whole image at its own size, as Pin the Memory predicts all but Mapillary, and self-adaptation too."""

    @property
    def label(self) -> str:
        return "whole image"

    def size(self, height: int, width: int) -> tuple[int, int]:
        return height, width

    def image(self, pixels: Tensor) -> Tensor:
        return pixels


@dataclass(frozen=True)
class Resized(Protocol):
    """The whole image at one size, its proportions give way; labels at their own (`Experiment.evaluation_size`).

    Raises:
        ValueError: a side below 1.
    """

    one_size: ClassVar[bool] = True

    height: int
    """Pixels."""
    width: int
    """Pixels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.height >= 1, "height", "1 or more")
        self.require(self.width >= 1, "width", "1 or more")

    @property
    def label(self) -> str:
        return f"resized to {self.height}x{self.width}"

    def size(self, height: int, width: int) -> tuple[int, int]:
        return self.height, self.width

    def image(self, pixels: Tensor) -> Tensor:
        return _resized(pixels, (self.height, self.width))


@dataclass(frozen=True)
class Capped(Protocol):
    """Images of more pixels than `height` x `width` at exactly that size, the others at their own; labels at theirs.

    Self-adaptation's published code (`utils/transforms.py:71-82`), whatever the image's proportions; of its data sets
    only Mapillary has larger images. Pillow's resizing there and the antialiased one here differ in the last digits.

    Raises:
        ValueError: a side below 1.
    """

    height: int = 1024
    """Pixels."""
    width: int = 2048
    """Pixels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.height >= 1, "height", "1 or more")
        self.require(self.width >= 1, "width", "1 or more")

    @property
    def label(self) -> str:
        return f"at most {self.height}x{self.width}"

    def size(self, height: int, width: int) -> tuple[int, int]:
        return (self.height, self.width) if height * width > self.height * self.width else (height, width)

    def image(self, pixels: Tensor) -> Tensor:
        return _resized(pixels, self.size(*pixels.shape[-2:]))


@dataclass(frozen=True)
class CenterCrop(Protocol):
    """The middle square of the image whose short side was resized to `size_px`; labels are resized and cut with it.

    TSMLDG's published code (`dataset/transforms.py`, FixScale and CenterCrop): 768 for every data set, so that all
    images share a size and any may share a batch; half of a Cityscapes frame, its sides, is never judged. The other
    side's length is rounded down, the label resized to the nearest pixel.

    Raises:
        ValueError: `size_px` below 1.
    """

    one_size: ClassVar[bool] = True
    cuts: ClassVar[bool] = True

    size_px: int = 768
    """Side of the square, and the short side before it is cut; pixels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.size_px >= 1, "size_px", "1 or more")

    @property
    def label(self) -> str:
        return f"middle square of short side {self.size_px}"

    def size(self, height: int, width: int) -> tuple[int, int]:
        return self.size_px, self.size_px

    def image(self, pixels: Tensor) -> Tensor:
        return self._middle(_resized(pixels, self._scaled(*pixels.shape[-2:])))

    def truth(self, label: np.ndarray) -> np.ndarray:
        return self._middle(_nearest(label, self._scaled(*label.shape)))

    def _scaled(self, height: int, width: int) -> tuple[int, int]:
        short = min(height, width)
        return height * self.size_px // short, width * self.size_px // short

    def _middle(self, array):
        top, left = ((side - self.size_px) // 2 for side in array.shape[-2:])
        return array[..., top : top + self.size_px, left : left + self.size_px]


@dataclass(frozen=True)
class Square(Protocol):
    """The middle `size_px` x `size_px` of the image resized to that height, black where it is narrower.

    Pin the Memory's published code for Mapillary (`transforms/joint_transforms.py`, ResizeHeight and CenterCropPad),
    with 1536; the width is rounded down and labels are resized and cut with the image. The sides of a landscape image
    are not scored.

    A narrower image is padded. The published code pads by the whole difference on both sides, then cuts the window that
    would be the middle without padding, and labels what it added with 0, which is road: of a 1000 x 1536 portrait 52 %
    of the square is invented road and the right quarter of the picture is cut off. `padding` "published" does the same;
    "ignored", the default, keeps the picture in the middle and counts no pixel beside it.

    Raises:
        ValueError: `size_px` below 1.
    """

    one_size: ClassVar[bool] = True
    cuts: ClassVar[bool] = True

    size_px: int = 1536
    """Side of the square, pixels."""
    padding: Literal["ignored", "published"] = "ignored"
    """What stands beside an image that is narrower than the square."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.size_px >= 1, "size_px", "1 or more")

    @property
    def label(self) -> str:
        return f"square of {self.size_px}" + (", published padding" if self.padding == "published" else "")

    def size(self, height: int, width: int) -> tuple[int, int]:
        return self.size_px, self.size_px

    def image(self, pixels: Tensor) -> Tensor:
        scaled = _resized(pixels, self._scaled(*pixels.shape[-2:]), mode="bicubic").clamp(0, 1)
        square = scaled.new_zeros(*scaled.shape[:-1], self.size_px)
        to, of = self._columns(scaled.shape[-1])
        square[..., to] = scaled[..., of]
        return square

    def truth(self, label: np.ndarray) -> np.ndarray:
        scaled = _nearest(label, self._scaled(*label.shape))
        square = np.full((self.size_px, self.size_px), IGNORE if self.padding == "ignored" else 0, label.dtype)
        to, of = self._columns(scaled.shape[1])
        square[:, to] = scaled[:, of]
        return square

    def _scaled(self, height: int, width: int) -> tuple[int, int]:
        return self.size_px, max(1, width * self.size_px // height)

    def _columns(self, width: int) -> tuple[slice, slice]:
        """Columns of the square that show the picture, and which columns of the scaled picture they show."""
        if width >= self.size_px:
            left = round((width - self.size_px) / 2)
            return slice(0, self.size_px), slice(left, left + self.size_px)
        missing = self.size_px - width
        left = missing // 2
        if self.padding == "published":
            # Padded by `missing` on the left, then cut from round((width - size) / 2), which is negative.
            left = missing - round((width - self.size_px) / 2)
        shown = min(width, self.size_px - left)
        return slice(left, left + shown), slice(0, shown)


@dataclass(frozen=True)
class SlidingWindow(Protocol):
    """The image at its own size, predicted window by window; where windows overlap their probabilities are averaged.

    Windows lie `stride` of their side apart and the last ones end at the image's border; an image smaller than a window
    is a window of its own size. Pin the Memory's eval.py does so with windows of the training crop and a stride of 2/3,
    adding up logits and dividing by a count with its axes exchanged, which gives 0 / 0 in some shapes. Images that
    share a batch share it window by window.

    Raises:
        ValueError: a side below 1, or a stride outside (0, 1].
    """

    height: int = 768
    """Of a window, pixels."""
    width: int = 768
    """Of a window, pixels."""
    stride: float = 2 / 3
    """Distance of neighbouring windows as a fraction of their side; 1 is without overlap."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.height >= 1, "height", "1 or more")
        self.require(self.width >= 1, "width", "1 or more")
        self.require(0 < self.stride <= 1, "stride", "above 0 and at most 1")

    @property
    def label(self) -> str:
        return f"windows of {self.height}x{self.width}, stride {self.stride:.3g}"

    def size(self, height: int, width: int) -> tuple[int, int]:
        return height, width

    def image(self, pixels: Tensor) -> Tensor:
        return pixels

    def pieces(self, images: Tensor) -> Iterator[Tensor]:
        for rows, columns in self.windows(*images.shape[-2:]):
            yield images[..., rows, columns].contiguous(memory_format=torch.channels_last)

    def predict(self, predictor: Predictor, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        total, times = None, images.new_zeros(height, width)
        windows = self.windows(height, width)
        for (rows, columns), piece in zip(windows, self.pieces(images), strict=True):
            probabilities = predictor.all(piece)
            if total is None:
                total = probabilities.new_zeros(*probabilities.shape[:3], height, width)
            total[..., rows, columns] += probabilities
            times[rows, columns] += 1
        assert total is not None
        return total / times.to(total.dtype)

    def windows(self, height: int, width: int) -> list[tuple[slice, slice]]:
        """Rows and columns of every window of an image, from the top left, row by row."""
        return [
            (rows, columns) for rows in self._spans(height, self.height) for columns in self._spans(width, self.width)
        ]

    def _spans(self, length: int, window: int) -> list[slice]:
        window = min(window, length)
        apart = math.ceil(window * self.stride)
        starts = [min(i * apart, length - window) for i in range(math.ceil((length - window) / apart) + 1)]
        return [slice(start, start + window) for start in starts]


def _resized(pixels: Tensor, size: tuple[int, int], mode: Literal["bilinear", "bicubic"] = "bilinear") -> Tensor:
    if tuple(pixels.shape[-2:]) == tuple(size):
        return pixels
    return F.interpolate(pixels, size, mode=mode, align_corners=False, antialias=True)


def _nearest(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The label at the middle of every new pixel."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size, label.shape, strict=True)
    )
    return label[rows[:, None], columns[None, :]]
