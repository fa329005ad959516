"""A table of what was scored, as numbers and as the words in its cells."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean, median

from raydg.calibration import Calibration
from raydg.selection import Estimate, mean_and_standard_error
from raydg.statistics import Difference, WinTieLoss

SOURCES = "sources, val"
"""Heading of the column that shows what the selected checkpoint is worth where it was trained."""


IN_DOMAIN = "{} (in-domain)"
"""Heading of a source that was scored on held-out splits."""

WORDS = ("method", "inference", "adaptation", "sees")
"""Headings of the columns that hold no scores."""

MEAN = "mean"
"""Heading of the mean over the targets."""

ECE_BINS = 15
"""Bins of the calibration error in tables and diagrams."""

ECE, MILLISECONDS = "ECE", "ms/image"
"""Headings of what stands beside the scores, where it was measured."""

VERDICTS = "win/tie/loss"
"""Heading of the verdicts over the targets, against a baseline."""

ERRORS: dict[str, Callable[[Calibration, Sequence[int] | None], float]] = {
    "ECE 15 bins": lambda found, classes: found.ece(15, classes),
    "ECE 10 bins": lambda found, classes: found.ece(10, classes),
    "per-image per-class ECE": lambda found, classes: found.per_image_per_class_ece(classes),
    "per-image per-class ECE, present classes": lambda found, classes: found.per_image_per_class_ece(classes, True),
}
"""Calibration errors, percent, by the names that the tracker has for them too."""

Key = tuple[str, str, str]
"""A row of a table: experiment, inference, adaptation."""

_ERRORS_NOTE = (
    "ECE in bins is over all that counts of a target; per-image per-class ECE is self-adaptation's, in 10 bins for "
    "every class of every image, weighted by its pixels, mean over classes, where a class without any label counts 0, "
    "or over the present classes only; all in percent, mean over targets"
)


@dataclass(frozen=True)
class Cell:
    """All that was measured of one row of a table on one domain, or, in the column `SOURCES`, on several."""

    role: str
    """As in `Row.role`."""
    split: str
    num_images: int
    protocol: str
    scores: dict[int, float]
    """Percent, by seed, mean over random orders."""
    errors: dict[str, dict[int, float]]
    """By the name in `ERRORS` and seed, likewise; a seed whose confidence was not kept is missing."""
    seconds: tuple[float, ...]
    """Per image, one for each row that was timed."""
    measured_on: tuple[str, ...]

    @property
    def estimate(self) -> Estimate:
        return mean_and_standard_error(list(self.scores.values()))


@dataclass(frozen=True)
class Table:
    """Experiments x inferences x adaptations (rows) on targets and sources (columns); a cell that was not run is
    missing, never guessed."""

    title: str
    targets: tuple[str, ...]
    measured: dict[Key, dict[str, Cell]]
    """By row and target; under `SOURCES` of the sources' validation splits; under `IN_DOMAIN` of a source's held-out
    splits."""
    aims: dict[str, tuple[str, ...]]
    """The targets of each experiment, by name."""
    sees: dict[str, str]
    seeds: tuple[int, ...]
    rule: str
    metric: str
    classes: str
    notes: tuple[str, ...]
    baseline: str | None = None
    differences: dict[Key, dict[str, Difference]] = field(default_factory=dict)
    """Against the baseline, by row and target, and under `MEAN` over all targets."""
    rules: Mapping[str, str] = field(default_factory=dict)
    """How rows of choices were selected, by their labels; all others by `rule`."""

    @cached_property
    def cells(self) -> dict[Key, dict[str, Estimate]]:
        """Percent, over seeds."""
        return {key: {name: cell.estimate for name, cell in cells.items()} for key, cells in self.measured.items()}

    @property
    def columns(self) -> list[str]:
        """What was scored: the sources' validation, where it was given, the targets, and sources in-domain."""
        found = list(dict.fromkeys(column for cells in self.measured.values() for column in cells))
        with_sources = [SOURCES] if SOURCES in found else []
        return [*with_sources, *self.targets, *(c for c in found if c not in (SOURCES, *self.targets))]

    @property
    def words(self) -> list[str]:
        """The columns that hold no scores: inferences are told apart where an experiment has more than one."""
        ways = {(name, inference) for name, inference, _ in self.measured}
        several = len(ways) > len({name for name, _ in ways})
        return [word for word in WORDS if word != "inference" or several]

    def mean(self, key: Key) -> Estimate | None:
        """Mean over all targets, over the seeds that were scored on all of them: another seed's would not compare."""
        return self._over_targets([self._scores(key, target) for target in self.targets])

    def error(self, key: Key, name: str) -> Estimate | None:
        """A calibration error, mean over the experiment's targets, likewise."""
        cells = self.measured[key]
        return self._over_targets(
            [cells[target].errors[name] if target in cells else {} for target in self.aims[key[0]]]
        )

    def seconds(self, key: Key) -> float | None:
        """Median seconds per image over targets, orders and seeds."""
        cells = self.measured[key]
        found = [each for target in self.targets if target in cells for each in cells[target].seconds]
        return median(found) if found else None

    @staticmethod
    def _over_targets(of_targets: Sequence[Mapping[int, float]]) -> Estimate | None:
        whole = sorted(set.intersection(*map(set, of_targets))) if of_targets else []
        return mean_and_standard_error([fmean(of[seed] for of in of_targets) for seed in whole]) if whole else None

    def _scores(self, key: Key, target: str) -> Mapping[int, float]:
        return self.measured[key][target].scores if target in self.measured[key] else {}

    def header(self) -> list[str]:
        average = [MEAN] if len(self.targets) > 1 else []
        return [*self.words, *self.columns, *average, *self.against, *self.beside]

    @property
    def beside(self) -> list[str]:
        """The columns beside the scores that have anything to show."""
        some = {
            ECE: any(self.error(key, f"{ECE} {ECE_BINS} bins") for key in self.measured),
            MILLISECONDS: any(self.seconds(key) is not None for key in self.measured),
        }
        return [name for name, there in some.items() if there]

    @property
    def against(self) -> list[str]:
        """The columns of the comparison with the baseline."""
        if self.baseline is None:
            return []
        return [f"vs {self.baseline}", *([VERDICTS] if len(self.targets) > 1 else [])]

    def lines(self) -> list[list[str]]:
        """The body as text, in the order of the header."""
        lines = []
        for key in self.measured:
            line = self._words(key)
            line += [self._text(self.cells[key].get(column)) for column in self.columns]
            if len(self.targets) > 1:
                line.append(self._text(self.mean(key)))
            line += self._against(key)
            if ECE in self.beside:
                line.append(self._text(self.error(key, f"{ECE} {ECE_BINS} bins")))
            if MILLISECONDS in self.beside:
                seconds = self.seconds(key)
                line.append("" if seconds is None else f"{1000 * seconds:.4g}")
            lines.append(line)
        return lines

    def calibration(self) -> tuple[list[str], list[list[str]]]:
        """Header and body of the table of all calibration errors, mean over targets; rows without any are left out."""
        header = [*self.words, *ERRORS]
        lines = []
        for key in self.measured:
            found = [self._text(self.error(key, name)) for name in ERRORS]
            if any(found):
                lines.append([*self._words(key), *found])
        return header, lines

    def _words(self, key: Key) -> list[str]:
        words: dict[str, str] = dict(zip(WORDS, (*key, self.sees[key[2]]), strict=True))
        return [words[word] for word in self.words]

    def _against(self, key: Key) -> list[str]:
        found = self.differences.get(key, {})
        several = len(self.targets) > 1
        texts = [""] * len(self.against)
        shown = found.get(MEAN if several else self.targets[0]) if self.targets else None
        if shown:
            texts[0] = f"{shown}, {shown.verdict}"
        of_targets = [found[target] for target in self.targets if target in found]
        if several and of_targets:
            texts[1] = str(WinTieLoss.of(of_targets))
        return texts

    def _text(self, estimate: Estimate | None) -> str:
        """A mean with its error; with its number of seeds where that is not the table's."""
        if estimate is None:
            return ""
        error = "" if estimate.standard_error is None else f" ± {estimate.standard_error:.2f}"
        count = "" if estimate.num_values == len(self.seeds) else f" (n = {estimate.num_values})"
        return f"{estimate.mean:.2f}{error}{count}"

    def described(self, calibration: bool = False) -> tuple[str, ...]:
        """The notes, and what the calibration errors are, if they are shown."""
        return (*self.notes, *((_ERRORS_NOTE,) if calibration and self.calibration()[1] else ()))

    def records(self) -> list[dict[str, str | int | float | None]]:
        """One flat record for every cell and for every mean over targets, numbers unrounded: what `as_csv` writes."""
        records = []
        for key, cells in self.measured.items():
            for column in self.columns:
                if column in cells:
                    cell = cells[column]
                    errors = {name: _estimate(list(of_seed.values())) for name, of_seed in cell.errors.items()}
                    records.append(self._record(key, column, cell.role, cell.estimate, cell.scores, errors, cell))
            whole = self.mean(key) if len(self.targets) > 1 else None
            if whole:
                seeds = set.intersection(*(set(self._scores(key, target)) for target in self.targets))
                errors = {name: self.error(key, name) for name in ERRORS}
                records.append(self._record(key, MEAN, "mean over targets", whole, sorted(seeds), errors, None))
        return records

    def _record(
        self,
        key: Key,
        column: str,
        role: str,
        estimate: Estimate,
        seeds: Iterable[int],
        errors: Mapping[str, Estimate | None],
        cell: Cell | None,
    ) -> dict[str, str | int | float | None]:
        name, inference, adaptation = key
        seconds = self.seconds(key) if cell is None else median(cell.seconds) if cell.seconds else None
        record: dict[str, str | int | float | None] = {
            "table": self.title,
            "method": name,
            "inference": inference,
            "adaptation": adaptation,
            "sees": self.sees[adaptation],
            "column": column,
            "role": role,
            "split": cell.split if cell else None,
            "images": cell.num_images if cell else None,
            "shown as": cell.protocol if cell else None,
            "rule": self.rules.get(adaptation, self.rule),
            "classes": self.classes,
            "metric": self.metric,
            "mean": estimate.mean,
            "standard error": estimate.standard_error,
            "n": estimate.num_values,
            "seeds": " ".join(map(str, seeds)),
        }
        for measure in ERRORS:
            found = errors.get(measure)
            record |= {measure: found.mean if found else None}
            record |= {f"{measure}: standard error": found.standard_error if found else None}
        record |= {"ms per image": None if seconds is None else 1000 * seconds}
        record |= {"measured on": "; ".join(cell.measured_on) if cell else None}
        against = self.differences.get(key, {}).get(column)
        record |= {"baseline": self.baseline if against else None}
        for field_name in ("difference", "low", "high", "other_side", "num_seeds", "verdict"):
            record |= {field_name.replace("_", " "): getattr(against, field_name) if against else None}
        return record


def _estimate(values: Sequence[float]) -> Estimate | None:
    return mean_and_standard_error(values) if values else None
