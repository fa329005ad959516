"""`painting`: the same body in a painter's colours, laid down in oriented brush strokes on a woven canvas.

Strokes from coarse to fine over a blurred reference, along its edges: Hertzmann, "Painterly rendering with curved
brush strokes of multiple sizes", SIGGRAPH 1998; here the strokes are straight.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from raydg.domains.object_world.shapes.outlines import Layer
from raydg.domains.object_world.styles.light import lit
from raydg.domains.object_world.styles.palette import Palette, bend, hue
from raydg.domains.object_world.styles.raster import noise, pixels

FINE = 2
"""Fine pixels along the side of one pixel: brush strokes need less care than outlines."""


def paint(layers: Sequence[Layer], palette: Palette, rng: np.random.Generator, size: int) -> np.ndarray:
    colours, backdrop = _manner(palette, rng, size)
    scene = lit(layers, colours, backdrop, rng, relief=rng.uniform(0.45, 0.75), grain=0.0)
    return pixels(_canvas(_strokes(scene, np.abs(scene - backdrop).max(2) > 0.06, rng), rng))


def _manner(palette: Palette, rng: np.random.Generator, size: int) -> tuple[Palette, np.ndarray]:
    """The painter's colours and the backdrop: an old master's browns, an impressionist's light, a fauve's own."""
    u = rng.uniform
    match rng.integers(3):
        case 0:
            tint = hue(u(0.07, 0.12), 0.35, 1.0)
            colours = {paint: (0.65 * colour + 0.32) * tint for paint, colour in palette.items()}
            ends = hue(u(0.02, 0.12), 0.5, 0.12), hue(u(0.05, 0.14), 0.5, u(0.2, 0.35))
        case 1:
            colours = {paint: bend(0.85 * colour, u(-0.04, 0.04), 1.3) + 0.08 for paint, colour in palette.items()}
            ends = hue(u(0.5, 0.75), u(0.15, 0.35), 0.95), hue(u(0.12, 0.4), u(0.25, 0.45), 0.85)
        case _:
            turn = u(0, 1)
            colours = {paint: bend(0.85 * colour + 0.1, turn, 1.9, 1.1) for paint, colour in palette.items()}
            ground, bright = u(0, 1), rng.choice([0.4, 0.95])
            ends = hue(ground, 0.7, bright), hue(ground + u(0.08, 0.3), 0.65, bright)
    mix = np.linspace(0, 1, size)[:, None] * u(0.5, 1) + 0.25 * noise(rng, size, 4) + u(0, 0.4)
    mix = np.clip(mix, 0, 1).astype(np.float32)[..., None]
    first, last = (end.astype(np.float32) for end in ends)
    return colours, first + (last - first) * mix


def _strokes(scene: np.ndarray, matters: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Broad strokes everywhere, then ever finer ones where something `matters` (size, size)."""
    size = len(scene)
    source = Image.fromarray(pixels(scene))
    canvas = source.filter(ImageFilter.GaussianBlur(0.03 * size)).resize((size * FINE, size * FINE))
    draw = ImageDraw.Draw(canvas)
    down, right = np.gradient(
        np.asarray(source.convert("L").filter(ImageFilter.GaussianBlur(0.012 * size)), np.float32)
    )
    along = np.where(np.hypot(down, right) > 2, np.arctan2(right, -down), np.pi * noise(rng, size, 3))
    for width, count, elsewhere in ((0.07, 120, 1.0), (0.035, 160, 0.3), (0.016, 340, 0.02)):
        guide = np.asarray(source.filter(ImageFilter.GaussianBlur(0.3 * width * size)))
        chance = np.where(matters, 1.0, elsewhere).ravel().cumsum()
        spots = np.searchsorted(chance, rng.uniform(0, chance[-1], count))
        mixed = guide.reshape(-1, 3)[spots] / 255 + rng.normal(0, 0.03, (count, 1)) + rng.normal(0, 0.02, (count, 3))
        turn = along.ravel()[spots] + rng.normal(0, 0.12, count)
        reach = np.stack([np.cos(turn), np.sin(turn)], 1) * (width * size * rng.uniform(0.6, 1.4, (count, 1)))
        middle = np.stack([spots % size, spots // size], 1) + 0.5
        lines = np.hstack([middle - reach, middle + reach]) * FINE
        thick = max(1, round(0.75 * width * size * FINE))
        for line, colour in zip(lines.tolist(), map(tuple, pixels(mixed).tolist()), strict=True):
            draw.line(line, fill=colour, width=thick)
    return np.asarray(canvas.reduce(FINE), np.float32) / 255


def _canvas(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Thick paint catches the light from the upper left; the weave shows through."""
    size = len(picture)
    height = picture @ np.full(3, 1 / 3)
    relief = np.zeros_like(height)
    relief[1:, 1:] = height[1:, 1:] - height[:-1, :-1]
    thread = np.sin(np.arange(size) * np.pi * 0.86)
    weave = 0.02 * (thread * thread[:, None])
    return picture + (rng.uniform(0.15, 0.4) * relief + weave + 0.012 * noise(rng, size, size))[..., None]
