"""What a cell of a paper's table is worth, from rows whose counts are written here."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from raydg.adaptation import TargetNorm
from raydg.augmentation import Augmentation, Resize
from raydg.calibration import FINE_BINS, UNIT
from raydg.domains.labels import LabelSpace
from raydg.evaluation import Cost, Histogram, Row, RowRole
from raydg.experiment import Experiment, Stage
from raydg.methods import ERM
from raydg.models import DeepLabV3Plus, SmallNet
from raydg.optimization import SGD
from raydg.plan import Sampling
from raydg.studies import Cell, Measurement, NamedStudy, Printed
from raydg.studies.cell import mean_cell
from raydg.studies.scores import Found, PaperTable

THREE = LabelSpace("three", "segmentation", ("road", "car", "sky"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)))
TN = TargetNorm(batch_size=4, orders=2)
TRAINED = Experiment(
    name="ERM",
    label_space=THREE,
    sources=("noon",),
    model=DeepLabV3Plus(SmallNet(8)),
    stages=(Stage(method=ERM(measure_distances=True), optimizer=SGD(lr=0.1), steps=10),),
    sampling=Sampling(images_per_domain=2),
    augmentation=Augmentation((Resize(32, 32),)),
)

# Truth by prediction: road 6 of 8 = 75 %, car 2 of 4 = 50 %, sky is nowhere. The mean of those found is 62.5 %.
COUNTS = ((6, 2, 0), (0, 2, 0), (0, 0, 0))
PERFECT = ((6, 0, 0), (0, 2, 0), (0, 0, 0))


def row(
    domain: str,
    adaptation: str = "t-BN",
    counts: tuple[tuple[int, ...], ...] = COUNTS,
    order: int = 0,
    seconds: float | None = None,
    histogram: Histogram | None = None,
    role: RowRole = "target",
) -> Row:
    cost = None if seconds is None else Cost(seconds, "a CPU")
    return Row(10, role, domain, "val", "plain", adaptation, order, 3, counts, histogram=histogram, cost=cost)


NIGHT = Measurement.on(TRAINED, "night")
RAIN = Measurement.on(TRAINED, "rain")
NIGHT_TN = Measurement.on(TRAINED, "night", TN)
PLAIN = Cell(row="plain", column="night", measurements=(NIGHT,))
TIMED = Cell(row="TN", column="ms/image", measurements=(Measurement.on(TRAINED, "night", TN, metric="ms/image"),))
WET = Cell(row="plain", column="rain", measurements=(RAIN,))
CELLS = (
    PLAIN,
    WET,
    mean_cell("plain", "mean", (PLAIN, WET), (Printed(paper="p", table="T1", method="plain"),)),
    Cell(row="TN", column="night", measurements=(NIGHT_TN,)),
    TIMED,
    Cell(
        row="plain",
        column="car",
        measurements=(Measurement.on(TRAINED, "night", metric="IoU", detail="car"),),
    ),
    Cell(row="plain", column="noon", measurements=(Measurement.in_domain(TRAINED, "noon"),)),
    Cell(
        row="plain",
        column="moved",
        measurements=(Measurement.of(TRAINED, "distance", "training", detail="distance/l2"),),
    ),
    Cell(row="theirs", column="night", missing="it is not here"),
)
NAMED = NamedStudy(name="p/T1", title="a table", cells=CELLS, notes=("a note",))


def shown(rows: dict[int, Sequence[Row]], named: NamedStudy = NAMED) -> PaperTable:
    study = named.study()
    assert study
    found = Found(rows=lambda e: rows[e.seed], measurements=lambda e: {"distance/l2": 2.0 + e.seed})
    numbers = {Printed(paper="p", table="T1", method="plain"): "44.40"}
    return PaperTable.of(named, study.with_seeds(sorted(rows)), found, numbers)


def test_cells_are_means_over_seeds_of_means_over_orders_and_measurements() -> None:
    table = shown(
        {
            0: [row("night"), row("rain", counts=PERFECT), row("night", TN.label), row("night", TN.label, PERFECT, 1)],
            1: [row("night", counts=PERFECT), row("night", TN.label, order=0), row("noon", role="in-domain")],
        }
    )
    found = {key: (round(e.mean, 3), e.num_values) for key, e in table.estimates.items()}
    assert found == {
        ("plain", "night"): (round((62.5 + 100) / 2, 3), 2),
        ("plain", "rain"): (100, 1),
        ("plain", "mean"): (round((62.5 + 100) / 2, 3), 1),  # the second seed was not scored on both
        ("TN", "night"): (round(((62.5 + 100) / 2 + 62.5) / 2, 3), 2),
        ("plain", "car"): (75, 2),
        ("plain", "noon"): (62.5, 1),
        ("plain", "moved"): (2.5, 2),
    }
    # Of two values the standard error is half their distance.
    assert table.estimates["plain", "night"].standard_error == pytest.approx(37.5 / 2)


def test_times_are_medians_in_milliseconds_and_what_was_not_timed_is_empty() -> None:
    rows = [row("night", TN.label, order=order, seconds=seconds) for order, seconds in enumerate((0.2, 0.3, 0.9))]
    assert shown({0: rows}).estimates["TN", "ms/image"].mean == pytest.approx(300)
    assert ("TN", "ms/image") not in shown({0: [row("night", TN.label)]}).estimates


def test_the_calibration_error_is_the_papers_own() -> None:
    cells = [[[0, 0, 0] for _ in range(FINE_BINS)] for _ in range(3)]
    cells[0][-1] = [4, 4 * UNIT, 2]  # four roads, all certain, two right
    histogram = Histogram(tuple(tuple(map(tuple, each)) for each in cells), (2 * UNIT, 0, 0))
    measured = Measurement.on(TRAINED, "night", metric="ECE per image and class")
    named = replace(NAMED, cells=(Cell(row="plain", column="ECE", measurements=(measured,)),))
    table = shown({0: [row("night", histogram=histogram)]}, named)
    # The error of road is 2 of 4; two absent classes count 0.
    assert table.estimates["plain", "ECE"].mean == pytest.approx(50 / 3)


def test_scored_classes_are_those_of_the_experiment() -> None:
    some = replace(TRAINED, scored_classes=("car", "sky"))
    cells = [
        Cell(row="a", column="mIoU", measurements=(Measurement.on(some, "night"),)),
        Cell(row="a", column="car", measurements=(Measurement.on(some, "night", metric="IoU", detail="car"),)),
    ]
    table = shown({0: [row("night")]}, replace(NAMED, cells=tuple(cells)))
    # Roads do not count: both cars are found, nothing else is called a car.
    assert {key: e.mean for key, e in table.estimates.items()} == {("a", "mIoU"): 100, ("a", "car"): 100}


def test_a_table_shows_ours_beside_the_papers_and_leaves_the_rest_empty() -> None:
    table = shown({0: [row("night"), row("rain")]})
    header, body = table.lines()
    assert header == ["", "night", "rain", "mean", "ms/image", "car", "noon", "moved"]
    assert body == [
        ["plain", "62.50", "62.50", "62.50 (44.40)", "", "50.00", "", "2.00"],
        ["TN", "", "", "", "", "", "", ""],
        ["theirs", "", "", "", "", "", "", ""],
    ]
    notes = "\n".join(table.notes())
    for text in (
        "mIoU over the 3 classes of three; ms/image; IoU; distance",
        "checkpoint selected by source-validation",
        "seeds 0; one run each, so no ± can be given",
        "a note",
        "cannot be filled: theirs (1 cells): it is not here",
    ):
        assert text in notes
    assert "| plain | 62.50 | 62.50 | 62.50 (44.40) |" in table.markdown()
    assert "± is the standard error" in "\n".join(shown({0: [], 1: []}).notes())


def test_a_wide_table_has_a_line_for_every_cell() -> None:
    cells = tuple(Cell(row="a", column=str(n), measurements=(NIGHT,)) for n in range(11))
    header, body = shown({0: [row("night")]}, replace(NAMED, cells=cells)).lines()
    assert header == ["row", "column", "ours", "paper"]
    assert body[10] == ["a", "10", "62.50", ""]


def test_rows_of_another_way_or_role_do_not_fill_a_cell() -> None:
    other = replace(row("night"), inference="another")
    rows = [other, row("night", "another"), row("night", role="in-domain")]
    assert ("plain", "night") not in shown({0: rows}).estimates
