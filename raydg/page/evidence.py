"""What the folders of a study hold, read for a page; nothing is computed by a network here."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from raydg.adaptation import Adaptation
from raydg.assembly import TRAIN
from raydg.charts import Trial
from raydg.checkpoint import Checkpoint, RunFolder, read_metrics, read_rows
from raydg.evaluation import Row
from raydg.experiment import Experiment, Study
from raydg.judging.read import choices, remarks, rows_of_ensembles, selected_rows
from raydg.licence import Licence
from raydg.records import Record
from raydg.report import Table, tables
from raydg.resources import Resources
from raydg.selection import Chosen
from raydg.shards import PreparedDomain
from raydg.values import decode

STUDY, TRIALS = "study.json", "trials.json"


@dataclass(frozen=True)
class Judged:
    """One experiment with one seed, and what its folder says of it."""

    experiment: Experiment
    folder: RunFolder
    rows: tuple[Row, ...]
    """Of the selected checkpoint: source-validation, target and in-domain; empty where nothing was scored."""
    chosen: Mapping[str, Chosen] = field(default_factory=dict)
    """What the experiment's choices came to, by their labels; their rows are labelled likewise."""

    @property
    def label(self) -> str:
        return f"{self.experiment.name}, seed {self.experiment.seed}"

    @property
    def targets(self) -> list[Row]:
        return [row for row in self.rows if row.role == "target"]

    @property
    def selected(self) -> Checkpoint | None:
        """The checkpoint that was selected, if it is there."""
        kept = {checkpoint.step: checkpoint for checkpoint in self.folder.checkpoints()}
        return kept.get(self.rows[0].step) if self.rows else None

    @cached_property
    def metrics(self) -> list[dict[str, float]]:
        return read_metrics(self.folder.metrics)

    @cached_property
    def validation(self) -> list[Row]:
        """Of every checkpoint that is kept, a warm-up's too."""
        return [row for checkpoint in self.folder.checkpoints() for row in checkpoint.rows()]

    @cached_property
    def analysis(self) -> list[Row]:
        return read_rows(self.folder.analysis)

    @cached_property
    def licences(self) -> tuple[Licence, ...]:
        kept = self.folder.checkpoints()
        return kept[-1].licences() if kept else ()

    def score(self, row: Row) -> float:
        """Percent, over the experiment's scored classes."""
        return row.confusion.score(self.experiment.label_space.task, self.experiment.scored_ids)

    def per_class(self, row: Row) -> np.ndarray:
        """(k,) percent: IoU, or the accuracy of a class; NaN for a class that is not scored or not there."""
        segments = self.experiment.label_space.task == "segmentation"
        ids = self.experiment.scored_ids
        found = np.full(row.confusion.num_classes, np.nan)
        wanted = list(range(len(found)) if ids is None else ids)
        found[wanted] = row.confusion.iou(wanted) if segments else row.confusion.class_accuracy()[wanted]
        return 100 * found

    def per_image(self, row: Row) -> dict[str, float]:
        """The score of every image by itself, percent, if the row has its record; NaN where nothing counts."""
        path = self.folder.path / (row.record or "")
        if not row.record or not path.is_file():
            return {}
        record, space = Record.load(path), self.experiment.label_space
        scores = record.scores(space.task, self.experiment.scored_ids, self.adaptation(row)[1])
        return dict(zip(record.images.tolist(), scores.tolist(), strict=True))

    def adaptation(self, row: Row) -> tuple[Adaptation, int]:
        """What adapted for a row, and which of its variants the row is; of a choice it is what that came to.

        Raises:
            ValueError: a row of another experiment.
        """
        for adaptation in self.experiment.adaptations:
            if row.adaptation in adaptation.variants:
                return adaptation, adaptation.variants.index(row.adaptation)
        for choice in self.experiment.choices:
            if choice.label == row.adaptation and choice.label in self.chosen:
                return choice.candidate(self.chosen[choice.label].adaptation), 0
        raise ValueError(f"{self.label} names no adaptation {row.adaptation!r}: run `evaluate` of its job again.")


@dataclass(frozen=True)
class Way:
    """A line of the tables: an experiment, whatever its seed, in one way to predict."""

    experiment: str
    inference: str
    adaptation: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self.experiment, self.inference, self.adaptation


@dataclass(frozen=True)
class Sweep:
    """The trials of one search."""

    name: str
    trials: tuple[Trial, ...]
    """Those that have a score."""
    num_trials: int
    seconds: float
    """Of all of them together."""


@dataclass(frozen=True)
class Evidence:
    """All that a page is made of but what networks must be run for."""

    title: str
    judged: tuple[Judged, ...]
    tables: tuple[Table, ...]
    domains: Mapping[str, PreparedDomain]
    """Prepared domains that are there, by name."""
    sweeps: tuple[Sweep, ...]
    study: Study | None
    """None where there is only a search."""
    ensembles: tuple[tuple[Experiment, tuple[Row, ...]], ...] = ()
    """Every ensemble, as an experiment that is called so; no network of its own is in a folder."""

    @cached_property
    def ways(self) -> dict[Way, dict[str, list[tuple[Judged, Row]]]]:
        """Target rows of all seeds and orders, by way and target, in the order of the tables."""
        found: dict[Way, dict[str, list[tuple[Judged, Row]]]] = {}
        for judged in self.judged:
            for row in judged.targets:
                way = Way(judged.experiment.name, row.inference, row.adaptation)
                found.setdefault(way, {}).setdefault(row.domain, []).append((judged, row))
        return found

    @cached_property
    def with_ensembles(self) -> dict[Way, dict[str, list[tuple[Experiment, Row]]]]:
        """The same, and then those of ensembles: all that needs no folder of its own."""
        found = {
            way: {target: [(judged.experiment, row) for judged, row in rows] for target, rows in of_way.items()}
            for way, of_way in self.ways.items()
        }
        for experiment, rows in self.ensembles:
            for row in rows:
                if row.role == "target":
                    way = Way(experiment.name, row.inference, row.adaptation)
                    found.setdefault(way, {}).setdefault(row.domain, []).append((experiment, row))
        return found

    def adaptations(self, way: Way) -> tuple[Adaptation, ...]:
        """What may have adapted in a way: an adaptation, or the candidates of a choice; seeds may differ in these."""
        experiment = next(e for found in self.with_ensembles[way].values() for e, _ in found)
        of_choices = {choice.label: choice.candidates for choice in experiment.choices}
        single = [each for each in experiment.adaptations if way.adaptation in each.variants]
        return tuple(single) or of_choices[way.adaptation]

    def text(self, way: Way, inside: bool = False) -> str:
        """A way in words; `inside` its experiment, without that one's name."""
        several = len({w.inference for w in self.with_ensembles if w.experiment == way.experiment}) > 1
        parts = ([] if inside else [way.experiment]) + ([way.inference] if several else []) + [way.adaptation]
        return ", ".join(parts)

    def experiment(self, name: str, target: str | None = None) -> Judged:
        """The first of that name, and on that target."""
        found = [j for j in self.judged if j.experiment.name == name]
        return next((j for j in found if target in j.experiment.targets), found[0])

    def per_class(self, way: Way, target: str) -> np.ndarray:
        """(k,) percent: mean over seeds of the mean over orders; NaN where one of them has none."""
        return mean_over_seeds(self.ways[way][target], lambda judged, row: judged.per_class(row))

    def per_image(self, way: Way, target: str) -> dict[str, float]:
        """Score of every image, percent, mean over seeds of the mean over orders; only images that all of them have."""
        found = [(judged, judged.per_image(row)) for judged, row in self.ways[way][target]]
        images = [name for name in found[0][1] if all(name in scores for _, scores in found)]
        by_seed: dict[int, list[list[float]]] = {}
        for judged, scores in found:
            by_seed.setdefault(judged.experiment.seed, []).append([scores[name] for name in images])
        means = np.mean([np.mean(orders, axis=0) for orders in by_seed.values()], axis=0)
        return dict(zip(images, means.tolist(), strict=True)) if images else {}

    def comparisons(self, target: str) -> list[tuple[Way, Way]]:
        """Pairs that are worth comparing on a target: every way of an experiment with the experiment's first, and the
        first ways of the experiments with that of the first experiment."""
        there = [way for way, found in self.ways.items() if target in found]
        firsts: dict[str, Way] = {}
        for way in there:
            firsts.setdefault(way.experiment, way)
        pairs = [(firsts[way.experiment], way) for way in there if way is not firsts[way.experiment]]
        base, *others = firsts.values()
        return pairs + [(base, other) for other in others if self._alike(base, other)]

    def _alike(self, a: Way, b: Way) -> bool:
        first, second = (self.experiment(way.experiment).experiment for way in (a, b))
        return (first.label_space, first.scored_classes) == (second.label_space, second.scored_classes)

    @property
    def targets(self) -> list[str]:
        return list(dict.fromkeys(target for found in self.ways.values() for target in found))

    def source_frequencies(self, judged: Judged) -> np.ndarray | None:
        """Share of every class in the labelled pixels (or images) that an experiment trains on; None where a source is
        not there."""
        names = set(judged.experiment.sources)
        if not names <= self.domains.keys():
            return None
        counts = [
            split.class_counts
            for name in sorted(names)
            for split in self.domains[name].manifest.splits
            if split.name == TRAIN
        ]
        total = np.sum(counts, axis=0, dtype=np.float64)
        return total / total.sum()


def mean_over_seeds(found: Sequence[tuple[Judged, Row]], value: Callable[[Judged, Row], np.ndarray]) -> np.ndarray:
    """Mean over seeds of the mean over the orders of each."""
    by_seed: dict[int, list[np.ndarray]] = {}
    for judged, row in found:
        by_seed.setdefault(judged.experiment.seed, []).append(value(judged, row))
    return np.mean([np.mean(values, axis=0) for values in by_seed.values()], axis=0)


def gather(folder: Path, data: str) -> Evidence:
    """Read what `<runs>/<study>` and the folders of its runs hold.

    Raises:
        ValueError: neither a study nor a search is there, or a file that cannot be read.
    """
    folder = folder.absolute()
    sweeps = tuple(read_sweep(path) for path in sorted(folder.glob(f"sweep-*/{TRIALS}")))
    described = folder / STUDY
    if not described.is_file():
        if not sweeps:
            raise ValueError(
                f"{folder} holds no {STUDY} and no sweep-*/{TRIALS}: give the folder of a study, runs/NAME, after "
                "`evaluate`, `table` or `sweep` of its job."
            )
        return Evidence(folder.name, (), (), {}, sweeps, None)
    try:
        study = decode(Study, json.loads(described.read_text()))
    except ValueError as error:
        raise ValueError(f"{described} cannot be read: {error} Write it again with `table` of its job.") from None
    resources = Resources(data=data, runs=str(folder.parent)).resolved()
    judged = tuple(
        Judged(e, RunFolder.of(e, resources.runs), tuple(selected_rows(e, resources)), choices(e, resources))
        for e in study.experiments
    )
    ensembles = tuple((joint, tuple(rows)) for joint, rows in rows_of_ensembles(study, resources))
    scored = [*((each.experiment, each.rows) for each in judged), *ensembles]
    some = any(rows for _, rows in scored)
    made = tables(study.name, scored, remarks=remarks(study, resources)) if some else ()
    domains = {}
    for experiment in study.experiments:
        for name in (*experiment.sources, *experiment.targets):
            try:
                domains[name] = PreparedDomain.open(resources.data, experiment.label_space, name)
            except ValueError:  # sources need not be on the machine that draws the page, which says what is missing
                continue
    return Evidence(study.name, judged, made, domains, sweeps, study, ensembles)


def read_sweep(path: Path) -> Sweep:
    """The trials of a search.

    Raises:
        ValueError: the file is no list of trials.
    """
    try:
        found = json.loads(path.read_text())
        scored = tuple(
            Trial(trial["settings"], float(trial["score"]))
            for trial in found
            if trial["score"] is not None and math.isfinite(trial["score"])
        )
        seconds = sum(trial["seconds"] for trial in found)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is no list of trials with settings, score and seconds: {error!r}.") from None
    return Sweep(path.parent.name, scored, len(found), seconds)
