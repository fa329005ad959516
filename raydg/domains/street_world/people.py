"""People on foot and on cycles, and the cycles: built from boxes and thin shapes, placed as vehicles are."""

from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from raydg.domains.street_world.boxes import FRONT, REAR, TOP, Boxes
from raydg.domains.street_world.faces import (
    CORNERS,
    HAIR,
    MAIN,
    SECOND,
    SKIN,
    UMBRELLA,
    Label,
    disc,
    joined,
    polygons,
    rectangle,
)
from raydg.domains.street_world.outlines import bar, two_sided
from raydg.domains.street_world.vehicles import DARK, GLASS, HEADLAMP, RUBBER, STEEL, TAILLAMP


def cycle_wheels(label: int, reach: float, radius: float, thick: float, spokes: str) -> np.ndarray:
    """Two wheels in line, seen from the side as discs and from the end as narrow treads."""
    parts = []
    for z in (-reach, reach):
        tread = rectangle(-thick / 2, thick / 2, 0, 2 * radius, z)
        parts.append(polygons(tread, label, RUBBER, anchor=(0, 0), casts=True))
        parts.append(polygons(tread[[1, 0, 3, 2]], label, RUBBER, normal=(0, 0, 1), anchor=(0, 0)))
        parts.append(two_sided(disc(z, radius, radius)[:, :2], label, RUBBER))
        parts.append(two_sided(disc(z, radius, 0.74 * radius)[:, :2], label, spokes))
    return joined(parts)


@cache
def bicycle() -> np.ndarray:
    """A bicycle, its frame in the main colour."""
    label = Label.BICYCLE
    frame = [
        bar((-0.52, 0.36), (-0.18, 0.85), 0.07),
        bar((-0.2, 0.72), (0.36, 0.8), 0.08),
        bar((-0.08, 0.32), (0.36, 0.8), 0.08),
        bar((-0.08, 0.32), (-0.2, 0.85), 0.07),
        bar((-0.52, 0.36), (-0.08, 0.32), 0.06),
        bar((0.52, 0.36), (0.36, 1.0), 0.08),
    ]
    bars = Boxes((-0.28, 0.28), (0.98, 1.06), (0.3, 0.38))
    saddle = Boxes((-0.1, 0.1), (0.84, 0.93), (-0.34, -0.08))
    rack = Boxes((-0.12, 0.12), (0.62, 0.7), (-0.62, -0.3))
    return joined(
        [
            cycle_wheels(label, 0.52, 0.36, 0.09, "#6f757b"),
            *(two_sided(piece, label, MAIN) for piece in frame),
            rack.faces(label, MAIN),
            rack.patches(REAR, (0.2, 0.8), (0.0, 1.0), label, TAILLAMP, glow=0.8),
            saddle.faces(label, RUBBER),
            bars.faces(label, DARK),
        ]
    )


@cache
def motorcycle() -> np.ndarray:
    """A motorcycle, its tank and tail in the main colour."""
    label = Label.MOTORCYCLE
    engine = Boxes((-0.2, 0.2), (0.28, 0.7), (-0.35, 0.4))
    tank = Boxes((-0.22, 0.22), (0.68, 1.0), (-0.15, 0.48), narrow=0.05, front=0.1, rear=0.1)
    tail = Boxes((-0.2, 0.2), (0.6, 0.92), (-0.95, -0.15), narrow=0.03, rear=0.08)
    fork = Boxes((-0.14, 0.14), (0.45, 0.95), (0.5, 0.68), front=0.05)
    bars = Boxes((-0.42, 0.42), (1.02, 1.12), (0.36, 0.46))
    screen = Boxes((-0.24, 0.24), (0.9, 1.3), (0.48, 0.62), narrow=0.06)
    return joined(
        [
            cycle_wheels(label, 0.68, 0.33, 0.2, STEEL),
            engine.faces(label, "#4a4d52"),
            fork.faces(label, DARK),
            screen.faces(label, MAIN),
            screen.patches(FRONT, (0.2, 0.8), (0.0, 0.45), label, HEADLAMP, glow=1.0),
            bars.faces(label, DARK),
            tank.faces(label, MAIN),
            tail.faces(label, MAIN),
            tail.patches(REAR, (0.15, 0.85), (0.35, 0.75), label, TAILLAMP, glow=0.8),
            tail.patches(TOP, (0.0, 1.0), (0.0, 1.0), label, DARK),
        ]
    )


@cache
def rider(saddle_m: float, lean: float, helmet: bool) -> np.ndarray:
    """Whoever sits on a cycle: jacket in the main colour, trousers in the second, feet at the height of the pedals."""
    label = Label.RIDER
    hip, shoulder = saddle_m, saddle_m + 0.58
    torso = Boxes((-0.22, 0.22), (hip - 0.05, shoulder), (-0.3, 0.02 + lean), rear=lean, narrow=0.03)
    head = Boxes((-0.12, 0.12), (shoulder + 0.03, shoulder + 0.3), (lean - 0.2, lean + 0.06), narrow=0.03)
    parts = []
    for side in (-1, 1):
        x = 0.17 * side
        leg = Boxes((x - 0.08, x + 0.08), (0.3 if side > 0 else 0.42, hip), (-0.15, 0.22), rear=-0.05, front=0.1)
        arm = Boxes((x * 1.55 - 0.06, x * 1.55 + 0.06), (hip + 0.18, shoulder - 0.06), (lean - 0.1, 0.42), front=0.3)
        parts += [leg.faces(label, SECOND), arm.faces(label, MAIN)]
    parts += [torso.faces(label, MAIN), head.faces(label, MAIN if helmet else SKIN)]
    if helmet:
        parts.append(head.patches(FRONT, (0.1, 0.9), (0.25, 0.7), label, GLASS))
    else:
        parts.append(head.patches(REAR, (0.0, 1.0), (0.35, 1.0), label, HAIR))
        parts.append(head.patches(TOP, (0.0, 1.0), (0.0, 1.0), label, HAIR))
    return joined(parts)


@cache
def person(stride: float, umbrella: bool) -> np.ndarray:
    """Someone on foot, facing the camera: top in the main colour, trousers in the second."""
    label = Label.PERSON

    def part(points: ArrayLike, albedo: str | int) -> np.ndarray:
        upright = np.asarray(points, np.float32)[:, :2]
        return polygons(np.column_stack([upright, np.zeros(len(upright))]), label, albedo, anchor=(0, 0), casts=True)

    torso = [(-0.17, 0.82), (0.17, 0.82), (0.23, 1.38), (0.14, 1.48), (-0.14, 1.48), (-0.23, 1.38)]
    parts = [
        part(bar((0.07, 0.9), (0.05 + stride, 0.06), 0.17), SECOND),
        part(bar((-0.07, 0.9), (-0.05 - stride, 0.02), 0.17), SECOND),
        part(bar((0.05 + stride, 0.05), (0.17 + stride, 0.05), 0.09), RUBBER),
        part(bar((-0.05 - stride, 0.03), (0.07 - stride, 0.03), 0.09), RUBBER),
        part(bar((0.2, 1.38), (0.27 - 0.4 * stride, 0.84), 0.12), MAIN),
        part(bar((-0.2, 1.38), (-0.27 + 0.4 * stride, 0.84), 0.12), MAIN),
        part(torso, MAIN),
        part(disc(0, 1.64, 0.145, squash=0.8), HAIR),
        part(disc(0.01, 1.61, 0.115, squash=0.8), SKIN),
    ]
    if umbrella:
        turn = np.linspace(0, np.pi, CORNERS)
        roof = np.stack([0.62 * np.cos(turn), 1.82 + 0.34 * np.sin(turn)], 1)
        parts.append(part(bar((0.2, 1.1), (0.05, 1.9), 0.04), DARK))
        parts.append(part(roof, UMBRELLA))
    return joined(parts)
