"""Settings of an adaptation that scores choose: candidates, and where they compete."""

from dataclasses import dataclass, fields
from typing import Literal, get_args

from raydg.adaptation.adaptation import Adaptation, Sees
from raydg.values import Value


@dataclass(frozen=True, kw_only=True)
class Choice(Value):
    """The best of several adaptations, chosen by its score where targets are not looked at.

    Self-adaptation chooses the instance weight of IaBN from 0 to 1 in steps of 0.1 by the mean IoU on WildDash (section
    5.1, Figure 4). The paper does not say for which checkpoint; its code scores every epoch under every weight and
    takes the best pair: `jointly`. Of equals the first candidate wins, and of its checkpoints the earliest, as there.

    Raises:
        ValueError: fewer than two candidates, two of one label, or one that gives several results.
    """

    candidates: tuple[Adaptation, ...]
    """What it is chosen from, in this order."""
    on: Literal["development", "source-validation"] = "development"
    """Which score decides: on the development domain, or the mean over the sources' validation splits."""
    jointly: bool = False
    """Whether every checkpoint competes under every candidate; if not, the candidates do with the selected one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(len(self.candidates) >= 2, "candidates", "at least two adaptations")
        labels = [candidate.label for candidate in self.candidates]
        self.require(len(set(labels)) == len(labels), "candidates", "adaptations with labels that differ")
        single = all(len(candidate.variants) == 1 for candidate in self.candidates)
        self.require(single, "candidates", "adaptations of one result each (SegTTT.also_after has more)")

    @property
    def label(self) -> str:
        """What tables call it: what was chosen, by what."""
        kinds = list(dict.fromkeys(candidate.label.partition("(")[0] for candidate in self.candidates))
        differing = []
        if len({type(candidate) for candidate in self.candidates}) == 1:
            names = [field.name for field in fields(self.candidates[0])]
            settings = {name: {getattr(candidate, name) for candidate in self.candidates} for name in names}
            differing = [name for name, found in settings.items() if len(found) > 1]
        what = " or ".join(kinds) + (f", {' and '.join(differing)}" if differing else "")
        return f"{what} chosen {'with the checkpoint ' if self.jointly else ''}on {self.on}"

    @property
    def sees(self) -> Sees:
        """What of the target the chosen one depends on at most."""
        rising: tuple[Sees, ...] = get_args(Sees)
        return rising[max(rising.index(candidate.sees) for candidate in self.candidates)]

    @property
    def meets_alike(self) -> bool:
        """Whether all candidates meet images in the same batches, so that members of an ensemble may differ in it."""
        return len({_batching(candidate) for candidate in self.candidates}) == 1

    def candidate(self, label: str) -> Adaptation:
        """The candidate of that label."""
        return next(candidate for candidate in self.candidates if candidate.label == label)


def _batching(adaptation: Adaptation) -> tuple[Sees, int, int, bool, bool]:
    one = adaptation
    return one.sees, one.batch_size, one.num_orders, one.keeps_state, one.needs_fit
