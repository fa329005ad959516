"""The papers' numbers: all there, as they were printed, and none guessed."""

import tomllib
from collections import Counter
from pathlib import Path

import raydg.published as module
from raydg.published import published


def test_every_number_is_there_once() -> None:
    """Counts of the description beside the file."""
    rows = published()
    assert len(rows) == 2558
    papers = {"tsmldg": 238, "pin-the-memory": 1059, "self-adaptation": 359, "deft": 236, "dmg": 666}
    assert Counter(row.paper for row in rows) == papers
    assert Counter(row.paper for row in rows if not row.printed) == {"pin-the-memory": 3, "self-adaptation": 19}
    keys = {tuple(value for name, value in vars(row).items() if name not in ("printed", "note")) for row in rows}
    assert len(keys) == len(rows)


def test_numbers_keep_their_digits_and_unreadable_ones_stay_empty() -> None:
    (ours,) = [
        row
        for row in published()
        if (row.paper, row.table, row.method) == ("tsmldg", "T1", "Our Method")
        and (row.sources, row.target) == ("G+S+I+M", "C")
    ]
    assert (ours.printed, ours.by_authors, ours.classes) == ("61.11", "yes", 19)
    lost = [row for row in published() if (row.table, row.method) == ("T3", "Baseline of DRPC") and not row.printed]
    assert [row.paper for row in lost] == ["pin-the-memory"]


def test_what_the_authors_ran_is_told_from_what_they_quote() -> None:
    assert Counter(row.by_authors for row in published())["yes"] == 1733
    quoted = [row for row in published() if (row.paper, row.table, row.by_authors) == ("tsmldg", "T1", "no")]
    assert len(quoted) == 4


def test_the_numbers_travel_with_the_package() -> None:
    file = Path(module.__file__).with_suffix(".csv")
    root = Path(__file__).parents[1]
    wheel = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert file.parent.name in wheel["packages"] and not {"exclude", "only-include"} & wheel.keys()
    ignored = (root / ".gitignore").read_text().split()
    assert not any(line in ("*.csv", "raydg/", file.name) for line in ignored)
