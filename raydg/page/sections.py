"""What stands on a page, section by section: charts and tables of what was found. A section without anything to show
is None."""

import json
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from raydg import charts
from raydg.adaptation import Adaptation, SegTTT, TrainBN
from raydg.calibration import Calibration
from raydg.charts import Point
from raydg.evaluation import Row
from raydg.licence import commercial_use
from raydg.overview import code
from raydg.page.evidence import Evidence, Judged, Way, mean_over_seeds
from raydg.page.markup import Markup, bullets, element, figure, figures, joined, table
from raydg.report import ECE, ECE_BINS
from raydg.settings import settings
from raydg.values import Value, encode, fingerprint

MOST_CLASSES = 40
"""Classes that a bar chart shows."""

MOST_WAYS = 8
"""Series of a bar chart."""

CURVE_POINTS = 150
"""Points of a training curve; more steps are averaged in groups."""

FEWEST_VALUES = 3
"""Of a setting, that make a curve."""

NOT_LOSSES = {"step", "seconds", "lr_factor", "gradient_norm"}
"""What the line of a step holds beside losses."""


@dataclass(frozen=True)
class Section:
    """A part of the page under a heading."""

    title: str
    content: Markup

    @property
    def anchor(self) -> str:
        return "".join(c if c.isalnum() else "-" for c in self.title.lower())


def score_name(evidence: Evidence) -> str:
    tasks = {judged.experiment.label_space.task for judged in evidence.judged}
    return {"segmentation": "mIoU, %", "classification": "accuracy, %"}[tasks.pop()] if len(tasks) == 1 else "score, %"


def scores(evidence: Evidence) -> Section | None:
    """The tables, as `table` prints them."""
    if not evidence.tables:
        return None
    parts: list[Markup] = []
    for each in evidence.tables:
        parts += [
            element("h3", each.title),
            table(each.header(), each.lines(), len(each.words)),
            element("div", bullets(each.notes), class_="notes"),
        ]
    return Section("Scores", joined(parts))


def per_class(evidence: Evidence) -> Section | None:
    """Bars of every class's score: a chart for each experiment and target, a series for each way."""
    made = []
    for target in evidence.targets:
        for name in dict.fromkeys(way.experiment for way in evidence.ways):
            ways = [way for way, found in evidence.ways.items() if way.experiment == name and target in found]
            for start in range(0, len(ways), MOST_WAYS):
                made += _class_bars(evidence, target, name, ways[start : start + MOST_WAYS])
    return Section("Classes", figures(made, 6)) if made else None


def _class_bars(evidence: Evidence, target: str, name: str, ways: Sequence[Way]) -> Iterator[Markup]:
    experiment = evidence.experiment(name, target).experiment
    found = {evidence.text(way, inside=True): evidence.per_class(way, target) for way in ways}
    there = np.flatnonzero(np.isfinite(np.array(list(found.values()))).any(axis=0))
    if not len(there):
        return
    caption = None
    if len(there) > MOST_CLASSES:
        first = next(iter(found.values()))[there]
        order = np.argsort(-np.nan_to_num(first, nan=-1), kind="stable")
        half = MOST_CLASSES // 2
        there = there[np.concatenate([order[:half], order[-half:]])]
        caption = f"The {half} best and the {half} worst of {len(order)} classes, by the first series."
    names = [experiment.label_space.classes[i] for i in there]
    unit = "IoU, %" if experiment.label_space.task == "segmentation" else "accuracy, %"
    chart = charts.bars(names, {way: values[there].tolist() for way, values in found.items()}, unit)
    yield figure(chart, f"{name} on {target}", caption)


def calibration(evidence: Evidence) -> Section | None:
    """A reliability diagram of every way on every target, over seeds and orders together."""
    made = []
    for target in evidence.targets:
        for way, found in evidence.with_ensembles.items():
            held = [(experiment, row.calibration) for experiment, row in found.get(target, ()) if row.calibration]
            if not held:
                continue
            classes = held[0][0].scored_ids
            total = sum((each for _, each in held), Calibration.empty(held[0][1].num_classes))
            bins = total.bins(ECE_BINS, classes)
            if not bins[:, 0].sum():
                continue
            title = f"{evidence.text(way)} on {target}"
            caption = f"{ECE} {total.ece(ECE_BINS, classes):.2f} %, all seeds and orders together"
            made.append(figure(charts.reliability(bins, title), title, caption))
    return Section("Calibration", figures(made, 8)) if made else None


COST = "ms per image"


def trade_offs(evidence: Evidence) -> Section | None:
    """Accuracy and calibration error over runtime (self-adaptation's Figure 2, and the same for ECE)."""
    parts = []
    for each in evidence.tables:
        timed = [Way(*key) for key in each.measured if each.seconds(key) and _own_time(evidence, Way(*key))]
        families = {w: (w.experiment, w.inference, _family(evidence, w)) for w in timed}
        rows, worth, errors = [], [], []
        for way in timed:
            cells = each.cells[way.key]
            if not all(target in cells for target in each.targets):
                continue
            number, cost = str(len(rows) + 1), 1000 * (each.seconds(way.key) or 0)
            mean = float(np.mean([cells[target].mean for target in each.targets]))
            error = each.error(way.key, f"{ECE} {ECE_BINS} bins")
            related = families[way]
            alone = list(families.values()).count(related) == 1
            series = evidence.text(way) if alone else f"{way.experiment}, {related[-1]}"
            worth.append(Point(number, evidence.text(way), cost, mean, series))
            if error:
                errors.append(Point(number, evidence.text(way), cost, error.mean, series))
            row = [number, evidence.text(way), f"{cost:.4g}", f"{mean:.2f}"]
            rows.append([*row, f"{error.mean:.2f}" if error else ""])
        if len(worth) < 2:
            continue
        score = score_name(evidence)
        drawn = [figure(charts.trade_off(worth, COST, f"{score}, mean over targets", "higher"), "Accuracy and runtime")]
        if len(errors) > 1:
            chart = charts.trade_off(errors, COST, f"{ECE}, %, mean over targets", "lower")
            drawn.append(figure(chart, "Calibration and runtime"))
        parts += [
            element("h3", each.title) if len(evidence.tables) > 1 else None,
            figures(drawn),
            table(["", "way", COST, score, f"{ECE}, %"], rows, 2),
        ]
    if not parts:
        return None
    note = (
        "Numbers are those of the table. The wide line is the front: nothing that costs less is better. Thin lines "
        "join what differs in iterations or batch size alone. Predictions that are by-products of a longer run have no "
        "time of their own and are left out; so are adaptations that first see the whole target, for the time of that "
        "fit was not measured."
    )
    return Section("Runtime", joined([*parts, element("p", note, class_="notes")]))


def _own_time(evidence: Evidence, way: Way) -> bool:
    """Whether the time of a way is all that it takes: variants of an adaptation come from one run, whose time is that
    of its last, and what is fitted to the target before is not in it."""
    found = evidence.adaptations(way)
    if any(adaptation.needs_fit for adaptation in found):
        return False
    # What a choice is from has one variant each, and is called otherwise.
    return all(len(each.variants) == 1 or each.variants[-1] == way.adaptation for each in found)


def _family(evidence: Evidence, way: Way) -> str:
    """Of a choice, which may differ by seed, its own label."""
    found = evidence.adaptations(way)
    return family(found[0]) if len(found) == 1 else way.adaptation


def family(adaptation: Adaptation) -> str:
    """What adaptations have in common that differ in how long or how many only."""
    return code(adaptation, hidden=("iterations", "also_after", "batch_size", "orders"))


@dataclass(frozen=True)
class _Factor:
    """A setting of an adaptation that takes several values, all else being equal."""

    name: str
    ways: tuple[tuple[float, str], ...]
    """Its values, in order, and the labels that their results have."""


def factors(adaptations: Sequence[Adaptation]) -> list[_Factor]:
    """The numbers that adaptations of one class differ in, one at a time: batch sizes, weights, iterations.

    Predictions after earlier iterations count as adaptations of so many iterations. In how many orders a score was
    averaged makes no difference.
    """
    several = [each for adaptation in adaptations for each in _expanded(adaptation)]
    groups: dict[tuple[str, str], dict[float, str]] = {}
    for adaptation, label in several:
        held = {path: value for path, value in leaves(adaptation).items() if path != "orders"}
        for path, value in held.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                name = f"{type(adaptation).__name__}.{path}"
                groups.setdefault((name, _without(held, path)), {}).setdefault(value, label)
    return [
        _Factor(name, tuple(sorted(found.items())))
        for (name, _), found in groups.items()
        if len(found) >= FEWEST_VALUES
    ]


def leaves(value: Value) -> dict[str, Any]:
    """Every setting inside a value, by its path; of a part that is a value itself, and of a row of them, the class."""
    found = {}
    for setting in settings(value):
        held = setting.value
        if isinstance(held, Value):
            held = type(held).__name__
        elif isinstance(held, tuple):
            held = str([type(each).__name__ if isinstance(each, Value) else each for each in held])
        found[setting.path] = held
    return found


def _without(held: dict[str, Any], path: str) -> str:
    """A name for all settings but one."""
    return fingerprint({other: str(value) for other, value in held.items() if other != path})


def _expanded(adaptation: Adaptation) -> list[tuple[Adaptation, str]]:
    if not isinstance(adaptation, SegTTT):
        return [(adaptation, adaptation.label)]
    every = zip((*adaptation.also_after, adaptation.iterations), adaptation.variants, strict=True)
    return [(replace(adaptation, iterations=number, also_after=()), label) for number, label in every]


def adaptation_curves(evidence: Evidence) -> Section | None:
    """Score and calibration error over a number that adaptations differ in; of batch sizes it is TSMLDG's Figure 4."""
    made = []
    for target in evidence.targets:
        lines: dict[str, dict[str, dict[str, tuple[list[float], list[float]]]]] = {}
        for name in dict.fromkeys(way.experiment for way in evidence.ways):
            experiment = evidence.experiment(name, target).experiment
            for inference in dict.fromkeys(way.inference for way in evidence.ways if way.experiment == name):
                for factor in factors(experiment.adaptations):
                    ways = [(value, Way(name, inference, label)) for value, label in factor.ways]
                    there = [(value, way) for value, way in ways if target in evidence.ways.get(way, {})]
                    if len(there) < FEWEST_VALUES:
                        continue
                    plain = Way(name, inference, TrainBN().label)
                    drawn = {name if len(_inferences(evidence, name)) == 1 else f"{name}, {inference}": there}
                    if target in evidence.ways.get(plain, {}):
                        ends = [there[0][0], there[-1][0]]
                        drawn[f"{name}, {TrainBN().label}"] = [(value, plain) for value in ends]
                    for series, points in drawn.items():
                        for unit, values in _measured(evidence, target, [way for _, way in points]).items():
                            of = lines.setdefault(factor.name, {}).setdefault(unit, {})
                            # Where another setting takes several values too, each of them has a line.
                            turn = sum(each.partition(" (")[0] == series for each in of)
                            named = f"{series} ({turn + 1})" if turn else series
                            of[named] = ([value for value, _ in points], values)
        for setting, units in lines.items():
            for unit, series in units.items():
                x = [value for values, _ in series.values() for value in values]
                log = min(x) > 0 and max(x) / min(x) >= 8
                chart = charts.lines(series, setting, unit, log_x=log)
                made.append(figure(chart, f"{setting} on {target}"))
    return Section("Settings of adaptations", figures(made)) if made else None


def _inferences(evidence: Evidence, name: str) -> set[str]:
    return {way.inference for way in evidence.ways if way.experiment == name}


def _measured(evidence: Evidence, target: str, ways: Sequence[Way]) -> dict[str, list[float]]:
    """Means over seeds of ways on a target, by unit; the calibration error where all of them have one."""
    rows = [evidence.ways[way][target] for way in ways]
    unit = score_name(evidence)
    found = {unit: [float(mean_over_seeds(of, lambda judged, row: np.array(judged.score(row)))) for of in rows]}
    if all(row.histogram for of in rows for _, row in of):
        found[f"{ECE}, %"] = [float(mean_over_seeds(of, _ece)) for of in rows]
    return found


def _ece(judged: Judged, row: Row) -> np.ndarray:
    assert row.calibration
    return np.array(row.calibration.ece(ECE_BINS, judged.experiment.scored_ids))


def training_factors(evidence: Evidence) -> Section | None:
    """Scores over a setting that experiments of the study differ in, all else being equal: on targets, in-domain and on
    the sources, and the masks' overlap where a method measures it."""
    scalar = (bool, int, float, str, type(None))
    judged = [each for each in evidence.judged if each.rows]
    set_ = [
        {k: v for k, v in leaves(each.experiment).items() if k not in ("name", "seed", "targets")} for each in judged
    ]
    paths = [
        path
        for path in dict.fromkeys(path for held in set_ for path in held)
        if len({str(held.get(path)) for held in set_}) >= FEWEST_VALUES
        and all(isinstance(held.get(path), scalar) for held in set_)
    ]
    made = []
    for path in paths:
        groups: dict[str, list[tuple[Any, Judged]]] = {}
        for each, held in zip(judged, set_, strict=True):
            if path in held:
                groups.setdefault(_without(held, path), []).append((held[path], each))
        for found in groups.values():
            if len({str(value) for value, _ in found}) >= FEWEST_VALUES:
                made += _factor_charts(evidence, path, found)
    return Section("Settings of training", figures(made)) if made else None


def _factor_charts(evidence: Evidence, path: str, found: Sequence[tuple[Any, Judged]]) -> Iterator[Markup]:
    series: dict[str, list[tuple[Any, float]]] = {}
    masks: list[tuple[Any, float]] = []
    for value, judged in found:
        first = judged.targets[0] if judged.targets else None
        for row in judged.rows:
            if row.role == "source-validation":
                series.setdefault("sources, val", [])
            elif first and (row.inference, row.adaptation) == (first.inference, first.adaptation):
                name = row.domain if row.role == "target" else "in-domain"
                series.setdefault(name, []).append((value, judged.score(row)))
        validated = [judged.score(row) for row in judged.rows if row.role == "source-validation"]
        if validated:
            series["sources, val"].append((value, float(np.mean(validated))))
        step = judged.rows[0].step
        overlaps = [line["iou"] for line in judged.metrics if "iou" in line and line["step"] == step - 1]
        masks += [(value, overlap) for overlap in overlaps[-1:]]
    yield figure(charts.sensitivity(path, series, score_name(evidence)), path)
    if masks:
        yield figure(charts.sensitivity(path, {"masks": masks}, "IoU of the masks"), f"{path}, overlap of the masks")


def sweeps(evidence: Evidence) -> Section | None:
    """Searches: all trials at once, and the score over each setting by itself."""
    parts = []
    for sweep in evidence.sweeps:
        if not sweep.trials:
            continue
        names = list(dict.fromkeys(name for trial in sweep.trials for name in trial.settings))
        best = max(sweep.trials, key=lambda trial: trial.score)
        varied = [n for n in names if len({str(t.settings.get(n)) for t in sweep.trials}) > 1]
        drawn = [
            figure(charts.sensitivity(name, {"trials": _pairs(sweep.trials, name)}, "score"), name) for name in varied
        ]
        parts += [
            element("h3", sweep.name),
            element(
                "p",
                f"{len(sweep.trials)} of {sweep.num_trials} trials have a score, of what may select: sources' "
                f"validation or development. They took {_duration(sweep.seconds)} together. "
                f"The best, {best.score:.2f}: "
                + ", ".join(f"{name} = {value}" for name, value in best.settings.items()),
            ),
            figures([figure(charts.parallel_coordinates(sweep.trials, "score"), "All trials")]) if names else None,
            figures(drawn),
        ]
    return Section("Searches", joined(parts)) if parts else None


def _pairs(trials: Sequence[charts.Trial], name: str) -> list[tuple[Any, float]]:
    return [(trial.settings[name], trial.score) for trial in trials if name in trial.settings]


def image_differences(evidence: Evidence) -> Section | None:
    """What every image gains or loses between two ways (self-adaptation's Figure 10)."""
    made = []
    for target in evidence.targets:
        for base, other in evidence.comparisons(target):
            differences = list(difference(evidence, base, other, target).values())
            if not differences or not any(differences):
                continue
            worse, better = sum(d < 0 for d in differences), sum(d > 0 for d in differences)
            chart = charts.sorted_differences(differences, "difference, points")
            caption = (
                f"of {len(differences)} images {better} gain and {worse} lose; "
                f"mean {statistics.fmean(differences):+.2f}, median {statistics.median(differences):+.2f}"
            )
            made.append(figure(chart, f"{evidence.text(other)} against {evidence.text(base)} on {target}", caption))
    if not made:
        return None
    note = (
        "An image's score is that of its own confusion matrix, averaged over orders and seeds; these means differ from "
        "the tables' scores, which divide once, after all images are counted."
    )
    return Section("Image by image", joined([element("p", note, class_="notes"), figures(made, 6)]))


def difference(evidence: Evidence, base: Way, other: Way, target: str) -> dict[str, float]:
    """By how many points `other` scores higher on each image, for images on which both count."""
    before, after = evidence.per_image(base, target), evidence.per_image(other, target)
    found = {name: after[name] - before[name] for name in before if name in after}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def frequencies(evidence: Evidence) -> Section | None:
    """What every class gains between two ways, over how often the sources show it."""
    made = []
    for target in evidence.targets:
        for base, other in evidence.comparisons(target):
            judged = evidence.experiment(other.experiment, target)
            shares = evidence.source_frequencies(judged)
            if shares is None:
                continue
            gains = evidence.per_class(other, target) - evidence.per_class(base, target)
            names = judged.experiment.label_space.classes
            points = [
                (name, float(share), float(gain))
                for name, share, gain in zip(names, shares, gains, strict=True)
                if share > 0 and math.isfinite(gain)
            ]
            if not points or len(points) > MOST_CLASSES or not any(gain for *_, gain in points):
                continue
            unit = "pixels" if judged.experiment.label_space.task == "segmentation" else "images"
            chart = charts.named_points(points, f"share of the sources' {unit}", "gain, points")
            made.append(figure(chart, f"{evidence.text(other)} against {evidence.text(base)} on {target}"))
    return Section("Rare and frequent classes", figures(made, 4)) if made else None


def training(evidence: Evidence) -> Section | None:
    """Losses and what methods measure over the steps, from each run's own record."""
    lines: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
    thinned = False
    for judged in evidence.judged:
        steps = [line for line in judged.metrics if "loss" in line]
        for name in dict.fromkeys(key for line in steps for key in line if key not in NOT_LOSSES):
            of = [line for line in steps if name in line]
            x, y = averaged([line["step"] for line in of], [line[name] for line in of])
            thinned |= len(x) < len(of)
            lines.setdefault(name, {})[judged.label] = (x, y)
        measured = [line for line in judged.metrics if "loss" not in line]
        for name in dict.fromkeys(key for line in measured for key in line if key != "step" and "/" not in key):
            of = [line for line in measured if name in line]
            lines.setdefault(name, {})[judged.label] = ([line["step"] for line in of], [line[name] for line in of])
    if not lines:
        return None
    made = [
        figure(charts.lines(series, "step", name, marked=False), name.replace("_", " "))
        for name, series in lines.items()
    ]
    note = f"Long runs are drawn as means of groups of steps, {CURVE_POINTS} at most." if thinned else ""
    return Section("Training", joined([figures(made), element("p", note, class_="notes")]))


def averaged(x: Sequence[float], y: Sequence[float]) -> tuple[list[float], list[float]]:
    """At most `CURVE_POINTS` points: means of neighbours in groups of one size, but for the last, which may be
    smaller."""
    size = -(-len(x) // CURVE_POINTS)
    cut = [(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]
    return [statistics.fmean(a) for a, _ in cut], [statistics.fmean(b) for _, b in cut]


def validation(evidence: Evidence) -> Section | None:
    """Scores of every checkpoint on the sources' validation splits, and on the development domain: what selects."""
    made = []
    for role, title in (("source-validation", "Mean over the sources"), ("development", "Development domain")):
        series = {}
        for judged in evidence.judged:
            by_step: dict[int, list[float]] = {}
            for row in judged.validation:
                if row.role == role:
                    by_step.setdefault(row.step, []).append(judged.score(row))
            if by_step:
                series[judged.label] = (sorted(by_step), [float(np.mean(by_step[s])) for s in sorted(by_step)])
        if series:
            made.append(figure(charts.lines(series, "step", score_name(evidence)), title))
    if not made:
        return None
    chosen = [
        f"{judged.label}: step {judged.rows[0].step}, by {judged.experiment.selection}"
        for judged in evidence.judged
        if judged.rows
    ]
    return Section("Checkpoints", joined([figures(made), element("div", bullets(chosen), class_="notes")]))


def analysis(evidence: Evidence) -> Section | None:
    """Loss and score of every checkpoint on sources and unseen targets."""
    made = []
    for judged in evidence.judged:
        curves: dict[str, dict[str, tuple[list[int], list[float]]]] = {"score": {}, "loss": {}}
        for kind, curve in curves.items():
            by_domain: dict[str, dict[int, list[float]]] = {}
            for row in judged.analysis:
                value = row.loss if kind == "loss" else judged.score(row)
                name = "sources, mean" if row.domain in judged.experiment.sources else row.domain
                if value is not None and (name in judged.experiment.targets or name == "sources, mean"):
                    by_domain.setdefault(name, {}).setdefault(row.step, []).append(value)
            for name, steps in by_domain.items():
                curve[name] = (sorted(steps), [float(np.mean(steps[step])) for step in sorted(steps)])
        for kind, unit in (("loss", "cross-entropy"), ("score", score_name(evidence))):
            if curves[kind]:
                made.append(figure(charts.lines(curves[kind], "step", unit), f"{judged.label}: {kind}"))
    if not made:
        return None
    note = (
        "Analysis: it looks at unseen targets all along the training, so nothing may be chosen by it, and no selection "
        "rule accepts these rows. The method's own inference without adaptation, on the sources' validation splits and "
        "on what is scored of the targets."
    )
    return Section("Sources and targets over training", joined([element("p", note, class_="notes"), figures(made)]))


def settings_of(evidence: Evidence) -> Section | None:
    """The experiments' JSON."""
    if not evidence.judged:
        return None
    folded = []
    for judged in evidence.judged:
        experiment = judged.experiment
        steps = " + ".join(f"{stage.steps:,}" for stage in experiment.stages)
        about = (
            f"{judged.label}: {', then '.join(code(stage.method) for stage in experiment.stages)}; "
            f"{', '.join(experiment.source_names)} → {', '.join(experiment.targets) or 'no target'}; {steps} steps; "
            f"fingerprint {experiment.fingerprint()[:12]}"
        )
        written = json.dumps(_readable(encode(experiment)), indent=1)
        folded.append(element("details", element("summary", about), element("pre", written)))
    return Section("Experiments", joined(folded))


def _readable(data: Any) -> Any:
    """Without the label space's colours, which are hundreds of numbers that decide nothing."""
    if isinstance(data, dict):
        return {key: _readable(value) for key, value in data.items() if key != "palette"}
    return [_readable(each) for each in data] if isinstance(data, list) else data


def licences(evidence: Evidence) -> Section | None:
    """The terms of data and weights that went into the checkpoints."""
    found = list(dict.fromkeys(licence for judged in evidence.judged for licence in judged.licences))
    if not found:
        return None
    combined = table(
        ["checkpoints of", "commercial use"],
        [[judged.label, commercial_use(judged.licences)] for judged in evidence.judged if judged.licences],
        2,
    )
    terms = table(
        ["what", "commercial use", "terms"], [[each.of, each.commercial_use, each.terms] for each in found], 3
    )
    note = "The terms as far as they were read: no legal advice."
    return Section("Licences", joined([combined, terms, element("p", note, class_="notes")]))


def costs(evidence: Evidence) -> Section | None:
    """Time of training, and of a prediction on each kind of machine that measured one."""
    parts: list[Markup | None] = []
    trained = []
    for judged in evidence.judged:
        seconds = [line["seconds"] for line in judged.metrics if "loss" in line]
        if seconds:
            trained.append(
                [
                    judged.label,
                    f"{len(seconds):,}",
                    f"{judged.experiment.batch_size}",
                    f"{statistics.median(seconds):.3g}",
                    _duration(sum(seconds)),
                ]
            )
    if trained:
        header = ["training", "steps", "images a step", "s a step, median", "all steps"]
        parts += [table(header, trained), element("p", "Without validation and start-up.", class_="notes")]
    predicted = [
        [evidence.text(way), target, f"{1000 * statistics.median(times):.4g}", "; ".join(sorted(machines))]
        for way, found in evidence.with_ensembles.items()
        for target, rows in found.items()
        if (times := [row.cost.seconds_per_image for _, row in rows if row.cost])
        and (machines := {row.cost.measured_on for _, row in rows if row.cost})
    ]
    if predicted:
        parts.append(table(["prediction", "target", COST, "measured on"], predicted, 2))
        parts.append(
            element("p", "Without the fit of adaptations that first see the whole target.", class_="notes")
            if any(a.needs_fit for way in evidence.with_ensembles for a in evidence.adaptations(way))
            else None
        )
    return Section("Cost", joined(parts)) if parts else None


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
