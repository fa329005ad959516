"""Cars, trucks, buses and trams, built from boxes.

A model stands at the origin with its wheels on the ground, facing ahead (away from the camera), and is put into a
street as something `Placed`.
"""

from functools import cache

import numpy as np

from raydg.domains.street_world.boxes import ALL_ROUND, FRONT, LEFT, REAR, RIGHT, Boxes
from raydg.domains.street_world.faces import MAIN, SECOND, Label, disc, joined
from raydg.domains.street_world.outlines import two_sided

GLASS, RUBBER, STEEL, DARK = "#27323c", "#17181b", "#9aa0a6", "#24262a"
HEADLAMP, TAILLAMP, AMBER = "#fff3cf", "#e0201c", "#ffb02e"


def wheels(label: int, width: float, radius: float, axles: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Two wheels an axle: tyres, to be painted before the body, and discs with hubs, to be painted after it."""
    outside = np.repeat((-width / 2 + 0.01, width / 2 - 0.24), len(axles))
    z = np.tile(axles, 2)
    tyres = Boxes((outside, outside + 0.23), (0.0, 1.6 * radius), (z - radius, z + radius))
    discs = [
        two_sided(disc(at, radius, size)[:, :2], label, colour, apart=width + out, casts=False)
        for at in axles
        for size, colour, out in ((radius, RUBBER, 0.0), (0.55 * radius, STEEL, 0.02))
    ]
    return tyres.faces(label, RUBBER, anchor=np.zeros((len(z), 2))), joined(discs)


def lamps(body: Boxes, label: int, low: float, high: float, width: float = 0.16) -> np.ndarray:
    """White in front, red behind, at either edge of the body between two heights given as shares of its own."""
    at, to = (0.03, 0.97 - width), (0.03 + width, 0.97)
    return joined(
        [
            body.patches(FRONT, (at, to), (low, high), label, HEADLAMP, glow=1.0),
            body.patches(REAR, (at, to), (low, high), label, TAILLAMP, glow=0.8),
        ]
    )


@cache
def car(length: float, width: float, height: float, bonnet: float, boot: float) -> np.ndarray:
    """A car whose cabin ends `bonnet` metres before its front and `boot` after its rear."""
    half, waist = length / 2, 0.6 * height
    label = Label.CAR
    body = Boxes((-width / 2, width / 2), (0.22, waist), (-half, half), narrow=0.07, rear=0.06, front=0.14)
    cabin = Boxes(
        (-width / 2 + 0.09, width / 2 - 0.09),
        (waist, height),
        (-half + boot, half - bonnet),
        narrow=0.16,
        rear=0.18 + 0.4 * min(boot, 0.8),
        front=0.55,
    )
    tyres, discs = wheels(label, width, 0.32, (-0.3 * length, 0.31 * length))
    return joined(
        [
            tyres,
            body.faces(label, MAIN),
            body.patches(REAR, (0.0, 1.0), (0.0, 0.24), label, DARK),
            body.patches(FRONT, (0.0, 1.0), (0.0, 0.2), label, DARK),
            body.patches(FRONT, (0.3, 0.7), (0.45, 0.75), label, DARK),
            body.patches(REAR, (0.36, 0.64), (0.32, 0.48), label, "#e8e6da"),
            lamps(body, label, 0.56, 0.84, 0.18),
            body.patches(LEFT, (0.0, 1.0), (0.0, 0.14), label, DARK),
            body.patches(RIGHT, (0.0, 1.0), (0.0, 0.14), label, DARK),
            cabin.faces(label, MAIN),
            cabin.patches(REAR, (0.1, 0.9), (0.12, 0.86), label, GLASS),
            cabin.patches(FRONT, (0.06, 0.94), (0.06, 0.9), label, GLASS),
            *(cabin.patches(side, ((0.06, 0.53), (0.49, 0.94)), (0.1, 0.86), label, GLASS) for side in (LEFT, RIGHT)),
            discs,
        ]
    )


CARS = (
    (4.5, 1.80, 1.45, 1.25, 0.85),  # saloon
    (4.0, 1.75, 1.50, 1.00, 0.05),  # hatchback
    (4.6, 1.90, 1.70, 1.10, 0.05),  # tall estate
    (4.9, 1.95, 2.00, 0.55, 0.00),  # van
)
"""Length, width, height, bonnet and boot in metres."""


@cache
def truck() -> np.ndarray:
    """A lorry: the cab in the main colour, the load in the second."""
    label = Label.TRUCK
    cab = Boxes((-1.15, 1.15), (0.5, 2.75), (2.3, 4.2), narrow=0.04, front=0.18)
    load = Boxes((-1.25, 1.25), (0.95, 3.45), (-4.2, 2.1))
    chassis = Boxes((-1.1, 1.1), (0.45, 0.95), (-4.1, 2.3))
    tyres, discs = wheels(label, 2.4, 0.48, (-3.0, -1.9, 3.1))
    return joined(
        [
            tyres,
            chassis.faces(label, DARK),
            chassis.patches(REAR, ((0.02, 0.84), (0.16, 0.98)), (0.3, 0.8), label, TAILLAMP, glow=0.8),
            cab.faces(label, MAIN),
            cab.patches(FRONT, (0.08, 0.92), (0.5, 0.86), label, GLASS),
            cab.patches(FRONT, (0.15, 0.85), (0.12, 0.36), label, DARK),
            lamps(cab, label, 0.06, 0.16, 0.14)[:2],
            *(cab.patches(side, (0.3, 0.85), (0.5, 0.84), label, GLASS) for side in (LEFT, RIGHT)),
            load.faces(label, SECOND),
            *(load.patches(side, (0.0, 1.0), (0.3, 0.46), label, MAIN) for side in (LEFT, RIGHT)),
            load.patches(REAR, ((0.03, 0.52), (0.48, 0.97)), (0.05, 0.95), label, "#c9c7c0"),
            discs,
        ]
    )


@cache
def bus() -> np.ndarray:
    """A city bus: the body in the main colour, a stripe in the second."""
    label = Label.BUS
    body = Boxes((-1.28, 1.28), (0.3, 3.15), (-5.5, 5.5), narrow=0.05, rear=0.05, front=0.1)
    panes = np.linspace(0.03, 0.97, 9)
    tyres, discs = wheels(label, 2.5, 0.48, (-2.9, 3.2))
    return joined(
        [
            tyres,
            body.faces(label, MAIN),
            *(body.patches(side, (0.0, 1.0), (0.0, 0.16), label, SECOND) for side in ALL_ROUND),
            *(
                body.patches(side, (panes[:-1] + 0.006, panes[1:] - 0.006), (0.42, 0.82), label, GLASS, glow=0.25)
                for side in (LEFT, RIGHT)
            ),
            body.patches(REAR, (0.1, 0.9), (0.5, 0.82), label, GLASS),
            body.patches(REAR, (0.25, 0.75), (0.86, 0.95), label, AMBER, glow=0.7),
            body.patches(FRONT, (0.04, 0.96), (0.36, 0.82), label, GLASS),
            body.patches(FRONT, (0.15, 0.85), (0.85, 0.96), label, AMBER, glow=0.7),
            lamps(body, label, 0.2, 0.3, 0.14),
            discs,
        ]
    )


@cache
def tram() -> np.ndarray:
    """A tram of three low sections with a pantograph: rounded ends, a long band of glass, no wheels to be seen."""
    label = Label.TRAIN
    parts = []
    for middle, rear, front in ((9.0, 0.0, 0.9), (0.0, 0.0, 0.0), (-9.0, 0.9, 0.0)):
        body = Boxes((-1.25, 1.25), (0.25, 3.35), (middle - 4.3, middle + 4.3), narrow=0.12, rear=rear, front=front)
        panes = np.linspace(0.03, 0.97, 6)
        parts += [
            body.faces(label, MAIN),
            *(body.patches(side, (0.0, 1.0), (0.0, 0.12), label, DARK) for side in ALL_ROUND),
            *(body.patches(side, (0.0, 1.0), (0.36, 0.42), label, SECOND) for side in ALL_ROUND),
            *(
                body.patches(side, (panes[:-1] + 0.01, panes[1:] - 0.01), (0.46, 0.84), label, GLASS, glow=0.3)
                for side in (LEFT, RIGHT)
            ),
            body.patches(REAR, (0.1, 0.9), (0.44, 0.84), label, GLASS),
            body.patches(FRONT, (0.1, 0.9), (0.44, 0.84), label, GLASS),
            body.patches(REAR, (0.3, 0.7), (0.88, 0.97), label, AMBER, glow=0.8),
            body.patches(FRONT, (0.3, 0.7), (0.88, 0.97), label, AMBER, glow=0.8),
            lamps(body, label, 0.18, 0.28, 0.13),
        ]
    parts += [
        Boxes((-1.1, 1.1), (0.3, 3.1), ((-4.7, 4.3), (-4.3, 4.7))).faces(label, DARK),
        Boxes((-0.06, 0.06), (3.3, 4.5), (-0.06, 0.06)).faces(label, DARK),
        Boxes((-0.8, 0.8), (4.5, 4.62), (-0.06, 0.06)).faces(label, DARK),
    ]
    return joined(parts)
