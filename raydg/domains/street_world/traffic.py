"""Who is about: vehicles in their lanes, cars at the kerb, cyclists, and people on foot."""

from collections.abc import Sequence

import numpy as np

from raydg.domains.street_world import people, vehicles
from raydg.domains.street_world.dice import Dice
from raydg.domains.street_world.placing import Placed
from raydg.domains.street_world.plan import SIDES, Plan
from raydg.domains.street_world.style import Style

SKIN = ("#f0c8a8", "#d9a47c", "#a06a45", "#6b4630")
HAIR = ("#2a1d16", "#5a3a22", "#b08a4f", "#15120f")
LAST_M = 75.0
"""Nobody is farther ahead."""


def clothes(style: Style) -> tuple[Sequence[str], ...]:
    """What a person's dyes are drawn from: top, trousers, skin, hair, umbrella."""
    return style.palette.clothes, style.palette.clothes, SKIN, HAIR, style.palette.shops


class Lanes:
    """How far each lane is taken: whoever comes next keeps a safe distance."""

    def __init__(self, plan: Plan, dice: Dice) -> None:
        self.plan, self.dice = plan, dice
        self.free = {lane: dice.between(7, 18) for lane in range(-plan.lanes, plan.lanes)}

    def enter(self, length: float, lane: int | None = None) -> tuple[float, float, float] | None:
        """x, z and direction of the next place in a lane, any lane by default; None where that lane is full."""
        lane = self.dice.below(2 * self.plan.lanes) - self.plan.lanes if lane is None else lane
        z = self.free[lane] + length / 2
        self.free[lane] = z + length / 2 + self.dice.between(3, 16)
        return ((lane + 0.5) * self.plan.lane, z, 0.0 if lane >= 0 else 180.0) if z < LAST_M else None


def driving(style: Style, plan: Plan, dice: Dice) -> tuple[list[Placed], float | None]:
    """Everything with an engine; and where a tram's track lies, if one has come."""
    streets, palette, lanes = style.streets, style.palette, Lanes(plan, dice)
    things: list[Placed] = []
    tracks: list[float] = []
    tram_lane = -1 if dice.chance(0.7) else 0
    for _ in range(dice.count(streets.trams)):
        if (place := lanes.enter(27.0, tram_lane)) is not None:
            things.append(Placed(vehicles.tram(), *place, dyes=(palette.trams, palette.shops)))
            tracks.append(place[0])
    fleet = ["bus"] * dice.count(streets.buses) + ["truck"] * dice.count(streets.trucks)
    fleet += ["car"] * dice.count(streets.cars) + ["motorcycle"] * dice.count(streets.motorcycles)
    for kind in dice.rng.permutation(fleet).tolist():
        shape = dice.one_of(vehicles.CARS)
        place = lanes.enter({"bus": 11.0, "truck": 8.4, "car": shape[0], "motorcycle": 2.2}[kind])
        if place is None:
            continue
        x, z, degrees = place
        x += dice.between(-0.25, 0.25)
        if kind == "bus":
            things.append(Placed(vehicles.bus(), x, z, degrees, dyes=(palette.buses, palette.shops)))
        elif kind == "truck":
            things.append(Placed(vehicles.truck(), x, z, degrees, dyes=(palette.paints, palette.cargo)))
        elif kind == "car":
            things.append(Placed(vehicles.car(*shape), x, z, degrees, dyes=(palette.paints,)))
        else:
            x, degrees = x + dice.between(-0.6, 0.6), degrees + dice.between(-15, 15)
            things.append(Placed(people.motorcycle(), x, z, degrees, dyes=(palette.paints,)))
            things.append(Placed(people.rider(0.84, 0.16, True), x, z, degrees, dyes=clothes(style)))
    return things, tracks[0] if tracks else None


def parked(style: Style, plan: Plan, dice: Dice) -> list[Placed]:
    """Cars along the kerbs, off the crossing."""
    things = []
    for side, sign in SIDES:
        if not plan.parking[side]:
            continue
        for z in np.arange(dice.between(6, 11), LAST_M, 6.2).tolist():
            near_crossing = plan.crossing is not None and -8 < z - plan.crossing < 12
            if dice.chance(style.streets.parked) and not near_crossing:
                x, degrees = sign * (plan.kerb(side) - 1.15), 0.0 if sign > 0 else 180.0
                model = vehicles.car(*dice.one_of(vehicles.CARS))
                things.append(Placed(model, x, z, degrees, dyes=(style.palette.paints,)))
    return things


def cycling(style: Style, plan: Plan, dice: Dice) -> list[Placed]:
    """Bicycles: ridden along the lane's edge or over the crossing, or left on the sidewalk."""
    things = []
    for _ in range(dice.count(style.streets.bicycles)):
        side, sign = dice.one_of(SIDES)
        x, z = sign * (plan.lanes * plan.lane - 0.7), dice.between(6, 22)
        degrees = (0 if sign > 0 else 180) + dice.between(-25, 25)
        ridden = dice.chance(0.6)
        if not ridden:
            x, degrees = sign * (plan.kerb(side) + dice.between(0.5, 1.2)), dice.between(35, 145)
        elif plan.crossing is not None and dice.chance(0.3):
            x, z, degrees = dice.between(-3, 3), plan.crossing - 2.9, dice.one_of((-90.0, 90.0))
        things.append(Placed(people.bicycle(), x, z, degrees, dyes=(style.palette.paints,)))
        if ridden:
            things.append(Placed(people.rider(0.92, 0.22, False), x, z, degrees, dyes=clothes(style)))
    return things


def walking(style: Style, plan: Plan, dice: Dice) -> list[Placed]:
    """People on the sidewalks and the crossing; in the rain every other one has an umbrella."""
    things = []
    for _ in range(dice.count(style.streets.people)):
        side, sign = dice.one_of(SIDES)
        x, z = sign * dice.between(plan.kerb(side) + 0.4, plan.back(side) - 0.2), 5 + 30 * dice.between(0, 1) ** 1.6
        if plan.crossing is not None and dice.chance(0.3):
            x, z = dice.between(-plan.kerb(0), plan.kerb(1)), plan.crossing - dice.between(1.5, 4.2)
        model = people.person(dice.one_of((0.03, 0.12, 0.22)), style.weather.rain > 0 and dice.chance(0.5))
        things.append(Placed(model, x, z, scale=dice.between(0.88, 1.08), dyes=clothes(style)))
    return things
