"""Named studies in print: all of them, the cells of one, and what it would cost to run it."""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import groupby
from statistics import median

from rich.table import Table

from raydg.checkpoint import RunFolder, read_metrics
from raydg.experiment import Experiment, Study
from raydg.studies import printed
from raydg.studies.cell import Cell, Measurement, NamedStudy
from raydg.studies.printed import Numbers
from raydg.studies.scores import AVERAGES


def overview(studies: Sequence[NamedStudy]) -> Table:
    """A line for every study."""
    table = Table(title="Tables and figures of the five papers whose rows their authors ran")
    table.caption = (
        "`raydg studies NAME` shows its cells, `raydg studies NAME --dry-run` what it costs, `raydg studies NAME "
        "train|evaluate|table` runs it"
    )
    for heading in ("name", "what it is", "cells", "not here", "trainings"):
        table.add_column(heading, justify="left" if heading in ("name", "what it is") else "right")
    distinct: set[str] = set()
    for named in studies:
        trainings = {_training(m.experiment) for m in named.measurements if m.role != "architecture"}
        distinct |= trainings
        missing = sum(bool(cell.missing) for cell in named.cells)
        table.add_row(named.name, named.title, str(len(named.cells)), str(missing or ""), str(len(trainings)))
    cells = sum(len(named.cells) for named in studies)
    table.add_section()
    table.add_row("together", "trainings that several share counted once", str(cells), "", str(len(distinct)))
    return table


@cache
def _training(experiment: Experiment) -> str:
    return experiment.training_fingerprint()


def cells(named: NamedStudy, numbers: Numbers) -> Table:
    """A line for every cell; cells of a row that differ in the class alone share one."""
    table = Table(title=f"{named.name}: {named.title}")
    headings = ["row", "column", "experiment", "how it meets", "where", "metric", "paper"]
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for _, group in groupby(named.cells, _but_class):
        found = list(group)
        first, last = found[0], found[-1]
        several = len(found) > 1
        measurements = first.measurements
        columns = f"{first.column} … {last.column} ({len(found)})" if several else first.column
        told = "" if several else printed.text(first, numbers)
        table.add_row(
            first.row,
            columns,
            _joined(m.experiment.name for m in measurements),
            _joined(way(m) for m in measurements),
            _joined(place(m) for m in measurements) if measurements else "",
            first.missing or _joined(_metric(m, several) for m in measurements),
            told,
        )
    return table


def _but_class(cell: Cell) -> tuple:
    if cell.metric != "IoU":
        return cell.row, cell.column
    (measurement,) = cell.measurements
    return cell.row, measurement.experiment.name, measurement.domain, measurement.adaptation, cell.missing


def way(measurement: Measurement) -> str:
    """Inference and adaptation, the former where it is not the method's own."""
    own = measurement.experiment.stages[-1].method.default_inference()
    inference = [] if measurement.inference == own else [measurement.inference.label]
    return ", ".join([*inference, measurement.adaptation.variants[-1]])


def place(measurement: Measurement) -> str:
    """Role, domain and splits."""
    if measurement.domain is None:
        return measurement.role
    if measurement.role == "in-domain":
        splits = measurement.splits
    else:
        splits = measurement.experiment.target_splits if measurement.role == "target" else None
    return f"{measurement.role} {measurement.domain}" + (f" ({'+'.join(splits)})" if splits else "")


def _metric(measurement: Measurement, several: bool) -> str:
    if measurement.metric == "IoU":
        return "IoU of every class" if several else f"IoU of {measurement.detail}"
    shown = f" ({measurement.detail})" if measurement.detail else ""
    return f"{measurement.metric}{shown}" + (f", {measurement.classes}" if measurement.metric in AVERAGES else "")


def _joined(texts: Iterator[str]) -> str:
    """What differs, each once; a long list is counted."""
    different = list(dict.fromkeys(texts))
    if len(different) > 3:
        return f"{different[0]}, … ({len(different)})"
    return ", ".join(different)


def trainings(study: Study, runs: str) -> dict[str, Experiment]:
    """One experiment for every training, by what decides its weights and where it lies."""
    return {str(RunFolder.of(experiment, runs).path): experiment for experiment in study.experiments}


def cost(study: Study, runs: str) -> tuple[Table, list[str]]:
    """A line for every training, and notes: what is scored, which data it needs, how long it would take as far as that
    was measured."""
    table = Table(title=f"{study.name}: what has to be run")
    for heading in ("training", "sources", "seed", "steps", "images a step", "images", "done"):
        table.add_column(heading, justify="left" if heading in ("training", "sources") else "right")
    steps = images = left = done = 0
    seconds: list[float] = []
    for experiment in trainings(study, runs).values():
        folder = RunFolder.of(experiment, runs)
        at = min(experiment.steps, max((checkpoint.step for checkpoint in folder.checkpoints()), default=0))
        seconds += [line["seconds"] for line in read_metrics(folder.metrics) if "seconds" in line]
        steps, left = steps + experiment.steps, left + experiment.steps - at
        images, done = images + experiment.steps * experiment.batch_size, done + (at == experiment.steps)
        table.add_row(
            experiment.name,
            ", ".join(experiment.source_names),
            str(experiment.seed),
            f"{experiment.steps:,}",
            str(experiment.batch_size),
            f"{experiment.steps * experiment.batch_size:,}",
            "yes" if at == experiment.steps else f"{at:,}" if at else "",
        )
    notes = [
        f"{len(trainings(study, runs))} trainings, {done} of them done: {steps:,} steps, {images:,} images forward and "
        "back, as often as the method passes them"
    ]
    if seconds:
        hours = left * median(seconds) / 3600
        notes.append(
            f"{left:,} steps are left: {hours:,.1f} hours at the {median(seconds):.3g} s that is the median of the "
            f"{len(seconds):,} steps which ran in {runs}, one training after another"
        )
    else:
        notes.append(f"{left:,} steps are left; no step of theirs ran in {runs}, so nothing says how long one takes")
    notes.append(f"scoring: {passes(study):,} passes over a domain, random orders counted")
    notes += [f"prepared data: {space}: {', '.join(names)}" for space, names in domains(study).items()]
    return table, notes


def passes(study: Study) -> int:
    """How often a domain is predicted as a whole."""
    total = 0
    for experiment in study.experiments:
        scored = [*experiment.targets, *(dict.fromkeys(experiment.sources) if experiment.in_domain_splits else ())]
        orders = sum(adaptation.num_orders for adaptation in experiment.adaptations)
        for domain in scored:
            total += orders * sum(i.predicts(experiment.source_names, domain) for i in experiment.scored_inferences)
    return total


def domains(study: Study) -> dict[str, list[str]]:
    """The domains that must have been prepared, by the name of the classes."""
    found: dict[str, dict[str, None]] = {}
    for experiment in study.experiments:
        names = [*experiment.sources, *filter(None, [experiment.development]), *experiment.targets]
        found.setdefault(experiment.label_space.name, {}).update(dict.fromkeys(names))
    return {space: list(names) for space, names in found.items()}
