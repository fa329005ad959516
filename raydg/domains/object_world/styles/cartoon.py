"""`cartoon`: flat saturated colours, one hard shadow, thick outlines, a background of two or three shapes."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from raydg.domains.object_world.shapes.outlines import Layer, bounds, disc, move
from raydg.domains.object_world.styles.palette import Colour, Palette, bend, hue
from raydg.domains.object_world.styles.raster import FINE, LINES, inked, pixels

FLESH = {"skin", "mouth", "tongue"}
"""Paints that keep near their natural colour."""


class _Pots:
    """The numbered colours of one picture, which is drawn in their numbers."""

    def __init__(self) -> None:
        self.colours: list[np.ndarray] = []

    def add(self, colour: Colour) -> int:
        self.colours.append(pixels(colour))
        return len(self.colours) - 1


def paint(layers: Sequence[Layer], palette: Palette, rng: np.random.Generator, size: int) -> np.ndarray:
    turn = rng.uniform(0, 1) if rng.random() < 0.3 else 0.0  # now and then a pink elephant
    vivid = {paint: bend(0.92 * colour + 0.08, turn, 1.7, 1.15) for paint, colour in palette.items()}
    vivid |= {paint: bend(palette[paint], 0.0, 1.1, 1.1) for paint in FLESH & palette.keys()}
    side, pots = size * FINE, _Pots()
    picture = _background(rng, side, pots)
    ink = pots.add(hue(rng.random(), 0.3, rng.uniform(0.02, 0.14)))
    shadow = round(rng.uniform(0.015, 0.03) * side) * int(rng.choice([-1, 1]))
    for layer, mask, lines in inked(_exaggerated(layers, rng), side, rng.uniform(0.008, 0.013) * side):
        picture.paste(ink, mask=lines)
        colour = bend(vivid[layer.paint], 0.0, 1.0, 0.72 if layer.far else 1.0)
        picture.paste(pots.add(colour), mask=mask)
        if not layer.within and layer.paint not in LINES:
            lit = ImageChops.offset(mask, -shadow, -abs(shadow))
            picture.paste(pots.add(bend(colour, 0.0, 1.1, 0.8)), mask=ImageChops.subtract(mask, lit))
    picture.putpalette(np.concatenate(pots.colours).tolist())
    return np.asarray(picture.convert("RGB").reduce(FINE))


def _exaggerated(layers: Sequence[Layer], rng: np.random.Generator) -> list[Layer]:
    """A big head on short legs: the upper part swells, the lower one shrinks, the whole leans and bulges."""
    power, swell, lean, bulge = rng.uniform((0.72, 0.1, -0.2, -0.15), (1.0, 0.45, 0.2, 0.15))
    low, high = bounds(layers)

    def warp(points: np.ndarray) -> np.ndarray:
        x, y = ((points - low) / (high - low)).T
        x = (x - 0.5) * (1 + swell * (1 - 2 * y)) + lean * (0.5 - y) + bulge * np.sin(np.pi * y)
        return np.column_stack([x, np.sign(y) * np.abs(y) ** power]) * (high - low)

    warped = move(layers, warp)
    first, last = bounds(warped)
    scale = min(1.0, 0.95 / (last - first).max())
    span = scale * (last - first)
    corner = np.clip((low + high - span) / 2, 0.025, 0.975 - span)
    return move(warped, lambda points: corner + scale * (points - first))


def _background(rng: np.random.Generator, side: int, pots: _Pots) -> Image.Image:
    u = rng.uniform
    picture = Image.new("P", (side, side), pots.add(hue(u(0, 1), u(0.1, 0.5), u(0.85, 1))))
    draw = ImageDraw.Draw(picture)

    def spot(x: float, y: float, width: float, height: float, pot: int) -> None:
        draw.polygon((disc((x, y), width, height) * side).ravel().tolist(), fill=pot)

    white, other = pots.add(np.ones(3)), pots.add(hue(u(0, 1), u(0.2, 0.55), 1.0))
    match rng.choice(5, p=[0.1, 0.25, 0.2, 0.25, 0.2]):
        case 0:
            draw.rectangle((0, 0, side, side), fill=white)
        case 1:  # a meadow under the sky, with a sun
            draw.rectangle((0, 0, side, side), fill=pots.add(hue(u(0.52, 0.6), u(0.25, 0.5), 1.0)))
            x, y, r = u(0.05, 0.95), u(0.05, 0.2), u(0.07, 0.12)
            spot(x, y, r, r, pots.add(hue(0.14, 0.7, 1.0)))
            for _ in range(rng.integers(0, 3)):
                x, y = u(0, 1), u(0.05, 0.35)
                for shift, r in ((-0.08, 0.05), (0.0, 0.07), (0.09, 0.05)):
                    spot(x + shift, y, r, r, white)
            spot(u(0.2, 0.8), 1.25, 1.0, u(0.45, 0.6), pots.add(hue(u(0.2, 0.38), 0.6, 0.8)))
        case 2:
            r = u(0.35, 0.48)
            spot(0.5, 0.5, r, r, other)
        case 3:  # rays
            count, start = int(rng.integers(7, 12)), u(0, 1)
            for ray in range(count):
                turn = 2 * np.pi * (ray + start + np.array([0, 0.5])) / count
                rim = side * (0.5 + np.stack([np.cos(turn), np.sin(turn)], 1))
                draw.polygon([(side / 2, side / 2), *map(tuple, rim.tolist())], fill=other)
        case _:
            pass
    return picture
