"""Text files that list samples."""

from collections.abc import Sequence

from raydg.storage import Place


def read_list(path: Place) -> list[Sequence[str]]:
    """The lines of a list, two columns each; empty ones are left out.

    Raises:
        ValueError: the list is missing, or a line has another number of columns.
    """
    if not path.is_file():
        raise ValueError(f"the list {path} is missing.")
    lines = [line.split() for line in path.read_text().splitlines()]
    for number, line in enumerate(lines, start=1):
        if len(line) not in (0, 2):
            raise ValueError(f"{path}, line {number}, has {len(line)} columns: it must have 2, a file and its label.")
    return [line for line in lines if line]
