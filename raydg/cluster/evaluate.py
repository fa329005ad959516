"""Scores targets: only for a checkpoint that a selection has chosen, spread over actors, counts added exactly."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
import ray.data
import torch

from raydg.adaptation import Predictor, TrainBN
from raydg.assembly import VALIDATION
from raydg.checkpoint import RunFolder, read_rows, write_rows
from raydg.cluster import outcome, session
from raydg.evaluation import Confusion, Row
from raydg.experiment import Experiment
from raydg.resources import Resources
from raydg.scoring import ScoringBatch, count, scoring_batches
from raydg.selection import Selected, select, select_oracle
from raydg.shards import PreparedDomain


def evaluate(experiment: Experiment, folder: RunFolder, resources: Resources) -> list[Row]:
    """Select a checkpoint by the experiment's rule, then score the targets with it.

    Returns:
        The target rows of the selected checkpoint, one per domain, adaptation and order.
    """
    selected = select(
        folder.validation_rows(), experiment.selection, experiment.label_space.task, classes=experiment.scored_ids
    )
    return score_targets(experiment, folder, selected, resources)


def evaluate_oracle(experiment: Experiment, folder: RunFolder, resources: Resources) -> list[Row]:
    """The target rows of the checkpoint that the targets themselves would choose: an upper bound, never a result.

    Every checkpoint is scored on the targets by plain inference; the best mean over them is scored under all
    adaptations.

    Raises:
        ValueError: checkpoints were pruned, so the best may be gone.
    """
    if experiment.keep_checkpoints is not None:
        raise ValueError("Experiment.keep_checkpoints must be None for an oracle: pruned checkpoints cannot be judged.")
    plain = replace(experiment, adaptations=(TrainBN(),))
    rows = []
    for checkpoint in folder.checkpoints():
        rows += score_targets(plain, folder, Selected(step=checkpoint.step, rule="oracle", score=None), resources)
    return score_targets(
        experiment, folder, select_oracle(rows, experiment.label_space.task, classes=experiment.scored_ids), resources
    )


def score_targets(experiment: Experiment, folder: RunFolder, selected: Selected, resources: Resources) -> list[Row]:
    """Score every target under every adaptation with the selected checkpoint; what has been scored before is read, not
    run."""
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
    """The rows that a selected checkpoint is to get, with empty counts, and the batches whose counts make them."""
    rows, jobs = [], []
    for name in experiment.targets:
        domain = PreparedDomain.open(data, experiment.label_space, name)
        splits = target_splits(experiment, domain)
        for number, adaptation in enumerate(experiment.adaptations):
            for order in range(adaptation.num_orders):
                batches = scoring_batches(
                    domain, splits, adaptation, experiment.evaluation_size, experiment.seed, order
                )
                jobs += [
                    {
                        "row": len(rows),
                        "domain": name,
                        "adaptation": number,
                        "split": b.split,
                        "positions": list(b.positions),
                    }
                    for b in batches
                ]
                rows.append(
                    Row(
                        step=selected.step,
                        role="target",
                        domain=name,
                        split="+".join(splits),
                        adaptation=adaptation.label,
                        order=order,
                        num_images=sum(len(batch.positions) for batch in batches),
                        counts=Confusion.empty(experiment.label_space.num_classes).to_json(),
                    )
                )
    return rows, jobs


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
    def predictors(self) -> list[Predictor]:
        network = self.folder.checkpoint_at(self.step).network(self.device)
        return [adaptation.predictor(network) for adaptation in self.experiment.adaptations]

    @cached_property
    def domains(self) -> dict[str, PreparedDomain]:
        experiment = self.experiment
        return {n: PreparedDomain.open(self.resources.data, experiment.label_space, n) for n in experiment.targets}

    def __call__(self, job: dict[str, Any]) -> dict[str, Any]:
        """Counts (k, k) of one batch of the plan."""
        predictor = self.predictors[int(job["adaptation"])]
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
