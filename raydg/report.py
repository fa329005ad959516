"""Tables and pictures of what was scored: every number with its rule, its classes, its seeds and the meaning of its
±."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from raydg.assembly import VALIDATION
from raydg.calibration import Calibration
from raydg.domains.labels import IGNORE, LabelSpace
from raydg.evaluation import Cost, Row
from raydg.experiment import Experiment
from raydg.selection import STANDARD_ERROR, Estimate, mean_and_standard_error

SOURCES = "sources, val"
"""Heading of the column that shows what the selected checkpoint is worth where it was trained."""


IN_DOMAIN = "{} (in-domain)"
"""Heading of a source that was scored on held-out splits."""

WORDS = ("method", "inference", "adaptation", "sees")
"""Headings of the columns that hold no scores."""

ECE_BINS = 15
"""Bins of the calibration error in tables and diagrams."""

ECE, MILLISECONDS = "ECE", "ms/image"
"""Headings of what stands beside the scores, where it was measured."""


@dataclass(frozen=True)
class Table:
    """Experiments x inferences x adaptations (rows) on targets and sources (columns); a cell that was not run is
    missing, never guessed."""

    title: str
    targets: tuple[str, ...]
    cells: dict[tuple[str, str, str], dict[str, Estimate]]
    """Percent, over seeds, by (experiment, inference, adaptation) and target; under `SOURCES`, mean over the sources'
    validation splits; under `IN_DOMAIN`, of a source's held-out splits."""
    sees: dict[str, str]
    notes: tuple[str, ...]
    calibration: dict[tuple[str, str, str], Estimate]
    """Mean over the targets of the expected calibration error, percent, over seeds, by (experiment, inference,
    adaptation); what was not scored on all its targets by every seed is missing."""
    seconds: dict[tuple[str, str, str], float]
    """Median seconds per image over targets, orders and seeds, likewise."""

    @property
    def columns(self) -> list[str]:
        """What was scored: the sources' validation, where it was given, the targets, and sources in-domain."""
        found = list(dict.fromkeys(column for cells in self.cells.values() for column in cells))
        with_sources = [SOURCES] if SOURCES in found else []
        return [*with_sources, *self.targets, *(c for c in found if c not in (SOURCES, *self.targets))]

    @property
    def words(self) -> list[str]:
        """The columns that hold no scores: inferences are told apart where an experiment has more than one."""
        ways = {(name, inference) for name, inference, _ in self.cells}
        several = len(ways) > len({name for name, _ in ways})
        return [word for word in WORDS if word != "inference" or several]

    def header(self) -> list[str]:
        average = ["mean"] if len(self.targets) > 1 else []
        return [*self.words, *self.columns, *average, *self.beside]

    @property
    def beside(self) -> list[str]:
        """The columns beside the scores that have anything to show."""
        return [name for name, found in ((ECE, self.calibration), (MILLISECONDS, self.seconds)) if found]

    def lines(self) -> list[list[str]]:
        """The body as text, in the order of the header."""
        lines = []
        for (name, inference, adaptation), cells in self.cells.items():
            words: dict[str, str] = dict(zip(WORDS, (name, inference, adaptation, self.sees[adaptation]), strict=True))
            line = [*(words[word] for word in self.words), *(_text(cells.get(column)) for column in self.columns)]
            if len(self.targets) > 1:
                whole = all(target in cells for target in self.targets)
                line.append(f"{np.mean([cells[target].mean for target in self.targets]):.2f}" if whole else "")
            key = name, inference, adaptation
            if self.calibration:
                line.append(_text(self.calibration.get(key)))
            if self.seconds:
                line.append(f"{1000 * self.seconds[key]:.4g}" if key in self.seconds else "")
            lines.append(line)
        return lines

    def markdown(self) -> str:
        rows = [self.header(), ["---"] * len(self.header()), *self.lines()]
        table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
        return f"### {self.title}\n\n{table}\n\n" + "\n".join(f"- {note}" for note in self.notes) + "\n"


def tables(
    title: str,
    scored: Sequence[tuple[Experiment, Sequence[Row]]],
    rule: str | None = None,
    remarks: Mapping[str, Sequence[str]] | None = None,
) -> tuple[Table, ...]:
    """The tables of a study, one for every label space, scored classes and selection rule among its experiments.

    Arguments are those of `table`. Where there are several tables, titles say what each averages over and, unless all
    are alike in it, how checkpoints were selected; experiments none of which was scored have none.

    Raises:
        ValueError: nothing was scored.
    """
    groups: dict[tuple, list[tuple[Experiment, Sequence[Row]]]] = {}
    for experiment, rows in scored:
        groups.setdefault(_compares_by(experiment, rule), []).append((experiment, rows))
    made = []
    rules = {experiment.selection for experiment, _ in scored} if rule is None else set()
    for group in groups.values():
        first = group[0][0]
        if any(rows for _, rows in group):
            what = f"{title}, {averaged(first)}" + (f", selection {first.selection}" if len(rules) > 1 else "")
            made.append(table(title if len(groups) == 1 else what, group, rule, remarks))
    return tuple(made) or (table(title, scored, rule, remarks),)


def _compares_by(experiment: Experiment, rule: str | None) -> tuple:
    """What experiments of one table have in common; a rule that was given is everybody's."""
    return experiment.label_space.name, experiment.scored_classes, experiment.selection if rule is None else rule


def table(
    title: str,
    scored: Sequence[tuple[Experiment, Sequence[Row]]],
    rule: str | None = None,
    remarks: Mapping[str, Sequence[str]] | None = None,
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

    Raises:
        ValueError: nothing was scored, or the experiments are not comparable (another label space or selection rule).
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

    by_seed: dict[tuple[str, str, str], dict[str, dict[int, list[Row]]]] = {}
    for experiment, rows in scored:
        inferences = {inference.label for inference in experiment.scored_inferences}
        for row in rows:
            # Validation rows are the method's own inference without adaptation, which a study may do without.
            if row.adaptation not in sees or row.inference not in inferences:
                continue
            column = {"target": row.domain, "in-domain": IN_DOMAIN.format(row.domain)}.get(row.role, SOURCES)
            cell = by_seed.setdefault((experiment.name, row.inference, row.adaptation), {}).setdefault(column, {})
            cell.setdefault(experiment.seed, []).append(row)
    cells = {
        key: {target: _cell(seeds, experiments[0]) for target, seeds in columns.items()}
        for key, columns in by_seed.items()
    }
    judged = [row for _, rows in scored for row in rows if row.role in ("target", "in-domain")]
    images = {
        (row.role, row.domain): ("in-domain " if row.role == "in-domain" else "")
        + f"{row.domain} {row.split} ({row.num_images} images)"
        for row in judged
    }
    on_targets: dict[tuple[str, str, str], dict[int, dict[str, list[Row]]]] = {}
    for key, columns in by_seed.items():
        for target in targets:
            for seed, rows in columns.get(target, {}).items():
                on_targets.setdefault(key, {}).setdefault(seed, {})[target] = rows
    calibration, seconds, costs = {}, {}, []
    for key, of_seeds in on_targets.items():
        aims = {target for e in experiments if e.name == key[0] for target in e.targets}
        found = [row for of_target in of_seeds.values() for rows in of_target.values() for row in rows]
        # A mean over some targets, or over other seeds on each, would not compare.
        if all(row.histogram for row in found) and all(of_target.keys() == aims for of_target in of_seeds.values()):
            calibration[key] = mean_and_standard_error([_ece(of, experiments[0]) for of in of_seeds.values()])
        timed = [row.cost for row in found if row.cost]
        if timed:
            seconds[key] = median(cost.seconds_per_image for cost in timed)
            costs += timed
    seeds = sorted({experiment.seed for experiment in experiments})
    metric = "mIoU" if space.task == "segmentation" else "accuracy"
    notes = (
        f"{metric} in percent over {averaged(experiments[0])}"
        + (", classes found in neither truth nor prediction left out" if space.task == "segmentation" else ""),
        f"checkpoint selected by {rule or experiments[0].selection + '; targets are read only afterwards'}",
        "scored: " + ", ".join(images.values()),
        f"seeds {', '.join(map(str, seeds))}; "
        + (STANDARD_ERROR if len(seeds) > 1 else "one run each, so no ± can be given")
        + ("; random orders of the batches are averaged first" if any(row.order for row in judged) else ""),
        *_protocol_notes(experiments),
        *(note for name in dict.fromkeys(e.name for e in experiments) for note in (remarks or {}).get(name, ())),
        *((_CHOSEN_NOTE,) if rule is None and any(_chose(experiment) for experiment in experiments) else ()),
        *((_ECE_NOTE,) if calibration else ()),
        *((_cost_note(costs),) if costs else ()),
    )
    return Table(title, targets, cells, sees, notes, calibration, seconds)


_ECE_NOTE = (
    f"{ECE} is the expected calibration error in percent, in {ECE_BINS} bins over all that counts of a target, mean "
    "over targets"
)


_CHOSEN_NOTE = "in-domain scores are of the images that chose the checkpoint, and so flattered"


def _chose(experiment: Experiment) -> bool:
    """Whether what is scored in-domain has selected the checkpoint."""
    return experiment.selection == "source-validation" and VALIDATION in (experiment.in_domain_splits or ())


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
        f"decoding and counting, on {'; '.join(on)}"
    )


def _ece(of_targets: Mapping[str, Sequence[Row]], experiment: Experiment) -> float:
    """A seed's mean over targets of the mean over orders, percent."""
    means = []
    for rows in of_targets.values():
        errors = [row.calibration.ece(ECE_BINS, experiment.scored_ids) for row in rows if row.calibration]
        means.append(float(np.mean(errors)))
    return float(np.mean(means))


def averaged(experiment: Experiment) -> str:
    """The classes that a score averages over, in words."""
    space, scored = experiment.label_space, experiment.scored_classes
    if scored is None:
        return f"the {space.num_classes} classes of {space.name}"
    left_out = ", ".join(name for name in space.classes if name not in scored)
    return f"{len(scored)} of the {space.num_classes} classes of {space.name} (without {left_out})"


def _cell(seeds: dict[int, list[Row]], experiment: Experiment) -> Estimate:
    task, classes = experiment.label_space.task, experiment.scored_ids
    return mean_and_standard_error(
        [float(np.mean([row.confusion.score(task, classes) for row in rows])) for rows in seeds.values()]
    )


def _text(cell: Estimate | None) -> str:
    if cell is None:
        return ""
    return f"{cell.mean:.2f}" + ("" if cell.standard_error is None else f" ± {cell.standard_error:.2f}")


def paint(labels: np.ndarray, space: LabelSpace) -> np.ndarray:
    """Class ids (h, w) in the label space's palette: (h, w, 3) uint8; `IGNORE` is black."""
    colours = np.zeros((256, 3), np.uint8)
    colours[: space.num_classes] = space.palette
    colours[IGNORE] = 0
    return colours[labels]


@dataclass(frozen=True)
class Column:
    """One column of a picture grid: pictures (h, w, 3) uint8 under a title, with a caption each where there is one."""

    title: str
    pictures: Sequence[np.ndarray]
    captions: Sequence[str] | None = None


def picture_grid(columns: Sequence[Column], path: Path, cell_width: int = 320) -> None:
    """Write a PNG with one picture a cell: image | truth | predictions."""
    font = ImageFont.load_default(size=15)
    num_rows = len(columns[0].pictures)
    heights = [round(p.shape[0] * cell_width / p.shape[1]) for p in columns[0].pictures]
    captions = 20 if any(column.captions for column in columns) else 0
    gap, head = 6, 30
    size = (len(columns) * (cell_width + gap) + gap, head + sum(heights) + num_rows * (gap + captions))
    grid = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(grid)
    for i, column in enumerate(columns):
        left, top = gap + i * (cell_width + gap), head
        draw.text((left + cell_width / 2, head / 2), column.title, fill="black", font=font, anchor="mm")
        for row, picture in enumerate(column.pictures):
            flat = Image.fromarray(picture)
            # Label colours must not mix; photographs should.
            flat = flat.resize(
                (cell_width, heights[row]), Image.Resampling.BICUBIC if i == 0 else Image.Resampling.NEAREST
            )
            grid.paste(flat, (left, top))
            if column.captions:
                at = (left + cell_width / 2, top + heights[row] + captions / 2)
                draw.text(at, column.captions[row], fill="black", font=font, anchor="mm")
            top += heights[row] + gap + captions
    _save(grid, path)


def reliability_diagrams(found: Mapping[str, Calibration], path: Path, side: int = 300) -> None:
    """Write a PNG of one reliability diagram per title: accuracy over confidence in `ECE_BINS` bins.

    Bars are accuracies, red what they miss of the bin's mean confidence or, where the bar is over it, exceed; the line
    is perfect calibration. The share of the predictions in each bin stands below as a grey bar.

    Args:
        found: by title.
        path: of the PNG; its folder is made.
        side: of a diagram, px.

    Raises:
        ValueError: nothing was found.
    """
    if not found:
        raise ValueError("There is no calibration to draw: run `evaluate` first.")
    gap, head, shares = 24, 50, 40
    columns = min(4, len(found))
    rows = -(-len(found) // columns)
    cell = side + gap, side + head + shares + gap
    picture = Image.new("RGB", (columns * cell[0] + gap, rows * cell[1] + gap), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=13)
    for number, (title, calibration) in enumerate(found.items()):
        left, top = gap + number % columns * cell[0], gap + number // columns * cell[1] + head
        bottom = top + side
        error = calibration.ece(ECE_BINS)
        for line, text in enumerate((title, f"{ECE} {error:.2f} %")):
            draw.text((left, top - head + 18 * line), text, fill="black", font=font)
        bins = calibration.bins(ECE_BINS)
        most = bins[:, 0].max()
        for i, (count, confidence, accuracy) in enumerate(bins):
            if not count:
                continue
            x = left + round(i * side / ECE_BINS), left + round((i + 1) * side / ECE_BINS) - 1
            reach, right = bottom - round(confidence * side), bottom - round(accuracy * side)
            draw.rectangle((x[0], min(right, bottom), x[1], bottom), fill=BAR)
            draw.rectangle((x[0], min(reach, right), x[1], max(reach, right)), fill=GAP)
            draw.rectangle((x[0], bottom + 4, x[1], bottom + 4 + round(count / most * (shares - 8))), fill=SHARE)
        draw.line((left, bottom, left + side, top), fill="black")
        draw.rectangle((left, top, left + side, bottom), outline="black")
    _save(picture, path)


BAR, GAP, SHARE = (70, 120, 190), (220, 70, 60), (160, 160, 160)
"""Colours of a reliability diagram."""


def _save(picture: Image.Image, path: Path) -> None:
    """Put a PNG in place, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished.png")
    picture.save(unfinished)
    unfinished.replace(path)
