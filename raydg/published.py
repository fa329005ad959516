"""The five papers' printed results, number by number, to stand beside ours: read from `published.csv`.

A number keeps the digits that it was printed with. What cannot be read in the text of a paper has a row without a
value; what a paper marks with a dash has no row.
"""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from raydg.values import Value

Paper = Literal["tsmldg", "pin-the-memory", "self-adaptation", "deft", "dmg"]
Metric = Literal["mIoU", "IoU", "accuracy", "ECE", "time_ms", "parameters_M", "GFLOPs"]


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


@cache
def published() -> tuple[Published, ...]:
    """Every number, in the papers' order."""
    with Path(__file__).with_suffix(".csv").open(newline="", encoding="utf-8") as file:
        return tuple(_read(line) for line in csv.DictReader(file))


def _read(line: dict[str, str]) -> Published:
    given: dict[str, Any] = {name: text for name, text in line.items() if name != "value"}
    given |= {"printed": line["value"], "classes": int(line["classes"]) if line["classes"] else None}
    return Published(**given)
