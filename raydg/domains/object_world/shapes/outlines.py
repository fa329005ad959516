"""How an outline is drawn: smooth curves, limbs of varying thickness, discs, and the layers they make up.

Figures are drawn in their own units, x to the right and y *up*, the ground at y = 0, facing right.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

Point = tuple[float, float]

STEPS = 8
"""Samples between two points of a smooth curve."""

_t = np.arange(STEPS)[:, None] / STEPS
_CATMULL_ROM = (
    np.hstack([2 * _t**2 - _t - _t**3, 2 - 5 * _t**2 + 3 * _t**3, _t + 4 * _t**2 - 3 * _t**3, _t**3 - _t**2]) / 2
)
_CAP = np.linspace(0, np.pi, 7)[1:-1, None]
_CAP_COS, _CAP_SIN = np.cos(_CAP), np.sin(_CAP)
_RING = np.linspace(0, 2 * np.pi, 24, endpoint=False)[:, None]
_CIRCLE = np.hstack([np.cos(_RING), np.sin(_RING)])


@dataclass(frozen=True)
class Layer:
    """One coat of paint. Layers are painted in order, later ones over earlier ones."""

    paint: str
    """What is painted: a key of the class's palette."""
    areas: Sequence[np.ndarray]
    """Closed polygons (n, 2); their union is one silhouette, so that no seam shows where a leg meets a body."""
    within: bool = False
    """Paint only inside the last layer that was not `within`: patches on a coat, tiles on a roof."""
    far: bool = False
    """On the side that is turned away from the viewer, hence darker."""


def smooth(points: ArrayLike, closed: bool = False) -> np.ndarray:
    """The uniform Catmull-Rom curve through `points` (n, d), STEPS samples a segment."""
    p = np.asarray(points, float)
    before, after = (p[-1:], p[:2]) if closed else (2 * p[:1] - p[1:2], 2 * p[-1:] - p[-2:-1])
    knots = np.concatenate([before, p, after])
    windows = np.stack([knots[:-3], knots[1:-2], knots[2:-1], knots[3:]], axis=1)
    curve = (_CATMULL_ROM @ windows).reshape(-1, p.shape[1])
    return curve if closed else np.concatenate([curve, p[-1:]])


def limb(points: ArrayLike, radii: Sequence[float]) -> np.ndarray:
    """A rounded sleeve around the smooth line through `points`, its radius running through `radii`."""
    line = smooth(np.column_stack([points, radii]))
    centre, radius = line[:, :2], np.maximum(line[:, 2:], 1e-3)
    padded = np.concatenate([centre[:1], centre, centre[-1:]])
    along = padded[2:] - padded[:-2]
    along /= np.hypot(along[:, :1], along[:, 1:])
    left = along[:, ::-1] * (-1, 1)
    front = centre[-1] + radius[-1] * (_CAP_COS * left[-1] + _CAP_SIN * along[-1])
    back = centre[0] - radius[0] * (_CAP_COS * left[0] + _CAP_SIN * along[0])
    return np.concatenate([centre + radius * left, front, (centre - radius * left)[::-1], back])


def disc(centre: Point, width: float, height: float | None = None, degrees: float = 0.0) -> np.ndarray:
    """An ellipse of the given half axes (a circle without `height`), turned counter-clockwise."""
    ellipse = _CIRCLE * (width, width if height is None else height)
    return (rotate(ellipse, degrees) if degrees else ellipse) + centre


def box(left: float, bottom: float, right: float, top: float) -> np.ndarray:
    return np.array([(left, bottom), (right, bottom), (right, top), (left, top)], float)


def mirrored(right: ArrayLike) -> np.ndarray:
    """A closed outline from its right half, whose first and last points lie on the axis."""
    half = np.asarray(right, float)
    return np.concatenate([half, half[-2:0:-1] * (-1, 1)])


def rotate(points: np.ndarray, degrees: float) -> np.ndarray:
    """Turn points (n, 2) counter-clockwise about the origin."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return points @ np.array([[c, s], [-s, c]])


def bounds(layers: Sequence[Layer]) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest x and y of what can be seen: a layer `within` another may reach out of it."""
    points = np.concatenate([area for layer in layers if not layer.within for area in layer.areas])
    return points.min(0), points.max(0)


def move(layers: Sequence[Layer], motion: Callable[[np.ndarray], np.ndarray]) -> list[Layer]:
    """Layers after `motion`, which maps all their points at once, (n, 2) to (n, 2)."""
    areas = [area for layer in layers for area in layer.areas]
    moved = iter(np.split(motion(np.concatenate(areas)), np.cumsum([len(area) for area in areas[:-1]])))
    return [replace(layer, areas=[next(moved) for _ in layer.areas]) for layer in layers]


def attach(layers: Sequence[Layer], at: Point, degrees: float = 0.0, scale: float = 1.0) -> list[Layer]:
    """Layers drawn around the origin (a head), scaled, turned and moved to where they belong."""
    return move(layers, lambda points: rotate(scale * points, degrees) + at)


def polar(start: Point, length: float, degrees: float) -> Point:
    """The point `length` away from `start`; 0 degrees is to the right, 90 up."""
    return (start[0] + length * np.cos(np.radians(degrees)), start[1] + length * np.sin(np.radians(degrees)))
