"""Images as planes (3, h, w) of 0 to 1, which numpy multiplies much faster than interleaved colours; and noise."""

import numpy as np
from PIL import Image, ImageFilter


def picture(image: np.ndarray) -> Image.Image:
    """Planes as a Pillow image, clipped."""
    levels = (np.clip(image, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    return Image.merge("RGB", [Image.fromarray(plane) for plane in levels])


def planes(image: Image.Image) -> np.ndarray:
    """A Pillow image of 8 bits a band as planes."""
    return np.stack([np.asarray(band, np.float32) for band in image.split()]) * np.float32(1 / 255)


def blurred(image: np.ndarray, across: float, down: float) -> np.ndarray:
    """Planes after a Gaussian blur of these standard deviations in pixels, wide ones worked out on a smaller copy."""
    shrink = max(1, int(across)), max(1, int(down))
    sharp = picture(image)
    small = sharp.reduce(shrink).filter(ImageFilter.GaussianBlur((across / shrink[0], down / shrink[1])))
    return planes(small if shrink == (1, 1) else small.resize(sharp.size, Image.Resampling.BICUBIC))


def tint(plane: np.ndarray | np.float32, colour: np.ndarray) -> np.ndarray:
    """A plane (h, w), or one number for all pixels, in a colour (3,)."""
    return plane * colour[:, None, None].astype(np.float32)


def clouds(rng: np.random.Generator, height: int, width: int, cells: float, stretch: float = 1.0) -> np.ndarray:
    """Smooth noise (height, width) about 0: `cells` hills to the image's height, `stretch` times as wide as high."""
    rows, columns = max(2, round(cells)), max(2, round(cells * width / height / stretch))
    coarse = Image.fromarray(rng.standard_normal((rows, columns), np.float32))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


def static(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """White noise of mean 0 and standard deviation 1, evenly distributed: a tenth of the time of a normal one."""
    steps = np.frombuffer(rng.bytes(int(np.prod(shape))), np.uint8).reshape(shape)
    return (steps.astype(np.float32) - np.float32(127.5)) * np.float32(np.sqrt(12) / 256)
