"""What the cells of a named study are worth, from what is on disk: cells that were not run stay empty."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from raydg.evaluation import Row
from raydg.experiment import Experiment, Study
from raydg.report import markdown_grid
from raydg.selection import STANDARD_ERROR, Estimate, mean_and_standard_error
from raydg.studies import architecture, printed
from raydg.studies.cell import FIGURES, Cell, Measurement, NamedStudy
from raydg.studies.printed import Numbers

AVERAGES = ("mIoU", "accuracy", "ECE per image and class")
"""Metrics that are taken over classes."""

WIDEST = 10
"""Columns of a table that is shown as a grid; a wider one has a line for every cell."""


@dataclass(frozen=True)
class Found:
    """Where scores come from; each is asked once for an experiment with one seed."""

    rows: Callable[[Experiment], Sequence[Row]]
    """Target and in-domain rows of the selected checkpoint, none if there are none."""
    measurements: Callable[[Experiment], Mapping[str, float]]
    """What the method measured of itself at the selected checkpoint."""


def value(cell: Cell, study: Study | None, found: Found) -> Estimate | None:
    """The mean of a cell's measurements, over the seeds that have all of them; None where one was not run."""
    if cell.missing or not cell.measurements:
        return None
    of_seeds = [scores(measurement, study, found) for measurement in cell.measurements]
    seeds = sorted(set.intersection(*map(set, of_seeds)))
    return mean_and_standard_error([fmean(scores[seed] for scores in of_seeds) for seed in seeds]) if seeds else None


def scores(measurement: Measurement, study: Study | None, found: Found) -> dict[int, float]:
    """A measurement by seed, in the units of its metric."""
    if measurement.role == "architecture":
        return {0: _of_architecture(measurement)}
    scored = {}
    for experiment in study.experiments if study else ():
        if not _is_judged_for(measurement, experiment):
            continue
        if measurement.role == "training":
            number = found.measurements(experiment).get(measurement.detail or "")
        else:
            number = _of_rows(measurement, experiment, found.rows(experiment))
        if number is not None:
            scored[experiment.seed] = number
    return scored


def _is_judged_for(measurement: Measurement, experiment: Experiment) -> bool:
    """Whether an experiment of the study, whose settings flags may have changed, is the measurement's."""
    wanted = measurement.experiment
    if (experiment.name, experiment.sources) != (wanted.name, wanted.sources):
        return False
    if measurement.role == "target":
        return measurement.domain in experiment.targets
    if measurement.role == "in-domain":
        return set(measurement.splits or ()) <= set(experiment.in_domain_splits or ())
    return measurement.role == "training"


def _of_rows(measurement: Measurement, experiment: Experiment, rows: Sequence[Row]) -> float | None:
    """Mean over random orders; of times the median."""
    wanted = [
        row
        for row in rows
        if (row.role, row.domain) == (measurement.role, measurement.domain)
        and row.inference == measurement.inference.label
        and row.adaptation == measurement.adaptation.variants[-1]
    ]
    space, ids = experiment.label_space, experiment.scored_ids
    match measurement.metric:
        case "mIoU" | "accuracy":
            numbers = [row.confusion.score(space.task, ids) for row in wanted]
        case "IoU":
            classes = experiment.scored_classes or space.classes
            position = classes.index(measurement.detail or "")
            numbers = [100 * float(row.confusion.iou(ids)[position]) for row in wanted]
        case "ECE per image and class":
            found = [row.calibration for row in wanted]
            numbers = [each.per_image_per_class_ece(ids) for each in found if each]
        case "ms/image":
            costs = [row.cost for row in wanted if row.cost]
            return median(1000 * cost.seconds_per_image for cost in costs) if costs else None
        case _:
            return None  # one of `FIGURES`
    return fmean(numbers) if numbers else None


def _of_architecture(measurement: Measurement) -> float:
    if measurement.metric == "parameters (M)":
        return architecture.parameters(measurement.experiment)
    height, width = map(int, (measurement.detail or "").split("x"))
    return architecture.multiplications(measurement.experiment, height, width)


@dataclass(frozen=True)
class PaperTable:
    """A named study with what was measured beside what is printed."""

    named: NamedStudy
    estimates: Mapping[tuple[str, str], Estimate]
    """By row and column; what was not run is missing."""
    numbers: Numbers
    seeds: tuple[int, ...]
    rules: tuple[str, ...]
    """How checkpoints were selected."""

    @classmethod
    def of(cls, named: NamedStudy, study: Study | None, found: Found, numbers: Numbers) -> "PaperTable":
        estimates = {}
        for cell in named.cells:
            estimate = value(cell, study, found)
            if estimate is not None:
                estimates[cell.row, cell.column] = estimate
        experiments = study.experiments if study else ()
        return cls(
            named,
            estimates,
            numbers,
            tuple(sorted({experiment.seed for experiment in experiments})),
            tuple(dict.fromkeys(experiment.selection for experiment in experiments)),
        )

    def ours(self, cell: Cell) -> str:
        estimate = self.estimates.get((cell.row, cell.column))
        if estimate is None:
            return ""
        spread = "" if estimate.standard_error is None else f" ± {estimate.standard_error:.2f}"
        return f"{estimate.mean:.2f}{spread}"

    def lines(self) -> tuple[list[str], list[list[str]]]:
        """Header and body: the paper's grid, ours with the printed number in brackets; or a line for every cell where
        that would be too wide."""
        columns = list(dict.fromkeys(cell.column for cell in self.named.cells))
        if len(columns) > WIDEST:
            body = [[c.row, c.column, self.ours(c), printed.text(c, self.numbers)] for c in self.named.cells]
            return ["row", "column", "ours", "paper"], body
        grid: dict[str, dict[str, str]] = {}
        for cell in self.named.cells:
            told = printed.text(cell, self.numbers)
            both = " ".join(filter(None, (self.ours(cell), f"({told})" if told else "")))
            grid.setdefault(cell.row, {})[cell.column] = both
        return ["", *columns], [[row, *(cells.get(c, "") for c in columns)] for row, cells in grid.items()]

    def notes(self) -> list[str]:
        """All that a reader must know: what is measured, how, and what cannot be."""
        of_metrics: dict[str, dict[str, None]] = {}
        for measurement in self.named.measurements:
            classes = measurement.classes if measurement.metric in AVERAGES else ""
            of_metrics.setdefault(measurement.metric, {})[classes] = None
        found = [
            metric + (f" over {' or over '.join(filter(None, classes))}" if any(classes) else "")
            for metric, classes in of_metrics.items()
        ]
        notes = ["measured: " + "; ".join(found)] if found else []
        if self.rules:
            notes.append(f"checkpoint selected by {' or '.join(self.rules)}; targets are read only afterwards")
        if self.seeds:
            several = STANDARD_ERROR if len(self.seeds) > 1 else "one run each, so no ± can be given"
            notes.append(f"seeds {', '.join(map(str, self.seeds))}; {several}")
        brackets = 'in brackets, or under "paper", what the paper prints; what has not been run is empty'
        notes.append(brackets)
        notes += self.named.notes
        empty: dict[tuple[str, str], list[Cell]] = {}
        for cell in self.named.cells:
            if cell.missing:
                empty.setdefault(("cannot be filled", cell.missing), []).append(cell)
            elif cell.metric in FIGURES:
                drawn = f"{cell.metric}: {FIGURES[cell.metric]}"
                empty.setdefault(("drawn, not a number", drawn), []).append(cell)
        notes += [
            f"{what}: {', '.join(dict.fromkeys(c.row for c in cells))} ({len(cells)} cells): {why}"
            for (what, why), cells in empty.items()
        ]
        return notes

    def markdown(self) -> str:
        header, body = self.lines()
        notes = "\n".join(f"- {note}" for note in self.notes())
        return f"### {self.named.name}: {self.named.title}\n\n{markdown_grid(header, body)}\n\n{notes}\n"
