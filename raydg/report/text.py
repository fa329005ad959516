"""Tables as text: Markdown, LaTeX and CSV."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from raydg.report.cells import WORDS, Table
from raydg.values import Value

Format = Literal["rich", "markdown", "latex", "csv"]


@dataclass(frozen=True)
class Options(Value):
    """What `table` shows beside the scores, and how."""

    format: Format = "rich"
    """How the table is printed; files in all forms are written whichever it is."""
    baseline: str | None = None
    """Name of the experiment that all others are compared with, by a paired bootstrap over seeds and images."""
    calibration: bool = False
    """Whether a second table shows all calibration errors: in 15 and 10 bins, and self-adaptation's, per image and
    class."""


def rendered(tables: Sequence[Table], format: Literal["markdown", "latex", "csv"], calibration: bool = False) -> str:
    """Tables as the text of one file."""
    if format == "csv":
        return as_csv(tables)
    return "\n".join(
        markdown(table, calibration) if format == "markdown" else latex(table, calibration) for table in tables
    )


def markdown(table: Table, calibration: bool = False) -> str:
    """With the table of calibration errors below, if asked."""
    text = f"### {table.title}\n\n{markdown_grid(table.header(), table.lines())}\n\n"
    if calibration and table.calibration()[1]:
        text += f"{markdown_grid(*table.calibration())}\n\n"
    return text + "\n".join(f"- {note}" for note in table.described(calibration)) + "\n"


def latex(table: Table, calibration: bool = False) -> str:
    """A `table` environment with the rules of the package booktabs, notes below it; likewise."""
    bodies = [_tabular(table.header(), table.lines())]
    if calibration and table.calibration()[1]:
        bodies.append(_tabular(*table.calibration()))
    notes = "\n\n".join(rf"\footnotesize {escaped(note)}." for note in table.described(calibration))
    parts = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped(table.title)}}}",
        "\n\n\\bigskip\n\n".join(bodies),
    ]
    return "\n".join([*parts, "", r"\raggedright", notes, r"\end{table}", ""])


def as_csv(tables: Sequence[Table]) -> str:
    """All cells of all tables, a line each, under one header; what was not measured is empty."""
    records = [record for table in tables for record in table.records()]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def markdown_grid(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Header and body as a table of Markdown."""
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def _tabular(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    columns = "".join("l" if name in WORDS else "r" for name in header)
    rows = [" & ".join(map(escaped, row)) + r" \\" for row in (header, *lines)]
    body = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", rows[0], r"\midrule", *rows[1:], r"\bottomrule"]
    return "\n".join([*body, r"\end{tabular}"])


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "→": r"$\rightarrow$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    # After a row's end a bracket would be read as a length.
    "[": "{[}",
    "]": "{]}",
} | {special: f"\\{special}" for special in "&%$#_{}"}


def escaped(text: str) -> str:
    """Text as LaTeX shows it; numbers with a sign or an error are typeset as mathematics."""
    number = r"[+-]?\d+(?:\.\d+)?"
    parts = re.split(rf"((?<![\w.]){number} ± \d+(?:\.\d+)?|(?<![\w.)])[+-]\d+(?:\.\d+)?)", text)
    shown = []
    for place, part in enumerate(parts):
        if place % 2:
            shown.append(f"${part.replace('±', chr(92) + 'pm')}$")
        else:
            shown.append("".join(_LATEX.get(character, character) for character in part))
    return "".join(shown)
