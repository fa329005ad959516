"""Walls and fences, all of a scene's at once: upright bars and lengthwise bands on a long box."""

from typing import NamedTuple

import numpy as np

from raydg.domains.street_world.colours import shades
from raydg.domains.street_world.faces import Label, joined
from raydg.domains.street_world.rows import repeated, row
from raydg.domains.street_world.style import Style


class Build(NamedTuple):
    """How an enclosure is built. Tones are brightnesses relative to its material."""

    label: Label
    thick_m: float
    height_m: tuple[float, float]
    ground_tone: float
    """Of what lies between bars and bands."""
    bar_every_m: float
    bar_m: float
    bar_tone: float
    bands: tuple[tuple[float, float, float], ...]
    """Lower and upper edge as shares of the height, and tone."""
    grain: float


MASONRY = Build(
    label=Label.WALL,
    thick_m=0.4,
    height_m=(1.6, 2.6),
    ground_tone=1.0,
    bar_every_m=4.0,
    bar_m=0.5,
    bar_tone=0.88,
    bands=((0.2, 0.23, 0.8), (0.38, 0.41, 0.8), (0.56, 0.59, 0.8), (0.74, 0.77, 0.8), (0.9, 1.0, 1.15)),
    grain=0.1,
)
"""Courses and buttresses under a coping."""
SLATS = Build(
    label=Label.FENCE,
    thick_m=0.06,
    height_m=(1.1, 1.7),
    ground_tone=0.5,
    bar_every_m=0.45,
    bar_m=0.27,
    bar_tone=1.0,
    bands=((0.22, 0.32, 0.8), (0.74, 0.84, 0.8)),
    grain=0.04,
)
"""The gaps between slats are part of the fence, as in Cityscapes' labels."""


def enclosures(
    rng: np.random.Generator, style: Style, lots: np.ndarray, build: Build, materials: tuple[str, ...]
) -> np.ndarray:
    """One along the front of each lot (n, 3)."""
    n = len(lots)
    low, high = build.height_m
    line = row(lots, np.full(n, build.thick_m), low + (high - low) * rng.random(n))
    colour = shades(rng, [materials] * n, style.palette.jitter)
    bar, number = repeated((line.length / build.bar_every_m).astype(int))
    at = number * build.bar_every_m / line.length[bar]
    band, edges = np.repeat(np.arange(n), len(build.bands)), np.tile(build.bands, (n, 1))
    which = np.concatenate([bar, band])
    tone = np.concatenate([np.full(len(bar), build.bar_tone), edges[:, 2]])[:, None]
    left = np.concatenate([at, np.zeros(len(band))])
    right = np.concatenate([at + build.bar_m / line.length[bar], np.ones(len(band))])
    lower = np.concatenate([np.zeros(len(bar)), edges[:, 0]])
    upper = np.concatenate([np.ones(len(bar)), edges[:, 1]])
    details = line.boxes.patches(
        line.facade[which],
        (left, right),
        (lower, upper),
        build.label,
        np.minimum(tone * colour[which], 1),
        which=which,
        anchor=line.anchor,
        grain=build.grain,
    )
    body = line.boxes.faces(build.label, build.ground_tone * colour, anchor=line.anchor, grain=build.grain)
    return joined([body, details])
