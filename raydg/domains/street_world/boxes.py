"""Boxes, many at once, and what is painted on their sides: the one solid that buildings and vehicles are made of."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from raydg.domains.street_world.faces import polygons, rows_of

Span = tuple[ArrayLike, ArrayLike]

REAR, FRONT, LEFT, RIGHT, TOP = range(5)
"""A box's sides. The rear faces a camera that follows it."""
ALL_ROUND = (REAR, FRONT, LEFT, RIGHT)

# For each side its corners, bottom left first and counter-clockwise for whoever looks at it: which x, y and z. An x or
# z of 0 or 1 is at the foot, 2 or 3 at the top.
_X = np.array([(0, 1, 3, 2), (1, 0, 2, 3), (0, 0, 2, 2), (1, 1, 3, 3), (2, 3, 3, 2)])
_Y = np.array([(0, 0, 1, 1)] * 4 + [(1, 1, 1, 1)])
_Z = np.array([(0, 0, 2, 2), (1, 1, 3, 3), (1, 0, 2, 3), (0, 1, 3, 2), (2, 2, 3, 3)])


@dataclass(frozen=True, eq=False)
class Boxes:
    """n blocks between bounds in metres, every bound a number or n of them.

    A top may be smaller than the foot: by `narrow` on the left and right, by `rear` and `front` along z.
    """

    x: Span
    y: Span
    z: Span
    narrow: ArrayLike = 0.0
    rear: ArrayLike = 0.0
    front: ArrayLike = 0.0

    @cached_property
    def bounds(self) -> np.ndarray:
        """All nine bounds (9, n): x, y and z in pairs, narrow, rear, front."""
        given = (*self.x, *self.y, *self.z, self.narrow, self.rear, self.front)
        table = np.empty((9, rows_of(*given)), np.float32)
        for row, bound in zip(table, given, strict=True):
            row[:] = bound
        return table

    @cached_property
    def quads(self) -> np.ndarray:
        """The corners (n, 5, 4, 3) of the sides that can be seen, the bottom being out of sight."""
        x0, x1, y0, y1, z0, z1, narrow, rear, front = self.bounds
        x = np.stack([x0, x1, x0 + narrow, x1 - narrow], 1)
        z = np.stack([z0, z1, z0 + rear, z1 - front], 1)
        return np.stack([x[:, _X], np.stack([y0, y1], 1)[:, _Y], z[:, _Z]], -1)

    @cached_property
    def normals(self) -> np.ndarray:
        """The unit vectors (n, 5, 3) that the sides look along."""
        _, _, y0, y1, _, _, narrow, rear, front = self.bounds
        high = y1 - y0
        table = np.zeros((len(high), 5, 3), np.float32)
        for side, axis, way, slant in (
            (REAR, 2, -1, rear),
            (FRONT, 2, 1, front),
            (LEFT, 0, -1, narrow),
            (RIGHT, 0, 1, narrow),
        ):
            long = np.hypot(high, slant)
            table[:, side, axis], table[:, side, 1] = way * high / long, slant / long
        table[:, TOP, 1] = 1
        return table

    @cached_property
    def anchors(self) -> np.ndarray:
        """Their middles (n, 2), x and z."""
        x0, x1, _, _, z0, z1, *_ = self.bounds
        return np.stack([x0 + x1, z0 + z1], 1) / 2

    def faces(
        self, label: int, albedo: str | np.ndarray | int, *, anchor: np.ndarray | None = None, grain: float = 0.02
    ) -> np.ndarray:
        """Their sides, in one colour or (n, 3)."""
        anchor = self.anchors if anchor is None else anchor
        if isinstance(albedo, np.ndarray) and albedo.ndim == 2:
            albedo = np.repeat(albedo, 5, 0)
        return polygons(
            self.quads.reshape(-1, 4, 3),
            label,
            albedo,
            normal=self.normals.reshape(-1, 3),
            anchor=np.repeat(anchor, 5, 0),
            casts=True,
            grain=grain,
        )

    def patches(
        self,
        side: int | np.ndarray,
        across: Span,
        upwards: Span,
        label: int,
        albedo: str | np.ndarray | int,
        *,
        which: np.ndarray | None = None,
        anchor: np.ndarray | None = None,
        glow: ArrayLike = 0.0,
        grain: float = 0.02,
    ) -> np.ndarray:
        """m rectangles painted on sides: `across` and `upwards` run from 0 to 1, each a number or m of them.

        `which` (m,) are the boxes they belong to; by default one rectangle on each box, or all on the only one.
        """
        if which is None:
            which = np.arange(len(self.quads)) if len(self.quads) > 1 else np.zeros(rows_of(*across, *upwards), int)
        s, t = np.empty((2, len(which), 4, 1), np.float32)
        s[:, 0, 0] = s[:, 3, 0] = across[0]
        s[:, 1, 0] = s[:, 2, 0] = across[1]
        t[:, 0, 0] = t[:, 1, 0] = upwards[0]
        t[:, 2, 0] = t[:, 3, 0] = upwards[1]
        quads = self.quads[which, side]
        low = quads[:, 0:1] + s * (quads[:, 1:2] - quads[:, 0:1])
        high = quads[:, 3:4] + s * (quads[:, 2:3] - quads[:, 3:4])
        points = low + t * (high - low)
        anchor = (self.anchors if anchor is None else anchor)[which]
        return polygons(points, label, albedo, normal=self.normals[which, side], anchor=anchor, glow=glow, grain=grain)
