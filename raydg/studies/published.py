"""The numbers that the papers print, from a table of published results."""

import csv
from collections.abc import Mapping
from pathlib import Path

from raydg.studies.cell import PRINTED_BY, Cell, Printed

Numbers = Mapping[Printed, str]
"""What is printed, with its digits; empty where it cannot be read any more."""

QUOTED = "no"
"""In the column `by_authors`: a row that a paper only quotes."""


def read(path: str | Path) -> Numbers:
    """The numbers of a CSV file with the columns `PRINTED_BY`, `value` and `by_authors`; quoted ones are left out.

    Raises:
        ValueError: no such file, a column that lacks, or two numbers in one place.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path} is no file: give the table of published results, a CSV file.")
    found: dict[Printed, str] = {}
    with Path(path).open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        needed = (*PRINTED_BY, "value", "by_authors")
        if lacking := [name for name in needed if name not in (reader.fieldnames or ())]:
            raise ValueError(f"{path} has no column {', '.join(lacking)}: it must have {', '.join(needed)}.")
        for number, line in enumerate(reader, start=2):
            if line["by_authors"] == QUOTED:
                continue
            place = Printed(**{name: line[name] for name in PRINTED_BY})
            if place in found:
                raise ValueError(
                    f"Line {number} of {path} has a second number for {', '.join(filter(None, place.key))}."
                )
            found[place] = line["value"]
    return found


def text(cell: Cell, numbers: Numbers) -> str:
    """What the paper prints in a cell: "44.51", "43.85 or 42.08" where it is lost which, or nothing.

    Raises:
        ValueError: the table of published results lacks a number of the cell.
    """
    if not numbers:
        return ""
    if strangers := [place for place in cell.published if place not in numbers]:
        raise ValueError(f"There is no published number for {', '.join(filter(None, strangers[0].key))}.")
    return " or ".join(filter(None, (numbers[place] for place in cell.published)))
