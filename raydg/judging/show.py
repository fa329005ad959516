"""Prints the tables of a study, and writes them beside its runs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from raydg import report
from raydg.checkpoint import write_whole
from raydg.experiment import Study
from raydg.judging.read import baseline, remarks, scored_rows
from raydg.resources import Resources
from raydg.values import encode

DEFAULT = report.Options()
"""A table as it is shown unless flags say otherwise."""

SUFFIXES: dict[Literal["markdown", "latex", "csv"], str] = {"markdown": ".md", "latex": ".tex", "csv": ".csv"}
"""Of the files that hold a table."""


def show_table(study: Study, resources: Resources, console: Console, options: report.Options = DEFAULT) -> None:
    """Print the study's tables, and write them as Markdown, LaTeX and CSV beside the study's JSON."""
    resources = resources.resolved()
    output = Path(resources.runs) / study.name
    output.mkdir(parents=True, exist_ok=True)
    write_whole(output / "study.json", json.dumps(encode(study), indent=1))
    tables = report.tables(
        study.name,
        scored_rows(study, resources),
        remarks=remarks(study, resources),
        baseline=baseline(options.baseline, resources, study=study),
    )
    show(tables, output / "table", console, options)


def show(tables: Sequence[report.Table], path: Path, console: Console, options: report.Options) -> None:
    """Write tables in all forms, whole, to `path` with each form's suffix, and print them in the one asked for.

    What is printed in the form of a file is that file's text and nothing else.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = {form: report.rendered(tables, form, options.calibration) for form in SUFFIXES}
    files = {form: path.with_name(path.name + suffix) for form, suffix in SUFFIXES.items()}
    for form, file in files.items():
        write_whole(file, texts[form])
    if options.format != "rich":
        console.print(texts[options.format], markup=False, highlight=False, soft_wrap=True, end="")
        return
    for table in tables:
        _print(console, table.title, table.header(), table.lines())
        header, lines = table.calibration()
        if options.calibration and lines:
            _print(console, f"{table.title}: calibration", header, lines)
        for note in table.described(options.calibration):
            console.print(f"- {note}", markup=False, highlight=False)
    console.print(f"table: {', '.join(map(str, files.values()))}", soft_wrap=True)


def _print(console: Console, title: str, header: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    shown = RichTable(title=escape(title))
    for name in header:
        shown.add_column(escape(name), justify="left" if name in report.WORDS else "right")
    for line in lines:
        shown.add_row(*map(escape, line))
    console.print(shown)
