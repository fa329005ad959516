"""Runs a study: trains each experiment, selects, scores the targets, and leaves tables, pictures and a record
behind."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Literal

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from raydg import progress, report
from raydg.checkpoint import RunFolder, write_whole
from raydg.cluster.drawing import draw_reliability, draw_target
from raydg.cluster.evaluate import (
    Way,
    alone,
    decided,
    evaluate,
    evaluate_ensemble,
    evaluate_oracle,
    in_order,
    plan,
    recorded,
    selection,
    together,
    ways_of,
)
from raydg.cluster.train import train
from raydg.evaluation import Row
from raydg.experiment import Ensemble, Experiment, Study
from raydg.locking import held
from raydg.page.evidence import Judged, Scores
from raydg.records import Record
from raydg.resources import Resources
from raydg.selection import Chosen
from raydg.statistics import Tallies
from raydg.tracking import Tracker
from raydg.values import encode

DEFAULT = report.Options()
"""A table as it is shown unless flags say otherwise."""


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
        folder = trained(experiment, resources)
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


def show_table(study: Study, resources: Resources, console: Console, options: report.Options = DEFAULT) -> None:
    """Print the study's tables, and write them as Markdown, LaTeX and CSV beside the study's JSON."""
    resources = resources.resolved()
    output = Path(resources.runs) / study.name
    output.mkdir(parents=True, exist_ok=True)
    write_whole(output / "study.json", json.dumps(encode(study), indent=1))
    tables = report.tables(
        study.name,
        scored_rows(study, resources),
        remarks=remarks(study, resources),
        baseline=baseline(options.baseline, resources, study=study),
    )
    show(tables, output / "table", console, options)


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
    tables = report.tables(f"{study.name}: oracle", scored, ORACLE)
    show(tables, Path(resources.runs) / study.name / "oracle", console, DEFAULT)


ORACLE = "ORACLE: the targets themselves chose it; an upper bound, no result"
"""What tables say of that rule."""

SUFFIXES: dict[Literal["markdown", "latex", "csv"], str] = {"markdown": ".md", "latex": ".tex", "csv": ".csv"}
"""Of the files that hold a table."""


def show(tables: Sequence[report.Table], path: Path, console: Console, options: report.Options) -> None:
    """Write tables in all forms, whole, to `path` with each form's suffix, and print them in the one asked for.

    What is printed in the form of a file is that file's text and nothing else.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = {form: report.rendered(tables, form, options.calibration) for form in SUFFIXES}
    files = {form: path.with_name(path.name + suffix) for form, suffix in SUFFIXES.items()}
    for form, file in files.items():
        write_whole(file, texts[form])
    if options.format != "rich":
        console.print(texts[options.format], markup=False, highlight=False, soft_wrap=True, end="")
        return
    for table in tables:
        _print(console, table.title, table.header(), table.lines())
        header, lines = table.calibration()
        if options.calibration and lines:
            _print(console, f"{table.title}: calibration", header, lines)
        for note in table.described(options.calibration):
            console.print(f"- {note}", markup=False, highlight=False)
    console.print(f"table: {', '.join(map(str, files.values()))}", soft_wrap=True)


def _print(console: Console, title: str, header: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    shown = RichTable(title=escape(title))
    for name in header:
        shown.add_column(escape(name), justify="left" if name in report.WORDS else "right")
    for line in lines:
        shown.add_row(*map(escape, line))
    console.print(shown)


def baseline(
    name: str | None,
    resources: Resources,
    folder_of: Callable[[Experiment], RunFolder] | None = None,
    study: Study | None = None,
) -> report.Baseline | None:
    """What tables compare with, reading the images behind each row from the run's folder.

    Args:
        name: of the experiment; None: nothing is compared.
        resources: resolved.
        folder_of: the folder of an experiment's rows; by default its own.
        study: whose ensembles are compared too, each by what is in its own folder.
    """
    if name is None:
        return None
    of_ensembles = {
        (joint, way.label or variant): way.folder
        for joint, ways in (_ensembles(study, resources) if study else ())
        for way in ways
        for variant in way.variants
    }

    @cache
    def record(path: Path) -> Record:
        return Record.load(path)

    def tallies(experiment: Experiment, row: Row) -> Tallies | None:
        variants = [
            (adaptation.variants.index(row.adaptation)) - len(adaptation.variants)
            for adaptation in experiment.adaptations
            if row.adaptation in adaptation.variants
        ]
        variants += [-1 for choice in experiment.choices if choice.label == row.adaptation]
        folder = of_ensembles.get((experiment, row.adaptation))
        if folder is None:
            folder = folder_of(experiment) if folder_of else RunFolder.of(experiment, resources.runs)
        if row.record is None or not variants or not (folder.path / row.record).exists():
            return None
        kept = record(folder.path / row.record)
        return Tallies.of(kept, experiment.label_space.task, experiment.scored_ids, variants[0])

    return report.Baseline(name, tallies)


def scored_rows(study: Study, resources: Resources) -> list[tuple[Experiment, list[Row]]]:
    """What has been scored of a study: every experiment with its `selected_rows`, then every ensemble, as an experiment
    that is called so and has the lowest seed of its members, with those of its own."""
    resources = resources.resolved()
    scored = [(experiment, selected_rows(experiment, resources)) for experiment in study.experiments]
    return scored + rows_of_ensembles(study, resources)


def rows_of_ensembles(study: Study, resources: Resources) -> list[tuple[Experiment, list[Row]]]:
    """Of these the ensembles alone."""
    resources = resources.resolved()
    return [(joint, _rows(joint, ways, resources)) for joint, ways in _ensembles(study, resources)]


def selected_rows(experiment: Experiment, resources: Resources) -> list[Row]:
    """Rows of the checkpoint that the experiment's rule selects: on the sources' validation splits, and on the targets
    and in-domain in the ways that the experiment names; those that its choices came to with theirs."""
    folder = RunFolder.of(experiment, resources.runs)
    rows = folder.validation_rows(experiment)
    if not rows:
        return []
    selected = selection(experiment, folder)
    chosen = decided(experiment, folder, selected, resources.data)
    ways = [alone(way) for way in ways_of(experiment, folder, selected, chosen)]
    sources = [row for row in rows if row.step == selected.step and row.role == "source-validation"]
    scored = [row for row in recorded(plan(experiment, ways, resources.data)) if row is not None]
    return sources + scored if scored else []


def choices(experiment: Experiment, resources: Resources) -> dict[str, Chosen]:
    """What the experiment's choices came to, by their labels; those that lack scores are left out."""
    folder = RunFolder.of(experiment, resources.runs)
    if not experiment.choices or not folder.validation_rows(experiment):
        return {}
    return decided(experiment, folder, selection(experiment, folder), resources.data)


def _ensembles(study: Study, resources: Resources) -> Iterator[tuple[Experiment, list[Way]]]:
    """Every ensemble, as in `scored_rows`, with its ways; none while a member has no checkpoint to select."""
    for ensemble in study.ensembles:
        for members in ensemble.groups(study.experiments):
            joint = replace(members[0], name=ensemble.called(members[0]))
            yield joint, _ways_together(members, resources)


def _ways_together(experiments: Sequence[Experiment], resources: Resources) -> list[Way]:
    ways = []
    for experiment in in_order(experiments):
        folder = RunFolder.of(experiment, resources.runs)
        if not folder.validation_rows(experiment):
            return []
        selected = selection(experiment, folder)
        chosen = decided(experiment, folder, selected, resources.data)
        ways.append(ways_of(experiment, folder, selected, chosen))
    return together(ways)


def _rows(joint: Experiment, ways: Sequence[Way], resources: Resources) -> list[Row]:
    """What has been scored of an ensemble on the targets and in-domain."""
    return [row for row in recorded(plan(joint, ways, resources.data)) if row is not None]


def remarks(study: Study, resources: Resources) -> dict[str, tuple[str, ...]]:
    """What tables must say of experiments and ensembles, by the names that they are called: what was chosen, and who
    predicts together."""
    said = {name: list(texts) for name, texts in remarks_on_choices(study.experiments, resources).items()}
    for ensemble in study.ensembles:
        names = dict.fromkeys(experiment.name for experiment in study.experiments)
        for name in names:
            alike = [experiment for experiment in study.experiments if experiment.name == name]
            if groups := ensemble.groups(alike):
                said.setdefault(ensemble.called(alike[0]), []).append(_together(name, ensemble, groups))
            else:
                said.setdefault(name, []).append(_too_few(name, ensemble, alike))
    return {name: tuple(dict.fromkeys(texts)) for name, texts in said.items()}


def remarks_on_choices(experiments: Sequence[Experiment], resources: Resources) -> dict[str, tuple[str, ...]]:
    """Of these what was chosen; the experiments may be any, such as settings that a search has drawn."""
    resources = resources.resolved()
    said: dict[str, list[str]] = {}
    for experiment in experiments:
        if experiment.choices and RunFolder.of(experiment, resources.runs).validation_rows(experiment):
            said.setdefault(experiment.name, []).extend(_choices(experiment, choices(experiment, resources)))
    return {name: tuple(dict.fromkeys(texts)) for name, texts in said.items()}


SCORES = Scores(selected_rows, choices, rows_of_ensembles, remarks)
"""What has been scored of a study, for whoever shows it beside its tables."""


def _choices(experiment: Experiment, chosen: Mapping[str, Chosen]) -> Iterator[str]:
    for label, found in chosen.items():
        yield (
            f"{experiment.name}, seed {experiment.seed}: {label}: {found.adaptation}, at step {found.step} "
            f"({found.score:.2f})"
        )


def _together(name: str, ensemble: Ensemble, groups: Sequence[Sequence[Experiment]]) -> str:
    seeds = dict.fromkeys(" ".join(str(member.seed) for member in members) for members in groups)
    several = "± over the groups" if len(seeds) > 1 else "a single group, so it has no ±"
    return (
        f"{name}, ensemble of {ensemble.size}: mean of the probabilities of {ensemble.size} seeds, each adapting by "
        f"itself (seeds {'; '.join(seeds)}); {several}"
    )


def _too_few(name: str, ensemble: Ensemble, alike: Sequence[Experiment]) -> str:
    seeds = sorted({experiment.seed for experiment in alike})
    return (
        f"no ensemble of {ensemble.size} of {name}: it has the seeds {' '.join(map(str, seeds))} (--seeds gives others)"
    )


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


def _labelled(study: Study) -> Iterator[tuple[Experiment, str]]:
    for number, experiment in enumerate(study.experiments, start=1):
        place = f"[{number}/{len(study.experiments)}]"
        yield experiment, f"{place} {experiment.name}{_unseen(experiment)}, seed {experiment.seed}"


def _unseen(experiment: Experiment) -> str:
    return f" → {', '.join(experiment.targets)}" if experiment.targets else ""
