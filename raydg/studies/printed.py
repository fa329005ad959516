"""The numbers that the papers print, by what cells say of them."""

from collections.abc import Mapping
from functools import cache

from raydg.published import published
from raydg.studies.cell import PRINTED_BY, Cell, Printed

Numbers = Mapping[Printed, str]
"""What is printed, with its digits; empty where it cannot be read any more."""


@cache
def numbers() -> Numbers:
    """Every printed number but those that a paper only quotes."""
    rows = [row for row in published() if row.by_authors != "no"]
    return {Printed(**{name: getattr(row, name) for name in PRINTED_BY}): row.printed for row in rows}


def text(cell: Cell, numbers: Numbers) -> str:
    """What the paper prints in a cell: "44.51", "43.85 or 42.08" where it is lost which, or nothing.

    Raises:
        ValueError: the numbers lack one of the cell.
    """
    if strangers := [place for place in cell.published if place not in numbers]:
        raise ValueError(f"There is no published number for {', '.join(filter(None, strangers[0].key))}.")
    return " or ".join(filter(None, (numbers[place] for place in cell.published)))
