"""Scores targets, and sources in-domain: only for a checkpoint that a selection has chosen, spread over actors, counts
added exactly."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import ray.data
import torch

from raydg.adaptation import Predictor, TrainBN
from raydg.assembly import TRAIN, VALIDATION
from raydg.checkpoint import RunFolder, read_rows, write_rows
from raydg.cluster import outcome, session
from raydg.evaluation import AS_VALIDATED, Confusion, Cost, Histogram, Row, RowRole
from raydg.experiment import Experiment
from raydg.methods import Extended
from raydg.models import Network
from raydg.progress import Scored
from raydg.records import Record
from raydg.resources import Resources
from raydg.scoring import ScoringBatch, Shard, fit, record, scoring_batches, shards
from raydg.selection import Selected, select, select_oracle
from raydg.shards import PreparedDomain
from raydg.values import encode, fingerprint

Watch = Callable[[Scored], None]
"""Told how far a row is, whenever some of its images have been counted."""


def evaluate(
    experiment: Experiment, folder: RunFolder, resources: Resources, watch: Watch = lambda scored: None
) -> list[Row]:
    """Select a checkpoint by the experiment's rule, then score the targets with it, and the sources' held-out splits.

    Returns:
        The target and in-domain rows of the selected checkpoint, one per domain, inference, variant of an adaptation
        and order.
    """
    rows = folder.validation_rows(experiment)
    selected = select(rows, experiment.selection, experiment.label_space.task, classes=experiment.scored_ids)
    return score_targets(experiment, folder, selected, resources, watch)


def evaluate_oracle(
    experiment: Experiment, folder: RunFolder, resources: Resources, watch: Watch = lambda scored: None
) -> list[Row]:
    """The target rows of the checkpoint that the targets themselves would choose: an upper bound, never a result.

    Every checkpoint of the last stage is scored on the targets by the method's own inference without adaptation; the
    best mean over them is scored in all the experiment's ways.

    Raises:
        ValueError: checkpoints were pruned, so the best may be gone.
    """
    if experiment.keep_checkpoints is not None:
        raise ValueError("Experiment.keep_checkpoints must be None for an oracle: pruned checkpoints cannot be judged.")
    plain = replace(experiment, inferences=None, adaptations=(TrainBN(),), in_domain_splits=None)
    rows = []
    for checkpoint in folder.results(experiment):
        selected = Selected(step=checkpoint.step, rule="oracle", score=None)
        rows += score_targets(plain, folder, selected, resources, _at_step(watch, checkpoint.step))
    best = select_oracle(rows, experiment.label_space.task, classes=experiment.scored_ids)
    return score_targets(experiment, folder, best, resources, watch)


def _at_step(watch: Watch, step: int) -> Watch:
    """The same, for rows that are told apart by their checkpoint."""
    return lambda scored: watch(replace(scored, name=f"step {step}, {scored.name}"))


def score_targets(
    experiment: Experiment,
    folder: RunFolder,
    selected: Selected,
    resources: Resources,
    watch: Watch = lambda scored: None,
) -> list[Row]:
    """Score every domain that the experiment judges, by every inference under every adaptation, with the selected
    checkpoint.

    What has been scored before is read, not run. Every shard that is done leaves its counts in the run's folder, whole
    or not at all, under a name that follows from all that decides them; so an evaluation that was killed goes on where
    it stopped, on however many actors, and every image counts once. An adaptation that keeps its state is one shard,
    which starts anew.
    """
    resources = resources.resolved()
    questions = plan(experiment, selected, resources.data)
    done = read_rows(folder.targets)
    missing = [q for q in questions if not all(any(_same(row, other) for other in done) for row in q.rows)]
    if missing:
        weights = hashlib.sha256((folder.checkpoint_at(selected.step).path / "model.safetensors").read_bytes())
        parts = [_Parts(folder, question, weights.hexdigest(), experiment) for question in missing]
        jobs = []
        for number, part in enumerate(parts):
            jobs += [question_job(part.question, number, shard) for shard in part.missing()]
            watch(part.progress())
            if part.complete:
                part.finish()
        if jobs:
            for result in _run(jobs, Scorer(folder, selected.step, experiment, resources)):
                part = parts[int(result["question"])]
                part.add(int(result["shard"]), result["record"])
                watch(part.progress())
                if part.complete:
                    part.finish()
        done = read_rows(folder.targets)
    return [next(other for other in done if _same(row, other)) for q in questions for row in q.rows]


@dataclass(frozen=True)
class Question:
    """One run of an adaptation over a domain: the rows that it is to give, one per variant, and the shards of it."""

    rows: tuple[Row, ...]
    """With no counts yet."""
    content: str
    """SHA-256 of the index of the prepared domain."""
    inference: int
    """Which of the experiment's."""
    adaptation: int
    """Likewise."""
    splits: tuple[str, ...]
    shards: tuple[Shard, ...]

    def address(self, weights: str, experiment: Experiment) -> str:
        """What decides the counts, in 64 hexadecimal digits: weights, images, and every setting between them."""
        way, adaptation = experiment.scored_inferences[self.inference], experiment.adaptations[self.adaptation]
        # The order of the images is in the shards. A way to predict may ask for the names of the sources.
        asked: list[Any] = [weights, self.content, self.rows[0].domain, list(self.splits)]
        asked += [encode(way), encode(adaptation)]
        asked += [list(experiment.source_names), encode(experiment.scored_protocol), experiment.precision == "float64"]
        asked += [[[[batch.split, list(batch.positions)] for batch in shard] for shard in self.shards]]
        return fingerprint(asked)


def plan(experiment: Experiment, selected: Selected, data: str) -> list[Question]:
    """What the rows of a selected checkpoint need to be run.

    An inference that is not defined on a domain gets no row there.
    """
    questions = []
    empty = Confusion.empty(experiment.label_space.num_classes).to_json()
    protocol = experiment.protocol.label if experiment.protocol else AS_VALIDATED
    for role, domain, splits in judged(experiment, data):
        for way, inference in enumerate(experiment.scored_inferences):
            if not inference.predicts(experiment.source_names, domain.name):
                continue
            for number, adaptation in enumerate(experiment.adaptations):
                for order in range(adaptation.num_orders):
                    batches = scoring_batches(
                        domain, splits, adaptation, experiment.scored_protocol, experiment.seed, order
                    )
                    rows = tuple(
                        Row(
                            step=selected.step,
                            role=role,
                            domain=domain.name,
                            split="+".join(splits),
                            inference=inference.label,
                            adaptation=variant,
                            order=order,
                            num_images=sum(len(batch.positions) for batch in batches),
                            counts=empty,
                            protocol=protocol,
                        )
                        for variant in adaptation.variants
                    )
                    cut = tuple(shards(batches, adaptation))
                    questions.append(Question(rows, domain.manifest.index_sha256, way, number, splits, cut))
    return questions


def question_job(question: Question, number: int, shard: int) -> dict[str, Any]:
    """What an actor must know to score one shard."""
    return {
        "question": number,
        "shard": shard,
        "domain": question.rows[0].domain,
        "splits": list(question.splits),
        "inference": question.inference,
        "adaptation": question.adaptation,
        # Text, because a row of Ray Data makes arrays of nested lists.
        "batches": json.dumps([[batch.split, batch.positions] for batch in question.shards[shard]]),
    }


class _Parts:
    """The records of a question's shards: those that are on disk, and those that come in.

    Args:
        folder: the run's, where parts lie until all are there, and the joined record ever after.
        question: what was asked.
        weights: SHA-256 of the checkpoint's weights.
        experiment: what asks.
    """

    def __init__(self, folder: RunFolder, question: Question, weights: str, experiment: Experiment) -> None:
        self.folder, self.question, self.experiment = folder, question, experiment
        self.whole = folder.records / f"{question.address(weights, experiment)[:32]}.npz"
        self.records = {}
        for shard in range(len(question.shards)):
            if self.path(shard).exists():
                self.records[shard] = Record.load(self.path(shard))
        self.resumed = sum(len(record.images) for record in self.records.values())
        self.counted = self.resumed
        self.running = sum((r.confusion() for r in self.records.values()), self._empty())

    def path(self, shard: int) -> Path:
        return self.whole.with_suffix("") / f"{shard:06d}.npz"

    def missing(self) -> list[int]:
        """Shards that are still to be scored."""
        return [] if self.complete else [s for s in range(len(self.question.shards)) if s not in self.records]

    @property
    def complete(self) -> bool:
        return len(self.records) == len(self.question.shards) or self.whole.exists()

    def add(self, shard: int, record: Record) -> None:
        """Write a shard's record; one that came before, from an actor that was thought dead, is the same and stays."""
        if shard in self.records:
            return
        record.save(self.path(shard))
        self.records[shard] = record
        self.counted += len(record.images)
        self.running = self.running + record.confusion()

    def progress(self) -> Scored:
        """How far the question is, by its last variant."""
        row, space = self.question.rows[-1], self.experiment.label_space
        several = len(self.experiment.scored_inferences) > 1
        name = f"{row.domain}, {f'{row.inference}, ' if several else ''}{row.adaptation}"
        score = self.running.score(space.task, self.experiment.scored_ids)
        return Scored(
            name + (f", order {row.order}" if row.order else ""), self.counted, self.resumed, row.num_images, score
        )

    def finish(self) -> None:
        """Put the joined record and the rows in place, and remove the parts."""
        if self.whole.exists():
            record = Record.load(self.whole)
        else:
            record = Record.joined([self.records[shard] for shard in range(len(self.question.shards))])
            record.save(self.whole)
        done = read_rows(self.folder.targets)
        wanted = [
            replace(
                row,
                counts=record.confusion(variant).to_json(),
                histogram=Histogram(*record.calibration(variant).to_json()),
                record=str(self.whole.relative_to(self.folder.path)),
                cost=cost(record),
            )
            for variant, row in enumerate(self.question.rows)
        ]
        kept = [row for row in done if not any(_same_question(row, other) for other in wanted)]
        write_rows(self.folder.targets, kept + wanted)
        shutil.rmtree(self.whole.with_suffix(""), ignore_errors=True)
        self.counted = self.question.rows[0].num_images
        self.running, self.records = record.confusion(), {}

    def _empty(self) -> Confusion:
        return Confusion.empty(self.experiment.label_space.num_classes)


def cost(record: Record) -> Cost:
    """The time of a prediction, and what it was measured on."""
    sizes = {(int(height), int(width)) for height, width in record.sizes}
    size = "{}x{}".format(*sizes.pop()) if len(sizes) == 1 else f"{len(sizes)} sizes"
    return Cost(float(np.median(record.seconds)), f"{' and '.join(sorted(set(record.measured_on)))}, {size}")


def judged(experiment: Experiment, data: str) -> Iterator[tuple[RowRole, PreparedDomain, tuple[str, ...]]]:
    """What a selected checkpoint is scored on: the targets, and sources in-domain, each with its splits."""
    for name in experiment.targets:
        domain = PreparedDomain.open(data, experiment.label_space, name)
        yield "target", domain, target_splits(experiment, domain)
    for name in dict.fromkeys(experiment.sources) if experiment.in_domain_splits else ():
        domain = PreparedDomain.open(data, experiment.label_space, name)
        yield "in-domain", domain, in_domain_splits(experiment, domain)


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


@dataclass(frozen=True)
class Scorer:
    """Scores batches with one checkpoint; builds its network and predictors once, where it runs."""

    folder: RunFolder
    step: int
    experiment: Experiment
    resources: Resources

    @cached_property
    def device(self) -> torch.device:
        torch.set_num_threads(self.resources.cpus_per_worker)
        return torch.device(self.resources.device)

    @cached_property
    def model(self) -> Network | Extended:
        return self.folder.checkpoint_at(self.step).model()

    @cached_property
    def predictors(self) -> dict[tuple[int, int, str | None], Predictor]:
        """Those made so far, by inference, adaptation and, where the inference must know it, domain."""
        return {}

    def predictor(self, inference: int, adaptation: int, domain: str, splits: tuple[str, ...]) -> Predictor:
        """The predictor of an inference under an adaptation, which has seen the domain if it needs to.

        One that keeps its state is made anew every time, for every stream begins with what was trained.
        """
        way, how = self.experiment.scored_inferences[inference], self.experiment.adaptations[adaptation]
        key = (inference, adaptation, domain if way.knows_domain or how.needs_fit else None)
        if key in self.predictors and not how.keeps_state:
            return self.predictors[key]
        module = way.module(self.model, self.experiment.source_names, domain).to(self.device).eval()
        made = how.predictor(module)
        if how.needs_fit:
            fit(made, self.domains[domain], splits, how, self.experiment.scored_protocol, self.device, self.dtype)
        if not how.keeps_state:
            self.predictors[key] = made
        return made

    @cached_property
    def domains(self) -> dict[str, PreparedDomain]:
        experiment = self.experiment
        names = (*experiment.targets, *(experiment.sources if experiment.in_domain_splits else ()))
        return {n: PreparedDomain.open(self.resources.data, experiment.label_space, n) for n in names}

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64 if self.experiment.precision == "float64" else torch.float32

    def __call__(self, job: dict[str, Any]) -> dict[str, Any]:
        """The record of one shard of the plan."""
        device, domain = self.device, str(job["domain"])
        splits = tuple(map(str, job["splits"]))
        predictor = self.predictor(int(job["inference"]), int(job["adaptation"]), domain, splits)
        shard = tuple(ScoringBatch(split, tuple(positions)) for split, positions in json.loads(job["batches"]))
        counted = record(predictor, self.domains[domain], shard, self.experiment.scored_protocol, device, self.dtype)
        return {"question": job["question"], "shard": job["shard"], "record": counted}


def _run(jobs: list[dict[str, Any]], scorer: Scorer) -> Iterable[dict[str, Any]]:
    """The jobs' records in any order: in this process, or over a pool of actors that each hold the network once.

    Ray starts an actor that died again, and its shard with it.
    """
    resources = scorer.resources
    if resources.workers == 0:
        return map(scorer, jobs)
    size = min(resources.scorers or resources.workers, len(jobs))
    session.start(resources.address, size * resources.cpus_per_worker)

    class Actor:
        def __init__(self) -> None:
            self.score = scorer

        def __call__(self, job: dict[str, Any]) -> outcome.Row:
            return outcome.pack(self.score, job)

    dataset = ray.data.from_items(jobs, override_num_blocks=len(jobs))
    scored = dataset.map(
        cast(Any, Actor),  # a class, which Ray makes actors of; its annotation names functions only
        compute=ray.data.ActorPoolStrategy(size=size),
        num_cpus=resources.cpus_per_worker,
        num_gpus=resources.gpus_per_worker or None,
    )
    return map(outcome.unpack, scored.iter_rows())


def _same_question(row: Row, other: Row) -> bool:
    """Whether two rows ask for the same measurement, whatever was counted."""
    return replace(row, counts=other.counts, histogram=other.histogram, record=other.record) == other


def _same(row: Row, scored: Row) -> bool:
    """Whether `scored` answers what `row` asks for, confidence included."""
    return scored.histogram is not None and _same_question(row, scored)
