"""The ways in which trained checkpoints meet a domain: one alone, or those of several seeds together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from raydg.adaptation import Adaptation
from raydg.checkpoint import RunFolder
from raydg.experiment import Experiment
from raydg.selection import Chosen, Selected
from raydg.values import fingerprint


@dataclass(frozen=True)
class Member:
    """A checkpoint, and how it meets images."""

    folder: RunFolder
    step: int
    adaptation: Adaptation


@dataclass(frozen=True)
class Way:
    """A way of meeting a domain: one checkpoint, or the several of an ensemble, each adapting by itself."""

    members: tuple[Member, ...]
    """Of an ensemble by their seeds. They meet images in the same batches."""
    label: str | None = None
    """What tables call it, if not as its adaptation is called: that of the choice that it is the result of."""

    @property
    def adaptation(self) -> Adaptation:
        """That of the first member, which speaks for the others where only batches matter."""
        return self.members[0].adaptation

    @property
    def variants(self) -> tuple[str, ...]:
        """Labels of the rows that are written down: where members have chosen differently, one that names all."""
        labels = [member.adaptation.label for member in self.members]
        return self.adaptation.variants if len(set(labels)) == 1 else (" + ".join(labels),)

    @property
    def step(self) -> int:
        """Of the checkpoint; of an ensemble the latest."""
        return max(member.step for member in self.members)

    @property
    def folder(self) -> RunFolder:
        """Where its scores are: in its run's folder, of an ensemble in one beside those of its members, which follows
        from their trainings and steps."""
        first = self.members[0].folder
        if len(self.members) == 1:
            return first
        who = fingerprint([[member.folder.path.name, member.step] for member in self.members])
        name = first.path.name.rsplit("-", 2)[0]
        return RunFolder(first.path.with_name(f"{name}-ensemble-of-{len(self.members)}-{who[:10]}"))


def in_order(experiments: Sequence[Experiment]) -> list[Experiment]:
    """The members of an ensemble by their seeds.

    Raises:
        ValueError: experiments that differ in more.
    """
    if len({replace(experiment, seed=0) for experiment in experiments}) != 1:
        names = ", ".join(f"{experiment.name!r} with seed {experiment.seed}" for experiment in experiments)
        raise ValueError(f"{names} make no ensemble: its members are one experiment, with several seeds.")
    return sorted(experiments, key=lambda experiment: experiment.seed)


def competing(jointly: bool, experiment: Experiment, folder: RunFolder, selected: Selected) -> list[int]:
    """The checkpoints, by their steps, that a choice is made among: the selected one, or every one that was validated.

    Raises:
        ValueError: it is made jointly, and checkpoints were pruned.
    """
    return [checkpoint.step for checkpoint in folder.every_result(experiment)] if jointly else [selected.step]


def ways_of(
    experiment: Experiment, folder: RunFolder, selected: Selected, chosen: Mapping[str, Chosen]
) -> list[tuple[Member, str | None]]:
    """How a trained experiment meets its targets, each with its label if it is the result of a choice: by the selected
    checkpoint under every adaptation, and by what the choices came to; those that came to nothing yet are left out."""
    ways: list[tuple[Member, str | None]] = [
        (Member(folder, selected.step, adaptation), None) for adaptation in experiment.adaptations
    ]
    for choice in experiment.choices:
        if choice.label in chosen:
            found = chosen[choice.label]
            ways.append((Member(folder, found.step, choice.candidate(found.adaptation)), choice.label))
    return ways


def alone(way: tuple[Member, str | None]) -> Way:
    """One member by itself."""
    return Way((way[0],), way[1])


def together(ways: Sequence[Sequence[tuple[Member, str | None]]]) -> list[Way]:
    """The ways that several seeds have in common, as ways of their ensemble; a choice that is open with one is left
    out."""
    made = []
    for number, adaptation in enumerate(member.adaptation for member, label in ways[0] if label is None):
        assert all(of_seed[number][0].adaptation == adaptation for of_seed in ways)
        made.append(Way(tuple(of_seed[number][0] for of_seed in ways)))
    for label in (label for _, label in ways[0] if label is not None):
        found = [member for of_seed in ways for member, of in of_seed if of == label]
        if len(found) == len(ways):
            made.append(Way(tuple(found), label))
    return made
