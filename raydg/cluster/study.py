"""Runs a study: trains each experiment, selects, scores the targets, and leaves tables, pictures and a record
behind."""

import json
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table as RichTable

from raydg import progress, report
from raydg.adaptation import batches
from raydg.calibration import Calibration
from raydg.checkpoint import RunFolder, read_rows, write_whole
from raydg.cluster.evaluate import evaluate, evaluate_oracle, target_splits
from raydg.cluster.train import train
from raydg.evaluation import AS_VALIDATED, Row
from raydg.experiment import Experiment, Study
from raydg.resources import Resources
from raydg.scoring import at_size, fit, shown
from raydg.selection import select
from raydg.shards import PreparedDomain, Sample
from raydg.tracking import Tracker
from raydg.values import encode

PICTURES = 4
"""Rows of a picture grid."""


def train_study(study: Study, resources: Resources, console: Console) -> None:
    """Train every experiment that is not trained yet."""
    resources = resources.resolved()
    tracker = Tracker(study, resources.tracking_uri or "", resources.runs)
    for experiment, label in _labelled(study):
        folder = RunFolder.of(experiment, resources.runs)
        with tracker.following(experiment, folder), progress.shown(console, label, folder, experiment.steps):
            train(experiment, resources)
    tracker.finish()


def evaluate_study(study: Study, resources: Resources, console: Console) -> None:
    """Select a checkpoint of every experiment, score what it names, print and write the tables, draw the pictures.

    Raises:
        ValueError: an experiment has not been trained to its end.
    """
    resources = resources.resolved()
    tracker = Tracker(study, resources.tracking_uri or "", resources.runs)
    for experiment, label in _labelled(study):
        folder = trained(experiment, resources)
        with progress.scoring(console, label, experiment.label_space.task) as watch:
            rows = evaluate(experiment, folder, resources, watch)
        tracker.log_targets(experiment, folder, rows)
    output = Path(resources.runs) / study.name
    for target in dict.fromkeys(target for experiment in study.experiments for target in experiment.targets):
        path = output / f"{target.replace('/', '-')}.png"
        draw_target(study, target, resources, path)
        reliability = output / f"{target.replace('/', '-')}-reliability.png"
        drawn = draw_reliability(study, target, resources, reliability)
        for picture in (path, reliability) if drawn else (path,):
            tracker.log_file(None, picture)
            console.print(f"picture: {picture}", soft_wrap=True)
    show_table(study, resources, console)
    tracker.log_file(None, output / "table.md")
    tracker.finish()
    console.print(f"MLflow UI: mlflow ui --backend-store-uri {resources.tracking_uri}", soft_wrap=True)


def show_table(study: Study, resources: Resources, console: Console) -> None:
    """Print the study's tables, and write them as Markdown beside the study's JSON."""
    resources = resources.resolved()
    scored = [(experiment, selected_rows(experiment, resources)) for experiment in study.experiments]
    output = Path(resources.runs) / study.name
    output.mkdir(parents=True, exist_ok=True)
    write_whole(output / "study.json", json.dumps(encode(study), indent=1))
    _show(report.tables(study.name, scored), output / "table.md", console)


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
        folder = trained(experiment, resources)
        with progress.scoring(console, f"every checkpoint of {label}", experiment.label_space.task) as watch:
            scored.append((experiment, evaluate_oracle(experiment, folder, resources, watch)))
    rule = "ORACLE: the targets themselves chose it; an upper bound, no result"
    tables = report.tables(f"{study.name}: oracle", scored, rule)
    _show(tables, Path(resources.runs) / study.name / "oracle.md", console)


def _show(tables: Sequence[report.Table], path: Path, console: Console) -> None:
    for table in tables:
        shown = RichTable(title=table.title)
        for name in table.header():
            shown.add_column(name, justify="left" if name in report.WORDS else "right")
        for line in table.lines():
            shown.add_row(*line)
        console.print(shown)
        for note in table.notes:
            console.print(f"- {note}", highlight=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, "\n".join(table.markdown() for table in tables))
    console.print(f"table: {path}", soft_wrap=True)


def selected_rows(experiment: Experiment, resources: Resources) -> list[Row]:
    """Rows of the checkpoint that the experiment's rule selects: on the sources' validation splits, and on the targets
    and in-domain in the ways that the experiment names."""
    folder = RunFolder.of(experiment, resources.runs)
    rows = folder.validation_rows(experiment)
    if not rows:
        return []
    step = select(rows, experiment.selection, experiment.label_space.task, classes=experiment.scored_ids).step
    protocol = experiment.protocol.label if experiment.protocol else AS_VALIDATED
    inferences = {inference.label for inference in experiment.scored_inferences}
    held_out = "+".join(experiment.in_domain_splits or ())
    wanted = {}
    for name in experiment.targets:
        domain = PreparedDomain.open(resources.data, experiment.label_space, name)
        wanted[name] = "+".join(target_splits(experiment, domain))
    sources = [row for row in rows if row.step == step and row.role == "source-validation"]
    scored = [
        row
        for row in read_rows(folder.targets)
        if row.step == step
        and row.adaptation in experiment.variants
        and row.protocol == protocol
        and row.inference in inferences
        and row.split == (wanted.get(row.domain) if row.role == "target" else held_out)
    ]
    return sources + scored if scored else []


def trained(experiment: Experiment, resources: Resources) -> RunFolder:
    """The folder of a training that is complete.

    Raises:
        ValueError: it is not.
    """
    folder = RunFolder.of(experiment, resources.runs)
    done = max((checkpoint.step for checkpoint in folder.checkpoints()), default=0)
    if done < experiment.steps:
        raise ValueError(
            f"{experiment.name!r} with seed {experiment.seed} is trained to step {done} of {experiment.steps}: "
            "run `train` first."
        )
    return folder


def draw_target(study: Study, target: str, resources: Resources, path: Path) -> None:
    """A grid of image | truth | predictions of every experiment's first seed in every way, on evenly spread images."""
    shown = {e.name: e for e in reversed(study.experiments) if target in e.targets}
    experiments = list(reversed(shown.values()))
    space = experiments[0].label_space
    domain = PreparedDomain.open(resources.data, space, target)
    split = target_splits(experiments[0], domain)[-1]
    count = domain.num_samples(split)
    positions = np.unique(np.linspace(0, count - 1, min(PICTURES, count)).round().astype(int))
    samples = [domain.read(split, int(position)) for position in positions]
    columns = [report.Column("image", [sample.image for sample in samples])]
    if space.task == "segmentation":
        columns.append(report.Column("truth", [report.paint(np.asarray(sample.label), space) for sample in samples]))
    else:
        columns[0] = report.Column("image", columns[0].pictures, [space.classes[int(s.label)] for s in samples])
    for experiment in experiments:
        columns += _prediction_columns(experiment, target, samples, resources)
    report.picture_grid(columns, path)


def draw_reliability(study: Study, target: str, resources: Resources, path: Path) -> bool:
    """Reliability diagrams of every experiment on a target in every way, over its seeds and orders together.

    Returns:
        Whether there was anything to draw: a way to predict may be defined on sources only.
    """
    found: dict[str, Calibration] = {}
    for experiment in study.experiments:
        several = len(experiment.scored_inferences) > 1
        for row in selected_rows(experiment, resources):
            if row.role == "target" and row.domain == target and row.calibration:
                way = f"{row.inference}, " if several else ""
                title = f"{experiment.name}, {way}{row.adaptation}"
                calibration = row.calibration.only(experiment.scored_ids)
                found[title] = found[title] + calibration if title in found else calibration
    if found:
        report.reliability_diagrams(found, path)
    return bool(found)


def _prediction_columns(
    experiment: Experiment, target: str, samples: Sequence[Sample], resources: Resources
) -> Iterator[report.Column]:
    """What an experiment predicts on a target, in each of its ways; the samples are one batch where an adaptation sees
    a batch, and the whole stream where it keeps its state. An adaptation with variants shows the last.

    A protocol that cuts the image gives way to that of validation, for pictures show all of it.
    """
    folder = trained(experiment, resources)
    rows = folder.validation_rows(experiment)
    step = select(rows, experiment.selection, experiment.label_space.task, classes=experiment.scored_ids).step
    space, protocol = experiment.label_space, experiment.scored_protocol
    protocol = experiment.validation_protocol if protocol.cuts else protocol
    domain = PreparedDomain.open(resources.data, space, target)
    inferences = [i for i in experiment.scored_inferences if i.predicts(experiment.source_names, target)]
    for inference, adaptation in product(inferences, experiment.adaptations):
        network = folder.checkpoint_at(step).network(resources.device, inference, target)
        device, dtype = next(network.parameters()).device, next(network.parameters()).dtype
        predictor = adaptation.predictor(network)
        if adaptation.needs_fit:
            fit(predictor, domain, target_splits(experiment, domain), adaptation, protocol, device, dtype)
        sizes = [protocol.size(*sample.image.shape[:2]) for sample in samples]
        predicted: dict[int, torch.Tensor] = {}
        for positions in batches(sizes, adaptation, experiment.seed, 0):
            images = shown([samples[i].image for i in positions], protocol, device, dtype)
            predicted |= zip(positions, protocol.predict(predictor, images)[-1].split(1), strict=True)
        way = f"{inference.label}, " if len(inferences) > 1 else ""
        title = f"{experiment.name}, {way}{adaptation.variants[-1]}"
        ordered = [predicted[i] for i in range(len(samples))]
        if space.task == "segmentation":
            sizes = [sample.image.shape[:2] for sample in samples]
            maps = [at_size(p, size).argmax(1)[0].cpu().numpy() for p, size in zip(ordered, sizes, strict=True)]
            yield report.Column(title, [report.paint(map_, space) for map_ in maps])
        else:
            captions = [f"{space.classes[int(p.argmax(1))]} {float(p.max()):.0%}" for p in ordered]
            yield report.Column(title, [sample.image for sample in samples], captions)


def _labelled(study: Study) -> Iterator[tuple[Experiment, str]]:
    for number, experiment in enumerate(study.experiments, start=1):
        unseen = f" → {', '.join(experiment.targets)}" if experiment.targets else ""
        yield experiment, f"[{number}/{len(study.experiments)}] {experiment.name}{unseen}, seed {experiment.seed}"
