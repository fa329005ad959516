"""What happens between the street and the file: mirroring roads, glare, falling rain and snow, the camera, JPEG.

Images are planes (3, h, w) of 0 to 1.
"""

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from raydg.domains.street_world.faces import rgb
from raydg.domains.street_world.planes import blurred, clouds, picture, planes, static
from raydg.domains.street_world.style import Camera, Weather

LUMA = np.array((0.299, 0.587, 0.114), np.float32)


def rough(image: np.ndarray, grain: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Surfaces mottled, finely and coarsely, by their grain (h, w)."""
    h, w = grain.shape
    return image * (1 + grain * (0.3 * static(rng, h, w) + 0.6 * clouds(rng, h, w, 40) + 0.4 * clouds(rng, h, w, 12)))


def mirrored_in_road(image: np.ndarray, ground: np.ndarray, horizon: float, wet: float) -> np.ndarray:
    """The street seen again in wet ground (h, w), blurred downwards, the more of it the flatter one looks."""
    h, w = ground.shape
    rows = np.arange(h)
    source = np.clip(np.rint(2 * horizon - rows), 0, h - 1).astype(int)
    below = np.clip((rows - horizon) / (h - horizon), 0, 1)
    share = ((wet * (0.25 + 0.75 * (1 - below) ** 2) * (below > 0))[:, None] * ground).astype(np.float32)
    mirror = blurred(image, w / 128, h / 20)[:, source]
    return image * (1 - 0.8 * share) + 0.85 * share * mirror


def glare(image: np.ndarray, glow: np.ndarray) -> np.ndarray:
    """The light that lamps spill over their surroundings; `glow` (h, w) says how brightly each pixel burns."""
    reach = len(glow) / 26
    return image + 2.4 * blurred(image * glow, reach, reach)


def over(image: np.ndarray, mask: Image.Image, colour: np.ndarray) -> np.ndarray:
    """A colour (3,) laid over the image where a mask of 8 bits says so."""
    share = np.asarray(mask, np.float32) / 255
    return image + share * (colour[:, None, None] - image)


def rain(image: np.ndarray, per_thousand: float, rng: np.random.Generator) -> np.ndarray:
    """Slanting streaks, brighter than what lies behind."""
    h, w = image.shape[1:]
    mask = Image.new("L", (w, h))
    draw = ImageDraw.Draw(mask)
    x, y, length, shade = rng.random((4, rng.poisson(per_thousand * h * w / 1000)))
    x, y, length = w * x, 1.1 * h * y - 0.1 * h, (0.03 + 0.07 * length) * h
    slant = 0.5 * rng.random() - 0.25
    ends = np.stack([x, y, x + slant * length, y + length], 1)
    for end, value in zip(ends.tolist(), (25 + 60 * shade).astype(int).tolist(), strict=True):
        draw.line(end, fill=value)
    return over(image, mask, rgb("#d9e0eb"))


def snowfall(image: np.ndarray, per_thousand: float, rng: np.random.Generator) -> np.ndarray:
    """Flakes: many small ones, a few large and soft ones close by."""
    h, w = image.shape[1:]
    mask = Image.new("L", (3 * w, 3 * h))
    draw = ImageDraw.Draw(mask)
    x, y, size, close = rng.random((4, rng.poisson(per_thousand * h * w / 1000)))
    close = close < 0.12
    x, y, size = 3 * w * x, 3 * h * y, (0.9 + 0.7 * size) * h / 128 * np.where(close, 3.2, 1)
    boxes = np.stack([x - size, y - size, x + size, y + size], 1)
    for box, value in zip(boxes.tolist(), np.where(close, 150, 235).tolist(), strict=True):
        draw.ellipse(box, fill=value)
    return over(image, mask.reduce(3), rgb("#f8faff"))


def precipitation(image: np.ndarray, weather: Weather, rng: np.random.Generator) -> np.ndarray:
    """What falls."""
    if weather.rain:
        image = rain(image, weather.rain, rng)
    if weather.snow:
        image = snowfall(image, weather.snow, rng)
    return image


def exposed(image: np.ndarray, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """The photograph (h, w, 3) uint8 that the camera takes of what reaches it."""
    _, h, w = image.shape
    colours = camera.saturation * np.eye(3) + (1 - camera.saturation) * LUMA
    colours = camera.contrast * camera.exposure * colours * rgb(camera.tint)
    image = (colours.astype(np.float32) @ image.reshape(3, -1)).reshape(3, h, w)
    image += 0.5 * (1 - camera.contrast)
    if camera.vignette:
        y, x = np.linspace(-1, 1, h, dtype=np.float32)[:, None], np.linspace(-1, 1, w, dtype=np.float32)
        image *= 1 - camera.vignette / 2 * (x * x + y * y)
    if camera.blur:
        image = planes(picture(image).filter(ImageFilter.BoxBlur(camera.blur * h / 100)))
    if camera.noise:
        image += camera.noise / 255 * static(rng, 3, h, w)
    photograph = picture(image)
    if camera.jpeg_quality is not None:
        file = io.BytesIO()
        photograph.save(file, "JPEG", quality=camera.jpeg_quality)
        photograph = Image.open(file)
    return np.asarray(photograph)
