"""Tables say what was measured and nothing else; pictures show what they are given, where they should."""

import csv
import io
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from raydg.adaptation import Choice, TargetNorm, TrainBN
from raydg.augmentation import Augmentation, Resize
from raydg.calibration import Calibration
from raydg.domains.labels import LabelSpace
from raydg.evaluation import Cost, Histogram, Row
from raydg.experiment import Experiment, Stage
from raydg.methods import DMG, ERM, MaskEns, PredEns
from raydg.models import Classifier, DeepLabV3Plus, SmallNet
from raydg.optimization import SGD
from raydg.plan import Sampling
from raydg.protocol import CenterCrop
from raydg.report import (
    Baseline,
    Table,
    as_csv,
    escaped,
    latex,
    markdown,
    rendered,
    table,
    tables,
)
from raydg.statistics import Tallies, paired_bootstrap

TWO = LabelSpace("two", "classification", ("cat", "dog"), ((255, 0, 0), (0, 0, 255)))
TN = TargetNorm(batch_size=4, orders=3)
ERM_0 = Experiment(
    name="ERM",
    label_space=TWO,
    sources=("photo",),
    targets=("sketch", "cartoon"),
    model=Classifier(SmallNet()),
    stages=(Stage(method=ERM(), optimizer=SGD(lr=0.1), steps=10),),
    sampling=Sampling(images_per_domain=2),
    augmentation=Augmentation((Resize(32, 32),)),
    adaptations=(TrainBN(), TN),
    evaluation_size=(32, 32),
)
LONG_0 = replace(ERM_0, name="long", stages=(replace(ERM_0.stages[0], steps=20),))


def row(domain: str, adaptation: str, percent: int, order: int = 0) -> Row:
    """A score on 100 cats, `percent` of them recognised."""
    counts = ((percent, 100 - percent), (0, 0))
    return Row(10, "target", domain, "val", "plain", adaptation, order, num_images=100, counts=counts)


def orders(domain: str, *percents: int) -> list[Row]:
    return [row(domain, TN.label, percent, order) for order, percent in enumerate(percents)]


ERM_0_ROWS = [row("sketch", "t-BN", 60), row("cartoon", "t-BN", 30)]
ERM_0_ROWS += [*orders("sketch", 50, 60, 70), *orders("cartoon", 10, 20, 60)]
ERM_1_ROWS = [row("sketch", "t-BN", 70), row("cartoon", "t-BN", 30)]
ERM_1_ROWS += [*orders("sketch", 80, 90, 100), *orders("cartoon", 40, 50, 60)]
SCORED = [
    (ERM_0, ERM_0_ROWS),
    (replace(ERM_0, seed=1), ERM_1_ROWS),
    (LONG_0, [row("sketch", "t-BN", 80)]),
    (replace(LONG_0, seed=1), [row("sketch", "t-BN", 90), *orders("sketch", 55, 60, 65)]),
]


@pytest.fixture(scope="module")
def scored() -> Table:
    return table("a study", SCORED)


def test_cells_are_means_over_seeds_of_means_over_orders(scored: Table) -> None:
    found = {(key, target): cell for key, cells in scored.cells.items() for target, cell in cells.items()}
    # Of two values the standard error is half their distance: |a - b| / sqrt(2), divided by sqrt(2).
    expected = {
        (("ERM", "plain", "t-BN"), "sketch"): (65, 5, 2),
        (("ERM", "plain", "t-BN"), "cartoon"): (30, 0, 2),
        (("ERM", "plain", TN.label), "sketch"): (75, 15, 2),  # seeds 60 and 90
        (("ERM", "plain", TN.label), "cartoon"): (40, 10, 2),  # seeds 30 and 50
        (("long", "plain", "t-BN"), "sketch"): (85, 5, 2),
        (("long", "plain", TN.label), "sketch"): (60, None, 1),
    }
    assert found.keys() == expected.keys()
    for key, (mean, error, count) in expected.items():
        cell = found[key]
        assert math.isclose(cell.mean, mean) and cell.num_values == count
        assert cell.standard_error is None if error is None else math.isclose(cell.standard_error, error, abs_tol=1e-12)


def test_the_text_leaves_what_was_not_run_empty(scored: Table) -> None:
    assert scored.header() == ["method", "adaptation", "sees", "sketch", "cartoon", "mean"]
    assert scored.lines() == [
        ["ERM", "t-BN", "one image", "65.00 ± 5.00", "30.00 ± 0.00", "47.50 ± 2.50"],
        ["ERM", TN.label, "a batch", "75.00 ± 15.00", "40.00 ± 10.00", "57.50 ± 12.50"],
        ["long", "t-BN", "one image", "85.00 ± 5.00", "", ""],
        ["long", TN.label, "a batch", "60.00 (n = 1)", "", ""],
    ]
    assert "cells with (n = ...) have other seeds" in "\n".join(scored.notes)


def test_one_target_needs_no_mean_column() -> None:
    one = replace(ERM_0, targets=("sketch",))
    assert table("t", [(one, [row("sketch", "t-BN", 60)])]).header() == ["method", "adaptation", "sees", "sketch"]


def test_notes_say_what_the_numbers_mean(scored: Table) -> None:
    notes = "\n".join(scored.notes)
    assert "accuracy in percent over the 2 classes of two" in notes
    assert "selected by source-validation" in notes
    assert "sketch val (100 images)" in notes and "cartoon val (100 images)" in notes
    assert "seeds 0, 1; ± is the standard error" in notes


def test_remarks_stand_under_the_tables_of_those_they_are_on() -> None:
    two = replace(TWO, name="other")
    other = (replace(ERM_0, name="apart", label_space=two), [row("sketch", "t-BN", 60)])
    said = {"ERM": ("first", "second"), "apart": ("third",), "nobody": ("fourth",)}
    first, second = tables("t", [*SCORED, other], remarks=said)
    found = [
        [note for note in each.notes if note in ("first", "second", "third", "fourth")] for each in (first, second)
    ]
    assert found == [["first", "second"], ["third"]]


def test_what_a_choice_came_to_is_a_row_of_its_own() -> None:
    choice = Choice(candidates=(TrainBN(), TN), on="source-validation")
    experiment = replace(ERM_0, choices=(choice,))
    shown = table("t", [(experiment, [*ERM_0_ROWS, row("sketch", choice.label, 42)])])
    (line,) = (line for line in shown.lines() if line[1] == choice.label)
    assert line == ["ERM", "t-BN or TN chosen on source-validation", "a batch", "42.00", "", ""]


def test_notes_of_a_single_seed_promise_no_error_bar() -> None:
    single = table("t", [(ERM_0, [row("sketch", "t-BN", 60)])])
    assert "seeds 0; one run each, so no ± can be given" in "\n".join(single.notes)
    assert "±" not in str(single.lines())


def test_segmentation_is_scored_by_mean_iou_over_the_classes_found() -> None:
    space = replace(TWO, task="segmentation", classes=("a", "b", "c"), palette=((0, 0, 0),) * 3)
    experiment = replace(ERM_0, label_space=space, model=DeepLabV3Plus(SmallNet()), targets=("sketch",))
    counts = ((30, 10, 0), (20, 40, 0), (0, 0, 0))  # IoU 30/60 and 40/70; the third class was not found
    made = table("t", [(experiment, [replace(row("sketch", "t-BN", 0), counts=counts)])])
    assert made.lines() == [["ERM", "t-BN", "one image", f"{100 * (30 / 60 + 40 / 70) / 2:.2f}"]]
    assert "mIoU in percent over the 3 classes of two, classes found in neither truth nor prediction" in made.notes[0]


def test_a_table_over_some_classes_says_which_are_left_out() -> None:
    space = replace(TWO, task="segmentation", classes=("a", "b", "c"), palette=((0, 0, 0),) * 3)
    experiment = replace(
        ERM_0, label_space=space, model=DeepLabV3Plus(SmallNet()), targets=("sketch",), scored_classes=("c", "a")
    )
    counts = ((30, 10, 0), (20, 40, 0), (5, 0, 15))  # without the row of b: IoU of a 30/45, of c 15/20
    made = table("t", [(experiment, [replace(row("sketch", "t-BN", 0), counts=counts)])])
    assert made.lines() == [["ERM", "t-BN", "one image", f"{100 * (30 / 45 + 15 / 20) / 2:.2f}"]]
    assert "mIoU in percent over 2 of the 3 classes of two (without b), classes found" in made.notes[0]
    with pytest.raises(ValueError, match="several label spaces, scored classes"):
        rows = [replace(row("sketch", "t-BN", 0), counts=counts)]
        table("t", [(experiment, rows), (replace(experiment, name="all", scored_classes=None), rows)])


def calibrated(confidence: float, right: int, of: int = 100) -> Calibration:
    """`of` cats predicted with one confidence, `right` of them as cats."""
    labels = torch.zeros(of, dtype=torch.int64)
    return Calibration.of(labels, (torch.arange(of) >= right).long(), torch.full((of,), confidence), 2)


def measured(domain: str, percent: int, confidence: float, seconds: float, order: int = 0, way: str = "t-BN") -> Row:
    histogram = Histogram(*calibrated(confidence, percent).to_json())
    return replace(row(domain, way, percent, order), histogram=histogram, cost=Cost(seconds, f"{order + 1} threads"))


def test_calibration_and_cost_stand_beside_the_scores() -> None:
    # Errors |accuracy - confidence|: of seed 0 30 and 50, of seed 1 20 and 40; means 40 and 30.
    first = [measured("sketch", 60, 0.9, 0.010), measured("cartoon", 30, 0.8, 0.020)]
    second = [measured("sketch", 70, 0.9, 0.030), measured("cartoon", 60, 1.0, 0.040)]
    # Of TN the cartoon is missing: no mean over the targets. Errors of its orders are averaged all the same.
    second += [measured("sketch", 50, 0.9, 0.100, order, TN.label) for order in range(3)]
    made = table("t", [(ERM_0, first), (replace(ERM_0, seed=1), second), (LONG_0, [row("sketch", "t-BN", 80)])])
    assert made.header()[-3:] == ["mean", "ECE", "ms/image"]
    assert [line[-2:] for line in made.lines()] == [["35.00 ± 5.00", "25"], ["", "100"], ["", ""]]
    notes = "\n".join(made.notes)
    assert "ECE is the expected calibration error in percent, in 15 bins" in notes
    assert "without the fit of adaptations that see the whole target" in notes
    assert "ms/image is the median time of a prediction" in notes and "on 1 threads; 2 threads; 3 threads" in notes
    assert not {"ECE", "ms/image"} & set(table("t", [(ERM_0, ERM_0_ROWS)]).header())


def test_a_table_says_what_was_shown_of_an_image() -> None:
    crop = replace(ERM_0, name="crop", protocol=CenterCrop(16))
    rows = [row("sketch", "t-BN", 60)]
    assert "shown as: middle square of short side 16" in "\n".join(table("t", [(crop, rows)]).notes)
    assert "shown as: crop: middle square" in "\n".join(table("t", [(ERM_0, rows), (crop, rows)]).notes)
    assert "shown as" not in "\n".join(table("t", [(ERM_0, rows)]).notes)


def test_a_mean_over_targets_is_over_the_seeds_that_have_them_all() -> None:
    """Seed 1 lacks the cartoon, which its own cells may show and a mean may not."""
    some = [(ERM_0, [row("sketch", "t-BN", 60), row("cartoon", "t-BN", 30)])]
    some += [(replace(ERM_0, seed=1), [row("sketch", "t-BN", 90)])]
    (line,) = table("t", some).lines()
    assert line[-3:] == ["75.00 ± 15.00", "30.00 (n = 1)", "45.00 (n = 1)"]


def test_a_machine_reads_every_cell_in_full() -> None:
    first = [measured("sketch", 60, 0.9, 0.010), measured("cartoon", 30, 0.8, 0.020)]
    second = [measured("sketch", 71, 0.9, 0.030), measured("cartoon", 60, 1.0, 0.040)]
    made = table("t", [(ERM_0, first), (replace(ERM_0, seed=1), second)])
    lines = {line["column"]: line for line in csv.DictReader(io.StringIO(as_csv([made])))}
    assert list(lines) == ["sketch", "cartoon", "mean"]
    sketch = lines["sketch"]
    words = ("table", "method", "inference", "adaptation", "sees", "role", "split", "images", "shown as", "metric")
    assert [sketch[word] for word in words] == [
        *("t", "ERM", "plain", "t-BN", "one image", "target", "val", "100", "as validated", "accuracy")
    ]
    assert sketch["rule"].startswith("source-validation") and sketch["classes"] == "the 2 classes of two"
    assert (sketch["n"], sketch["seeds"]) == ("2", "0 1")
    numbers = ("mean", "standard error", "ECE 15 bins", "ECE 10 bins", "ECE 10 bins: standard error", "ms per image")
    # Errors are |60 - 90| and |71 - 90|; every image is a cat, so per class they are the same, and the dog counts 0.
    assert [float(sketch[number]) for number in numbers] == pytest.approx([65.5, 5.5, 24.5, 24.5, 5.5, 20])
    assert float(sketch["per-image per-class ECE"]) == pytest.approx(24.5 / 2)
    assert float(sketch["per-image per-class ECE, present classes"]) == pytest.approx(24.5)
    assert sketch["baseline"] == sketch["difference"] == ""
    mean = lines["mean"]
    assert (mean["role"], mean["split"], mean["images"]) == ("mean over targets", "", "")
    assert float(mean["mean"]) == pytest.approx((45 + 65.5) / 2)
    assert float(mean["standard error"]) == pytest.approx((65.5 - 45) / 2)
    # What was not run has no line; what was not measured is empty.
    bare = list(csv.DictReader(io.StringIO(as_csv([table("t", [(ERM_0, [row("sketch", "t-BN", 60)])])]))))
    assert [(line["column"], line["ECE 15 bins"], line["standard error"]) for line in bare] == [("sketch", "", "")]


def test_all_calibration_errors_have_a_table_of_their_own() -> None:
    rows = [measured("sketch", 60, 0.9, 0.010), measured("cartoon", 30, 0.8, 0.020)]
    made = table("t", [(ERM_0, [*rows, row("sketch", TN.label, 50)])])
    header, lines = made.calibration()
    assert header[3:] == ["ECE 15 bins", "ECE 10 bins", "per-image per-class ECE", header[-1]]
    assert lines == [["ERM", "t-BN", "one image", "40.00", "40.00", "20.00", "40.00"]]  # errors 30 and 50
    assert header[-1] not in markdown(made) and "self-adaptation's" not in markdown(made)
    for text in (markdown(made, calibration=True), latex(made, calibration=True)):
        assert header[-1] in text and "self-adaptation's" in text
    assert table("t", [(ERM_0, [row("sketch", "t-BN", 60)])]).calibration()[1] == []


def images(right: int, of: int = 100) -> Tallies:
    names = np.array([f"{number:03d}" for number in range(of)])
    return Tallies(names, (np.arange(of) < right)[:, None].astype(float), np.ones((of, 1)))


def kept(experiment: Experiment, row: Row) -> Tallies | None:
    """Images of which the first are recognised; none are kept of TN."""
    return None if row.adaptation == TN.label else images(row.counts[0][0])


def test_methods_are_compared_with_a_baseline_on_every_target() -> None:
    """With 0 of 100 against 50 the sign is sure; with 30 against 30 the same images are recognised."""
    scored = [(ERM_0, [row("sketch", "t-BN", 0), row("cartoon", "t-BN", 30), *orders("sketch", 1, 2, 3)])]
    scored += [(LONG_0, [row("sketch", "t-BN", 50), row("cartoon", "t-BN", 30), *orders("sketch", 4, 5, 6)])]
    made = table("t", scored, baseline=Baseline("ERM", kept))
    assert made.header()[-2:] == ["vs ERM", "win/tie/loss"]
    expected = paired_bootstrap(
        {"sketch": {0: [images(50)]}, "cartoon": {0: [images(30)]}},
        {"sketch": {0: [images(0)]}, "cartoon": {0: [images(30)]}},
    )
    assert made.differences[("long", "plain", "t-BN")]["mean"] == expected
    ends = {line[0] + line[1]: line[-2:] for line in made.lines()}
    assert ends == {
        "ERMt-BN": ["", ""],
        f"ERM{TN.label}": ["", ""],
        "longt-BN": [f"+25.00 [{expected.low:+.2f}, {expected.high:+.2f}], win", "1/1/0"],
        f"long{TN.label}": ["", ""],  # its images were not kept
    }
    notes = "\n".join(made.notes)
    assert "vs ERM: the method's score minus the baseline's under the same adaptation; the mean over targets" in notes
    assert notes.count("percentile interval of a paired bootstrap") == 1 and "for there is one seed" in notes
    read = csv.DictReader(io.StringIO(as_csv([made])))
    lines = {(line["method"], line["column"]): line for line in read if line["adaptation"] == "t-BN"}
    assert lines["long", "cartoon"]["verdict"] == "not distinguishable" and lines["long", "sketch"]["verdict"] == "win"
    assert float(lines["long", "sketch"]["difference"]) == 50 and lines["ERM", "sketch"]["baseline"] == ""
    one = [(replace(e, targets=("sketch",)), rows[:1]) for e, rows in scored]
    assert table("t", one, baseline=Baseline("ERM", kept)).header()[-1] == "vs ERM"


def test_a_baseline_that_is_not_there_is_refused_and_one_without_images_says_so() -> None:
    rows = [row("sketch", "t-BN", 60)]
    with pytest.raises(ValueError, match="The baseline is 'AGG': it must be one of 'ERM', 'long'"):
        tables("t", [(ERM_0, rows), (LONG_0, rows)], baseline=Baseline("AGG", kept))
    made = table("t", [(ERM_0, rows), (LONG_0, rows)], baseline=Baseline("ERM", lambda *_: None))
    assert [line[-2:] for line in made.lines()] == [["", ""], ["", ""]]
    assert "nothing compares, for the images behind the scores were not kept" in made.notes[-1]


def test_latex_is_balanced_and_shows_every_character(scored: Table) -> None:
    odd = replace(ERM_0, name=r"a_b & 50% #1 $x$ {y} \z ~ ^ [q] <|>")
    scored = table("a_study → 100%", [(odd, ERM_0_ROWS), (replace(odd, seed=1), ERM_1_ROWS)])
    text = latex(scored)
    begun, ended = (re.findall(rf"\\{word}{{(\w+)}}", text) for word in ("begin", "end"))
    assert begun == ["table", "tabular"] and ended == begun[::-1]
    plain = re.sub(r"\\[\\&%$#_{}]", "", text)
    assert plain.count("{") == plain.count("}") and plain.count("$") % 2 == 0 and "%" not in plain and "#" not in plain
    assert not re.search(r"[±→~]", text)
    body = text.split(r"\toprule")[1].split(r"\bottomrule")[0].strip().splitlines()
    rows = [line for line in body if line != r"\midrule"]
    assert len(rows) == 1 + len(scored.lines()) and all(line.endswith(r" \\") for line in rows)
    assert all(len(re.split(r"(?<!\\)&", line)) == len(scored.header()) for line in rows)
    name = r"a\_b \& 50\% \#1 \$x\$ \{y\} \textbackslash{}z \textasciitilde{} \textasciicircum{} {[}q{]} "
    assert rows[1].startswith(name + r"\textless{}\textbar{}\textgreater{} & t-BN & one image & $65.00 \pm 5.00$")
    assert r"\caption{a\_study $\rightarrow$ 100\%}" in text and r"\begin{tabular}{lllrrr}" in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("65.00 ± 5.00", r"$65.00 \pm 5.00$"),
        ("65.00 ± 5.00 (n = 2)", r"$65.00 \pm 5.00$ (n = 2)"),
        ("+1.20 [-0.31, +2.70], win", r"$+1.20$ {[}$-0.31$, $+2.70${]}, win"),
        ("t-BN, 1e-3, ViT-16", "t-BN, 1e-3, ViT-16"),
        ("± is the error", r"$\pm$ is the error"),
        ("", ""),
    ],
)
def test_numbers_are_typeset(text: str, shown: str) -> None:
    assert escaped(text) == shown


def test_files_hold_every_table() -> None:
    rows = [row("sketch", "t-BN", 60)]
    made = tables("a study", [(ERM_0, rows), (replace(ERM_0, name="last", selection="last"), rows)])
    assert rendered(made, "markdown").count("### a study") == 2
    assert rendered(made, "latex").count(r"\begin{table}") == 2
    lines = list(csv.DictReader(io.StringIO(rendered(made, "csv"))))
    assert [(line["method"], line["rule"][:6]) for line in lines] == [("ERM", "source"), ("last", "last; ")]


def test_markdown_is_a_table_whatever_the_names_hold() -> None:
    made = table("a study", [(replace(ERM_0, name="n|m"), [row("sketch", "t-BN", 60)])])
    title, grid, notes = markdown(made).strip().split("\n\n")
    assert title == "### a study"
    cells = [re.split(r"(?<!\\)\|", line) for line in grid.splitlines()]
    assert {len(line) for line in cells} == {len(made.header()) + 2}
    assert all(line[0] == line[-1] == "" for line in cells)
    assert set(cells[1][1:-1]) == {" --- "}
    assert cells[2][1] == r" n\|m "
    assert [line.removeprefix("- ") for line in notes.splitlines()] == list(made.notes)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"label_space": replace(TWO, name="other")}, "several label spaces, .*other"),
        ({"selection": "last"}, "selection rules .*last"),
    ],
)
def test_what_does_not_compare_has_no_common_table(other: dict, message: str) -> None:
    rows = [row("sketch", "t-BN", 60)]
    with pytest.raises(ValueError, match=message):
        table("t", [(ERM_0, rows), (replace(ERM_0, name="other", **other), rows)])


def test_a_study_has_a_table_for_every_label_space_classes_and_rule() -> None:
    rows = [row("sketch", "t-BN", 60)]
    other = replace(ERM_0, name="other", label_space=replace(TWO, name="other"))
    last = replace(ERM_0, name="last", selection="last")
    scored = [(ERM_0, rows), (other, rows), (last, rows), (LONG_0, rows), (replace(other, name="none", seed=1), [])]
    made = tables("a study", scored)
    assert [one.title for one in made] == [
        "a study, the 2 classes of two, selection source-validation",
        "a study, the 2 classes of other, selection source-validation",
        "a study, the 2 classes of two, selection last",
    ]
    assert [[line[0] for line in one.lines()] for one in made] == [["ERM", "long"], ["other"], ["last"]]
    assert "selected by last" in "\n".join(made[2].notes)
    alone = tables("a study", [(ERM_0, rows), (LONG_0, rows)])
    assert alone == (table("a study", [(ERM_0, rows), (LONG_0, rows)]),)
    with pytest.raises(ValueError, match="nothing has been scored yet"):
        tables("a study", [(ERM_0, []), (other, [])])


def test_a_rule_that_was_given_is_everybodys() -> None:
    rows = [row("sketch", "t-BN", 60)]
    scored = [(ERM_0, rows), (replace(ERM_0, name="last", selection="last"), rows)]
    (made,) = tables("oracle", scored, rule="ORACLE")
    assert made.title == "oracle" and [line[0] for line in made.lines()] == ["ERM", "last"]
    assert "selected by ORACLE" in "\n".join(made.notes)


def test_inferences_and_in_domain_splits_are_told_apart_where_there_are_several() -> None:
    stage = replace(ERM_0.stages[0], method=DMG())
    dmg = replace(ERM_0, name="DMG", sources=("photo", "paint"), targets=("sketch",), stages=(stage,))
    dmg = replace(dmg, inferences=(PredEns(), MaskEns()), adaptations=(TrainBN(),), in_domain_splits=("test",))
    rows = [replace(row("sketch", "t-BN", p), inference=way) for way, p in (("Pred-Ens", 60), ("Mask-Ens", 50))]
    rows += [replace(row("photo", "t-BN", 80), inference="Pred-Ens", role="in-domain", split="test")]
    rows += [replace(row("photo", "t-BN", 99), inference="greedy")]  # not asked for
    plain = (replace(ERM_0, targets=("sketch",)), [row("sketch", "t-BN", 40)])
    made = table("t", [(dmg, rows), plain])
    assert made.header() == ["method", "inference", "adaptation", "sees", "sketch", "photo (in-domain)"]
    assert made.lines() == [
        ["DMG", "Pred-Ens", "t-BN", "one image", "60.00", "80.00"],
        ["DMG", "Mask-Ens", "t-BN", "one image", "50.00", ""],
        ["ERM", "plain", "t-BN", "one image", "40.00", ""],
    ]
    assert "sketch val (100 images), in-domain photo test (100 images)" in "\n".join(made.notes)
    # Two methods with a way each are told apart by their names.
    assert "inference" not in table("t", [(replace(dmg, inferences=None), rows[:1]), plain]).header()


def test_a_table_of_nothing_says_what_to_run() -> None:
    with pytest.raises(ValueError, match=r"nothing has been scored yet\. Run `train` and `evaluate` first"):
        table("t", [(ERM_0, []), (LONG_0, [])])


@pytest.mark.parametrize(
    ("selection", "jointly", "rule"),
    [
        ("last", False, "last, and then the adaptation by source-validation; targets are read only afterwards"),
        ("last", True, "source-validation, the checkpoint with its adaptation; targets are read only afterwards"),
    ],
)
def test_the_row_of_a_choice_has_its_own_rule(selection, jointly, rule) -> None:
    choice = Choice(candidates=(TargetNorm(2), TargetNorm(4)), on="source-validation", jointly=jointly)
    one = replace(ERM_0, choices=(choice,), selection=selection, targets=("sketch",), in_domain_splits=("val",))
    rows = [row("sketch", "t-BN", 60), row("sketch", choice.label, 70)]
    made = table("t", [(one, rows)])
    read = list(csv.DictReader(io.StringIO(as_csv([made]))))
    assert [line["rule"] for line in read] == ["last; targets are read only afterwards", rule]
    assert f"{choice.label}: selected by {rule}" in made.notes
    assert "that chose the checkpoint or an adaptation, and so flattered" in "\n".join(made.notes)
    plain = table("t", [(replace(one, choices=()), rows[:1])])
    assert "flattered" not in "\n".join(plain.notes)
