"""How four legs stand or walk: shared by the animals."""

from collections.abc import Sequence

import numpy as np

from raydg.domains.object_world.shapes.outlines import Point, limb


def feet(rng: np.random.Generator, stride: float, fore: Point, hind: Point) -> np.ndarray:
    """Where the feet are: (near and far side, fore and hind foot, x and y).

    Square under the animal (`fore`, `hind`) half of the time, else in some phase of a walk with steps of `stride`.
    """
    if rng.random() < 0.5:
        shift = stride * rng.uniform([[-0.12], [0.25]], [[0.05], [0.6]], (2, 2))
        lift = np.array([[0.0, 0.0], [0.02, 0.02]])  # what is farther away stands higher in the picture
    else:
        phase = rng.uniform(0, 2 * np.pi) + np.pi * np.array([[0.0, 0.75], [1.0, 1.75]])
        shift, lift = stride * np.sin(phase), 0.35 * stride * np.maximum(np.cos(phase), 0)
    return np.stack([shift, lift], axis=-1) + np.array([fore, hind])


def leg(hip: Point, foot: np.ndarray, joints: Sequence[Point], radii: Sequence[float]) -> np.ndarray:
    """A limb from hip to foot. `joints`: how far down (0..1) and how far forward of the straight line each is."""
    bent = [hip + down * (foot - hip) + np.array([forward, 0.0]) for down, forward in joints]
    return limb(np.stack([hip, *bent, foot]), radii)
