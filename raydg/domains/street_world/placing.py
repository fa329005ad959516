"""Models put into the street, all of a scene's in one go."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from raydg.domains.street_world.colours import shades
from raydg.domains.street_world.faces import UMBRELLA, joined


class Placed(NamedTuple):
    """One model in the street."""

    model: np.ndarray
    x: float
    z: float
    degrees: float = 0.0
    """Clockwise, seen from above."""
    scale: float = 1.0
    dyes: tuple[Sequence[str], ...] = ()
    """What dyes 1, 2, ... are drawn from."""


def assembled(things: Sequence[Placed], rng: np.random.Generator, jitter: float) -> np.ndarray:
    """Their faces: scaled, turned, moved and dyed."""
    table = joined([thing.model for thing in things])
    which = np.repeat(np.arange(len(things)), [len(thing.model) for thing in things])
    place = np.array([thing[1:5] for thing in things], np.float32)
    x, z, _, scale = place[which].T
    turn = np.radians(place[:, 2])
    cos, sin = np.cos(turn)[which], np.sin(turn)[which]

    def turned(right: np.ndarray, ahead: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return (cos * right.T + sin * ahead.T).T, (cos * ahead.T - sin * right.T).T

    xyz, anchor, normal = table["xyz"] * scale[:, None, None], table["anchor"] * scale[:, None], table["normal"].copy()
    right, ahead = turned(xyz[..., 0], xyz[..., 2])
    table["xyz"] = np.stack([right + x[:, None], xyz[..., 1], ahead + z[:, None]], -1)
    right, ahead = turned(anchor[:, 0], anchor[:, 1])
    table["anchor"] = np.stack([right + x, ahead + z], -1)
    table["normal"][:, 0], table["normal"][:, 2] = turned(normal[:, 0], normal[:, 2])

    colours = np.zeros((len(things), UMBRELLA + 1, 3), np.float32)  # the last of the dyes
    wanted = [(number, dye) for number, thing in enumerate(things) for dye in range(1, len(thing.dyes) + 1)]
    rows, columns = np.array(wanted).T
    colours[rows, columns] = shades(rng, [choice for thing in things for choice in thing.dyes], jitter)
    dyed = np.flatnonzero(table["dye"])
    table["albedo"][dyed] = colours[which[dyed], table["dye"][dyed]]
    return table
