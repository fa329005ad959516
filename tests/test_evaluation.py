import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from raydg.calibration import Calibration
from raydg.evaluation import Confusion, Cost, Histogram, Row, from_lines, to_lines
from raydg.methods.method import cross_entropy
from raydg.types import IGNORE
from raydg.values import decode, encode

K = 5


@pytest.fixture
def maps() -> tuple[torch.Tensor, torch.Tensor]:
    """Labels and predictions (3, 12, 10) with class 4 nowhere, class 3 only predicted, and some pixels ignored."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (3, 12, 10), generator=draw)
    labels[torch.rand(labels.shape, generator=draw) < 0.2] = IGNORE
    return labels, torch.randint(0, 4, labels.shape, generator=draw)


def pixels(labels: torch.Tensor, predictions: torch.Tensor) -> list[tuple[int, int]]:
    """(truth, prediction) of every pixel that counts."""
    pairs = zip(labels.flatten().tolist(), predictions.flatten().tolist(), strict=True)
    return [(t, p) for t, p in pairs if t != IGNORE]


def iou_by_sets(pairs: list[tuple[int, int]], c: int) -> float:
    """IoU by its definition: the set of pixels labelled c against the set predicted c."""
    truth = {i for i, (t, _) in enumerate(pairs) if t == c}
    predicted = {i for i, (_, p) in enumerate(pairs) if p == c}
    return len(truth & predicted) / len(truth | predicted) if truth | predicted else float("nan")


def test_counts_are_what_a_loop_over_pixels_counts(maps):
    expected = np.zeros((K, K), int)
    for t, p in pixels(*maps):
        expected[t, p] += 1
    confusion = Confusion.of(*maps, K)
    assert confusion.counts.dtype == np.int64
    assert np.array_equal(confusion.counts, expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_other_integer_types_count_the_same(maps, dtype):
    labels, predictions = maps
    assert Confusion.of(labels.to(dtype), predictions.to(dtype), K) == Confusion.of(labels, predictions, K)


def test_scores_are_the_definitions_on_sets_of_pixels(maps):
    confusion, pairs = Confusion.of(*maps, K), pixels(*maps)
    by_sets = [iou_by_sets(pairs, c) for c in range(K)]
    assert by_sets[3] == 0 and math.isnan(by_sets[4])
    np.testing.assert_allclose(confusion.iou(), by_sets)
    # Class 3, only predicted, counts 0; class 4, found nowhere, is left out.
    assert confusion.mean_iou() == pytest.approx(sum(by_sets[:4]) / 4)
    assert confusion.accuracy() == pytest.approx(sum(t == p for t, p in pairs) / len(pairs))
    of_class = [[p == t for t, p in pairs if t == c] for c in range(K)]
    np.testing.assert_allclose(confusion.class_accuracy(), [sum(o) / len(o) if o else np.nan for o in of_class])
    assert confusion.score("segmentation") == pytest.approx(100 * confusion.mean_iou())
    assert confusion.score("classification") == pytest.approx(100 * confusion.accuracy())


def test_torchmetrics_agrees(maps):
    # Imported here because it takes seconds and the other tests do not need it.
    from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassJaccardIndex

    labels, predictions = maps
    confusion = Confusion.of(labels, predictions, K)
    matrix = MulticlassConfusionMatrix(K, ignore_index=IGNORE)(predictions, labels)
    assert np.array_equal(confusion.counts, matrix.numpy())
    macro = MulticlassJaccardIndex(K, average="macro", ignore_index=IGNORE)(predictions, labels)
    assert confusion.mean_iou() == pytest.approx(macro.item(), abs=1e-6)
    each = MulticlassJaccardIndex(K, average="none", ignore_index=IGNORE)(predictions, labels)
    np.testing.assert_allclose(confusion.iou()[:4], each.numpy()[:4], atol=1e-6)


def test_the_published_nanmean_is_the_same_on_all_classes(maps):
    h = Confusion.of(*maps, K).counts
    with np.errstate(invalid="ignore"):
        published = np.nanmean(np.diag(h) / (h.sum(1) + h.sum(0) - np.diag(h)))
    assert Confusion(h).mean_iou() == pytest.approx(published)


def test_a_subset_ignores_foreign_labels_and_punishes_foreign_predictions(maps):
    labels, predictions = maps
    subset = [2, 0]
    pairs = [(t, p) for t, p in pixels(labels, predictions) if t in subset]
    confusion = Confusion.of(labels, predictions, K)
    np.testing.assert_allclose(confusion.iou(subset), [iou_by_sets(pairs, 2), iou_by_sets(pairs, 0)])
    assert confusion.mean_iou(subset) == pytest.approx((iou_by_sets(pairs, 2) + iou_by_sets(pairs, 0)) / 2)
    # Two pixels of class 0, one of them predicted as class 1 outside the subset: half of class 0 is lost.
    one = Confusion(np.array([[1, 1], [0, 0]]))
    assert one.mean_iou([0]) == 0.5
    # A pixel of class 1 predicted as class 0 costs class 0 nothing where class 1 is outside the subset.
    other = Confusion(np.array([[1, 0], [1, 0]]))
    assert other.mean_iou([0]) == 1 and other.iou()[0] == 0.5


def test_counts_of_parts_add_up_to_the_whole_and_scores_do_not(maps):
    labels, predictions = maps
    parts = [Confusion.of(t, p, K) for t, p in zip(labels, predictions, strict=True)]
    whole = Confusion.of(labels, predictions, K)
    assert sum(parts, Confusion.empty(K)) == whole == parts[2] + parts[0] + parts[1]
    assert np.mean([part.mean_iou() for part in parts]) != pytest.approx(whole.mean_iou(), abs=1e-9)


def test_images_of_a_classifier_count_like_pixels():
    confusion = Confusion.of(torch.tensor([0, 1, 1, 2, IGNORE]), torch.tensor([0, 1, 0, 0, 2]), 3)
    assert confusion.score("classification") == 50
    np.testing.assert_allclose(confusion.class_accuracy(), [1, 0.5, 0])


def test_nothing_counted_scores_nan():
    nothing = Confusion.of(torch.full((4, 4), IGNORE), torch.zeros(4, 4, dtype=torch.int64), K)
    assert nothing == Confusion.empty(K)
    assert all(map(math.isnan, (nothing.mean_iou(), nothing.accuracy(), nothing.score("segmentation"))))


def test_counts_cannot_be_changed_from_outside():
    source = np.ones((2, 2), np.int64)
    confusion = Confusion(source)
    source[0, 0] = 7
    assert confusion.counts[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        confusion.counts[0, 0] = 7


def test_json_brings_counts_back_beyond_32_bits():
    confusion = Confusion(np.array([[2**40, 3], [0, 1]]))
    assert Confusion.from_json(json.loads(json.dumps(confusion.to_json()))) == confusion


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        ([0, 5], [0, 0], r"1 labels are no classes, the first is 5: classes are 0 to 4"),
        ([0, -1], [0, 0], r"1 labels are no classes, the first is -1"),
        ([0, 0], [0, 7], r"1 predictions are no classes, the first is 7"),
        ([0, 0], [0, IGNORE], r"1 predictions are no classes, the first is 255"),
        ([0, 0], [0], r"shape \(2,\) and predictions \(1,\)"),
        ([0.0, 1.0], [0, 0], r"labels are torch.float32: they must be class ids"),
        ([0, 1], [0.5, 0.5], r"predictions are torch.float32"),
        ([False, True], [0, 0], r"labels are torch.bool"),
    ],
)
def test_ids_that_are_no_classes_are_refused(labels, predictions, message):
    with pytest.raises(ValueError, match=message):
        Confusion.of(torch.tensor(labels), torch.tensor(predictions), K)


def test_no_classes_are_refused():
    ids = torch.zeros(1, dtype=torch.int64)
    with pytest.raises(ValueError, match="num_classes is 0: it must be 1 or more"):
        Confusion.of(ids, ids, 0)


def test_255_is_a_class_where_there_are_more_and_trains_and_counts_there():
    labels, predictions = torch.tensor([255, 255, 3]), torch.tensor([255, 3, 3])
    assert Confusion.of(labels, predictions, 345).accuracy() == pytest.approx(2 / 3)
    assert Confusion.of(torch.tensor([255, 3]), torch.tensor([3, 3]), 255).accuracy() == 1.0
    logits = torch.randn(3, 345, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = -sum(logits[i].softmax(0)[labels[i]].log() for i in range(3)) / 3
    assert cross_entropy(logits, labels).item() == pytest.approx(expected.item())


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (np.zeros((2, 3), int), r"shape \(2, 3\)"),
        (np.zeros((0, 0), int), r"shape \(0, 0\)"),
        (np.zeros((2, 2)), "float64"),
        (np.array([[1, -1], [0, 0]]), "from -1 up"),
    ],
)
def test_matrices_that_are_no_counts_are_refused(counts, message):
    with pytest.raises(ValueError, match=message):
        Confusion(counts)


def test_json_that_is_no_matrix_is_refused():
    with pytest.raises(ValueError, match=r"2 rows of \[2, 1\] counts"):
        Confusion.from_json([[1, 2], [3]])
    with pytest.raises(ValueError, match=r"Confusion.counts\[0\]\[1\] is 2.5"):
        Confusion.from_json([[1, 2.5], [3, 4]])  # pyright: ignore[reportArgumentType]


def test_confusions_of_different_label_spaces_do_not_add():
    with pytest.raises(ValueError, match="of 2 and of 3 classes do not add"):
        Confusion.empty(2) + Confusion.empty(3)


@pytest.mark.parametrize("classes", [[], [0, 0], [5], [-1]])
def test_subsets_that_are_none_are_refused(classes):
    with pytest.raises(ValueError, match=r"subset of classes is .* from 0 to 4"):
        Confusion.empty(K).iou(classes)


def test_an_unknown_task_is_refused():
    with pytest.raises(ValueError, match="task is 'detection'"):
        Confusion.empty(K).score("detection")  # pyright: ignore[reportArgumentType]


def row(**changes) -> Row:
    given = {"step": 100, "role": "target", "domain": "rain", "split": "val"}
    given |= {"inference": "plain", "adaptation": "t-BN", "order": 0}
    return Row(**given | {"num_images": 2, "counts": ((3, 1), (0, 4))} | changes)


def test_rows_survive_json_and_json_lines():
    rows = (row(), row(domain="fog", role="analysis", order=4, adaptation="TN(batch_size=16)"))
    assert decode(Row, json.loads(json.dumps(encode(rows[0])))) == rows[0]
    assert from_lines(to_lines(rows)) == rows
    assert from_lines(to_lines(rows[:1]) + to_lines(rows[1:])) == rows
    assert to_lines([]) == "" and from_lines("") == ()


def test_a_row_carries_its_counts():
    confusion = Confusion(np.array([[3, 1], [0, 4]]))
    assert row(counts=confusion.to_json()).confusion == confusion


def test_a_row_carries_its_confidence_and_cost_and_is_equal_whatever_it_took():
    ids = torch.tensor([0, 0, 1])
    calibration = Calibration.of(ids, ids, torch.tensor([0.5, 0.7, 1.0]), 2)
    measured = row(histogram=Histogram(*calibration.to_json()), cost=Cost(0.5, "a CPU"), protocol="windows")
    (back,) = from_lines(to_lines([measured]))
    assert back == measured and back.calibration == calibration and back.cost == Cost(0.5, "a CPU")
    assert replace(measured, cost=Cost(9, "a GPU")) == measured != row(protocol="windows")
    assert row().calibration is None
    with pytest.raises(ValueError, match=r"Row.histogram has 3 classes and Row.counts 2"):
        row(histogram=Histogram(*Calibration.empty(3).to_json()))
    with pytest.raises(ValueError, match=r"Cost.seconds_per_image is -1.0: it must be 0 or more, and finite"):
        Cost(-1, "a CPU")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"role": "train"}, "Row.role is 'train'"),
        ({"step": -1}, "Row.step is -1"),
        ({"order": -1}, "Row.order is -1"),
        ({"num_images": 0}, "Row.num_images is 0"),
        ({"counts": ((1, 2), (3,))}, "Confusion.counts has 2 rows"),
        ({"counts": ((1, -2), (3, 4))}, "from -2 up"),
    ],
)
def test_rows_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        row(**changes)


@pytest.mark.parametrize("damage", ["{", '{"class": "Row"}', '{"class": "Column"}'])
def test_a_damaged_line_is_named_by_its_number(damage):
    with pytest.raises(ValueError, match="Line 2 of the rows"):
        from_lines(to_lines([row()]) + damage + "\n")
