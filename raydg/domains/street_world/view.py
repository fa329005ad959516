"""From faces in metres to an image of face numbers: projection, leaving out what cannot be seen, painting."""

from dataclasses import dataclass
from math import radians, tan

import numpy as np
from PIL import Image, ImageDraw

from raydg.domains.street_world.faces import CORNERS
from raydg.domains.street_world.scene import Scene

SUPERSAMPLE = 3
"""Samples along a pixel's edge. Odd, so that one lies in the pixel's middle: the labels are that sample."""
NEAREST_M = 0.5
SMALLEST_PX = 0.7
"""Faces whose bounding rectangle has a smaller area, in pixels, are left out."""


@dataclass(frozen=True, eq=False)
class View:
    """A camera that looks down a street: pinhole, upright image plane, horizon shifted instead of tilted."""

    scene: Scene
    height: int
    width: int
    horizon: float
    """Row of the horizon, in pixels from the top."""
    view_degrees: float
    """Horizontal angle of view."""

    @property
    def focal_px(self) -> float:
        return self.width / 2 / tan(radians(self.view_degrees) / 2)

    def screen(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Columns and rows, in pixels, at which points in street metres appear."""
        z = np.maximum(z, np.float32(NEAREST_M))
        scale = np.float32(self.focal_px) / z
        bent = z * np.float32(self.scene.slope) + z * z * np.float32(self.scene.bend / 2)
        column = scale * (x - np.float32(self.scene.eye[0]) + bent) + np.float32(self.width / 2)
        return column, scale * (np.float32(self.scene.eye[1]) - y) + np.float32(self.horizon)

    def painted(
        self, xyz: np.ndarray, corners: np.ndarray, numbers: np.ndarray, mode: str, backs: bool = False
    ) -> Image.Image:
        """Faces (n, 8, 3) painted one over the other with their numbers, on zeros, `SUPERSAMPLE` times as large.

        Faces turned away from the camera are left out; with `backs`, those turned towards it.
        """
        column, row = self.screen(*np.ascontiguousarray(xyz.T))
        left, right, top, bottom = column.min(0), column.max(0), row.min(0), row.max(0)
        seen = (right > 0) & (left < self.width) & (bottom > 0) & (top < self.height)
        seen &= (right - left) * (bottom - top) > SMALLEST_PX
        turn = (column[1] - column[0]) * (row[2] - row[0]) - (column[2] - column[0]) * (row[1] - row[0])
        seen &= (turn > 0) if backs else (turn < 0)
        image = Image.new(mode, (self.width * SUPERSAMPLE, self.height * SUPERSAMPLE))
        draw = ImageDraw.Draw(image)
        points = np.stack([column[:, seen], row[:, seen]], -1).clip(-9999, 9999) * SUPERSAMPLE - 0.5
        outlines = np.rint(points).astype(np.int32).transpose(1, 0, 2).reshape(-1, 2 * CORNERS).tolist()
        for outline, used, number in zip(outlines, (2 * corners[seen]).tolist(), numbers[seen].tolist(), strict=True):
            draw.polygon(outline[:used], fill=number)
        return image
