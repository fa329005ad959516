"""A figure as a body in the light: rounded, shaded, throwing soft shadows. Photos show it, painters look at it."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFilter

from raydg.domains.object_world.shapes.outlines import Layer, bounds
from raydg.domains.object_world.styles.palette import Palette
from raydg.domains.object_world.styles.raster import FINE, noise, silhouettes


def lit(
    layers: Sequence[Layer], palette: Palette, ground: np.ndarray, rng: np.random.Generator, relief: float, grain: float
) -> np.ndarray:
    """The figure over `ground` (size, size, 3) float32, which it shades where it stands.

    relief: strength of the shading; grain: of the texture of coats, wood and cloth.
    """
    size = len(ground)
    towards = float(rng.uniform(-0.7, 0.7)), float(-rng.uniform(0.5, 0.9))
    texture = 1 + grain * (noise(rng, size, size / 1.6, size / 6) + 0.7 * noise(rng, size, size / 8))
    picture = _cast_shadow(layers, ground, rng)
    for layer, fine in silhouettes(layers, size * FINE):
        mask = fine.reduce(FINE)
        if (bounds := mask.getbbox()) is None:
            continue
        reach = round(0.08 * size)  # past which the shadow of a layer's edge is nothing
        left, top = (max(edge - reach, 0) for edge in bounds[:2])
        right, bottom = (min(edge + reach, size) for edge in bounds[2:])
        mask = mask.crop((left, top, right, bottom))
        alpha, wide = _blurred(mask, 0.0), _blurred(mask, 0.025 * size)
        down, across = np.gradient(size * wide)
        shade = (0.95 - relief * np.tanh((across * towards[0] + down * towards[1]) / 12)) * (0.68 if layer.far else 1.0)
        window = picture[top:bottom, left:right]
        if not layer.within:
            window *= (1 - 0.3 * relief * wide)[..., None]
        colour = palette[layer.paint].astype(np.float32) * (shade * texture[top:bottom, left:right])[..., None]
        window += alpha[..., None] * (colour - window)
    return picture


def _blurred(mask: Image.Image, radius: float) -> np.ndarray:
    return np.asarray(mask.filter(ImageFilter.GaussianBlur(radius)) if radius else mask, np.float32) / 255


def _cast_shadow(layers: Sequence[Layer], ground: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A soft ellipse underfoot."""
    size = len(ground)
    (left, _), (right, bottom) = bounds(layers)
    x = (np.arange(size, dtype=np.float32) + 0.5) / size
    spread = float(rng.uniform(0.45, 0.6) * (right - left) + 0.05)
    away = ((x - float(left + right) / 2) / spread) ** 2 + ((x[:, None] - float(bottom)) / 0.05) ** 2
    return ground * (1 - float(rng.uniform(0.3, 0.6)) * np.exp(-away))[..., None]
