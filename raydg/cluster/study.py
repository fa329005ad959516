"""Runs a study: trains each experiment, selects, scores the targets, and leaves tables, pictures and a record
behind."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from raydg import progress, report
from raydg.checkpoint import RunFolder
from raydg.cluster.evaluate import evaluate, evaluate_ensemble, evaluate_oracle
from raydg.cluster.train import train
from raydg.drawing import draw_reliability, draw_target
from raydg.experiment import Experiment, Study
from raydg.judging.read import choices, scored_rows
from raydg.judging.show import DEFAULT, SUFFIXES, show, show_table
from raydg.locking import held
from raydg.page.evidence import Judged
from raydg.resources import Resources
from raydg.tracking import Tracker


def train_study(study: Study, resources: Resources, console: Console) -> None:
    """Train every experiment that is not trained yet.

    Raises:
        ValueError: another process trains one of them.
    """
    resources = resources.resolved()
    tracker = Tracker(study, resources.tracking_uri or "", resources.runs)
    for experiment, label in _labelled(study):
        folder = RunFolder.of(experiment, resources.runs)
        # Held first: who is refused must not send another's steps, nor mark its run as failed.
        alone = nullcontext() if folder.is_complete(experiment) else held(folder.lock)
        shown = progress.shown(console, label, folder, experiment.steps)
        with alone, tracker.following(experiment, folder), shown:
            train(experiment, resources)
    tracker.finish()


def evaluate_study(study: Study, resources: Resources, console: Console) -> None:
    """Select a checkpoint of every experiment, settle its choices, score what it names, then what ensembles of its
    seeds make of it; print and write the tables, then draw the pictures.

    Raises:
        ValueError: an experiment has not been trained to its end.
    """
    resources = resources.resolved()
    tracker = Tracker(study, resources.tracking_uri or "", resources.runs)
    for experiment, label in _labelled(study):
        folder = RunFolder.of_trained(experiment, resources.runs)
        with progress.scoring(console, label, experiment.label_space.task) as watch:
            rows = evaluate(experiment, folder, resources, watch)
        tracker.log_targets(experiment, folder, rows)
    for ensemble in study.ensembles:
        for members in ensemble.groups(study.experiments):
            seeds = tuple(member.seed for member in members)
            joint = replace(members[0], name=ensemble.called(members[0]))
            label = f"{joint.name}{_unseen(joint)}, seeds {' '.join(map(str, seeds))}"
            with progress.scoring(console, label, joint.label_space.task) as watch:
                rows = evaluate_ensemble(members, resources, watch)
            tracker.log_ensemble(joint, seeds, rows)
    show_table(study, resources, console)
    output = Path(resources.runs) / study.name
    for suffix in SUFFIXES.values():
        tracker.log_file(None, output / f"table{suffix}")
    for picture in _pictures(study, resources, output):
        tracker.log_file(None, picture)
        console.print(f"picture: {picture}", soft_wrap=True)
    tracker.finish()
    uri = resources.tracking_uri or ""
    served = uri.startswith(("http://", "https://"))
    console.print(f"MLflow UI: {uri if served else f'mlflow ui --backend-store-uri {uri}'}", soft_wrap=True)


def _pictures(study: Study, resources: Resources, output: Path) -> Iterator[Path]:
    """Draw every target, in this process: the driver's machine may have no GPU though the workers' have."""
    device = resources.device if torch.cuda.is_available() else "cpu"
    scored = scored_rows(study, resources)
    judged = [
        Judged(experiment, RunFolder.of(experiment, resources.runs), tuple(rows), choices(experiment, resources))
        for experiment, rows in scored[: len(study.experiments)]
    ]
    for target in dict.fromkeys(target for experiment in study.experiments for target in experiment.targets):
        grid = output / f"{target.replace('/', '-')}.png"
        if draw_target(judged, target, resources.data, device, grid):
            yield grid
        reliability = output / f"{target.replace('/', '-')}-reliability.png"
        if draw_reliability(scored, target, reliability):
            yield reliability


def show_oracle(study: Study, resources: Resources, console: Console) -> None:
    """Print the tables of the checkpoints that the targets themselves would choose.

    Raises:
        ValueError: an experiment has not been trained to its end, or its checkpoints were pruned.
    """
    resources = resources.resolved()
    scored = []
    for experiment, label in _labelled(study):
        if not experiment.targets:
            console.print(f"{label} has no target that could choose a checkpoint: left out", highlight=False)
            continue
        folder = RunFolder.of_trained(experiment, resources.runs)
        with progress.scoring(console, f"every checkpoint of {label}", experiment.label_space.task) as watch:
            scored.append((experiment, evaluate_oracle(experiment, folder, resources, watch)))
    tables = report.tables(f"{study.name}: oracle", scored, ORACLE)
    show(tables, Path(resources.runs) / study.name / "oracle", console, DEFAULT)


ORACLE = "ORACLE: the targets themselves chose it; an upper bound, no result"
"""What tables say of that rule."""


def _labelled(study: Study) -> Iterator[tuple[Experiment, str]]:
    for number, experiment in enumerate(study.experiments, start=1):
        place = f"[{number}/{len(study.experiments)}]"
        yield experiment, f"{place} {experiment.name}{_unseen(experiment)}, seed {experiment.seed}"


def _unseen(experiment: Experiment) -> str:
    return f" → {', '.join(experiment.targets)}" if experiment.targets else ""
