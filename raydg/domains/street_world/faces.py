"""What a scene is made of: a table of flat faces in street metres, each with what it is and how it takes light.

Axes: x to the right, y up, z ahead. Corners run counter-clockwise for whoever sees the face; its back is never drawn.
"""

from collections.abc import Iterable
from enum import IntEnum
from functools import cache

import numpy as np
from numpy.typing import ArrayLike

CORNERS = 8
"""The most corners that a face can have."""

FACE = np.dtype(
    [
        ("xyz", np.float32, (CORNERS, 3)),  # metres; rows past `corners` repeat the last corner
        ("corners", np.int32),
        ("anchor", np.float32, 2),  # (x, z) of the thing it belongs to: far things are painted first
        ("normal", np.float32, 3),
        ("albedo", np.float32, 3),  # 0 to 1
        ("glow", np.float32),  # 0: takes light only; 1: a lamp
        ("grain", np.float32),  # how rough it looks
        ("label", np.uint8),
        ("dye", np.uint8),  # 0: the albedo stands; else which of the colours given to a placed model
        ("casts", np.bool_),  # throws a shadow on the ground
    ]
)


MAIN, SECOND, SKIN, HAIR, UMBRELLA = range(1, 6)
"""Dyes: a vehicle's or a jacket's colour, a stripe's or the trousers', and what else of a person varies."""


class Label(IntEnum):
    """The Cityscapes label ids that the street world draws."""

    EGO = 1
    ROAD = 7
    SIDEWALK = 8
    BUILDING = 11
    WALL = 12
    FENCE = 13
    POLE = 17
    LIGHT = 19
    SIGN = 20
    VEGETATION = 21
    TERRAIN = 22
    SKY = 23
    PERSON = 24
    RIDER = 25
    CAR = 26
    TRUCK = 27
    BUS = 28
    TRAIN = 31
    MOTORCYCLE = 32
    BICYCLE = 33


UP = (0.0, 1.0, 0.0)
BACK = (0.0, 0.0, -1.0)
"""Towards the camera."""


@cache
def rgb(colour: str) -> np.ndarray:
    """The colour "#rrggbb" as three numbers from 0 to 1."""
    numbers = np.array(list(bytes.fromhex(colour[1:])), np.float32) / 255
    numbers.flags.writeable = False
    return numbers


def polygons(
    points: ArrayLike,
    label: ArrayLike,
    albedo: str | np.ndarray | int,
    *,
    normal: ArrayLike = BACK,
    anchor: ArrayLike | None = None,
    glow: ArrayLike = 0.0,
    grain: ArrayLike = 0.02,
    casts: bool = False,
) -> np.ndarray:
    """A table of n faces from their corners (n, k, 3), or of one from (k, 3).

    `albedo` is one colour or n of them, or the number of a dye. Without an `anchor` each face stands at its own middle.
    """
    points = np.asarray(points, np.float32)
    points = points[None] if points.ndim == 2 else points
    n, k = points.shape[:2]
    table = np.zeros(n, FACE)
    table["xyz"][:, :k] = points
    table["xyz"][:, k:] = points[:, -1:]
    table["corners"] = k
    table["anchor"] = points[:, :, ::2].mean(1) if anchor is None else anchor
    if isinstance(albedo, int):
        table["dye"] = albedo
    else:
        table["albedo"] = rgb(albedo) if isinstance(albedo, str) else albedo
    table["normal"], table["label"], table["casts"] = normal, label, casts
    table["glow"], table["grain"] = glow, grain
    return table


def joined(tables: Iterable[np.ndarray]) -> np.ndarray:
    """Tables of faces one after the other, as bytes: numpy's own concatenation of records compares all their fields."""
    return np.concatenate([table.view(f"V{FACE.itemsize}") for table in tables]).view(FACE)


def rows_of(*bounds: ArrayLike) -> int:
    """How many things bounds describe of which each is a number or an array with one for each."""
    return next((len(bound) for bound in map(np.asarray, bounds) if bound.ndim), 1)


def rectangle(x0: float, x1: float, y0: float, y1: float, z: float = 0.0) -> np.ndarray:
    """An upright rectangle (4, 3) across the view; x0 and x1 come in either order."""
    left, right = min(x0, x1), max(x0, x1)
    return np.array([(left, y0, z), (right, y0, z), (right, y1, z), (left, y1, z)], np.float32)


def flat(x0: ArrayLike, x1: ArrayLike, z0: ArrayLike, z1: ArrayLike) -> np.ndarray:
    """Rectangles (n, 4, 3) lying on the ground; bounds that are numbers hold for all of them."""
    points = np.zeros((rows_of(x0, x1, z0, z1), 4, 3), np.float32)
    points[:, 0, 0] = points[:, 3, 0] = x0
    points[:, 1, 0] = points[:, 2, 0] = x1
    points[:, 0, 2] = points[:, 1, 2] = z0
    points[:, 2, 2] = points[:, 3, 2] = z1
    return points


def disc(x: float, y: float, radius: float, z: float = 0.0, squash: float = 1.0) -> np.ndarray:
    """An upright ellipse (8, 3) across the view, `squash` as wide as it is high."""
    turn = (np.arange(CORNERS) + 0.5) * (2 * np.pi / CORNERS)
    return np.stack([x + squash * radius * np.cos(turn), y + radius * np.sin(turn), np.full(CORNERS, z)], -1)
