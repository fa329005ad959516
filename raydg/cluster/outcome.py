"""Carries what a task returns through a row of Ray Data, or the error that a user can mend, without Ray's traceback."""

import pickle
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

Row = dict[str, bytes]


def pack(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Row:
    """Call the function in a task; its result, or the OSError or ValueError that it raised, as a row."""
    try:
        outcome: object = function(*args, **kwargs)
    except (OSError, ValueError) as error:
        outcome = error
    return {"outcome": pickle.dumps(outcome, protocol=pickle.HIGHEST_PROTOCOL)}


def unpack(row: Row) -> Any:
    """What the function returned; what it raised is raised here."""
    outcome = pickle.loads(row["outcome"])
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
