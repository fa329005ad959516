"""Under what terms something may be used, and what follows for what is made of several such things."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from raydg.values import Value

CommercialUse = Literal["yes", "no", "unknown"]


@dataclass(frozen=True)
class Licence(Value):
    """The terms of a dataset or of pretrained weights, as far as their text was read; no legal advice."""

    of: str
    """What they are the terms of."""
    terms: str
    """In words."""
    commercial_use: CommercialUse
    """"unknown" where no text was read that says so."""


def commercial_use(licences: Iterable[Licence]) -> CommercialUse:
    """Whether what is made of all of these may be used commercially: "no" if one forbids it, else "unknown" if one is
    silent. "yes" for nothing at all."""
    answers = {licence.commercial_use for licence in licences}
    return "no" if "no" in answers else "unknown" if "unknown" in answers else "yes"
