"""`sketch`: black strokes on white. Outlines are drawn one to three times over, each a little off; the dark is
hatched."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from raydg.domains.object_world.shapes.outlines import Layer, move
from raydg.domains.object_world.styles.palette import Palette
from raydg.domains.object_world.styles.raster import FINE, LINES, inked, noise, pixels, silhouettes


def paint(layers: Sequence[Layer], palette: Palette, rng: np.random.Generator, size: int) -> np.ndarray:
    side = size * FINE
    width = rng.uniform(0.004, 0.009) * side
    paper = Image.new("L", (side, side), 255)
    for _ in range(rng.integers(1, 4)):
        paper = ImageChops.darker(paper, _lines(layers, rng, side, width))
    if rng.random() < 0.7:
        paper = ImageChops.darker(paper, _hatching(layers, palette, rng, side, 0.8 * width))
    lines = 1 - np.asarray(paper.reduce(FINE), np.float32) / 255
    pressure = np.clip(0.9 + 0.16 * noise(rng, size, 9), 0.4, 1)
    tooth = np.clip(1 - 0.1 * np.abs(noise(rng, size, size)), 0.5, 1)
    return np.repeat(pixels(1 - lines * pressure * tooth)[..., None], 3, axis=2)


def _lines(layers: Sequence[Layer], rng: np.random.Generator, side: int, width: float) -> Image.Image:
    paper = Image.new("L", (side, side), 255)
    for layer, mask, lines in inked(_shaken(layers, rng), side, width):
        paper.paste(0, mask=lines)
        paper.paste(0 if layer.paint in LINES else 255, mask=mask)
    return paper


def _shaken(layers: Sequence[Layer], rng: np.random.Generator) -> list[Layer]:
    """All outlines under one smooth displacement of the plane, as by an unsteady hand, plus a tremor."""
    waves = rng.normal(0, 1, (5, 2)) * np.array([[4], [8], [14], [26], [44]])
    push = rng.normal(0, 1, (5, 2)) * np.array([[9], [6], [4], [2.5], [1.5]]) * 1e-3
    phase = rng.uniform(0, 2 * np.pi, 5)
    return move(layers, lambda points: points + np.sin(points @ waves.T + phase) @ push)


def _hatching(
    layers: Sequence[Layer], palette: Palette, rng: np.random.Generator, side: int, width: float
) -> Image.Image:
    """Parallel strokes where the thing is dark, crossed where it is darker still."""
    tone = Image.new("L", (side, side), 255)
    for layer, mask in silhouettes(layers, side):
        value = float(palette[layer.paint] @ (0.3, 0.59, 0.11)) * (0.6 if layer.far else 1.0)
        tone.paste(round(255 * value), mask=mask)
    paper = Image.new("L", (side, side), 255)
    degrees, gap = rng.uniform(-80, -10), rng.uniform(0.022, 0.034) * side
    offsets = np.arange(-0.75 * side, 0.75 * side, gap)
    for threshold, turn in ((100, 0), (50, 75)):
        strokes = Image.new("L", (side, side), 0)
        draw = ImageDraw.Draw(strokes)
        angle = np.radians(degrees + turn)
        along, across = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        start = offsets + rng.normal(0, 0.2 * gap, len(offsets))
        end = start + rng.normal(0, 0.02 * side, len(offsets))
        lines = side / 2 + np.hstack([np.outer(start, across) - side * along, np.outer(end, across) + side * along])
        for line in lines.tolist():
            draw.line(line, fill=255, width=max(1, round(width)))
        dark = tone.point([255] * threshold + [0] * (256 - threshold))
        paper.paste(70, mask=ImageChops.multiply(strokes, dark))
    return paper
