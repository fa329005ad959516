"""Charts are XML that stands for itself, and their marks lie where the numbers say."""

import re
from itertools import product
from xml.etree import ElementTree

import numpy as np
import pytest

from raydg import charts
from raydg.charts import SVG, VARIABLES, Chart, Point, Trial

NAN = float("nan")
BINS = np.array([[0, NAN, NAN], [30, 0.4, 0.1], [10, 0.6, 0.8], [60, 0.95, 0.9]])


def marks(chart: Chart) -> dict[str, ElementTree.Element]:
    """What can be pointed at, by its title."""
    root = ElementTree.fromstring(chart.svg)
    found = [(element, element.find(f"{{{SVG}}}title")) for element in root.iter()]
    return {title.text or "": element for element, title in found if title is not None}


def outline(mark: ElementTree.Element) -> np.ndarray:
    """Points (n, 2) of a mark's first path."""
    path = next(mark.iter(f"{{{SVG}}}path"))
    return np.array([float(n) for n in re.findall(r"-?\d+\.?\d*", path.attrib["d"])]).reshape(-1, 2)


def height(mark: ElementTree.Element) -> float:
    return float(np.ptp(outline(mark)[:, 1]))


def place(mark: ElementTree.Element) -> tuple[float, float]:
    """Of a point."""
    use = next(mark.iter(f"{{{SVG}}}use"))
    return float(use.attrib["x"]), float(use.attrib["y"])


def _text(mark: ElementTree.Element) -> str:
    return ElementTree.tostring(mark).decode()


EVERY = {
    "bars": charts.bars(["road", "<b>&"], {"A": [1.0, 2.0], 'B "x"': [NAN, 4.0]}, "IoU, %"),
    "lines": charts.lines({"A": ([1, 2, 3], [1.0, NAN, 3.0])}, "step", "loss"),
    "log lines": charts.lines({"A": ([1, 4, 16], [1.0, 2.0, 3.0])}, "batch", "mIoU", log_x=True),
    "reliability": charts.reliability(BINS, "A <on> B"),
    "trade-off": charts.trade_off([Point("1", "<A>", 1, 2, "s"), Point("2", "B", 10, 3, "s")], "ms", "mIoU", "higher"),
    "differences": charts.sorted_differences([3, -1, NAN, 0, 2], "points"),
    "named points": charts.named_points([("car", 0.1, 2.0), ("<bus>", 0.001, -1.0)], "share", "gain"),
    "parallel": charts.parallel_coordinates([Trial({"lr": 0.1, "kind": "<a>"}, 1), Trial({"lr": 9.0}, 2)], "score"),
    "sensitivity": charts.sensitivity("lr", {"target": [(0.1, 1.0), (0.2, 2.0)], "masks": [(0.1, 3.0)]}, "mIoU"),
    "embedding": charts.embedding(np.eye(2), [0, 1], ["car", "<bus>"], slots={1: (0.5, 0.5)}),
}


@pytest.mark.parametrize("kind", EVERY)
def test_a_chart_is_xml_that_needs_nothing_from_outside(kind: str) -> None:
    chart = EVERY[kind]
    root = ElementTree.fromstring(chart.svg)
    assert root.tag == f"{{{SVG}}}svg" and marks(chart)
    references = [value for e in root.iter() for key, value in e.items() if key.endswith("href") or "url(" in value]
    assert all(value.startswith(("#", "url(#")) or "url(#" in value for value in references)
    assert "http" not in re.sub(r'xmlns(:xlink)?="[^"]*"', "", chart.svg)
    assert not any(drawn in chart.svg for drawn in VARIABLES), "a colour that the page does not know"
    held = {e.get("id") for e in root.iter() if e.get("id")}
    assert {name for value in references for name in re.findall(r"#([\w.-]+)", value)} <= held


def test_ids_of_different_charts_differ() -> None:
    ids = [set(re.findall(r' id="([^"]*)"', chart.svg)) for chart in EVERY.values()]
    assert sum(map(len, ids)) == len(set().union(*ids))


def test_bars_are_as_high_as_their_numbers() -> None:
    found = marks(charts.bars(["road", "car"], {"A": [10.0, 40.0], "B": [NAN, 20.0]}, "IoU, %"))
    assert set(found) == {"road, A: 10.00", "car, A: 40.00", "car, B: 20.00"}
    one = height(found["road, A: 10.00"])
    assert height(found["car, A: 40.00"]) == pytest.approx(4 * one, abs=0.05)
    assert height(found["car, B: 20.00"]) == pytest.approx(2 * one, abs=0.05)
    assert outline(found["car, A: 40.00"])[:, 0].max() < outline(found["car, B: 20.00"])[:, 0].min()


def test_points_of_a_line_lie_at_their_numbers() -> None:
    found = marks(charts.lines({"A": ([0, 10, 30], [1.0, 2.0, 4.0]), "B": ([10], [NAN])}, "step", "loss"))
    (x0, y0), (x1, y1), (x3, y3) = (place(found[f"A: {y} at {x}"]) for x, y in ((0, 1), (10, 2), (30, 4)))
    assert x3 - x0 == pytest.approx(3 * (x1 - x0), abs=0.05)
    assert y0 - y3 == pytest.approx(3 * (y0 - y1), abs=0.05) and y3 < y0
    assert not any(title.startswith("B:") for title in found)


def test_a_reliability_diagram_has_accuracies_gaps_and_shares() -> None:
    found = marks(charts.reliability(BINS, "title"))
    low, high = (found[t] for t in found if t.startswith(("confidence 0.400", "confidence 0.950")))
    assert height(high) == pytest.approx(9 * height(low), abs=0.1)  # accuracies 0.9 and 0.1
    over, under = found["overconfident by 0.300"], found["underconfident by 0.200"]
    assert height(over) == pytest.approx(3 * height(low), abs=0.1)
    assert height(under) == pytest.approx(2 * height(low), abs=0.1)
    assert height(found["60.0% of the predictions"]) == pytest.approx(
        2 * height(found["30.0% of the predictions"]), abs=0.1
    )


def test_the_front_is_what_no_point_beats() -> None:
    generator = np.random.default_rng(0)
    points = [Point(str(i), "", *map(float, generator.integers(1, 9, 2)), "s") for i in range(40)]
    for better, sign in (("higher", 1), ("lower", -1)):
        kept = charts.front(points, better)  # pyright: ignore[reportArgumentType]
        for point in points:
            beaten = any(
                (q.x <= point.x and sign * q.y >= sign * point.y) and (q.x, q.y) != (point.x, point.y) for q in points
            )
            assert any((k.x, k.y) == (point.x, point.y) for k in kept) == (not beaten)


def test_a_trade_off_has_a_key_while_no_two_series_share_a_colour() -> None:
    points = [Point(str(n), str(n), n, n, f"series {n}") for n in range(1, charts.NUM_COLOURS + 2)]
    few, many = (charts.trade_off(of, "ms", "mIoU", "higher") for of in (points[:-1], points))
    assert [key.name for key in few.legend] == [point.series for point in points[:-1]] and not many.legend


def test_a_trade_off_places_costs_by_their_ratio() -> None:
    points = [Point(str(cost), "way", cost, worth, "s") for cost, worth in ((1, 30), (10, 40), (100, 60))]
    found = marks(charts.trade_off(points, "ms", "mIoU", "higher"))
    (a, b, c) = (place(found[t]) for t in ("1: way: 30.00 at 1", "10: way: 40.00 at 10", "100: way: 60.00 at 100"))
    assert b[0] - a[0] == pytest.approx(c[0] - b[0], abs=0.05)
    assert a[1] - c[1] == pytest.approx(3 * (a[1] - b[1]), abs=0.05)


def test_differences_are_sorted_and_those_that_count_are_counted() -> None:
    found = marks(charts.sorted_differences([3, -1, NAN, 0, 2], "points"))
    assert set(found) == {"2 of 4 images are better", "1 of 4 images are worse", "mean +1.00"}
    gains = outline(found["2 of 4 images are better"])
    zero = gains[:, 1].max()
    heights = [zero - y for y in dict.fromkeys(gains[:, 1].tolist()) if y < zero]
    assert sorted(heights)[1] == pytest.approx(1.5 * sorted(heights)[0], abs=0.05)  # 3 and 2
    right = gains[gains[:, 1] == gains[:, 1].min()][:, 0]
    assert right.max() == gains[:, 0].max(), "the largest gain is not at the end"


def test_names_stand_beside_their_points_without_covering_each_other() -> None:
    names = [f"class {i}" for i in range(12)]
    points = [(name, 0.01 * (1 + i % 3), float(i % 4)) for i, name in enumerate(names)]
    root = ElementTree.fromstring(charts.named_points(points, "share", "gain").svg)
    at = {}
    for text in root.iter(f"{{{SVG}}}text"):
        if text.text in names:
            at[text.text] = (float(text.attrib["x"]), float(text.attrib["y"]), "end" in text.attrib["style"])
    assert len(at) == 12
    boxes = [(x - 34 if end else x, y) for x, y, end in at.values()]  # some 34 x 7 points each
    for (i, a), (j, b) in product(enumerate(boxes), repeat=2):
        assert i == j or abs(a[0] - b[0]) > 25 or abs(a[1] - b[1]) > 5


def test_parallel_coordinates_end_at_the_score_and_embolden_the_best() -> None:
    settings = [{"lr": 10.0**-i, "kind": "ab"[i % 2], "weight": 5} for i in range(5)]
    trials = [Trial(setting, score) for setting, score in zip(settings, (10, 30, 20, 50, 40), strict=True)]
    found = marks(charts.parallel_coordinates(trials, "mIoU"))
    lines = {float(re.findall(r"mIoU ([\d.]+):", title)[0]): outline(mark) for title, mark in found.items()}
    ends = [lines[score][-1, 1] for score in (10, 20, 30, 40, 50)]
    assert np.diff(ends) == pytest.approx([ends[1] - ends[0]] * 4, abs=0.05) and ends[0] > ends[-1]
    rates = [lines[score][0, 1] for score in (10, 30, 20, 50, 40)]  # 1, 0.1, ... on a logarithmic axis
    assert np.diff(rates) == pytest.approx([rates[1] - rates[0]] * 4, abs=0.05)
    widths = {title: float(re.findall(r"stroke-width: ([\d.]+)", _text(mark))[0]) for title, mark in found.items()}
    assert [title for title, width in widths.items() if width > 2] == ["mIoU 50.00: lr = 0.001, kind = b, weight = 5"]


@pytest.mark.parametrize(
    ("values", "kind", "places"),
    [
        ([1, 2, 4], "linear", [0, 1 / 3, 1]),
        ([0.01, 0.1, 1.0], "logarithmic", [0, 0.5, 1]),
        ([0.0, 1e-5, 1.0], "one by one", [0, 0.5, 1]),
        (["b", "a", True], "one by one", [0, 0.5, 1]),
        ([3], "linear", [0.5]),
    ],
)
def test_the_scale_of_a_setting_follows_its_values(values: list, kind: str, places: list[float]) -> None:
    scale = charts._Scale.of(values)
    assert scale.kind == kind
    assert [scale.place(value) for value in values] == pytest.approx(places)


def test_sensitivity_runs_through_the_mean_at_each_value() -> None:
    chart = charts.sensitivity("lr", {"target": [(1, 10.0), (1, 30.0), (2, 40.0)]}, "mIoU")
    found = marks(chart)
    titles = ("target: 10.00 at lr = 1", "target: 30.00 at lr = 1", "target: 40.00 at lr = 2")
    ten, thirty, forty = (place(found[title])[1] for title in titles)
    assert outline(found["target, mean"])[:, 1] == pytest.approx([(ten + thirty) / 2, forty], abs=0.05)


def test_an_embedding_says_how_many_pixels_each_group_has() -> None:
    chart = charts.embedding(np.arange(10.0).reshape(5, 2), [0, 2, 2, 0, 2], ["car", "bus", "sky"], slots={1: (3, 3)})
    assert set(marks(chart)) == {"car: 2 pixels", "sky: 3 pixels", "memory of bus"}
    assert [key.name for key in chart.legend] == ["car", "bus", "sky"]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: charts.bars([], {"A": []}, "y"),
        lambda: charts.bars(["a"], {"A": [1.0, 2.0]}, "y"),
        lambda: charts.lines({}, "x", "y"),
        lambda: charts.lines({"A": ([1], [])}, "x", "y"),
        lambda: charts.reliability(np.zeros((3, 3)), "nothing counted"),
        lambda: charts.trade_off([Point("1", "", 0.0, 1.0, "s")], "x", "y", "higher"),
        lambda: charts.sorted_differences([NAN], "y"),
        lambda: charts.named_points([("a", 0.0, 1.0)], "x", "y"),
        lambda: charts.parallel_coordinates([Trial({}, 1.0)], "y"),
        lambda: charts.sensitivity("lr", {"A": []}, "y"),
        lambda: charts.embedding(np.zeros((2, 3)), [0, 0], ["a"]),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw) -> None:
    with pytest.raises(ValueError, match="cannot be drawn"):
        draw()
