"""A whole scene: a street's plan, filled with what a style says is there."""

from dataclasses import dataclass

import numpy as np

from raydg.domains.street_world.boxes import Boxes
from raydg.domains.street_world.buildings import STOREY_M, buildings
from raydg.domains.street_world.colours import shades
from raydg.domains.street_world.dice import Dice
from raydg.domains.street_world.enclosures import MASONRY, SLATS, enclosures
from raydg.domains.street_world.faces import UP, Label, joined, polygons
from raydg.domains.street_world.furniture import SIGNS, lamp_post, sign, traffic_light
from raydg.domains.street_world.greenery import plants
from raydg.domains.street_world.ground import ground
from raydg.domains.street_world.placing import Placed, assembled
from raydg.domains.street_world.plan import SIDES, Plan, draw_lots, draw_plan
from raydg.domains.street_world.style import Style
from raydg.domains.street_world.traffic import cycling, driving, parked, walking

GARDEN_M = 4.0
"""How far back a building stands behind its garden."""


@dataclass(frozen=True, eq=False)
class Scene:
    """Faces in the order in which they are painted, and how the street lies before the camera."""

    faces: np.ndarray
    eye: tuple[float, float]
    """The camera's x and height in metres."""
    slope: float
    """How far the street leads to the right, metres a metre."""
    bend: float
    """Its curvature, per metre."""


def lined(style: Style, plan: Plan, dice: Dice) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Both sides of the street: its buildings, walls and fences, and where trees and bushes grow (n, 2)."""
    streets, rng = style.streets, dice.rng
    built, walled, fenced = [], [], []
    tree, bush = [np.empty((0, 2))], [np.empty((0, 2))]
    for side, sign_x in SIDES:
        edge = plan.back(side)
        for z0, z1 in draw_lots(plan, dice):
            house = dice.chance(streets.built)
            garden = house and dice.chance(streets.gardens)
            if house:
                built.append((sign_x * (edge + dice.between(0.2, 1.5) + GARDEN_M * garden), z0, z1))
            if garden or not house:
                kind = dice.between(0, 1)
                if kind < streets.walled + streets.fenced:
                    (walled if kind < streets.walled else fenced).append((sign_x * (edge + 0.2), z0, z1))
                size = (sign_x, z1 - z0)
                bush.append((sign_x * (edge + 1.5), z0) + rng.random((int((z1 - z0) / 5), 2)) * (2.5, 1) * size)
            if not house:
                tree.append((sign_x * (edge + 3.5), z0) + rng.random((2, 2)) * (7.5, 1) * size)
        n = dice.count(streets.trees / 2)
        tree.append((sign_x * (plan.kerb(side) + 1.0), 6) + rng.random((n, 2)) * (0, 84))
    tables = []
    if built:
        tables.append(buildings(rng, style, np.array(built)))
    if walled:
        tables.append(enclosures(rng, style, np.array(walled), MASONRY, style.palette.walls))
    if fenced:
        tables.append(enclosures(rng, style, np.array(fenced), SLATS, style.palette.fences))
    return tables, np.concatenate(tree), np.concatenate(bush)


def backdrop(style: Style, rng: np.random.Generator) -> np.ndarray:
    """Blocks that close the view behind the last lots."""
    x, z, height, wide = rng.random((4, 8))
    x, z, height = 200 * x - 100, 155 + 55 * z, (0.8 + 0.8 * height) * STOREY_M * style.streets.storeys[1]
    blocks = Boxes((x, x + 14 + 16 * wide), (0, height), (z, z + 15))
    return blocks.faces(Label.BUILDING, shades(rng, [style.palette.facades] * len(x), style.palette.jitter))


def kerbside(style: Style, plan: Plan, dice: Dice) -> list[Placed]:
    """Lamp posts, traffic lights and signs."""
    streets, metal = style.streets, ((style.palette.metal,),)
    things = []
    for side, sign_x in SIDES:
        x = sign_x * (plan.kerb(side) + 0.6)
        if dice.chance(0.7):
            for z in np.arange(dice.between(4, streets.lamps_m), 100, streets.lamps_m).tolist():
                things.append(Placed(lamp_post(-sign_x), x, z, dyes=metal))
    if plan.crossing is not None:
        phase, arm = dice.below(3), dice.one_of((0.0, -2.8, -4.2))
        things.append(Placed(traffic_light(phase, arm), plan.kerb(1) + 0.5, plan.crossing - 5.2, dyes=metal))
        things.append(Placed(traffic_light(phase, 0.0), -plan.kerb(0) - 0.5, plan.crossing - 5.2, dyes=metal))
    for _ in range(dice.count(streets.signs)):
        side, sign_x = dice.one_of(SIDES)
        x, z = sign_x * (plan.kerb(side) + dice.between(0.4, 0.9)), dice.between(7, 38)
        things.append(Placed(sign(dice.one_of(SIGNS)), x, z, dyes=metal))
    return things


def bonnet(style: Style, x: float, rng: np.random.Generator) -> np.ndarray:
    """The front of the camera's own car."""
    outline = [
        (x - 0.8, 0.78, 1.0),
        (x + 0.8, 0.78, 1.0),
        (x + 0.72, 0.84, 1.55),
        (x, 0.87, 1.62),
        (x - 0.72, 0.84, 1.55),
    ]
    paint = shades(rng, [style.palette.paints], style.palette.jitter)
    return polygons(outline, Label.EGO, paint, normal=UP, anchor=(x, 0.0), grain=0.0)


def draw_scene(style: Style, rng: np.random.Generator) -> Scene:
    """One scene of a domain."""
    dice = Dice(rng)
    plan = draw_plan(style, dice)
    eye_x = plan.lane * (dice.below(plan.lanes) + dice.between(0.35, 0.65))
    tables, tree, bush = lined(style, plan, dice)
    far = (-110, 135) + rng.random((14, 2)) * (220, 25)
    tree = np.concatenate([tree, far[np.abs(far[:, 0]) > plan.back(1) + 2]])
    moving, track = driving(style, plan, dice)
    things = [*kerbside(style, plan, dice), *moving]
    things += [*parked(style, plan, dice), *cycling(style, plan, dice), *walking(style, plan, dice)]
    tables += [backdrop(style, rng), plants(rng, style, tree, bush)]
    if things:
        tables.append(assembled(things, rng, style.palette.jitter))
    if style.camera.bonnet:
        tables.append(bonnet(style, eye_x, rng))
    upright = joined(tables)
    upright = upright[np.argsort(-upright["anchor"][:, 1], kind="stable")]
    bend = dice.between(-1, 1) * style.streets.bend
    return Scene(
        joined([ground(plan, style, dice, track), upright]),
        eye=(eye_x, dice.between(*style.camera.height_m)),
        slope=dice.between(-0.06, 0.06) - 12 * bend,
        bend=bend,
    )
