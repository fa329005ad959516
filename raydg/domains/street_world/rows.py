"""Things side by side along a street: how lots become boxes.

A lot is a row (x, z0, z1): where its edge towards the street lies, right of the street's middle or left, and how far
ahead it begins and ends, in metres.
"""

from dataclasses import dataclass

import numpy as np

from raydg.domains.street_world.boxes import LEFT, RIGHT, Boxes


@dataclass(frozen=True, eq=False)
class Row:
    """n things side by side along the street."""

    boxes: Boxes
    facade: np.ndarray
    """(n,) which side of the box looks at the street."""
    length: np.ndarray
    """(n,) metres along the street."""
    depth: np.ndarray
    """(n,) metres across it."""
    height: np.ndarray
    """(n,) metres."""
    anchor: np.ndarray
    """(n, 2) their far ends: they are painted before whatever stands in front of them."""


def row(lots: np.ndarray, depth: np.ndarray, height: np.ndarray) -> Row:
    """Boxes on lots (n, 3), `depth` (n,) deep and `height` (n,) high."""
    x, z0, z1 = lots.T
    back = x + np.sign(x) * depth
    boxes = Boxes((np.minimum(x, back), np.maximum(x, back)), (0.0, height), (z0, z1))
    return Row(boxes, np.where(x > 0, LEFT, RIGHT), z1 - z0, depth, height, np.stack([x, z1], 1))


def repeated(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For counts (n,): which of the n each of their sum belongs to, and how many of the same came before it."""
    which = np.repeat(np.arange(len(counts)), counts)
    return which, np.arange(len(which)) - (np.cumsum(counts) - counts)[which]
