"""What has to be scored: which images of which domains, by which inference, in which way and in what batches."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raydg.assembly import TRAIN, VALIDATION
from raydg.evaluation import AS_VALIDATED, Confusion, Row, RowRole
from raydg.experiment import Experiment
from raydg.judging.ways import Way
from raydg.methods import Inference
from raydg.protocol import Protocol
from raydg.scoring import Shard, scoring_batches, shards
from raydg.shards import PreparedDomain
from raydg.values import encode, fingerprint

SELECTING: tuple[RowRole, ...] = ("source-validation", "development")
"""Roles of rows that choose; all others are read afterwards."""


@dataclass(frozen=True)
class Question:
    """One run of an adaptation over a domain: the rows that it is to give, one per variant, and the shards of it."""

    rows: tuple[Row, ...]
    """With no counts yet."""
    inference: Inference
    way: Way
    splits: tuple[str, ...]
    protocol: Protocol
    shards: tuple[Shard, ...]

    @property
    def file(self) -> Path:
        """Where its rows are written down; those that choose stand apart from those that are read afterwards, in a file
        of each question's own, since the trials of a sweep score at once."""
        if self.rows[0].role not in SELECTING:
            return self.way.folder.targets
        return self.way.folder.choosing / f"{fingerprint(encode(self.rows))[:32]}.jsonl"

    def address(self, weights: Sequence[str], experiment: Experiment) -> str:
        """What decides the counts, in 64 hexadecimal digits: weights, images, and every setting between them."""
        single, adaptations = len(weights) == 1, [encode(member.adaptation) for member in self.way.members]
        # The order of the images is in the shards. A way to predict may ask for the names of the sources.
        asked: list[Any] = [weights[0] if single else list(weights), self.rows[0].content, self.rows[0].domain]
        asked += [list(self.splits), encode(self.inference), adaptations[0] if single else adaptations]
        asked += [list(experiment.source_names), encode(self.protocol), experiment.precision == "float64"]
        asked += [[[[batch.split, list(batch.positions)] for batch in shard] for shard in self.shards]]
        return fingerprint(asked)


def plan(experiment: Experiment, ways: Sequence[Way], data: str) -> list[Question]:
    """What it takes to judge ways of meeting the targets, and sources in-domain, by every inference.

    An inference that is not defined on a domain gets no row there.
    """
    label = experiment.protocol.label if experiment.protocol else AS_VALIDATED
    return _questions(
        judged(experiment, data), experiment.scored_inferences, ways, experiment.scored_protocol, label, experiment
    )


def plan_selecting(experiment: Experiment, ways: Sequence[Way], on: RowRole, data: str) -> list[Question]:
    """What it takes to choose among ways, by the sources' validation splits or the development domain."""
    inference = experiment.stages[-1].method.validation_inference()
    domains = selecting(experiment, on, data)
    return _questions(domains, [inference], ways, experiment.validation_protocol, AS_VALIDATED, experiment)


def _questions(
    domains: Iterable[tuple[RowRole, PreparedDomain, tuple[str, ...]]],
    inferences: Sequence[Inference],
    ways: Sequence[Way],
    protocol: Protocol,
    protocol_label: str,
    experiment: Experiment,
) -> list[Question]:
    questions = []
    empty = Confusion.empty(experiment.label_space.num_classes).to_json()
    for role, domain, splits in domains:
        for inference in inferences:
            if not inference.predicts(experiment.source_names, domain.name):
                continue
            for way in ways:
                for order in range(way.adaptation.num_orders):
                    batches = scoring_batches(domain, splits, way.adaptation, protocol, experiment.seed, order)
                    rows = tuple(
                        Row(
                            step=way.step,
                            role=role,
                            domain=domain.name,
                            split="+".join(splits),
                            inference=inference.label,
                            adaptation=variant,
                            order=order,
                            num_images=sum(len(batch.positions) for batch in batches),
                            counts=empty,
                            protocol=protocol_label,
                            content=domain.manifest.index_sha256,
                        )
                        for variant in way.variants
                    )
                    cut = tuple(shards(batches, way.adaptation))
                    questions.append(Question(rows, inference, way, splits, protocol, cut))
    return questions


def judged(experiment: Experiment, data: str) -> Iterator[tuple[RowRole, PreparedDomain, tuple[str, ...]]]:
    """What a selected checkpoint is scored on: the targets, and sources in-domain, each with its splits."""
    for name in experiment.targets:
        domain = PreparedDomain.open(data, experiment.label_space, name)
        yield "target", domain, target_splits(experiment, domain)
    for name in dict.fromkeys(experiment.sources) if experiment.in_domain_splits else ():
        domain = PreparedDomain.open(data, experiment.label_space, name)
        yield "in-domain", domain, in_domain_splits(experiment, domain)


def selecting(
    experiment: Experiment, on: RowRole, data: str
) -> Iterator[tuple[RowRole, PreparedDomain, tuple[str, ...]]]:
    """Where a choice is made, as checkpoints are validated: sources with a validation split, or the development domain.

    Raises:
        ValueError: a role that must not choose, or no development domain.
    """
    if on not in SELECTING:
        raise ValueError(f"Rows of the role {on!r} choose nothing: it must be one of {', '.join(SELECTING)}.")
    if on == "development" and experiment.development is None:
        raise ValueError(f"{experiment.name!r} has no development domain to choose by: name one, or take the sources.")
    names = [experiment.development] if on == "development" else list(dict.fromkeys(experiment.sources))
    for name in filter(None, names):
        domain = PreparedDomain.open(data, experiment.label_space, name)
        if VALIDATION in domain.splits:
            yield on, domain, (VALIDATION,)
        elif on == "development":
            yield on, domain, tuple(domain.splits)


def in_domain_splits(experiment: Experiment, domain: PreparedDomain) -> tuple[str, ...]:
    """The held-out splits of a source that are scored.

    Raises:
        ValueError: the source lacks one, or it is a part of what the source trains on.
    """
    splits = experiment.in_domain_splits or ()
    trained = set(domain.sample_ids(TRAIN))
    for split in splits:
        if split not in domain.parts:
            raise ValueError(
                f"Experiment.in_domain_splits names {split!r}, but source {domain.name!r} has "
                f"{', '.join(domain.parts)}."
            )
        if trained.intersection(domain.sample_ids(split)):
            raise ValueError(
                f"Experiment.in_domain_splits names {split!r}, which in source {domain.name!r} has images of its "
                f"{TRAIN!r} split: an in-domain score is of images that did not train."
            )
    return splits


def target_splits(experiment: Experiment, domain: PreparedDomain) -> tuple[str, ...]:
    """The splits of a target that are scored: those the experiment names, else its validation split, else all it
    has."""
    if experiment.target_splits is not None:
        for split in experiment.target_splits:
            if split not in domain.parts:
                raise ValueError(
                    f"Experiment.target_splits names {split!r}, but target {domain.name!r} has "
                    f"{', '.join(domain.parts)}."
                )
        return experiment.target_splits
    return (VALIDATION,) if VALIDATION in domain.splits else tuple(domain.splits)
