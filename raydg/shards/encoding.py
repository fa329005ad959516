"""How images are stored: as they came, or smaller, with what that costs."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from raydg.domains.decoding import RawImage, png
from raydg.values import Value


@dataclass(frozen=True)
class Encoding(Value):
    """What preparation does to images. By default nothing: JPEG and PNG files keep their bytes.

    Raises:
        ValueError: a side below 1, or a quality outside 1 to 100.
    """

    longest_side: int | None = None
    """Images with a longer side are scaled down to it, aspect kept; label maps with them, nearest neighbour."""
    jpeg_quality: int | None = None
    """Images are stored as JPEG of this quality, 1 to 100, colours at full resolution. A 1914 x 1052 PNG takes ten
    times as long to decode as a JPEG."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.longest_side is None or self.longest_side > 0, "longest_side", "1 or more, or None")
        legal = self.jpeg_quality is None or 1 <= self.jpeg_quality <= 100
        self.require(legal, "jpeg_quality", "1 to 100, or None")

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height after scaling."""
        scale = min(1.0, (self.longest_side or max(width, height)) / max(width, height))
        return max(1, round(width * scale)), max(1, round(height * scale))

    def encode(self, image: RawImage) -> RawImage:
        """An image as it is to be stored; `pixels` are those before lossy compression."""
        size = self.size(*image.size)
        pixels = image.pixels if size == image.size else image.pixels.resize(size, Image.Resampling.LANCZOS)
        if self.jpeg_quality is not None:
            return RawImage(jpeg(pixels, self.jpeg_quality), pixels)
        return image if pixels is image.pixels else RawImage(png(pixels), pixels)

    def scale_labels(self, labels: np.ndarray) -> np.ndarray:
        """A label map (h, w) uint8 at the size of its stored image."""
        height, width = labels.shape
        size = self.size(width, height)
        if size == (width, height):
            return labels
        return np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))


@dataclass(frozen=True)
class Effect(Value):
    """What an encoding did to a split. Effects of parts add up."""

    raw_bytes: int = 0
    """Of the image files as they came."""
    stored_bytes: int = 0
    """Of the images as they are stored."""
    scaled: int = 0
    """Images that were scaled down."""
    squared_error: int = 0
    """Of images that were compressed with loss: stored minus uncompressed, squared, summed over all colour values."""
    values: int = 0
    """Colour values, 0 to 255, in that sum."""

    def __add__(self, other: "Effect") -> "Effect":
        return Effect(
            self.raw_bytes + other.raw_bytes,
            self.stored_bytes + other.stored_bytes,
            self.scaled + other.scaled,
            self.squared_error + other.squared_error,
            self.values + other.values,
        )

    @staticmethod
    def of(raw: RawImage, stored: RawImage, lossy: bool) -> "Effect":
        """What happened to one image."""
        error = values = 0
        if lossy:
            decoded = np.asarray(Image.open(io.BytesIO(stored.data)), dtype=np.int32)
            error = int(((decoded - np.asarray(stored.pixels)) ** 2).sum(dtype=np.int64))
            values = decoded.size
        return Effect(len(raw.data), len(stored.data), int(stored.size != raw.size), error, values)

    @property
    def psnr(self) -> float:
        """Peak signal-to-noise ratio of the lossy compression in decibel, over all pixels; infinite without loss."""
        return float(10 * np.log10(255**2 * self.values / self.squared_error)) if self.squared_error else float("inf")


def jpeg(image: Image.Image, quality: int) -> bytes:
    """An image as a JPEG file whose colours are not subsampled."""
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()
