"""The ground: road with its marks, kerbs, sidewalks, verges, and the crossing."""

import numpy as np

from raydg.domains.street_world.colours import shades
from raydg.domains.street_world.dice import Dice
from raydg.domains.street_world.faces import UP, Label, flat, joined, polygons, rgb
from raydg.domains.street_world.plan import SIDES, Plan
from raydg.domains.street_world.style import Style

STEPS = np.array([0.8, 7, 12, 18, 25, 34, 46, 62, 85, 120, 180, 300, 600, 2000])
"""Where the ground is cut across, in metres ahead, so that the pieces follow a bend."""
GRAIN = {Label.ROAD: 0.06, Label.SIDEWALK: 0.05, Label.TERRAIN: 0.14}
RAIL = "#3d4046"

Strip = tuple[float, float, Label, np.ndarray]
"""A band along the whole street: its edges, what it is and its colour."""


def strips(bands: list[Strip]) -> np.ndarray:
    """All bands, one after the other, cut across at `STEPS`."""
    pieces = len(STEPS) - 1
    left, right, label, grain = (
        np.repeat(values, pieces)
        for values in zip(*((x0, x1, label, GRAIN[label]) for x0, x1, label, _ in bands), strict=True)
    )
    points = flat(left, right, np.tile(STEPS[:-1], len(bands)), np.tile(STEPS[1:], len(bands)))
    colours = np.repeat([colour for *_, colour in bands], pieces, 0)
    return polygons(points, label, colours, normal=UP, grain=grain)


def beds(plan: Plan, road: np.ndarray, walk: np.ndarray, grass: np.ndarray, kerb: np.ndarray) -> list[Strip]:
    """What lies beside what, from the lots to the middle of the road."""
    bands: list[Strip] = [(-5000.0, 5000.0, Label.TERRAIN, grass)]
    for side, sign in SIDES:
        edge = plan.kerb(side)
        inner = edge + plan.verge[side]
        for x0, x1, label, colour in (
            (inner, plan.back(side), Label.SIDEWALK, walk),
            (edge, inner, Label.TERRAIN, grass),
            (edge - 0.05, edge + 0.2, Label.SIDEWALK, kerb),
        ):
            bands.append((min(sign * x0, sign * x1), max(sign * x0, sign * x1), label, colour))
    return [*bands, (-plan.kerb(0), plan.kerb(1), Label.ROAD, road)]


def lines(plan: Plan, paint: np.ndarray, track: float | None) -> list[Strip]:
    """Unbroken lines at the road's edges and in the middle of a wide one, and the rails of a tram."""
    edge = plan.lanes * plan.lane
    painted = [
        (x - 0.06, x + 0.06, Label.ROAD, paint) for x in (-edge, edge, *((-0.15, 0.15) if plan.lanes > 1 else ()))
    ]
    rails = (
        [] if track is None else [(track + x - 0.08, track + x + 0.08, Label.ROAD, rgb(RAIL)) for x in (-0.72, 0.72)]
    )
    return painted + rails


def dashes(plan: Plan, dice: Dice) -> np.ndarray:
    """Broken lines (n, 4, 3) between lanes."""
    between = [lane * plan.lane for lane in range(1 - plan.lanes, plan.lanes) if lane or plan.lanes == 1]
    x, z = np.meshgrid(between, np.arange(dice.between(1, 6), 80, 6.0))
    return flat(x.ravel() - 0.07, x.ravel() + 0.07, z.ravel(), z.ravel() + 3.0)


def zebra(plan: Plan, z: float) -> np.ndarray:
    """A crossing's bars and the stop line before it, (n, 4, 3)."""
    bars = np.arange(0.4 - plan.kerb(0), plan.kerb(1) - 0.5, 1.0)
    return np.concatenate([flat(bars, bars + 0.55, z - 4.4, z - 1.4), flat(0.2, plan.kerb(1) - 0.3, z - 6.2, z - 5.7)])


def mended(plan: Plan, dice: Dice) -> tuple[np.ndarray, np.ndarray]:
    """Patches (n, 4, 3) in the asphalt, and how much lighter or darker (n, 1) they are."""
    x, z, wide, long, tone = dice.rng.random((5, 2 + dice.below(5)))
    x = 1 - plan.kerb(0) + (plan.kerb(0) + plan.kerb(1) - 3) * x
    z = 3 + 37 * z
    return flat(x, x + 0.6 + wide, z, z + 0.8 + 5 * long), np.where(tone < 0.7, 0.87, 1.08)[:, None]


def ground(plan: Plan, style: Style, dice: Dice, track: float | None) -> np.ndarray:
    """Everything that lies flat, in the order in which it is painted; `track` is where a tram's rails lie."""
    palette = style.palette
    road, walk, grass = shades(dice.rng, (palette.road, palette.sidewalk, palette.terrain), palette.jitter)
    paint = rgb(palette.marks)
    patches, tone = mended(plan, dice)
    parts = [
        strips(beds(plan, road, walk, grass, rgb(palette.kerb))),
        polygons(patches, Label.ROAD, np.minimum(road * tone, 1), normal=UP, grain=GRAIN[Label.ROAD]),
        strips(lines(plan, paint, track)),
    ]
    marks = [dashes(plan, dice)]
    if plan.crossroad:
        parts.append(polygons(flat(-90, 90, *plan.crossroad), Label.ROAD, road, normal=UP, grain=GRAIN[Label.ROAD]))
    if plan.crossing is not None:
        marks.append(zebra(plan, plan.crossing))
    parts.append(polygons(np.concatenate(marks), Label.ROAD, paint, normal=UP, grain=GRAIN[Label.ROAD]))
    return joined(parts)
