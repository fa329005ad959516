"""Charts for a page: numbers in, SVG text out. They take their colours from the page's CSS variables, so that one
drawing fits light, dark and print.

Marks carry their numbers as `<title>`, which browsers show under the pointer. Legends are not drawn: they are the
page's to set (`Chart.legend`), where long names can wrap.
"""

import hashlib
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from xml.etree import ElementTree

import matplotlib
import matplotlib.colors
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from matplotlib.transforms import Bbox

NUM_COLOURS = 8
"""Colours of series, `--s0` to `--s7`; further series repeat them, dashed or fainter."""

TEXT, FAINT, GAIN, LOSS = "#010101", "#020202", "#030303", "#040404"
SERIES = tuple(f"#0501{i:02x}" for i in range(NUM_COLOURS))
VARIABLES = {TEXT: "currentColor", FAINT: "var(--faint)", GAIN: "var(--gain)", LOSS: "var(--loss)"} | {
    colour: f"var(--s{i})" for i, colour in enumerate(SERIES)
}
"""What matplotlib draws with, and what the page sees instead."""

DASHES: tuple[Any, ...] = ("solid", (0, (4, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
OPACITIES = (1.0, 0.6, 0.35, 0.2)

FEW = 8
"""Values of a setting that each have a place of their own."""

STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "raydg",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": TEXT,
    "text.color": TEXT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": TEXT,
    "ytick.labelcolor": TEXT,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.alpha": 0.35,
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "figure.constrained_layout.use": True,
    "axes.formatter.useoffset": False,
}

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
ElementTree.register_namespace("", SVG)
ElementTree.register_namespace("xlink", XLINK)


@dataclass(frozen=True)
class Key:
    """One entry of a legend."""

    name: str
    colour: str
    """A CSS colour."""
    opacity: float = 1.0
    dashed: bool = False


@dataclass(frozen=True)
class Chart:
    """A drawing and what its colours mean."""

    svg: str
    """An `<svg>` element that stands for itself: XML, without references to anything outside."""
    legend: tuple[Key, ...] = ()


Numbers = Sequence[float]
"""NaN where there is none."""


def bars(categories: Sequence[str], series: Mapping[str, Numbers], y_label: str) -> Chart:
    """Upright bars, one of each series for every category; a NaN has none.

    Raises:
        ValueError: no category, no series, or a series of another length.
    """
    _require(bool(categories and series), "bars need a category and a series")
    _require(
        all(len(values) == len(categories) for values in series.values()), "every series needs a value per category"
    )
    group, each = len(series) * 0.085 + 0.1, 0.085
    figure, axes = _axes(min(11.0, max(3.5, 0.8 + group * len(categories))), 3.0)
    titles: dict[str, str] = {}
    width = each / group
    for number, (name, values) in enumerate(series.items()):
        for at, (category, value) in enumerate(zip(categories, values, strict=True)):
            if math.isfinite(value):
                left = at + (number - len(series) / 2) * width
                (bar,) = axes.bar(left, value, width * 0.92, align="edge", color=_colour(number), linewidth=0)
                bar.set_alpha(_opacity(number))
                _title(bar, titles, f"{category}, {name}: {value:.2f}")
    axes.set_xticks(range(len(categories)), categories, rotation=40, ha="right", rotation_mode="anchor")
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="x", visible=False)
    axes.set_xlim(-0.6, len(categories) - 0.4)
    axes.set_ylabel(y_label)
    axes.axhline(0, color=FAINT, linewidth=0.8)
    return Chart(_svg(figure, titles, y_label), tuple(_key(name, i) for i, name in enumerate(series)))


def lines(
    series: Mapping[str, tuple[Numbers, Numbers]],
    x_label: str,
    y_label: str,
    log_x: bool = False,
    marked: bool = True,
) -> Chart:
    """A line of every series of points (x, y), in the order given; a NaN interrupts it.

    Args:
        series: x and y by name.
        x_label: of the axis.
        y_label: likewise.
        log_x: logarithmic; the values of x are then its ticks where they are few.
        marked: whether points are drawn, each with its numbers.

    Raises:
        ValueError: no series, or x and y of different length.
    """
    _require(bool(series), "lines need a series")
    figure, axes = _axes(5.2, 3.0)
    titles: dict[str, str] = {}
    for number, (name, (x, y)) in enumerate(series.items()):
        _require(len(x) == len(y) > 0, f"{name!r} needs as many x as y, and at least one")
        dash = DASHES[number // NUM_COLOURS % len(DASHES)]
        (line,) = axes.plot(x, y, color=_colour(number), linestyle=dash, linewidth=1.4)
        _title(line, titles, name)
        if marked:
            for here, value in zip(x, y, strict=True):
                if math.isfinite(value):
                    (point,) = axes.plot([here], [value], "o", color=_colour(number), markersize=3.5)
                    _title(point, titles, f"{name}: {value:.4g} at {here:g}")
    every = sorted({float(value) for x, _ in series.values() for value in x})
    if log_x:
        axes.set_xscale("log")
        if len(every) <= 8:
            axes.set_xticks(every, [f"{value:g}" for value in every])
            axes.xaxis.set_minor_locator(NullLocator())
    elif all(value == round(value) for value in every):
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    keys = tuple(_key(name, i) for i, name in enumerate(series))
    return Chart(_svg(figure, titles, f"{y_label} over {x_label}"), keys)


def reliability(bins: np.ndarray, title: str) -> Chart:
    """Accuracy over confidence; the line is perfect calibration, the grey bars below the share of all predictions.

    Where predictions are underconfident, accuracy is the top of the pale bar, else that of the dark one.

    Args:
        bins: (n, 3) count, mean confidence and accuracy, as `raydg.calibration.Calibration.bins` gives them.
        title: what a reader who cannot see the chart is told.

    Raises:
        ValueError: another shape, or nothing counted.
    """
    _require(bins.ndim == 2 and bins.shape[1] == 3 and bins[:, 0].sum() > 0, "bins must be (n, 3) and hold something")
    with matplotlib.rc_context(STYLE):
        figure = Figure((2.7, 3.0))
        axes, shares = figure.subplots(2, 1, height_ratios=(5, 1), sharex=True)
    titles: dict[str, str] = {}
    for i, (count, confidence, accuracy) in enumerate(bins):
        if not count:
            continue
        left, width, share = i / len(bins), 0.92 / len(bins), count / bins[:, 0].sum()
        low, high = sorted((accuracy, confidence))
        (bar,) = axes.bar(left, low, width, align="edge", color=SERIES[0], linewidth=0)
        _title(bar, titles, f"confidence {confidence:.3f}: accuracy {accuracy:.3f}, {share:.1%} of the predictions")
        gap_colour = LOSS if confidence > accuracy else SERIES[5]
        (gap,) = axes.bar(left, high - low, width, bottom=low, align="edge", color=gap_colour, linewidth=0, alpha=0.55)
        _title(gap, titles, f"{'over' if confidence > accuracy else 'under'}confident by {high - low:.3f}")
        (bar,) = shares.bar(left, share, width, align="edge", color=FAINT, linewidth=0)
        _title(bar, titles, f"{share:.1%} of the predictions")
    axes.plot([0, 1], [0, 1], color=TEXT, linewidth=0.8)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_ylabel("accuracy")
    shares.set_ylabel("share")
    shares.set_xlabel("confidence")
    shares.yaxis.set_major_locator(MaxNLocator(2))
    shares.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    keys = (
        Key("right", VARIABLES[SERIES[0]]),
        Key("overconfident", VARIABLES[LOSS], 0.55),
        Key("underconfident", VARIABLES[SERIES[5]], 0.55),
    )
    return Chart(_svg(figure, titles, title), keys)


@dataclass(frozen=True)
class Point:
    """A way to predict, by what it costs and what it gives."""

    label: str
    """Drawn beside it: short."""
    title: str
    """In full."""
    x: float
    y: float
    series: str
    """Points of one series are joined, in the order of x."""


def front(points: Sequence[Point], better: Literal["higher", "lower"]) -> list[Point]:
    """The points that no other beats: none is at most as far right and better, or as good and further left."""
    sign = 1 if better == "higher" else -1
    kept: list[Point] = []
    for point in sorted(points, key=lambda p: (p.x, -sign * p.y)):
        if not kept or sign * point.y > sign * kept[-1].y:
            kept.append(point)
    return kept


def trade_off(points: Sequence[Point], x_label: str, y_label: str, better: Literal["higher", "lower"]) -> Chart:
    """Points of cost (x, logarithmic, less is better) and worth (y), with the front that none of them beats.

    Self-adaptation's Figure 2 is one, of runtime and accuracy. More series than colours have no key: a table names the
    labels.

    Raises:
        ValueError: no point, or a cost that is not above 0.
    """
    _require(bool(points) and all(point.x > 0 for point in points), "a trade-off needs points of a cost above 0")
    figure, axes = _axes(5.6, 3.6)
    titles: dict[str, str] = {}
    names = list(dict.fromkeys(point.series for point in points))
    best = front(points, better)
    if len(best) > 1:
        axes.plot([p.x for p in best], [p.y for p in best], drawstyle="steps-post", color=FAINT, linewidth=3, alpha=0.5)
    for number, name in enumerate(names):
        of = sorted((point for point in points if point.series == name), key=lambda p: p.x)
        axes.plot([p.x for p in of], [p.y for p in of], color=_colour(number), linewidth=0.8, alpha=0.7)
        for point in of:
            (mark,) = axes.plot([point.x], [point.y], "o", color=_colour(number), markersize=5.5)
            _title(mark, titles, f"{point.label}: {point.title}: {point.y:.2f} at {point.x:.4g}")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    if max(p.x for p in points) / min(p.x for p in points) < 100:
        subs = range(1, 10) if max(p.x for p in points) / min(p.x for p in points) < 5 else (1, 2, 5)
        axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.margins(0.1)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    _label(figure, axes, [(point.x, point.y, point.label) for point in points])
    keys = tuple(_key(name, number) for number, name in enumerate(names)) if len(names) <= NUM_COLOURS else ()
    return Chart(_svg(figure, titles, f"{y_label} over {x_label}"), keys)


def sorted_differences(differences: Numbers, y_label: str) -> Chart:
    """What every image gained or lost, from the largest loss to the largest gain, and their mean as a line.

    Self-adaptation's Figure 10. NaN differences, of images where nothing counts, are left out.

    Raises:
        ValueError: nothing is left.
    """
    values = np.sort(np.asarray(differences, float)[np.isfinite(differences)])
    _require(len(values) > 0, "there must be an image that counts")
    figure, axes = _axes(4.6, 2.6)
    titles: dict[str, str] = {}
    edges = np.arange(len(values) + 1)
    for sign, colour, word in ((1, GAIN, "better"), (-1, LOSS, "worse")):
        kept = np.where(sign * values > 0, values, 0)
        if kept.any():
            area = axes.stairs(kept, edges, fill=True, color=colour, linewidth=0)
            _title(area, titles, f"{int((kept != 0).sum())} of {len(values)} images are {word}")
    line = axes.axhline(float(values.mean()), color=TEXT, linewidth=0.9, linestyle=(0, (4, 2)))
    _title(line, titles, f"mean {values.mean():+.2f}")
    axes.axhline(0, color=FAINT, linewidth=0.8)
    axes.set_xlim(0, len(values))
    axes.set_xlabel("images, sorted")
    axes.set_ylabel(y_label)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    keys = (Key("gain", VARIABLES[GAIN]), Key("loss", VARIABLES[LOSS]), Key("mean", "currentColor", dashed=True))
    return Chart(_svg(figure, titles, f"sorted {y_label}"), keys)


def named_points(points: Sequence[tuple[str, float, float]], x_label: str, y_label: str) -> Chart:
    """Points (name, x, y) with their names beside them; x logarithmic, and 0 marked on y.

    Raises:
        ValueError: no point, or an x that is not above 0.
    """
    _require(bool(points) and all(x > 0 for _, x, _ in points), "named points need an x above 0")
    figure, axes = _axes(5.8, 3.6)
    titles: dict[str, str] = {}
    axes.axhline(0, color=FAINT, linewidth=0.8)
    for name, x, y in points:
        (mark,) = axes.plot([x], [y], "o", color=GAIN if y >= 0 else LOSS, markersize=4.5)
        _title(mark, titles, f"{name}: {y:+.2f} at {x:.3g}")
    axes.set_xscale("log")
    axes.margins(0.08)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    _label(figure, axes, [(x, y, name) for name, x, y in points])
    return Chart(_svg(figure, titles, f"{y_label} over {x_label}"))


@dataclass(frozen=True)
class Trial:
    """One point of a search: what was set, and what it scored."""

    settings: Mapping[str, Any]
    score: float


def parallel_coordinates(trials: Sequence[Trial], score_label: str) -> Chart:
    """A line of every trial through what was set, the last axis being its score; the better, the lighter its colour,
    and the best is bold.

    A setting that is a number has a logarithmic axis where its values span a factor of 100; words, and few such values
    with 0 among them, have a place each.

    Raises:
        ValueError: no trial, or none that sets anything.
    """
    _require(bool(trials) and any(trial.settings for trial in trials), "parallel coordinates need trials with settings")
    names = list(dict.fromkeys(name for trial in trials for name in trial.settings))
    scales = [_Scale.of([trial.settings[name] for trial in trials if name in trial.settings]) for name in names]
    scores = _Scale.of([trial.score for trial in trials], linear=True)
    figure, axes = _axes(min(11.0, 1.6 + 1.5 * len(names)), 3.4)
    titles: dict[str, str] = {}
    colours = matplotlib.colormaps["viridis"]
    best = max(trials, key=lambda trial: trial.score)
    for trial in sorted(trials, key=lambda trial: trial.score):
        y = [
            s.place(trial.settings[n]) if n in trial.settings else math.nan for n, s in zip(names, scales, strict=True)
        ]
        bold = trial is best
        colour = matplotlib.colors.to_hex(colours(0.1 + 0.8 * scores.place(trial.score)))
        (line,) = axes.plot(
            range(len(names) + 1), [*y, scores.place(trial.score)],
            color=TEXT if bold else colour, linewidth=2.2 if bold else 1.1, alpha=1 if bold else 0.75,
        )  # fmt: skip
        given = ", ".join(f"{name} = {_short(value)}" for name, value in trial.settings.items())
        _title(line, titles, f"{score_label} {trial.score:.2f}: {given}")
    for at, scale in enumerate([*scales, scores]):
        axes.axvline(at, color=FAINT, linewidth=0.8)
        for place, text in scale.ticks():
            axes.text(at + 0.03, place, text, fontsize=7.5, va="center", color=TEXT)
    axes.set_xticks(range(len(names) + 1), [*(_wrapped(name) for name in names), score_label])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.3, len(names) + 0.5)
    return Chart(_svg(figure, titles, f"{score_label} of trials over their settings"))


def sensitivity(name: str, series: Mapping[str, Sequence[tuple[Any, float]]], y_label: str) -> Chart:
    """Scores over one setting, as points; where it took few values, with a line through the mean at each.

    Args:
        name: of the setting.
        series: pairs of its value and a score, by what was scored.
        y_label: what the scores are.

    Raises:
        ValueError: nothing was scored.
    """
    pairs = [pair for found in series.values() for pair in found]
    _require(bool(pairs), "sensitivity needs a score")
    scale = _Scale.of([value for value, _ in pairs])
    figure, axes = _axes(3.6, 2.7)
    titles: dict[str, str] = {}
    for number, (of, found) in enumerate(series.items()):
        at: dict[float, list[float]] = {}
        for value, score in found:
            at.setdefault(scale.position(value), []).append(score)
            (point,) = axes.plot(
                [scale.position(value)], [score], "o", color=_colour(number), markersize=3.5, alpha=0.8
            )
            _title(point, titles, f"{of}: {score:.2f} at {name} = {_short(value)}")
        if 1 < len(at) <= FEW:
            x = sorted(at)
            (line,) = axes.plot(x, [float(np.mean(at[each])) for each in x], color=_colour(number), linewidth=1.2)
            _title(line, titles, f"{of}, mean")
    places = scale.values()
    if scale.kind == "logarithmic":
        axes.set_xscale("log")
    if scale.kind == "one by one" or len(places) <= 6:
        axes.set_xticks([scale.position(value) for value in places], [_short(value) for value in places])
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(name)
    axes.set_ylabel(y_label)
    keys = tuple(_key(of, i) for i, of in enumerate(series)) if len(series) > 1 else ()
    return Chart(_svg(figure, titles, f"{y_label} over {name}"), keys)


def embedding(
    points: np.ndarray,
    groups: Sequence[int],
    names: Sequence[str],
    colours: Sequence[str] | None = None,
    slots: Mapping[int, tuple[float, float]] | None = None,
) -> Chart:
    """Points in the plane, coloured by the group they belong to.

    Args:
        points: (n, 2).
        groups: of every point, an index into `names`.
        names: of the groups.
        colours: CSS colours of the groups; None: the page's own.
        slots: places that are marked by a star, by group: rows of a memory.

    Raises:
        ValueError: no points, or not a group for each.
    """
    _require(points.ndim == 2 and points.shape[1] == 2 and 0 < len(points) == len(groups), "points must be (n, 2)")
    figure, axes = _axes(4.6, 4.2)
    titles: dict[str, str] = {}
    there: list[int] = sorted({*groups, *(slots or {})})
    shown = {group: colours[group] if colours else _colour(number) for number, group in enumerate(there)}
    of = np.asarray(groups)
    for group in there:
        if (of == group).any():
            cloud = axes.scatter(*points[of == group].T, s=7, color=shown[group], linewidths=0, alpha=0.75)
            _title(cloud, titles, f"{names[group]}: {int((of == group).sum())} pixels")
    for group, place in (slots or {}).items():
        (star,) = axes.plot(*[[value] for value in place], "*", color=shown[group], markersize=14, markeredgecolor=TEXT)
        _title(star, titles, f"memory of {names[group]}")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    keys = tuple(Key(names[group], VARIABLES.get(shown[group], shown[group])) for group in there)
    return Chart(_svg(figure, titles, "embedding"), keys)


@dataclass(frozen=True)
class _Scale:
    """Where the values of a setting stand on an axis."""

    kind: Literal["linear", "logarithmic", "one by one"]
    found: tuple[Any, ...]
    """The different values: numbers in order, others as they came."""

    @classmethod
    def of(cls, given: Sequence[Any], linear: bool = False) -> "_Scale":
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in given)
        if not numbers:
            return cls("one by one", tuple({_short(value): value for value in given}.values()))
        found = tuple(sorted(set(given)))
        above = [value for value in found if value > 0]
        if linear or found[0] < 0 or not above or above[-1] / above[0] < 100:
            return cls("linear", found)
        if found[0] > 0:
            return cls("logarithmic", found)
        return cls("one by one" if len(found) <= FEW else "linear", found)  # 0 has no place on a logarithmic axis

    def position(self, value: Any) -> float:
        """On an axis in the setting's own unit."""
        if self.kind == "one by one":
            return float([_short(each) for each in self.found].index(_short(value)))
        return float(value)

    def place(self, value: Any) -> float:
        """On an axis from 0 to 1; the middle where there is but one value."""
        squeeze = math.log if self.kind == "logarithmic" else float
        low, high, at = (squeeze(self.position(each)) for each in (self.found[0], self.found[-1], value))
        return (at - low) / (high - low) if high > low else 0.5

    def ticks(self) -> list[tuple[float, str]]:
        """Place and text of values that have room: all of six, else lowest, middle and highest."""
        shown = self.found if len(self.found) <= 6 else self.found[:: len(self.found) - 1]
        return [(self.place(value), _short(value)) for value in shown]

    def values(self) -> tuple[Any, ...]:
        return self.found


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _wrapped(name: str) -> str:
    """A dotted name in lines."""
    return name.replace(".", ".\n")


def _require(condition: bool, legal: str) -> None:
    if not condition:
        raise ValueError(f"This cannot be drawn: {legal}.")


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    with matplotlib.rc_context(STYLE):
        figure = Figure((width, height))
        return figure, figure.subplots()


def _colour(number: int) -> str:
    return SERIES[number % NUM_COLOURS]


def _opacity(number: int) -> float:
    return OPACITIES[number // NUM_COLOURS % len(OPACITIES)]


def _key(name: str, number: int) -> Key:
    return Key(name, VARIABLES[_colour(number)], _opacity(number), dashed=number >= NUM_COLOURS)


def _title(artist: Any, titles: dict[str, str], text: str) -> None:
    """Give a mark its words."""
    titles[name := f"mark{len(titles)}"] = text
    artist.set_gid(name)


def _label(figure: Figure, axes: Axes, texts: Sequence[tuple[float, float, str]]) -> None:
    """Write texts beside points (x, y), each where it covers the least of points, other texts and the frame."""
    canvas = FigureCanvasAgg(figure)
    with matplotlib.rc_context(STYLE):
        canvas.draw()
    renderer, inside, pixels = canvas.get_renderer(), axes.get_window_extent(), figure.dpi / 72
    places = axes.transData.transform([(x, y) for x, y, _ in texts])
    taken = [Bbox.from_extents(x - 4, y - 4, x + 4, y + 4) for x, y in places]
    around = [
        (radius * math.cos(angle), radius * math.sin(angle))
        for radius in (7, 13, 21, 30)
        for angle in np.arange(8) * math.pi / 4
    ]
    for x, y, text in texts:
        written = axes.annotate(text, (x, y), (0, 0), textcoords="offset points", fontsize=7.5, color=TEXT)
        width, height = written.get_window_extent(renderer).size
        here, choices = axes.transData.transform((x, y)), []
        for number, (dx, dy) in enumerate(around):
            left = here[0] + dx * pixels - width * ALIGNED[_side(dx)][0]
            low = here[1] + dy * pixels - height * ALIGNED[_side(dy)][0]
            box = Bbox.from_bounds(left, low, width, height)
            outside = width * height - _overlap(box, inside)
            choices.append((sum(_overlap(box, other) for other in taken) + outside + 0.2 * number, (dx, dy), box))
        _, (dx, dy), box = min(choices, key=lambda choice: choice[0])
        written.set_position((dx, dy))
        written.set_horizontalalignment(ALIGNED[_side(dx)][1])
        written.set_verticalalignment(ALIGNED[_side(dy)][2])
        if math.hypot(dx, dy) > 15:
            axes.annotate(
                "", (x, y), (dx, dy), textcoords="offset points",
                arrowprops={"arrowstyle": "-", "color": FAINT, "linewidth": 0.5},
            )  # fmt: skip
        taken.append(box)


Aligned = tuple[float, Literal["left", "center", "right"], Literal["bottom", "center", "top"]]
ALIGNED: dict[int, Aligned] = {1: (0.0, "left", "bottom"), 0: (0.5, "center", "center"), -1: (1.0, "right", "top")}
"""How a text stands that is right of its point or above it, beside it, or left of it or below: the share of its size
that goes before, and matplotlib's words."""


def _side(offset: float) -> int:
    return 1 if offset > 1 else -1 if offset < -1 else 0


def _overlap(a: Bbox, b: Bbox) -> float:
    both = Bbox.intersection(a, b)
    return 0.0 if both is None else float(both.width * both.height)


def _svg(figure: Figure, titles: Mapping[str, str], label: str) -> str:
    """The figure as one SVG element: marks with their titles, colours as variables, ids that nothing else on a page
    has."""
    text = io.StringIO()
    with matplotlib.rc_context(STYLE):
        no = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(text, format="svg", transparent=True, metadata=no)
    root = ElementTree.fromstring(text.getvalue())
    for style in [*root.iter(f"{{{SVG}}}defs"), root]:  # what holds for all of an inline drawing would for the page
        for child in [*style.findall(f"{{{SVG}}}style"), *style.findall(f"{{{SVG}}}metadata")]:
            style.remove(child)
    mark = hashlib.sha256(text.getvalue().encode()).hexdigest()[:8]
    used = set(re.findall(r"#([\w.-]+)", " ".join(v for e in root.iter() for k, v in e.items() if "#" in v)))
    for element in list(root.iter()):
        name = element.get("id", "")
        if name in titles:
            title = ElementTree.Element(f"{{{SVG}}}title")
            title.text = titles[name]
            element.insert(0, title)
        if name and name not in used:
            del element.attrib["id"]
        for key, value in element.items():
            if key == "id":
                value = f"c{mark}-{value}"
            elif value.startswith("#") and key.endswith("href"):
                value = f"#c{mark}-{value[1:]}"
            elif key in ("d", "x", "y", "transform"):
                value = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.2f}", value)
            value = value.replace("url(#", f"url(#c{mark}-")
            value = re.sub(r"font-family: [^;]*(; )?", "", value) if key == "style" else value  # the page's
            element.set(key, re.sub(r"#[0-9a-f]{6}\b", lambda found: VARIABLES.get(found[0], found[0]), value))
        element.tail = None
        element.text = None if element.text is None or not element.text.strip() else element.text
    root.set("role", "img")
    root.set("aria-label", label)
    return ElementTree.tostring(root, encoding="unicode")
