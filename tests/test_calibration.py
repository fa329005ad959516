"""Calibration errors against their definitions, written pixel by pixel, and histograms that add up."""

import json
import math

import numpy as np
import pytest
import torch

from raydg.calibration import FINE_BINS, Calibration
from raydg.types import IGNORE

K = 4


def image(seed: int, present: tuple[int, ...] = (0, 1, 2)) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Labels, predictions and confidences (9, 11); class 3 is only predicted, some pixels are ignored."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.tensor(present)[torch.randint(0, len(present), (9, 11), generator=draw)]
    labels[torch.rand(labels.shape, generator=draw) < 0.1] = IGNORE
    probabilities = (3 * torch.randn(9, 11, K, generator=draw)).softmax(-1)
    confidences, predictions = probabilities.max(-1)
    return labels, predictions, confidences


IMAGES = [image(0), image(1, (0, 1)), image(2, (1, 2))]


def pixels(*images) -> list[tuple[int, int, float]]:
    """(truth, prediction, confidence) of every pixel that counts."""
    flat = [zip(*(each.flatten().tolist() for each in maps), strict=True) for maps in images]
    return [pixel for each in flat for pixel in each if pixel[0] != IGNORE]


def error(found: list[tuple[int, int, float]], num_bins: int) -> float:
    """ECE by its definition: |accuracy - mean confidence| of every bin ((m - 1) / M, m / M], weighted by its share."""
    total = 0.0
    for m in range(1, num_bins + 1):
        inside = [(t == p, c) for t, p, c in found if (m - 1) / num_bins < c <= m / num_bins]
        if inside:
            right, confidence = (sum(each) / len(inside) for each in zip(*inside, strict=True))
            total += len(inside) / len(found) * abs(right - confidence)
    return 100 * total


def whole() -> Calibration:
    return sum((Calibration.of(*maps, K) for maps in IMAGES), Calibration.empty(K))


@pytest.mark.parametrize("num_bins", [10, 15, 30])
def test_the_error_of_all_pixels_is_the_definition(num_bins: int) -> None:
    assert whole().ece(num_bins) == pytest.approx(error(pixels(*IMAGES), num_bins), abs=1e-6)
    subset = [pixel for pixel in pixels(*IMAGES) if pixel[0] in (2, 0)]
    assert whole().ece(num_bins, [2, 0]) == pytest.approx(error(subset, num_bins), abs=1e-6)
    assert whole().only([2, 0]).ece(num_bins) == whole().ece(num_bins, [2, 0]) and whole().only(None) == whole()
    assert error(subset, num_bins) != pytest.approx(error(pixels(*IMAGES), num_bins), abs=1e-3)


def test_torchmetrics_agrees() -> None:
    from torchmetrics.functional.classification import multiclass_calibration_error

    labels, _, _ = IMAGES[0]
    draw = torch.Generator().manual_seed(5)
    probabilities = torch.randn(9, 11, K, generator=draw).softmax(-1)
    confidences, predictions = probabilities.max(-1)
    kept = labels != IGNORE
    expected = multiclass_calibration_error(probabilities[kept], labels[kept], K, n_bins=15, norm="l1")
    assert Calibration.of(labels, predictions, confidences, K).ece(15) == pytest.approx(100 * expected.item(), abs=1e-4)


def test_the_papers_error_is_per_image_and_class_weighted_by_pixels() -> None:
    means = []
    for c in range(K):
        of_images = [[pixel for pixel in pixels(maps) if pixel[0] == c] for maps in IMAGES]
        number = sum(map(len, of_images))
        means.append(sum(len(found) * error(found, 10) for found in of_images if found) / number if number else 0.0)
    assert means[3] == 0 and min(means[:3]) > 0
    assert whole().per_image_per_class_ece() == pytest.approx(sum(means) / K, abs=1e-6)
    assert whole().per_image_per_class_ece(present_only=True) == pytest.approx(sum(means) / 3, abs=1e-6)
    assert whole().per_image_per_class_ece([3, 1]) == pytest.approx(means[1] / 2, abs=1e-6)
    # It is another number than that of a histogram of all images, where errors of images cancel.
    together = [error([pixel for pixel in pixels(*IMAGES) if pixel[0] == c], 10) for c in range(3)]
    assert sum(means) / K > sum(together) / K + 0.1


def test_bins_hold_their_upper_edge() -> None:
    """0.1 belongs to the first of ten bins, the next number above it to the second, and 1 to the last."""
    above = float(np.nextafter(0.1, 1))
    confidences = torch.tensor([0.1, above, 1.0, 0.0], dtype=torch.float64)
    ids = torch.zeros(4, dtype=torch.int64)
    found = Calibration.of(ids, ids, confidences, 2)
    assert found.bins(10)[:, 0].tolist() == [2, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    for num_bins in (10, 15):
        for m in range(1, num_bins):
            edge = Calibration.of(ids[:1], ids[:1], torch.tensor([m / num_bins], dtype=torch.float64), 2)
            assert edge.bins(num_bins)[m - 1, 0] == 1


def test_perfect_and_worst_calibration() -> None:
    ids = torch.arange(4) % 2
    sure = torch.ones(4)
    assert Calibration.of(ids, ids, sure, 2).ece() == 0
    assert Calibration.of(ids, 1 - ids, sure, 2).ece() == 100
    half = Calibration.of(torch.tensor([0, 1]), torch.tensor([0, 0]), torch.tensor([0.5, 0.5]), 2)
    assert half.ece(10) == 0 and half.per_image_per_class_ece() == 50  # of class 0 all right, of class 1 none


def test_parts_add_up_exactly_in_any_order() -> None:
    parts = [Calibration.of(*maps, K) for maps in IMAGES]
    assert parts[2] + parts[0] + parts[1] == whole() == parts[1] + (parts[2] + parts[0])
    assert whole().cells[..., 0].sum() == len(pixels(*IMAGES))
    assert whole() != parts[0]


def test_json_brings_it_back_beyond_32_bits() -> None:
    big = Calibration(whole().cells * 2**20, whole().gaps)
    assert big.cells.max() > 2**50
    assert Calibration.from_json(*json.loads(json.dumps(big.to_json()))) == big


def test_nothing_counted_has_no_error() -> None:
    nothing = Calibration.of(torch.full((3,), IGNORE), torch.zeros(3, dtype=torch.int64), torch.ones(3), K)
    assert nothing == Calibration.empty(K)
    assert math.isnan(nothing.ece()) and math.isnan(nothing.per_image_per_class_ece())
    assert np.isnan(nothing.bins(10)[:, 1:]).all()


def test_what_is_no_confidence_is_refused() -> None:
    ids = torch.zeros(2, dtype=torch.int64)
    for wrong in (1.5, -0.1, math.nan):
        with pytest.raises(ValueError, match="outside 0 to 1: the predictor must give probabilities"):
            Calibration.of(ids, ids, torch.tensor([0.5, wrong]), K)
    with pytest.raises(ValueError, match=r"shapes \(2,\), \(2,\) and \(1,\)"):
        Calibration.of(ids, ids, torch.ones(1), K)
    with pytest.raises(ValueError, match="num_bins is 7: it must be one of 1, 2, 3, 5, 6, 10, 15, 30"):
        whole().bins(7)
    with pytest.raises(ValueError, match=r"classes are \[4\]: they must be from 0 to 3"):
        whole().ece(10, [4])
    with pytest.raises(ValueError, match="of 4 and of 2 classes do not add"):
        whole() + Calibration.empty(2)
    with pytest.raises(ValueError, match=r"Calibration.cells is int64 of shape \(4, 2, 3\)"):
        Calibration(np.zeros((4, 2, 3), np.int64), np.zeros(4, np.int64))
    with pytest.raises(ValueError, match=r"Calibration.gaps is float64"):
        Calibration(np.zeros((4, FINE_BINS, 3), np.int64), np.zeros(4))
