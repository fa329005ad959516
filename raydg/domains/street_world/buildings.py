"""Buildings with windows, shops and roofs, all of a scene's at once."""

import numpy as np

from raydg.domains.street_world.boxes import REAR, Boxes
from raydg.domains.street_world.colours import glazing, shades
from raydg.domains.street_world.faces import Label, joined
from raydg.domains.street_world.rows import Row, repeated, row
from raydg.domains.street_world.style import Style

STOREY_M = 3.2
FRAMES_UNTIL_M, WINDOWS_UNTIL_M = 30.0, 65.0
"""Beyond these distances window frames, and windows, would be smaller than a pixel."""


def windows(
    rng: np.random.Generator, style: Style, houses: Row, storeys: np.ndarray, office: np.ndarray
) -> list[np.ndarray]:
    """Frames and panes above the ground floor, on the façade and the near end of each house."""
    n = len(storeys)
    house, end = np.tile(np.arange(n), 2), np.arange(2 * n) >= n
    length = np.where(end, houses.depth[house], houses.length[house])
    spacing, share = rng.random((2, 2 * n))
    columns = np.maximum(1, length / np.where(office[house], 4.5, 2.4 + spacing)).astype(int)
    half = np.where(office[house], 0.485, 0.2 + 0.1 * share) / columns
    near = houses.anchor[:, 1] - houses.length
    face, number = repeated(columns * ((storeys - 1) * (near < WINDOWS_UNTIL_M))[house])
    house, end, half = house[face], end[face], half[face]
    middle = (number % columns[face] + 0.5) / columns[face]
    storey = STOREY_M / houses.height[house]
    sill = (number // columns[face] + 1.18) * storey
    lintel = sill + 0.58 * storey
    side = np.where(end, REAR, houses.facade[house])
    colour, glow = glazing(rng, style, len(face))

    framed = (~office & (near < FRAMES_UNTIL_M))[house]
    edge, ledge = 0.12 / length[face], 0.05 * storey
    frames = houses.boxes.patches(
        side[framed],
        ((middle - half - edge)[framed], (middle + half + edge)[framed]),
        ((sill - 1.5 * ledge)[framed], (lintel + ledge)[framed]),
        Label.BUILDING,
        style.palette.trim,
        which=house[framed],
        anchor=houses.anchor,
    )
    panes = houses.boxes.patches(
        side,
        (middle - half, middle + half),
        (sill, lintel),
        Label.BUILDING,
        colour,
        which=house,
        anchor=houses.anchor,
        glow=glow,
        grain=0.0,
    )
    return [frames, panes]


def ground_floors(rng: np.random.Generator, style: Style, houses: Row) -> np.ndarray:
    """Shop windows below a coloured band, or a door."""
    n = len(houses.length)
    near = houses.anchor[:, 1] - houses.length < WINDOWS_UNTIL_M
    top = 0.95 * STOREY_M / houses.height
    sign = shades(rng, [style.palette.shops] * n, style.palette.jitter)
    is_shop, door_at, is_lit = rng.random((3, n))
    is_shop = is_shop < 0.5
    door, shop = np.flatnonzero(near & ~is_shop), np.flatnonzero(near & is_shop)
    panes = np.maximum(2, houses.length / 4).astype(int)
    pane, number = repeated(panes * (near & is_shop))
    colour, glow = glazing(rng, style, len(pane))
    left, width = 0.1 + 0.8 * door_at[door], 1.3 / houses.length[door]

    which = np.concatenate([shop, pane, shop, door])
    whole, none = np.ones(len(shop)), np.zeros(len(shop))
    across = (
        np.concatenate([none, (number + 0.06) / panes[pane], none, left]),
        np.concatenate([whole, (number + 0.94) / panes[pane], whole, left + width]),
    )
    levels = np.repeat(
        [(0.0, 1.0), (0.14, 0.74), (0.8, 1.0), (0.0, 0.75)], [len(shop), len(pane), len(shop), len(door)], 0
    )
    return houses.boxes.patches(
        houses.facade[which],
        across,
        (levels[:, 0] * top[which], levels[:, 1] * top[which]),
        Label.BUILDING,
        np.concatenate([0.55 * sign[shop], colour, sign[shop], sign[door]]),
        which=which,
        anchor=houses.anchor,
        glow=np.concatenate([none, glow, 0.7 * (is_lit[shop] < style.light.lit_windows), 0 * left]),
        grain=0.0,
    )


def awnings(rng: np.random.Generator, style: Style, lots: np.ndarray) -> np.ndarray:
    """Slanting blinds over the sidewalk before some of the lots."""
    x, z0, z1 = lots[rng.random(len(lots)) < 0.3].T
    front = x - 1.3 * np.sign(x)
    blinds = Boxes((np.minimum(x, front), np.maximum(x, front)), (2.45, 3.1), (z0 + 0.5, z1 - 0.5), narrow=0.6)
    return blinds.faces(Label.BUILDING, shades(rng, [style.palette.shops] * len(x), 0.1), anchor=np.stack([x, z1], 1))


def roofs(rng: np.random.Generator, style: Style, houses: Row) -> np.ndarray:
    """Gables and slopes on houses."""
    n = len(houses.depth)
    x0, x1, *_ = houses.boxes.bounds
    rise = (0.25 + 0.15 * rng.random(n)) * houses.depth
    prisms = Boxes(
        (x0 - 0.4, x1 + 0.4),
        (houses.height - 0.3, houses.height + rise),
        houses.boxes.z,
        narrow=houses.depth / 2 + 0.4,
    )
    tiles = shades(rng, [style.palette.roofs] * n, style.palette.jitter)
    return prisms.faces(Label.BUILDING, tiles, anchor=houses.anchor, grain=0.08)


def buildings(rng: np.random.Generator, style: Style, lots: np.ndarray) -> np.ndarray:
    """A building on each of the lots (n, 3)."""
    palette, streets, n = style.palette, style.streets, len(lots)
    lowest, highest = streets.storeys
    storeys = rng.integers(lowest, highest + 1, n)
    is_office, is_pitched, depth = rng.random((3, n))
    office = is_office < streets.offices
    depth, height = 9 + 4 * depth, STOREY_M * storeys + 0.6
    houses = row(lots, depth, height)
    pitched = ~office & (is_pitched < streets.pitched)
    every = np.tile(np.arange(n), 2)
    cornice = houses.boxes.patches(
        np.concatenate([houses.facade, np.full(n, REAR)]),
        (0, 1),
        (1 - 0.45 / height[every], 1),
        Label.BUILDING,
        palette.trim,
        which=every,
        anchor=houses.anchor,
    )
    return joined(
        [
            houses.boxes.faces(
                Label.BUILDING, shades(rng, [palette.facades] * n, palette.jitter), anchor=houses.anchor, grain=0.05
            ),
            *windows(rng, style, houses, storeys, office),
            ground_floors(rng, style, houses),
            cornice,
            awnings(rng, style, lots),
            roofs(rng, style, row(lots[pitched], depth[pitched], height[pitched])),
        ]
    )
