"""`photo`: a lit body before an out-of-focus, cluttered background, seen through a lens and a noisy sensor."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from raydg.domains.object_world.shapes.outlines import Layer
from raydg.domains.object_world.styles.light import lit
from raydg.domains.object_world.styles.palette import Palette, bend, hue
from raydg.domains.object_world.styles.raster import fill, noise, pixels


def paint(layers: Sequence[Layer], palette: Palette, rng: np.random.Generator, size: int) -> np.ndarray:
    colours = {paint: bend(colour, rng.normal(0, 0.01), 0.9) for paint, colour in palette.items()}
    picture = lit(layers, colours, _background(rng, size), rng, relief=rng.uniform(0.4, 0.7), grain=0.07)
    return pixels(_camera(picture, rng))


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Sky, ground and bushes, or wall, floor and furniture, blurred; the ground rough up to the horizon."""
    u = rng.uniform
    scene = Image.new("RGB", (size, size))
    draw = ImageDraw.Draw(scene)
    horizon = u(0.4, 0.72)
    if rng.random() < 0.65:
        above, below = hue(u(0.5, 0.62), u(0.1, 0.45), u(0.65, 0.95)), hue(u(0.06, 0.3), u(0.15, 0.5), u(0.3, 0.65))
        clutter = draw.ellipse
    else:
        above, below = hue(u(0, 1), u(0.05, 0.3), u(0.35, 0.85)), hue(u(0.02, 0.12), u(0.1, 0.5), u(0.25, 0.6))
        clutter = draw.rectangle
    draw.rectangle((0, 0, size, horizon * size), fill=fill(above))
    draw.rectangle((0, horizon * size, size, size), fill=fill(below))
    for _ in range(rng.integers(6, 16)):
        dull, loud = hue(u(0.05, 0.4), u(0.1, 0.5), u(0.12, 0.6)), hue(u(0, 1), u(0.2, 0.7), u(0.3, 0.9))
        x, y, w, h = size * np.array([u(0, 1), horizon - u(-0.04, 0.12), u(0.04, 0.2), u(0.05, 0.3)])
        clutter((x - w, y - h, x + w, y + 0.3 * h), fill=fill(dull if rng.random() < 0.7 else loud))
    for _ in range(rng.integers(0, 4)):  # trunks and posts
        x, w = size * u(0, 1), size * u(0.01, 0.05)
        draw.rectangle((x - w, 0, x + w, horizon * size), fill=fill(hue(u(0.02, 0.15), 0.3, u(0.1, 0.45))))
    soft = np.asarray(scene.filter(ImageFilter.GaussianBlur(size * u(0.015, 0.045))), np.float32) / 255
    foreground = 1 / (1 + np.exp(-(np.arange(size) / size - horizon)[:, None] * 30))
    rough = foreground * (0.1 * noise(rng, size, size / 4, size / 2) + 0.08 * noise(rng, size, size / 10, size / 5))
    return (soft * (1 + rough + 0.08 * noise(rng, size, 5))[..., None]).astype(np.float32)


def _camera(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Exposure, white balance, contrast, vignette, a touch of blur, and the noise of the sensor."""
    size = len(picture)
    if rng.random() < 0.6:
        image = Image.fromarray(pixels(picture)).filter(ImageFilter.GaussianBlur(size * rng.uniform(0.002, 0.007)))
        picture = np.asarray(image, np.float32) / 255
    span = np.linspace(-1, 1, size)
    vignette = 1 - rng.uniform(0, 0.3) * (span**2 + span[:, None] ** 2)[..., None] / 2
    gain = rng.uniform(0.95, 1.4) * (1 + rng.normal(0, 0.05, 3))
    picture = (picture * gain * vignette - 0.5) * rng.uniform(0.8, 1.15) + 0.5
    return picture + rng.standard_normal(picture.shape, np.float32) * rng.uniform(0.01, 0.03)
