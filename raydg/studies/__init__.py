"""The tables and figures of the five papers whose rows their authors ran, as studies with names: `tsmldg/T3`."""

import difflib
from collections.abc import Callable, Iterator
from functools import cache

from raydg.studies import deft, dmg, pin_the_memory, self_adaptation, tsmldg
from raydg.studies.cell import Cell, Measurement, NamedStudy, Printed

__all__ = ["Cell", "Measurement", "NamedStudy", "Printed", "named_studies", "named_study"]

PAPERS: dict[str, Callable[[], Iterator[NamedStudy]]] = {
    "tsmldg": tsmldg.studies,
    "pin-the-memory": pin_the_memory.studies,
    "self-adaptation": self_adaptation.studies,
    "deft": deft.studies,
    "dmg": dmg.studies,
}


@cache
def of_paper(paper: str) -> tuple[NamedStudy, ...]:
    """The studies of one paper, tables first."""
    return tuple(PAPERS[paper]())


def named_studies() -> tuple[NamedStudy, ...]:
    """Every study, paper by paper."""
    return tuple(study for paper in PAPERS for study in of_paper(paper))


def named_study(name: str) -> NamedStudy:
    """The study of that name.

    Raises:
        ValueError: there is none; the message has the nearest names, or those of the paper.
    """
    paper, _, _ = name.partition("/")
    known = [study.name for study in (of_paper(paper) if paper in PAPERS else named_studies())]
    if name in known:
        return of_paper(paper)[known.index(name)]
    if paper in PAPERS:
        raise ValueError(f"There is no study {name!r}; {paper} has {', '.join(known)}.")
    near = difflib.get_close_matches(name, known, n=3)
    advice = f"perhaps you meant {' or '.join(near)}" if near else f"papers are {', '.join(PAPERS)}"
    raise ValueError(f"There is no study {name!r}; {advice}. `raydg studies` lists all.")
