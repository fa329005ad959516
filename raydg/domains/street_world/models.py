"""Whatever moves: cars, trucks, buses, trams, motorcycles, bicycles and people, built from boxes and outlines.

A model stands at the origin with its wheels or feet on the ground, facing ahead (away from the camera), and is put into
a street by `placed`. Dye 1 is its main colour, 2 its second one.
"""

from functools import cache

import numpy as np

from raydg.domains.street_world.boxes import ALL_ROUND, FRONT, LEFT, REAR, RIGHT, TOP, Boxes
from raydg.domains.street_world.faces import CORNERS, Label, disc, joined, polygons, rectangle

MAIN, SECOND, SKIN, HAIR, UMBRELLA = 1, 2, 3, 4, 5
GLASS, RUBBER, STEEL, DARK = "#27323c", "#17181b", "#9aa0a6", "#24262a"
HEADLAMP, TAILLAMP, AMBER = "#fff3cf", "#e0201c", "#ffb02e"


def two_sided(outline: np.ndarray, label: int, albedo: str | int, apart: float = 0.0, casts: bool = True) -> np.ndarray:
    """A thin upright shape along the way of travel, from (z, y) corners, one seen from either side, `apart` metres."""
    z, y = np.asarray(outline).T
    x = np.full(len(z), apart / 2)
    right = polygons(np.stack([x, y, z], 1), label, albedo, normal=(1, 0, 0), anchor=(0, 0), casts=casts)
    left = polygons(np.stack([-x, y, z], 1)[::-1], label, albedo, normal=(-1, 0, 0), anchor=(0, 0), casts=casts)
    return joined([right, left])


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
    at, to = np.array([0.03, 0.97 - width]), np.array([0.03 + width, 0.97])
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
            *(
                cabin.patches(side, (np.array([0.06, 0.53]), np.array([0.49, 0.94])), (0.1, 0.86), label, GLASS)
                for side in (LEFT, RIGHT)
            ),
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
            chassis.patches(REAR, (np.array([0.02, 0.84]), np.array([0.16, 0.98])), (0.3, 0.8), label, TAILLAMP, glow=0.8),
            cab.faces(label, MAIN),
            cab.patches(FRONT, (0.08, 0.92), (0.5, 0.86), label, GLASS),
            cab.patches(FRONT, (0.15, 0.85), (0.12, 0.36), label, DARK),
            lamps(cab, label, 0.06, 0.16, 0.14)[:2],
            *(cab.patches(side, (0.3, 0.85), (0.5, 0.84), label, GLASS) for side in (LEFT, RIGHT)),
            load.faces(label, SECOND),
            *(load.patches(side, (0.0, 1.0), (0.3, 0.46), label, MAIN) for side in (LEFT, RIGHT)),
            load.patches(REAR, (np.array([0.03, 0.52]), np.array([0.48, 0.97])), (0.05, 0.95), label, "#c9c7c0"),
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
        Boxes((-1.1, 1.1), (0.3, 3.1), (np.array((-4.7, 4.3)), np.array((-4.3, 4.7)))).faces(label, DARK),
        Boxes((-0.06, 0.06), (3.3, 4.5), (-0.06, 0.06)).faces(label, DARK),
        Boxes((-0.8, 0.8), (4.5, 4.62), (-0.06, 0.06)).faces(label, DARK),
    ]
    return joined(parts)


def bar(a: tuple[float, float], b: tuple[float, float], width: float) -> np.ndarray:
    """The corners (4, 2) of a straight bar between two points, counter-clockwise."""
    p, q = np.array(a), np.array(b)
    along = (q - p) / np.hypot(*(q - p))
    aside = width / 2 * np.array([-along[1], along[0]])
    return np.array([p - aside, q - aside, q + aside, p + aside])


def cycle_wheels(label: int, reach: float, radius: float, thick: float, spokes: str) -> np.ndarray:
    """Two wheels in line, seen from the side as discs and from the end as narrow treads."""
    parts = []
    for z in (-reach, reach):
        tread = rectangle(-thick / 2, thick / 2, 0, 2 * radius, z - radius * 0.9)
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

    def part(points, albedo, grain=0.03) -> np.ndarray:
        points = np.asarray(points, np.float32)
        upright = np.column_stack([points[:, :2], np.zeros(len(points))])
        return polygons(upright, label, albedo, anchor=(0, 0), casts=True, grain=grain)

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
