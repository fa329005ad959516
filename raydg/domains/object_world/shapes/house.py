"""A house: gable or hip roof, one or two storeys, seen from the front or with one side in view."""

import numpy as np

from raydg.domains.object_world.shapes.outlines import Layer, box, disc

STOREY = 0.48


def draw(rng: np.random.Generator) -> list[Layer]:
    u = rng.uniform
    storeys = int(rng.integers(1, 3))
    wide, tall, pitch = u(0.85, 1.15), STOREY * storeys + u(0.05, 0.15), u(0.3, 0.55)
    view = rng.random()
    if view < 0.6:
        back = u(0.35, 0.7) * np.array([1.0, 0.3])  # where the far end of the side wall seems to be
        behind = [*_chimney(rng, wide, tall + pitch, 0.5 * back[0]), *_side(wide, tall, pitch, back, storeys)]
    else:
        behind = _chimney(rng, wide, tall + pitch, 0.0)
    hip = view > 0.88
    front = [box(0, 0, wide, tall)]
    if not hip:
        front.append(np.array([(0, tall), (wide, tall), (wide / 2, tall + pitch)]))
    walls = [Layer("wall", front)]
    if rng.random() < 0.6:
        gap = u(0.06, 0.1)
        boards = [box(0, y, wide, y + 0.012) for y in np.arange(gap, tall + pitch, gap)]
        walls.append(Layer("seam", boards, within=True))
    roof = _hip(wide, tall, pitch) if hip else _gable(rng, wide, tall, pitch)
    return [*behind, *walls, *roof, *_openings(rng, wide, storeys)]


def _side(wide: float, tall: float, pitch: float, back: np.ndarray, storeys: int) -> list[Layer]:
    """The right-hand wall, turned away, and the slope of the roof above it."""
    base, top, eave = np.array([wide, 0.0]), np.array([wide, tall]), np.array([wide + 0.08, tall - 0.07])
    ridge = np.array([wide / 2, tall + pitch + 0.04])
    sills = [
        base + at * back + np.array([0.0, STOREY * storey + 0.2]) for storey in range(storeys) for at in (0.22, 0.62)
    ]
    pane = np.array([0.0 * back, 0.22 * back, 0.22 * back + (0.0, 0.2), (0.0, 0.2)])
    return [
        Layer("wall", [np.array([base, base + back, top + back, top])], far=True),
        Layer("glass", [sill + pane for sill in sills], far=True),
        Layer("roof", [np.array([eave, eave + 1.08 * back, ridge + 1.08 * back, ridge])]),
        _tiles(tall - 0.6, tall + pitch, 0.0, wide + 1.0, back[1] / back[0]),
    ]


def _gable(rng: np.random.Generator, wide: float, tall: float, pitch: float) -> list[Layer]:
    """The edge of the roof, seen end on, and perhaps a round window under it."""
    ridge, thick = np.array([wide / 2, tall + pitch + 0.03]), np.array([0.0, 0.075])
    eaves = np.array([[-0.08, tall - 0.07], [wide + 0.08, tall - 0.07]])
    layers = [Layer("roof", [np.array([eave, ridge, ridge + thick, eave + thick]) for eave in eaves])]
    if rng.random() < 0.6:
        x, y = wide / 2, tall + 0.32 * pitch
        cross = [box(x - 0.008, y - 0.075, x + 0.008, y + 0.075), box(x - 0.075, y - 0.008, x + 0.075, y + 0.008)]
        layers += [Layer("trim", [disc((x, y), 0.1)]), Layer("glass", [disc((x, y), 0.075)]), Layer("trim", cross)]
    return layers


def _hip(wide: float, tall: float, pitch: float) -> list[Layer]:
    corners = [
        (-0.08, tall - 0.02),
        (wide + 0.08, tall - 0.02),
        (0.78 * wide, tall + pitch),
        (0.22 * wide, tall + pitch),
    ]
    return [Layer("roof", [np.array(corners)]), _tiles(tall, tall + pitch, -0.08, wide + 0.08, 0.0)]


def _tiles(low: float, high: float, left: float, right: float, slope: float) -> Layer:
    rise = slope * (right - left)
    row = np.array([(left, 0.0), (right, rise), (right, rise + 0.013), (left, 0.013)])
    return Layer("tile", [row + np.array([0.0, y]) for y in np.arange(low, high, 0.08)], within=True)


def _chimney(rng: np.random.Generator, wide: float, ridge: float, shift: float) -> list[Layer]:
    """With or without smoke; `shift`: how far along the roof it stands."""
    if rng.random() < 0.2:
        return []
    x, top = rng.choice([0.2, 0.72]) * wide + shift, ridge + rng.uniform(0.1, 0.22)
    stack = Layer("chimney", [box(x, ridge - 0.4, x + 0.12, top), box(x - 0.02, top - 0.05, x + 0.14, top)])
    if rng.random() < 0.65:
        return [stack]
    puffs = [disc((x + 0.08 + 0.09 * i, top + 0.08 + 0.1 * i), 0.05 + 0.02 * i) for i in range(3)]
    return [Layer("smoke", puffs), stack]


def _openings(rng: np.random.Generator, wide: float, storeys: int) -> list[Layer]:
    """A door in one bay of the ground floor, windows in all others, perhaps with shutters."""
    bays = 3 if wide > 1.0 else int(rng.integers(2, 4))
    centres = (np.arange(bays) + 0.5) * wide / bays
    door = centres[rng.integers(bays)]
    half, shutters = rng.uniform(0.085, 0.11), bays == 2 and rng.random() < 0.4
    frames, panes, bars, leaves = [], [], [], []
    for storey in range(storeys):
        low, high = STOREY * storey + 0.18, STOREY * storey + 0.42
        middle = (low + high) / 2
        for x in centres[centres != door] if storey == 0 else centres:
            frames.append(box(x - half - 0.02, low - 0.025, x + half + 0.02, high + 0.02))
            panes.append(box(x - half, low, x + half, high))
            bars += [box(x - 0.009, low, x + 0.009, high), box(x - half, middle - 0.009, x + half, middle + 0.009)]
            leaves += [box(x + at - 0.037, low, x + at + 0.037, high) for at in (-half - 0.063, half + 0.063)]
    return [
        *([Layer("door", leaves)] if shutters else []),
        Layer("trim", frames),
        Layer("glass", panes),
        Layer("trim", bars),
        Layer("trim", [box(door - 0.13, 0, door + 0.13, 0.43)]),
        Layer("door", [box(door - 0.105, 0, door + 0.105, 0.405)]),
        Layer("metal", [disc((door + 0.07, 0.19), 0.02)]),
        Layer("step", [box(door - 0.18, -0.045, door + 0.18, 0.02)]),
    ]
