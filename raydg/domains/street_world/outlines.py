"""Thin shapes that models are made of besides boxes."""

import numpy as np

from raydg.domains.street_world.faces import joined, polygons


def two_sided(outline: np.ndarray, label: int, albedo: str | int, apart: float = 0.0, casts: bool = True) -> np.ndarray:
    """A thin upright shape along the way of travel, from (z, y) corners, one seen from either side, `apart` metres."""
    z, y = np.asarray(outline).T
    x = np.full(len(z), apart / 2)
    right = polygons(np.stack([x, y, z], 1), label, albedo, normal=(1, 0, 0), anchor=(0, 0), casts=casts)
    left = polygons(np.stack([-x, y, z], 1)[::-1], label, albedo, normal=(-1, 0, 0), anchor=(0, 0), casts=casts)
    return joined([right, left])


def bar(a: tuple[float, float], b: tuple[float, float], width: float) -> np.ndarray:
    """The corners (4, 2) of a straight bar between two points, counter-clockwise."""
    p, q = np.array(a), np.array(b)
    along = (q - p) / np.hypot(*(q - p))
    aside = width / 2 * np.array([-along[1], along[0]])
    return np.array([p - aside, q - aside, q + aside, p + aside])
