"""Tables of what was scored: made of rows, and shown as text in Markdown, LaTeX and CSV."""

from raydg.report.cells import (
    ECE,
    ECE_BINS,
    ERRORS,
    IN_DOMAIN,
    MEAN,
    MILLISECONDS,
    SOURCES,
    VERDICTS,
    WORDS,
    Cell,
    Table,
)
from raydg.report.making import AFTERWARDS, Baseline, averaged, table, tables
from raydg.report.text import Format, Options, as_csv, escaped, latex, markdown, markdown_grid, rendered

__all__ = [
    "AFTERWARDS",
    "ECE",
    "ECE_BINS",
    "ERRORS",
    "IN_DOMAIN",
    "MEAN",
    "MILLISECONDS",
    "SOURCES",
    "VERDICTS",
    "WORDS",
    "Baseline",
    "Cell",
    "Format",
    "Options",
    "Table",
    "as_csv",
    "averaged",
    "escaped",
    "latex",
    "markdown",
    "markdown_grid",
    "rendered",
    "table",
    "tables",
]
