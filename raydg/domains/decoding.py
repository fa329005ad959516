"""From an image or label file to pixels: decoded to the last byte, or refused by name."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image, UnidentifiedImageError

from raydg.domains.labels import Colour
from raydg.storage import Place

STORED_AS_THEY_ARE = ("JPEG", "PNG")
BECOME_RGB = ("RGBA", "L", "LA", "P", "1", "CMYK")
HOLD_IDS = ("L", "P", "I;16")


class BadSample(ValueError):
    """A sample that cannot be used: the message names the file and says what is wrong with it."""


@dataclass(frozen=True)
class RawImage:
    """An image as it will be stored, and its pixels."""

    data: bytes
    """A file that any decoder turns into 8-bit RGB."""
    pixels: Image.Image
    """Decoded, mode RGB."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.pixels.size


class HasImage(Protocol):
    """A `RawSample`, as far as its image goes."""

    @property
    def image(self) -> Place: ...


def read(path: Place) -> bytes:
    """A file's bytes. An OSError of the disk or the store is no bad sample: it stops the work, which can go on later.

    Raises:
        BadSample: the file is missing.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise BadSample(f"{path} is missing") from None


def decode(path: Place) -> tuple[bytes, Image.Image]:
    """A file's bytes and the image in them, with every pixel decoded.

    Raises:
        BadSample: the file is missing, truncated or not an image.
    """
    data = read(path)
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except UnidentifiedImageError:
        raise BadSample(f"{path} holds no image") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadSample(f"{path} cannot be decoded: {error}") from None
    return data, image


def read_image(sample: HasImage) -> RawImage:
    """The image in a sample's file.

    JPEG and PNG files that are RGB keep their bytes. Greyscale, palette, CMYK and RGBA ones, and other formats, become
    RGB PNG here, once, so that no reader has to ask; transparency is dropped, not composed. EXIF orientation is not
    applied: label maps fit the pixels as they are stored.

    Raises:
        BadSample: as `decode`, or pixels of more than 8 bits.
    """
    data, image = decode(sample.image)
    if image.mode == "RGB" and image.format in STORED_AS_THEY_ARE:
        return RawImage(data, image)
    rgb = to_rgb(image, sample.image)
    return RawImage(png(rgb), rgb)


def to_rgb(image: Image.Image, path: Place) -> Image.Image:
    """The image in RGB; `path` is named if it cannot be.

    Raises:
        BadSample: pixels of more than 8 bits.
    """
    if image.mode not in (*BECOME_RGB, "RGB"):
        raise BadSample(f"{path} has pixels of mode {image.mode!r}; an image must be RGB or {', '.join(BECOME_RGB)}")
    # By way of RGBA, for Pillow warns when it drops a palette's transparency.
    return image.convert("RGBA").convert("RGB") if image.mode == "P" else image.convert("RGB")


def png(image: Image.Image, level: int = 6) -> bytes:
    """An image as a PNG file, compressed at a level of 0 (not at all) to 9."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=level)
    return buffer.getvalue()


def decode_labels(path: Place) -> Image.Image:
    """The image in a label file.

    Raises:
        BadSample: as `decode`, or a JPEG file.
    """
    _, image = decode(path)
    if image.format == "JPEG":
        raise BadSample(f"{path} is a JPEG file: its compression changes class ids. Get the lossless label maps")
    return image


def read_ids(path: Place) -> np.ndarray:
    """A label file whose single channel (or palette index) is the class id: (h, w) uint8 or uint16.

    Raises:
        BadSample: as `decode_labels`, or a file with colours in it.
    """
    image = decode_labels(path)
    if image.mode not in HOLD_IDS:
        raise BadSample(f"{path} has pixels of mode {image.mode!r}; class ids need one channel of 8 or 16 bits")
    return np.asarray(image)


def read_colours(path: Place, colours: Sequence[Colour]) -> np.ndarray:
    """A label file painted in `colours`, as the position of every pixel's colour in that list: (h, w) uint8.

    Raises:
        BadSample: as `decode_labels`, or a colour that is not in the list.
    """
    image = decode_labels(path)
    pixels = np.asarray(image.convert("RGB"), dtype=np.uint32)
    packed = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
    known = np.array([red << 16 | green << 8 | blue for red, green, blue in colours], dtype=np.uint32)
    order = np.argsort(known)
    position = np.searchsorted(known, packed, sorter=order).clip(max=len(known) - 1)
    ids = order[position].astype(np.uint8)
    strange = np.unique(packed[known[ids] != packed])
    if strange.size:
        named = ", ".join(f"({c >> 16}, {c >> 8 & 255}, {c & 255})" for c in strange[:8].tolist())
        more = ", …" if strange.size > 8 else ""
        raise BadSample(f"{path} has {strange.size} colours that stand for no class: {named}{more}")
    return ids


PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def read_red_of_16_bits(path: Place) -> np.ndarray:
    """A label file, a PNG of three channels of 16 bits, whose red one is the class id: (h, w) uint16.

    Pillow halves such files to the upper 8 bits, which are 0 for any id below 256; hence OpenCV.

    Raises:
        BadSample: the file is missing, broken or of another format.
    """
    import cv2  # here, for it takes longer to import than all of the catalogue

    data = read(path)
    bits, colours = data[24:25], data[25:26]  # of the header, which stands first in every PNG; 2 is RGB
    if not data.startswith(PNG_SIGNATURE) or (bits, colours) != (b"\x10", b"\x02"):
        raise BadSample(f"{path} is no PNG of three channels of 16 bits, of which red is the class id")
    image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise BadSample(f"{path} cannot be decoded: it is truncated or damaged")
    return np.ascontiguousarray(image[..., 2])  # OpenCV's order is blue, green, red
