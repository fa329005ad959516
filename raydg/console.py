"""The console that commands print on."""

import sys

from rich.console import Console


def open_console() -> Console:
    """As wide as the terminal, or 160 columns in a file or a job's log: where nobody resizes the window, a table must
    not be squeezed into 80, nor an id be broken."""
    return Console(width=None if sys.stdout.isatty() else 160)
