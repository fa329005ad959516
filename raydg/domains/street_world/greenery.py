"""Trees and bushes: clouds of leaves, on a trunk or on the ground, all of a scene's at once."""

import numpy as np

from raydg.domains.street_world.colours import shades
from raydg.domains.street_world.faces import CORNERS, Label, joined, polygons
from raydg.domains.street_world.style import Style

TUFTS = 11
"""Tufts of leaves in one crown."""
FAR_M, FAR_TUFTS = 40.0, 4
"""Beyond this distance a crown has fewer and larger tufts."""


def crowns(
    rng: np.random.Generator, style: Style, xz: np.ndarray, foot: np.ndarray, size: np.ndarray, cone: np.ndarray
) -> np.ndarray:
    """The leaves of n plants at xz (n, 2): `foot` (n,) is where they begin, `size` (n, 2) half their width, and height.

    Tufts, ragged discs across the view, go from the dark inside below to the light outside above. A `cone` (n,) of True
    tapers to a tip.
    """
    tufts = np.where(xz[:, 1] > FAR_M, FAR_TUFTS, TUFTS)
    plant = np.repeat(np.arange(len(xz)), tufts)
    up, side, fat, tone = rng.random((4, len(plant)))
    up = up[np.lexsort((up, plant))]
    cone, size, far = cone[plant], size[plant], (xz[:, 1] > FAR_M)[plant]
    side = (2 * side - 1) * np.where(cone, 1.02 - up, np.sqrt(1 - 0.95 * (1.7 * up - 0.75) ** 2))
    fat = np.where(cone, 0.25 + 0.35 * (1 - up), 0.45) * size[:, 0] * (0.8 + 0.4 * fat) * np.where(far, 1.5, 1)
    x = xz[plant, 0] + 0.75 * side * size[:, 0]
    y = foot[plant] + 0.6 * fat + up * (size[:, 1] - 0.9 * fat)
    colours = shades(rng, [style.palette.leaves] * len(xz), 0.1)[plant]
    normal = np.stack([side, 1.6 * up - 0.5, np.full(len(up), -0.7)], 1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    ragged, reach = rng.random((2, len(plant), CORNERS))
    turn = (np.arange(CORNERS) + 0.6 * ragged) * (2 * np.pi / CORNERS)
    reach = fat[:, None] * (0.8 + 0.4 * reach)
    across, upwards = x[:, None] + np.cos(turn) * reach, y[:, None] + np.sin(turn) * reach
    return polygons(
        np.stack([across, upwards, np.broadcast_to(xz[plant, 1:], turn.shape)], -1),
        Label.VEGETATION,
        np.minimum(colours * ((0.62 + 0.5 * up) * (0.88 + 0.24 * tone))[:, None], 1),
        normal=normal,
        anchor=xz[plant],
        grain=0.22,
        casts=True,
    )


def plants(rng: np.random.Generator, style: Style, tree: np.ndarray, bush: np.ndarray) -> np.ndarray:
    """A tree at each of the places (n, 2), a bush at each of (m, 2)."""
    n, m = len(tree), len(bush)
    wide, high, low = rng.random((3, n + m))
    cone, shrub = rng.random(n + m) < style.streets.conifers, np.arange(n + m) >= n
    half = np.where(shrub, 0.7 + 0.8 * wide, np.where(cone, 1.2 + wide, 1.5 + 1.3 * wide))
    height = np.where(shrub, 0.9 + 1.3 * high, 3.2 + 2.8 * high)
    foot = np.where(shrub, 0.0, np.where(cone, 0.4 + 0.5 * low, 1.7 + 0.9 * low))
    (x, z), thick, top, ground = tree.T, 0.07 * half[:n], foot[:n] + 0.5 * height[:n], np.zeros(n)
    trunk = [x - thick, ground, z, x + thick, ground, z, x + 0.6 * thick, top, z, x - 0.6 * thick, top, z]
    bark = polygons(
        np.stack(trunk, 1).reshape(n, 4, 3), Label.VEGETATION, style.palette.bark, anchor=tree, casts=True, grain=0.1
    )
    return joined(
        [bark, crowns(rng, style, np.concatenate([tree, bush]), foot, np.stack([half, height], 1), cone & ~shrub)]
    )
