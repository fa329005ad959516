"""From an image or label file to pixels: decoded to the last byte, or refused by name."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from raydg.domains.labels import Colour

STORED_AS_THEY_ARE = ("JPEG", "PNG")
BECOME_RGB = ("RGBA", "L", "LA", "P", "1", "CMYK")
HOLD_IDS = ("L", "P", "I;16")


class BadSample(ValueError):
    """A sample that cannot be used: the message names the file and says what is wrong with it."""


def decode(path: Path) -> tuple[bytes, Image.Image]:
    """A file's bytes and the image in them, with every pixel decoded.

    Raises:
        BadSample: the file is missing, truncated or not an image.
    """
    try:
        data = path.read_bytes()
        image = Image.open(io.BytesIO(data))
        image.load()
    except UnidentifiedImageError:
        raise BadSample(f"{path} holds no image") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadSample(f"{path} cannot be decoded: {error}") from None
    return data, image


def read_rgb(path: Path) -> tuple[bytes, int, int]:
    """An image file as bytes that any decoder turns into 8-bit RGB, its height and its width.

    JPEG and PNG files that are RGB keep their bytes. Greyscale, palette, CMYK and RGBA ones, and other formats, become
    RGB PNG here, once, so that no reader has to ask; transparency is dropped, not composed. EXIF orientation is not
    applied: label maps fit the pixels as they are stored.

    Raises:
        BadSample: as `decode`, or pixels of more than 8 bits.
    """
    data, image = decode(path)
    if image.mode == "RGB" and image.format in STORED_AS_THEY_ARE:
        return data, image.height, image.width
    if image.mode not in (*BECOME_RGB, "RGB"):
        raise BadSample(f"{path} has pixels of mode {image.mode!r}; an image must be RGB or {', '.join(BECOME_RGB)}")
    # By way of RGBA, for Pillow warns when it drops a palette's transparency.
    rgb = image.convert("RGBA").convert("RGB") if image.mode == "P" else image.convert("RGB")
    buffer = io.BytesIO()
    rgb.save(buffer, format="PNG")
    return buffer.getvalue(), image.height, image.width


def read_ids(path: Path) -> np.ndarray:
    """A label file whose single channel (or palette index) is the class id: (h, w) uint8 or uint16.

    Raises:
        BadSample: as `decode`, or a file with colours in it.
    """
    _, image = decode(path)
    if image.mode not in HOLD_IDS:
        raise BadSample(f"{path} has pixels of mode {image.mode!r}; class ids need one channel of 8 or 16 bits")
    return np.asarray(image)


def read_colours(path: Path, colours: Sequence[Colour]) -> np.ndarray:
    """A label file painted in `colours`, as the position of every pixel's colour in that list: (h, w) uint8.

    Raises:
        BadSample: as `decode`, or a colour that is not in the list.
    """
    _, image = decode(path)
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
