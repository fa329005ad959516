"""A street's plan: its cross-section, its crossing and its lots, before anything stands on it."""

from dataclasses import dataclass

from raydg.domains.street_world.dice import Dice
from raydg.domains.street_world.style import Style

SIDES = ((0, -1), (1, 1))
"""Left and right: the place in a plan's pairs, and the sign of x."""
PARKING_M, GUTTER_M, VERGE_M, CROSSROAD_M = 2.2, 0.4, 1.6, 8.0
LOTS_M = (6.0, 120.0)
"""How far ahead the first lots begin and the last ones do."""


@dataclass(frozen=True)
class Plan:
    """Metres from the street's middle, and ahead. Pairs are left and right."""

    lanes: int
    """In each direction."""
    lane: float
    parking: tuple[bool, bool]
    verge: tuple[float, float]
    sidewalk: tuple[float, float]
    crossing: float | None
    """Where a crossing begins, if there is one."""
    side_street: bool
    """Whether a street goes off there, or it is for those on foot only."""

    @property
    def crossroad(self) -> tuple[float, float] | None:
        """The side street's near and far edge."""
        return (self.crossing, self.crossing + CROSSROAD_M) if self.crossing is not None and self.side_street else None

    def kerb(self, side: int) -> float:
        """From the middle to the kerb: half the road."""
        return self.lanes * self.lane + (PARKING_M if self.parking[side] else GUTTER_M)

    def back(self, side: int) -> float:
        """From the middle to the far edge of the sidewalk, where the lots begin."""
        return self.kerb(side) + self.verge[side] + self.sidewalk[side]


def draw_plan(style: Style, dice: Dice) -> Plan:
    streets = style.streets
    fewest, most = streets.lanes
    return Plan(
        lanes=fewest + dice.below(most - fewest + 1),
        lane=streets.lane_m,
        parking=(dice.chance(0.6), dice.chance(0.6)),
        verge=(VERGE_M * dice.chance(streets.verge), VERGE_M * dice.chance(streets.verge)),
        sidewalk=(dice.between(*streets.sidewalk_m), dice.between(*streets.sidewalk_m)),
        crossing=dice.between(13, 32) if dice.chance(streets.crossing) else None,
        side_street=dice.chance(0.6),
    )


def draw_lots(plan: Plan, dice: Dice) -> list[tuple[float, float]]:
    """Where the lots of one side begin and end ahead; none lies in a side street."""
    lots: list[tuple[float, float]] = []
    begin, last = LOTS_M
    begin -= dice.between(0, 8)
    gaps = [(plan.crossroad[0] - 2, plan.crossroad[1] + 2)] if plan.crossroad else []
    while begin < last:
        end = begin + dice.between(9, 20)
        if gaps and end > gaps[0][0]:
            gap = gaps.pop()
            if gap[0] - begin > 5:
                lots.append((begin, gap[0]))
            begin = gap[1]
        else:
            lots.append((begin, end))
            begin = end if dice.chance(0.7) else end + dice.between(0.5, 3)
    return lots
