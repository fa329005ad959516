"""The five papers' printed results, number by number, to stand beside ours: read from `published.csv`.

A number keeps the digits that it was printed with. What cannot be read in the text of a paper has a row without a
value; what a paper marks with a dash has no row.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal

from raydg.values import Value

Paper = Literal["tsmldg", "pin-the-memory", "self-adaptation", "deft", "dmg"]
Metric = Literal["mIoU", "IoU", "accuracy", "ECE", "time_ms", "parameters_M", "GFLOPs"]

DOMAINS = {
    "G": "gtav",
    "S": "synthia",
    "I": "idd",
    "M": "mapillary",
    "C": "cityscapes",
    "B": "bdd100k",
    "pacs:A": "pacs/art_painting",
    "pacs:C": "pacs/cartoon",
    "pacs:P": "pacs/photo",
    "pacs:S": "pacs/sketch",
    "domainnet:C": "domainnet/clipart",
    "domainnet:I": "domainnet/infograph",
    "domainnet:P": "domainnet/painting",
    "domainnet:Q": "domainnet/quickdraw",
    "domainnet:R": "domainnet/real",
    "domainnet:S": "domainnet/sketch",
}
"""Our names of the papers' domains."""


@dataclass(frozen=True)
class Published(Value):
    """One printed number."""

    paper: Paper
    table: str
    """`T2`, `T1a`, `F4`, or `text`."""
    method: str
    """The paper's name; variants of an ablation follow a comma or a colon."""
    network: str
    """Empty where the paper names none; so for `backbone`."""
    backbone: str
    sources: str
    """`G+S`, `pacs:A+C+P`; `pacs:leave-one-out` for an average over folds; empty for what needs no training data."""
    target: str
    """`C`, `pacs:S`; the sources for in-domain numbers; `mean` for the paper's own average over the targets that the
    note names, `mean (in-domain)` likewise."""
    split: Literal["val", "test", "unknown"]
    classes: int | None
    """Classes averaged; None: not stated, or not a matter of classes."""
    metric: Metric
    printed: str
    """The number with its digits; empty where it cannot be read."""
    unit: Literal["percent", "ms", "M", "GFLOP"]
    by_authors: Literal["yes", "no", "unknown"]
    """Whether the paper's authors ran it; "no" for what they quote."""
    class_name: str
    """Of a per-class IoU, else empty."""
    note: str

    @property
    def value(self) -> float | None:
        """The number; None where it cannot be read. It is never guessed."""
        return float(self.printed) if self.printed else None

    @property
    def source_domains(self) -> tuple[str, ...]:
        """Our names of the sources; none for an average over folds."""
        return _names(self.sources)

    @property
    def target_domain(self) -> str | None:
        """Our name of the target; None for an average or an in-domain number."""
        return DOMAINS.get(self.target)

    @property
    def place(self) -> str:
        """Where it is printed, for tables: "tsmldg T2"."""
        return f"{self.paper} {self.table}"


@cache
def published() -> tuple[Published, ...]:
    """Every number, in the papers' order."""
    with Path(__file__).with_suffix(".csv").open(newline="", encoding="utf-8") as file:
        return tuple(_read(line) for line in csv.DictReader(file))


def by_authors(rows: Sequence[Published] | None = None) -> tuple[Published, ...]:
    """Those that the papers' authors ran themselves; of all numbers, or of some."""
    return tuple(row for row in (published() if rows is None else rows) if row.by_authors == "yes")


def lookup(**key: str | int | tuple[str, ...] | None) -> tuple[Published, ...]:
    """Every number whose fields have these values, in the papers' order: `lookup(paper="dmg", table="T2")`.

    Args:
        key: names of `Published`'s fields, and of its properties `source_domains` and `target_domain`, with the value
            that they must have; a field that is not named may have any.

    Raises:
        ValueError: no such field; the message lists them.
    """
    legal = [field.name for field in fields(Published)] + ["source_domains", "target_domain"]
    if unknown := sorted(key.keys() - set(legal)):
        raise ValueError(f"Published numbers have no field {', '.join(unknown)}; there are {', '.join(legal)}.")
    return tuple(row for row in published() if all(getattr(row, name) == wanted for name, wanted in key.items()))


def one(**key: str | int | tuple[str, ...] | None) -> Published:
    """The only number that the key finds.

    Raises:
        ValueError: there is none, or several; the message shows what tells them apart.
    """
    found = list(lookup(**key))
    asked = ", ".join(f"{name}={wanted!r}" for name, wanted in key.items())
    if not found:
        raise ValueError(f"No published number has {asked}.")
    if len(found) > 1:
        different = {
            field.name: sorted({str(getattr(row, field.name)) for row in found})
            for field in fields(Published)
            if field.name not in ("printed", "note") and len({getattr(row, field.name) for row in found}) > 1
        }
        told = "; ".join(f"{name}: {', '.join(values)}" for name, values in different.items())
        raise ValueError(f"{len(found)} published numbers have {asked}. They differ in {told}: name it.")
    return found[0]


def _read(line: dict[str, str]) -> Published:
    given: dict[str, Any] = {name: text for name, text in line.items() if name != "value"}
    given |= {"printed": line["value"], "classes": int(line["classes"]) if line["classes"] else None}
    return Published(**given)


def _names(sources: str) -> tuple[str, ...]:
    prefix, colon, letters = sources.rpartition(":")
    names = [DOMAINS.get(f"{prefix}{colon}{letter}") for letter in letters.split("+")]
    return tuple(name for name in names if name) if all(names) else ()
