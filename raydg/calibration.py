"""Whether a prediction is as often right as it says: histograms of confidence that add up, and calibration errors that
divide once at the end."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from raydg.types import ignore_label
from raydg.values import conform

FINE_BINS = 30
"""Bins that are counted: the least number that both 10 and 15 bins, which the field reports, are merged from."""

PAPER_BINS = 10
"""Bins of self-adaptation's error (`utils/calibration.py` of the published code)."""

UNIT = 2**28
"""Confidence is added up as whole multiples of 1 / UNIT, a sixteenth of float32's last bit at 1. So sums are exact and
depend on no order, and 3e10 pixels fit into 63 bits."""

COUNT, CONFIDENCE, CORRECT = range(3)

Cells = tuple[tuple[tuple[int, ...], ...], ...]


@dataclass(frozen=True, eq=False)
class Calibration:
    """How confident predictions were and how often right; parts of the data add up to the whole (`+`).

    The confidence of a pixel or image is the probability of its predicted class. Bin i of `FINE_BINS` holds the
    confidences in (i / FINE_BINS, (i + 1) / FINE_BINS].

    Raises:
        ValueError: not integers from 0 up, or of other shapes.
    """

    cells: np.ndarray
    """(k, FINE_BINS, 3) int64: by true class and bin the predictions counted, their confidence in units of 1 / `UNIT`,
    and how many were right."""
    gaps: np.ndarray
    """(k,) int64, by true class: the sum over images and `PAPER_BINS` bins of |sum of confidence - number right| of the
    image's pixels of that class, in units of 1 / `UNIT`."""

    def __post_init__(self) -> None:
        for name, shape in (("cells", (len(self.gaps), FINE_BINS, 3)), ("gaps", (len(self.gaps),))):
            given = np.asarray(getattr(self, name))
            if given.shape != shape or given.dtype.kind not in "iu" or (given.size and given.min() < 0):
                raise ValueError(
                    f"Calibration.{name} is {given.dtype} of shape {given.shape}: "
                    f"it must be integers from 0 up of shape {shape}."
                )
            given = given.astype(np.int64)
            given.setflags(write=False)
            object.__setattr__(self, name, given)

    @classmethod
    def empty(cls, num_classes: int) -> "Calibration":
        """Nothing counted yet: the start of a sum."""
        return cls(np.zeros((num_classes, FINE_BINS, 3), np.int64), np.zeros(num_classes, np.int64))

    @classmethod
    def of(cls, labels: Tensor, predictions: Tensor, confidences: Tensor, num_classes: int) -> "Calibration":
        """The predictions of one image: class ids and their probabilities against labels, of one shape and device.

        Ignored labels do not count.

        Raises:
            ValueError: the shapes differ, or a confidence that counts is not in [0, 1].
        """
        if not labels.shape == predictions.shape == confidences.shape:
            raise ValueError(
                f"Labels, predictions and confidences have the shapes {tuple(labels.shape)}, "
                f"{tuple(predictions.shape)} and {tuple(confidences.shape)}: they must be equal."
            )
        counted = labels != ignore_label(num_classes)
        truth, predicted, confidence = (
            labels[counted].long(),
            predictions[counted].long(),
            confidences[counted].double(),
        )
        if not bool(((confidence >= 0) & (confidence <= 1 + 1e-3)).all()):
            raise ValueError("A confidence is outside 0 to 1: the predictor must give probabilities.")
        confidence = confidence.clamp(max=1)  # sums of rounded exponentials pass 1 by a bit
        # Quotients of integers are rounded once, so the edges of 10 and of 15 bins are among these, bit for bit.
        edges = torch.from_numpy(np.arange(1, FINE_BINS) / FINE_BINS).to(confidence.device)
        cell = truth * FINE_BINS + torch.bucketize(confidence, edges)
        units = (confidence * UNIT).round()
        size = num_classes * FINE_BINS
        # Whole numbers below 2^53 add up exactly in float64, in whatever order a GPU adds them.
        sums = [
            torch.bincount(cell, minlength=size),
            torch.bincount(cell, weights=units, minlength=size),
            torch.bincount(cell[truth == predicted], minlength=size),
        ]
        table = torch.stack([each.long() for each in sums], -1).cpu().numpy().reshape(num_classes, FINE_BINS, 3)
        merged = _merged(table, PAPER_BINS)
        return cls(table, np.abs(merged[..., CONFIDENCE] - merged[..., CORRECT] * UNIT).sum(axis=1))

    def __add__(self, other: "Calibration") -> "Calibration":
        if not isinstance(other, Calibration):
            return NotImplemented
        if self.num_classes != other.num_classes:
            raise ValueError(f"Calibrations of {self.num_classes} and of {other.num_classes} classes do not add.")
        return Calibration(self.cells + other.cells, self.gaps + other.gaps)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Calibration)
            and np.array_equal(self.cells, other.cells)
            and np.array_equal(self.gaps, other.gaps)
        )

    @property
    def num_classes(self) -> int:
        return len(self.gaps)

    def bins(self, num_bins: int, classes: Sequence[int] | None = None) -> np.ndarray:
        """(num_bins, 3) float64: how many, mean confidence and accuracy of equal bins; NaN for the means of an empty
        one.

        Args:
            num_bins: a divisor of `FINE_BINS`.
            classes: whose pixels count, by their label; None: all.
        """
        if num_bins < 1 or FINE_BINS % num_bins:
            legal = ", ".join(str(n) for n in range(1, FINE_BINS + 1) if FINE_BINS % n == 0)
            raise ValueError(f"num_bins is {num_bins}: it must be one of {legal}.")
        table = _merged(self.cells[self._subset(classes)].sum(axis=0, keepdims=True), num_bins)[0]
        count = table[:, COUNT]
        some = np.where(count, count, 1)
        mean, right = table[:, CONFIDENCE] / UNIT / some, table[:, CORRECT] / some
        return np.stack([count, np.where(count, mean, np.nan), np.where(count, right, np.nan)], axis=1)

    def ece(self, num_bins: int = 15, classes: Sequence[int] | None = None) -> float:
        """Expected calibration error (Naeini et al., 2015) of all pixels or images together, in percent.

        The sum over the bins of |accuracy - mean confidence|, weighted by the share of the predictions in the bin; NaN
        where nothing was counted. With a subset of `classes` only pixels that are labelled with one of them count.
        """
        count, confidence, accuracy = self.bins(num_bins, classes).T
        filled = count > 0
        if not filled.any():
            return float("nan")
        return float(100 * (count * np.abs(confidence - accuracy))[filled].sum() / count.sum())

    def per_image_per_class_ece(self, classes: Sequence[int] | None = None, present_only: bool = False) -> float:
        """Self-adaptation's calibration error (Table 1b; `utils/calibration.py` of the published code), in percent.

        It is not the textbook's. The pixels of an image that are labelled with one class have an error in 10 bins; its
        mean over images, with the class's pixels as weights, is averaged over all classes alike. A class that no label
        has counts 0, as published, which flatters; `present_only` leaves it out of the mean. NaN where nothing was
        counted.

        The published code divides by the class's pixels plus 1e-9, which shows in no printed digit.
        """
        wanted = self._subset(classes)
        pixels = self.cells[wanted, :, COUNT].sum(axis=1)
        present = pixels > 0
        if not present.any():
            return float("nan")
        errors = self.gaps[wanted][present] / UNIT / pixels[present]
        return float(100 * errors.sum() / (present.sum() if present_only else len(wanted)))

    def only(self, classes: Sequence[int] | None) -> "Calibration":
        """That of what is labelled with one of `classes`; None: all."""
        wanted = np.isin(np.arange(self.num_classes), self._subset(classes))
        return Calibration(self.cells * wanted[:, None, None], self.gaps * wanted)

    def to_json(self) -> tuple[Cells, tuple[int, ...]]:
        """`cells` and `gaps` as Python ints."""
        return tuple(tuple(map(tuple, of_class)) for of_class in self.cells.tolist()), tuple(self.gaps.tolist())

    @classmethod
    def from_json(cls, cells: Cells, gaps: Sequence[int]) -> "Calibration":
        """Inverse of `to_json`, also after a trip through JSON text."""
        conform(cells, Cells, "Calibration.cells")
        try:
            return cls(np.array(cells, np.int64), np.array(gaps, np.int64))
        except (TypeError, OverflowError) as error:
            raise ValueError(f"Calibration cannot be read: {error}") from None

    def _subset(self, classes: Iterable[int] | None) -> np.ndarray:
        wanted = np.arange(self.num_classes) if classes is None else np.array(list(classes), np.int64)
        if not wanted.size or wanted.min() < 0 or wanted.max() >= self.num_classes:
            raise ValueError(f"The classes are {wanted.tolist()}: they must be from 0 to {self.num_classes - 1}.")
        return wanted


def _merged(cells: np.ndarray, num_bins: int) -> np.ndarray:
    """(k, FINE_BINS, 3) summed into (k, num_bins, 3)."""
    return cells.reshape(len(cells), num_bins, FINE_BINS // num_bins, 3).sum(axis=2)
