"""Tables of what was scored: every number with its rule, its classes, its seeds and the meaning of its ±. A table is
text in Markdown, LaTeX and CSV."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import fmean, median
from typing import Literal

from raydg.adaptation import Choice
from raydg.assembly import VALIDATION
from raydg.calibration import Calibration
from raydg.evaluation import Cost, Row
from raydg.experiment import Experiment
from raydg.selection import STANDARD_ERROR, Estimate, mean_and_standard_error
from raydg.statistics import Difference, Tallies, WinTieLoss, paired_bootstrap
from raydg.values import Value

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

Format = Literal["rich", "markdown", "latex", "csv"]


@dataclass(frozen=True)
class Options(Value):
    """What `table` shows beside the scores, and how."""

    format: Format = "rich"
    """How the table is printed; files in all forms are written whichever it is."""
    baseline: str | None = None
    """Name of the experiment that all others are compared with, by a paired bootstrap over seeds and images."""
    calibration: bool = False
    """Whether a second table shows all calibration errors: in 15 and 10 bins, and self-adaptation's, per image and
    class."""


@dataclass(frozen=True)
class Baseline:
    """What a table's methods are compared with."""

    name: str
    """Of the experiment; each row is compared with the row of its adaptation and of the baseline's first inference."""
    tallies: Callable[[Experiment, Row], Tallies | None]
    """The images behind a row of an experiment; None where they were not kept."""


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

    def markdown(self, calibration: bool = False) -> str:
        """With the table of calibration errors below, if asked."""
        text = f"### {self.title}\n\n{_markdown(self.header(), self.lines())}\n\n"
        if calibration and self.calibration()[1]:
            text += f"{_markdown(*self.calibration())}\n\n"
        return text + "\n".join(f"- {note}" for note in self.described(calibration)) + "\n"

    def latex(self, calibration: bool = False) -> str:
        """A `table` environment with the rules of the package booktabs, notes below it; likewise."""
        bodies = [_tabular(self.header(), self.lines())]
        if calibration and self.calibration()[1]:
            bodies.append(_tabular(*self.calibration()))
        notes = "\n\n".join(rf"\footnotesize {escaped(note)}." for note in self.described(calibration))
        parts = [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escaped(self.title)}}}",
            "\n\n\\bigskip\n\n".join(bodies),
        ]
        return "\n".join([*parts, "", r"\raggedright", notes, r"\end{table}", ""])

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


def as_csv(tables: Sequence[Table]) -> str:
    """All cells of all tables, a line each, under one header; what was not measured is empty."""
    records = [record for table in tables for record in table.records()]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def rendered(tables: Sequence[Table], format: Literal["markdown", "latex", "csv"], calibration: bool = False) -> str:
    """Tables as the text of one file."""
    if format == "csv":
        return as_csv(tables)
    return "\n".join(
        table.markdown(calibration) if format == "markdown" else table.latex(calibration) for table in tables
    )


def _markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def _tabular(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    columns = "".join("l" if name in WORDS else "r" for name in header)
    rows = [" & ".join(map(escaped, row)) + r" \\" for row in (header, *lines)]
    body = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", rows[0], r"\midrule", *rows[1:], r"\bottomrule"]
    return "\n".join([*body, r"\end{tabular}"])


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "→": r"$\rightarrow$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    # After a row's end a bracket would be read as a length.
    "[": "{[}",
    "]": "{]}",
} | {special: f"\\{special}" for special in "&%$#_{}"}


def escaped(text: str) -> str:
    """Text as LaTeX shows it; numbers with a sign or an error are typeset as mathematics."""
    number = r"[+-]?\d+(?:\.\d+)?"
    parts = re.split(rf"((?<![\w.]){number} ± \d+(?:\.\d+)?|(?<![\w.)])[+-]\d+(?:\.\d+)?)", text)
    shown = []
    for place, part in enumerate(parts):
        if place % 2:
            shown.append(f"${part.replace('±', chr(92) + 'pm')}$")
        else:
            shown.append("".join(_LATEX.get(character, character) for character in part))
    return "".join(shown)


def _estimate(values: Sequence[float]) -> Estimate | None:
    return mean_and_standard_error(values) if values else None


def tables(
    title: str,
    scored: Sequence[tuple[Experiment, Sequence[Row]]],
    rule: str | None = None,
    remarks: Mapping[str, Sequence[str]] | None = None,
    baseline: Baseline | None = None,
) -> tuple[Table, ...]:
    """The tables of a study, one for every label space, scored classes and selection rule among its experiments.

    Arguments are those of `table`. Where there are several tables, titles say what each averages over and, unless all
    are alike in it, how checkpoints were selected; experiments none of which was scored have none.

    Raises:
        ValueError: nothing was scored, or the baseline's name is no experiment's.
    """
    if baseline and baseline.name not in (names := dict.fromkeys(experiment.name for experiment, _ in scored)):
        raise ValueError(f"The baseline is {baseline.name!r}: it must be one of {', '.join(map(repr, names))}.")
    groups: dict[tuple, list[tuple[Experiment, Sequence[Row]]]] = {}
    for experiment, rows in scored:
        groups.setdefault(_compares_by(experiment, rule), []).append((experiment, rows))
    made = []
    rules = {experiment.selection for experiment, _ in scored} if rule is None else set()
    for group in groups.values():
        first = group[0][0]
        if any(rows for _, rows in group):
            what = f"{title}, {averaged(first)}" + (f", selection {first.selection}" if len(rules) > 1 else "")
            made.append(table(title if len(groups) == 1 else what, group, rule, remarks, baseline))
    return tuple(made) or (table(title, scored, rule),)


def _compares_by(experiment: Experiment, rule: str | None) -> tuple:
    """What experiments of one table have in common; a rule that was given is everybody's."""
    return experiment.label_space.name, experiment.scored_classes, experiment.selection if rule is None else rule


def table(
    title: str,
    scored: Sequence[tuple[Experiment, Sequence[Row]]],
    rule: str | None = None,
    remarks: Mapping[str, Sequence[str]] | None = None,
    baseline: Baseline | None = None,
) -> Table:
    """The table of experiments that compare.

    A seed's score on a target is the mean over the orders of its batches (TSMLDG averages five); a cell is the mean
    over seeds.

    Args:
        title: of the table.
        scored: every experiment with its target and in-domain rows and, to be shown beside them, source-validation
            rows.
        rule: how the checkpoints were selected; by default the experiments' own rule.
        remarks: further notes, by the names of the experiments that they are on.
        baseline: what every other row is compared with; None: nothing.

    Raises:
        ValueError: nothing was scored, the experiments are not comparable (another label space or selection rule), or
            rows of the baseline were scored on other images.
    """
    if not any(rows for _, rows in scored):
        raise ValueError(f"{title}: nothing has been scored yet. Run `train` and `evaluate` first.")
    experiments = [experiment for experiment, _ in scored]
    kinds = {_compares_by(experiment, rule) for experiment in experiments}
    if len(kinds) > 1:
        raise ValueError(
            f"{title}: experiments of several label spaces, scored classes or selection rules have no common table: "
            f"{sorted(map(str, kinds))}. Make several with `tables`."
        )
    space = experiments[0].label_space
    targets = tuple(dict.fromkeys(target for experiment in experiments for target in experiment.targets))
    sees = {label: what for experiment in experiments for label, what in experiment.sees.items()}

    found: _Found = {}
    for experiment, rows in scored:
        inferences = {inference.label for inference in experiment.scored_inferences}
        for row in rows:
            # Validation rows are the method's own inference without adaptation, which a study may do without.
            if row.adaptation not in sees or row.inference not in inferences:
                continue
            column = {"target": row.domain, "in-domain": IN_DOMAIN.format(row.domain)}.get(row.role, SOURCES)
            cell = found.setdefault((experiment.name, row.inference, row.adaptation), {}).setdefault(column, {})
            cell.setdefault(experiment.seed, []).append((experiment, row))
    measured = {key: {name: _cell(seeds) for name, seeds in columns.items()} for key, columns in found.items()}
    judged = [row for _, rows in scored for row in rows if row.role in ("target", "in-domain")]
    images = {
        (row.role, row.domain): ("in-domain " if row.role == "in-domain" else "")
        + f"{row.domain} {row.split} ({row.num_images} images)"
        for row in judged
    }
    differences = _differences(found, targets, baseline) if baseline else {}
    seeds = sorted({experiment.seed for experiment in experiments})
    metric = "mIoU" if space.task == "segmentation" else "accuracy"
    aims = {e.name: tuple(t for o in experiments if o.name == e.name for t in o.targets) for e in experiments}
    chose = rule is None and any(_chose(experiment) for experiment in experiments)
    rules = {c.label: _rule(e, c) for e in experiments for c in e.choices}  # only their own rule makes rows of them
    rule = rule or experiments[0].selection + AFTERWARDS
    made = Table(
        title=title,
        targets=targets,
        measured=measured,
        aims={name: tuple(dict.fromkeys(of_name)) for name, of_name in aims.items()},
        sees=sees,
        seeds=tuple(seeds),
        rule=rule,
        metric=metric,
        classes=averaged(experiments[0]),
        notes=(),
        baseline=baseline.name if baseline else None,
        differences=differences,
        rules=rules,
    )
    on_targets = [rows for of in found.values() for target in targets for rows in of.get(target, {}).values()]
    timed = [row.cost for rows in on_targets for _, row in rows if row.cost]
    notes = (
        f"{metric} in percent over {averaged(experiments[0])}"
        + (", classes found in neither truth nor prediction left out" if space.task == "segmentation" else ""),
        f"checkpoint selected by {rule}",
        *(f"{label}: selected by {of}" for label, of in rules.items() if any(key[2] == label for key in measured)),
        "scored: " + ", ".join(images.values()),
        f"seeds {', '.join(map(str, seeds))}; "
        + (STANDARD_ERROR if len(seeds) > 1 else "one run each, so no ± can be given")
        + ("; random orders of the batches are averaged first" if any(row.order for row in judged) else ""),
        *((_FEWER_NOTE,) if any(len(c.scores) < len(seeds) for of in measured.values() for c in of.values()) else ()),
        *_protocol_notes(experiments),
        *(note for name in dict.fromkeys(e.name for e in experiments) for note in (remarks or {}).get(name, ())),
        *((_CHOSEN_NOTE,) if chose else ()),
        *((_ECE_NOTE,) if ECE in made.beside else ()),
        *((_cost_note(timed),) if timed else ()),
        *_comparison_notes(made),
    )
    return replace(made, notes=notes)


_Found = dict[Key, dict[str, dict[int, list[tuple[Experiment, Row]]]]]
"""Rows by row of the table, column and seed."""

_ECE_NOTE = (
    f"{ECE} is the expected calibration error in percent, in {ECE_BINS} bins over all that counts of a target, mean "
    "over targets"
)

_ERRORS_NOTE = (
    "ECE in bins is over all that counts of a target; per-image per-class ECE is self-adaptation's, in 10 bins for "
    "every class of every image, weighted by its pixels, mean over classes, where a class without any label counts 0, "
    "or over the present classes only; all in percent, mean over targets"
)

_FEWER_NOTE = "cells with (n = ...) have other seeds than the others; means over targets are over the seeds of all"

_CHOSEN_NOTE = "in-domain scores are of the images that chose the checkpoint or an adaptation, and so flattered"

AFTERWARDS = "; targets are read only afterwards"
"""What tables add to a rule."""


def _rule(experiment: Experiment, choice: Choice) -> str:
    """How what a choice came to was selected."""
    if choice.jointly:
        return f"{choice.on}, the checkpoint with its adaptation{AFTERWARDS}"
    return f"{experiment.selection}, and then the adaptation by {choice.on}{AFTERWARDS}"


def _chose(experiment: Experiment) -> bool:
    """Whether what is scored in-domain has selected the checkpoint, or an adaptation."""
    by = {experiment.selection, *(choice.on for choice in experiment.choices)}
    return "source-validation" in by and VALIDATION in (experiment.in_domain_splits or ())


def _protocol_notes(experiments: Sequence[Experiment]) -> list[str]:
    """How images were shown, where it differs from validation."""
    labels = {e.name: e.protocol.label for e in experiments if e.protocol}
    if not labels:
        return []
    alike = len(set(labels.values())) == 1 and len(labels) == len({e.name for e in experiments})
    shown = next(iter(labels.values())) if alike else ", ".join(f"{name}: {label}" for name, label in labels.items())
    return [f"images of targets were shown as: {shown}"]


def _cost_note(costs: Sequence[Cost]) -> str:
    on = sorted({cost.measured_on for cost in costs})
    return (
        f"{MILLISECONDS} is the median time of a prediction, of all variants of an adaptation together, without "
        f"decoding and counting, and without the fit of adaptations that see the whole target, on {'; '.join(on)}"
    )


def _comparison_notes(table: Table) -> list[str]:
    if table.baseline is None:
        return []
    found = [difference for of_key in table.differences.values() for difference in of_key.values()]
    if not found:
        return [f"vs {table.baseline}: nothing compares, for the images behind the scores were not kept"]
    several = "; the mean over targets" if len(table.targets) > 1 else ""
    notes = [f"vs {table.baseline}: the method's score minus the baseline's under the same adaptation{several}"]
    if len(table.targets) > 1:
        notes.append(f"{VERDICTS}: targets on which the method is better, not distinguishable, and worse")
    return [*notes, *dict.fromkeys(difference.definition for difference in found)]


def _differences(found: _Found, targets: Sequence[str], baseline: Baseline) -> dict[Key, dict[str, Difference]]:
    """Every row against the baseline's of the same adaptation, on each target and over all that both were scored on."""
    tallies = {
        key: {
            target: kept
            for target in targets
            if target in columns and (kept := _kept_tallies(columns[target], baseline)) is not None
        }
        for key, columns in found.items()
    }
    differences = {}
    for key, of_targets in tallies.items():
        own = next((k for k in tallies if k[0] == baseline.name and k[2] == key[2]), None)
        if own is None or own == key:
            continue
        shared = {t: (runs, tallies[own][t]) for t, runs in of_targets.items() if t in tallies[own]}
        shared = {t: (ours, theirs) for t, (ours, theirs) in shared.items() if ours.keys() & theirs.keys()}
        row = {t: paired_bootstrap({t: ours}, {t: theirs}) for t, (ours, theirs) in shared.items()}
        if len(targets) > 1 and shared.keys() == set(targets):
            ours, theirs = ({t: pair[side] for t, pair in shared.items()} for side in (0, 1))
            if set.intersection(*(set(runs) for side in (ours, theirs) for runs in side.values())):
                row[MEAN] = paired_bootstrap(ours, theirs)
        if row:
            differences[key] = row
    return differences


def _kept_tallies(
    seeds: Mapping[int, Sequence[tuple[Experiment, Row]]], baseline: Baseline
) -> dict[int, list[Tallies]] | None:
    """A cell's images by seed, in all random orders; None if any were not kept."""
    kept: dict[int, list[Tallies]] = {}
    for seed, rows in seeds.items():
        for experiment, row in rows:
            tallies = baseline.tallies(experiment, row)
            if tallies is None:
                return None
            kept.setdefault(seed, []).append(tallies)
    return kept


def averaged(experiment: Experiment) -> str:
    """The classes that a score averages over, in words."""
    space, scored = experiment.label_space, experiment.scored_classes
    if scored is None:
        return f"the {space.num_classes} classes of {space.name}"
    left_out = ", ".join(name for name in space.classes if name not in scored)
    return f"{len(scored)} of the {space.num_classes} classes of {space.name} (without {left_out})"


def _cell(seeds: Mapping[int, Sequence[tuple[Experiment, Row]]]) -> Cell:
    scores: dict[int, float] = {}
    errors: dict[str, dict[int, float]] = {name: {} for name in ERRORS}
    for seed, found in seeds.items():
        experiment = found[0][0]
        task, classes = experiment.label_space.task, experiment.scored_ids
        scores[seed] = fmean(row.confusion.score(task, classes) for _, row in found)
        calibrations = [row.calibration for _, row in found]
        kept = [each for each in calibrations if each is not None]
        if len(kept) == len(found):
            for name, error in ERRORS.items():
                errors[name][seed] = fmean(error(each, classes) for each in kept)
    rows = [row for found in seeds.values() for _, row in found]
    domains = {row.domain: row.num_images for row in rows}
    costs = [row.cost for row in rows if row.cost]
    return Cell(
        role=rows[0].role,
        split=rows[0].split,
        num_images=sum(domains.values()),
        protocol=rows[0].protocol,
        scores=scores,
        errors=errors,
        seconds=tuple(cost.seconds_per_image for cost in costs),
        measured_on=tuple(sorted({cost.measured_on for cost in costs})),
    )
