"""Scores targets, and sources in-domain: only for a checkpoint that a selection has chosen, spread over actors, counts
added exactly."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
import ray.data
import torch

from raydg.adaptation import Predictor, TrainBN
from raydg.assembly import TRAIN, VALIDATION
from raydg.checkpoint import RunFolder, read_rows, write_rows
from raydg.cluster import outcome, session
from raydg.evaluation import Confusion, Row, RowRole
from raydg.experiment import Experiment
from raydg.methods import Extended
from raydg.models import Network
from raydg.resources import Resources
from raydg.scoring import ScoringBatch, count, scoring_batches
from raydg.selection import Selected, select, select_oracle
from raydg.shards import PreparedDomain


def evaluate(experiment: Experiment, folder: RunFolder, resources: Resources) -> list[Row]:
    """Select a checkpoint by the experiment's rule, then score the targets with it, and the sources' held-out splits.

    Returns:
        The target and in-domain rows of the selected checkpoint, one per domain, inference, adaptation and order.
    """
    rows = folder.validation_rows(experiment)
    selected = select(rows, experiment.selection, experiment.label_space.task, classes=experiment.scored_ids)
    return score_targets(experiment, folder, selected, resources)


def evaluate_oracle(experiment: Experiment, folder: RunFolder, resources: Resources) -> list[Row]:
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
        rows += score_targets(plain, folder, Selected(step=checkpoint.step, rule="oracle", score=None), resources)
    return score_targets(
        experiment, folder, select_oracle(rows, experiment.label_space.task, classes=experiment.scored_ids), resources
    )


def score_targets(experiment: Experiment, folder: RunFolder, selected: Selected, resources: Resources) -> list[Row]:
    """Score every domain that the experiment judges, by every inference under every adaptation, with the selected
    checkpoint; what has been scored before is read, not run."""
    resources = resources.resolved()
    done = read_rows(folder.targets)
    wanted, jobs = plan(experiment, selected, resources.data)
    missing = [number for number, row in enumerate(wanted) if not any(_same(row, other) for other in done)]
    counts = {number: Confusion.empty(experiment.label_space.num_classes) for number in missing}
    todo = [job for job in jobs if job["row"] in counts]
    if todo:
        for result in _run(todo, Scorer(folder, selected.step, experiment, resources)):
            counts[int(result["row"])] += Confusion(np.asarray(result["counts"]))
        done += [replace(wanted[number], counts=confusion.to_json()) for number, confusion in counts.items()]
        write_rows(folder.targets, done)
    return [next(other for other in done if _same(row, other)) for row in wanted]


def plan(experiment: Experiment, selected: Selected, data: str) -> tuple[list[Row], list[dict[str, Any]]]:
    """The rows that a selected checkpoint is to get, with empty counts, and the batches whose counts make them.

    An inference that is not defined on a domain gets no row there.
    """
    rows, jobs = [], []
    for role, domain, splits in judged(experiment, data):
        for way, inference in enumerate(experiment.scored_inferences):
            if not inference.predicts(experiment.source_names, domain.name):
                continue
            for number, adaptation in enumerate(experiment.adaptations):
                for order in range(adaptation.num_orders):
                    batches = scoring_batches(
                        domain, splits, adaptation, experiment.evaluation_size, experiment.seed, order
                    )
                    jobs += [
                        {
                            "row": len(rows),
                            "domain": domain.name,
                            "inference": way,
                            "adaptation": number,
                            "split": b.split,
                            "positions": list(b.positions),
                        }
                        for b in batches
                    ]
                    rows.append(
                        Row(
                            step=selected.step,
                            role=role,
                            domain=domain.name,
                            split="+".join(splits),
                            inference=inference.label,
                            adaptation=adaptation.label,
                            order=order,
                            num_images=sum(len(batch.positions) for batch in batches),
                            counts=Confusion.empty(experiment.label_space.num_classes).to_json(),
                        )
                    )
    return rows, jobs


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

    def predictor(self, inference: int, adaptation: int, domain: str) -> Predictor:
        way = self.experiment.scored_inferences[inference]
        key = (inference, adaptation, domain if way.knows_domain else None)
        if key not in self.predictors:
            module = way.module(self.model, self.experiment.source_names, domain).to(self.device).eval()
            self.predictors[key] = self.experiment.adaptations[adaptation].predictor(module)
        return self.predictors[key]

    @cached_property
    def domains(self) -> dict[str, PreparedDomain]:
        experiment = self.experiment
        names = (*experiment.targets, *(experiment.sources if experiment.in_domain_splits else ()))
        return {n: PreparedDomain.open(self.resources.data, experiment.label_space, n) for n in names}

    def __call__(self, job: dict[str, Any]) -> dict[str, Any]:
        """Counts (k, k) of one batch of the plan."""
        predictor = self.predictor(int(job["inference"]), int(job["adaptation"]), str(job["domain"]))
        batch = ScoringBatch(str(job["split"]), tuple(int(position) for position in job["positions"]))
        dtype = torch.float64 if self.experiment.precision == "float64" else torch.float32
        domain = self.domains[str(job["domain"])]
        counted = count(predictor, domain, batch, self.experiment.evaluation_size, self.device, dtype)
        return {"row": job["row"], "counts": counted.counts}


def _run(jobs: list[dict[str, Any]], scorer: Scorer) -> Iterable[dict[str, Any]]:
    """The jobs' counts in any order: in this process, or over a pool of actors that each hold the network once."""
    resources = scorer.resources
    if resources.workers == 0:
        return map(scorer, jobs)
    session.start(resources.address, resources.workers * resources.cpus_per_worker)
    size = min(resources.scorers or resources.workers, len(jobs))

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


def _same(row: Row, other: Row) -> bool:
    """Whether two rows are the same measurement, whatever was counted."""
    return replace(row, counts=other.counts) == other
