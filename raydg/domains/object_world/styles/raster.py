"""From outlines to pixels: silhouettes, inked rims and smooth noise, drawn fine and averaged down."""

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from raydg.domains.object_world.shapes.outlines import Layer

LINES = {"ink", "seam", "tile", "crease", "fret", "string", "mouth"}
"""Paints of things so thin that they are lines themselves: an outline would draw them twice."""

FINE = 3
"""Fine pixels along the side of one pixel of the picture."""


def silhouettes(layers: Sequence[Layer], side: int) -> Iterator[tuple[Layer, Image.Image]]:
    """Each layer with its mask (side x side, mode L), cut to the layer that it lies within."""
    ground = Image.new("L", (side, side), 255)
    for layer in layers:
        mask = Image.new("L", (side, side), 0)
        draw = ImageDraw.Draw(mask)
        for area in layer.areas:
            draw.polygon((area * side).ravel().tolist(), fill=255)
        if layer.within:
            mask = ImageChops.multiply(mask, ground)
        else:
            ground = mask
        yield layer, mask


def inked(layers: Sequence[Layer], side: int, width: float) -> Iterator[tuple[Layer, Image.Image, Image.Image]]:
    """Each layer with its mask and the lines around its areas, which reach `width` fine pixels out of them.

    Paint the lines first and the mask over them: only the line around the union is left.
    """
    ground = Image.new("L", (side, side), 255)
    for layer, mask in silhouettes(layers, side):
        lines = Image.new("L", (side, side), 0)
        draw = ImageDraw.Draw(lines)
        thick = 2 * max(1, round(width * (0.65 if layer.within else 1))) + 1
        for area in () if layer.paint in LINES else layer.areas:
            draw.line((np.concatenate([area, area[:2]]) * side).ravel().tolist(), fill=255, width=thick)
        if layer.within:
            lines = ImageChops.multiply(lines, ground)
        else:
            ground = mask
        yield layer, mask, lines


def noise(rng: np.random.Generator, side: int, across: float, down: float | None = None) -> np.ndarray:
    """Smooth noise (side, side) of unit variance at its knots, of which `across` x `down` span the picture."""
    cells = max(2, round(across)), max(2, round(across if down is None else down))
    knots = Image.fromarray(rng.standard_normal((cells[1], cells[0]), dtype=np.float32))
    return np.asarray(knots.resize((side, side), Image.Resampling.BICUBIC))


def fill(colour: np.ndarray) -> tuple[int, ...]:
    """A colour in 0..1 as Pillow wants it."""
    return tuple(pixels(colour).tolist())


def pixels(picture: np.ndarray) -> np.ndarray:
    """uint8 from a picture in 0..1."""
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
