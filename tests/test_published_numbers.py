"""The papers' numbers: all there, as they were printed, and none guessed."""

import tomllib
from collections import Counter
from pathlib import Path

import pytest

import raydg.published as module
from raydg.published import by_authors, lookup, one, published


def test_every_number_is_there_once() -> None:
    """Counts of the description beside the file."""
    rows = published()
    assert len(rows) == 2558
    papers = {"tsmldg": 238, "pin-the-memory": 1059, "self-adaptation": 359, "deft": 236, "dmg": 666}
    assert Counter(row.paper for row in rows) == papers
    assert Counter(row.paper for row in rows if row.value is None) == {"pin-the-memory": 3, "self-adaptation": 19}
    keys = {tuple(value for name, value in vars(row).items() if name not in ("printed", "note")) for row in rows}
    assert len(keys) == len(rows)


def test_numbers_keep_their_digits_and_unreadable_ones_stay_empty() -> None:
    ours = one(paper="tsmldg", table="T1", method="Our Method", sources="G+S+I+M", target="C")
    assert (ours.printed, ours.value, ours.by_authors, ours.classes) == ("61.11", 61.11, "yes", 19)
    assert (ours.source_domains, ours.target_domain) == (("gtav", "synthia", "idd", "mapillary"), "cityscapes")
    assert ours.place == "tsmldg T1"
    lost = one(paper="pin-the-memory", table="T3", method="Baseline of DRPC")
    assert (lost.printed, lost.value) == ("", None)


def test_numbers_are_found_by_our_names_of_domains() -> None:
    found = lookup(paper="dmg", target_domain="pacs/sketch", backbone="AlexNet")
    assert found and {row.target for row in found} == {"pacs:S"}
    assert {row.source_domains for row in found} == {("pacs/art_painting", "pacs/cartoon", "pacs/photo")}
    average = lookup(sources="pacs:leave-one-out")[0]
    assert average.source_domains == () and average.target_domain is None
    assert lookup(paper="tsmldg", table="T99") == ()


def test_what_the_authors_ran_is_told_from_what_they_quote() -> None:
    assert len(by_authors()) == 1733 and {row.by_authors for row in by_authors()} == {"yes"}
    quoted = lookup(paper="tsmldg", table="T1", by_authors="no")
    assert len(quoted) == 4 and by_authors(quoted) == ()


def test_a_key_that_finds_several_says_what_tells_them_apart() -> None:
    with pytest.raises(ValueError, match=r"2 published numbers have .*They differ in sources: G, G\+S\+I\+M: name it"):
        one(paper="tsmldg", table="T1", method="Our Method")
    with pytest.raises(ValueError, match="No published number has paper='tsmldg', method='none'"):
        one(paper="tsmldg", method="none")
    with pytest.raises(ValueError, match="no field papers; there are paper, table, method"):
        lookup(papers="tsmldg")


def test_the_numbers_travel_with_the_package() -> None:
    file = Path(module.__file__).with_suffix(".csv")
    root = Path(__file__).parents[1]
    wheel = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert file.parent.name in wheel["packages"] and not {"exclude", "only-include"} & wheel.keys()
    ignored = (root / ".gitignore").read_text().split()
    assert not any(line in ("*.csv", "raydg/", file.name) for line in ignored)
