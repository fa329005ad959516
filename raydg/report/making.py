"""Makes tables of the rows that experiments were given: every number with its rule, its classes, its seeds and the
meaning of its ±."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from raydg.adaptation import Choice
from raydg.assembly import VALIDATION
from raydg.evaluation import Cost, Row
from raydg.experiment import Experiment
from raydg.report.cells import ECE, ECE_BINS, ERRORS, IN_DOMAIN, MEAN, MILLISECONDS, SOURCES, VERDICTS, Cell, Key, Table
from raydg.selection import STANDARD_ERROR
from raydg.statistics import Difference, Tallies, paired_bootstrap


@dataclass(frozen=True)
class Baseline:
    """What a table's methods are compared with."""

    name: str
    """Of the experiment; each row is compared with the row of its adaptation and of the baseline's first inference."""
    tallies: Callable[[Experiment, Row], Tallies | None]
    """The images behind a row of an experiment; None where they were not kept."""


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
