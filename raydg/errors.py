"""How an error that a user can mend is shown: its message, not where in the code it was noticed."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

MENDABLE = (ValueError, ArithmeticError, OSError)
"""Errors whose message names the offending value, the legal ones and the fix; every other one is a defect and keeps
its traceback."""


@contextmanager
def readable_errors() -> Iterator[None]:
    """Print a mendable error and end the process with status 1."""
    try:
        yield
    except MENDABLE as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
