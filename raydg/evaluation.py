"""What a prediction is worth: counts that add up on the way, and scores that divide once at the end."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from raydg.calibration import Calibration, Cells
from raydg.types import Task, ignore_label
from raydg.values import Value, conform, decode, encode

RowRole = Literal["source-validation", "development", "target", "in-domain", "analysis"]
Counts = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, eq=False)
class Confusion:
    """How often the truth was class t and the prediction class p: `counts[t, p]`, (k, k) int64, pixels or images.

    Confusions of parts of the data add up to that of the whole (`+`, or `sum` from `Confusion.empty(k)`); only scores
    divide. A score is NaN where there is nothing to divide by.

    Raises:
        ValueError: the counts are not a square matrix of whole numbers from 0 up.
    """

    counts: np.ndarray

    def __post_init__(self) -> None:
        counts = np.asarray(self.counts)
        if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.size:
            raise ValueError(f"Confusion.counts has the shape {counts.shape}: it must be (k, k), truth by prediction.")
        if counts.dtype.kind not in "iu" or counts.min() < 0:
            raise ValueError(
                f"Confusion.counts is {counts.dtype} from {counts.min()} up: it must be integer from 0 up."
            )
        counts = counts.astype(np.int64)
        counts.setflags(write=False)
        object.__setattr__(self, "counts", counts)

    @classmethod
    def empty(cls, num_classes: int) -> "Confusion":
        """Nothing counted yet: the start of a sum."""
        return cls(np.zeros((num_classes, num_classes), np.int64))

    @classmethod
    def of(cls, labels: Tensor, predictions: Tensor, num_classes: int) -> "Confusion":
        """Predicted class ids counted against labels: integers, of one shape and device. Ignored labels do not count.

        Raises:
            ValueError: the shapes differ, ids are no integers, or one that counts is outside 0 to num_classes - 1.
        """
        if num_classes < 1:
            raise ValueError(f"num_classes is {num_classes}: it must be 1 or more.")
        if labels.shape != predictions.shape:
            raise ValueError(
                f"Labels have the shape {tuple(labels.shape)} and predictions {tuple(predictions.shape)}: "
                "they must be equal; take the argmax over the classes first."
            )
        for what, ids in (("labels", labels), ("predictions", predictions)):
            if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
                raise ValueError(f"The {what} are {ids.dtype}: they must be class ids, integers.")
        ignored = ignore_label(num_classes)
        counted = labels != ignored
        truth, predicted = labels[counted].long(), predictions[counted].long()
        for what, ids in (("label", truth), ("prediction", predicted)):
            wrong = ids[(ids < 0) | (ids >= num_classes)]
            if len(wrong):
                raise ValueError(
                    f"{len(wrong)} {what}s are no classes, the first is {int(wrong[0])}: classes are 0 to "
                    f"{num_classes - 1}, labels that do not count {ignored}. "
                    "Compare the domain's label space with the network's."
                )
        cells = torch.bincount(truth * num_classes + predicted, minlength=num_classes**2)
        return cls(cells.reshape(num_classes, num_classes).cpu().numpy())

    def __add__(self, other: "Confusion") -> "Confusion":
        if not isinstance(other, Confusion):
            return NotImplemented
        if self.num_classes != other.num_classes:
            raise ValueError(f"Confusions of {self.num_classes} and of {other.num_classes} classes do not add.")
        return Confusion(self.counts + other.counts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Confusion) and np.array_equal(self.counts, other.counts)

    def to_json(self) -> Counts:
        """The counts as rows of Python ints, which JSON writes as nested lists."""
        return tuple(map(tuple, self.counts.tolist()))

    @classmethod
    def from_json(cls, counts: Sequence[Sequence[int]]) -> "Confusion":
        """Inverse of `to_json`, also after a trip through JSON text."""
        rows = conform(counts, Counts, "Confusion.counts")
        if any(len(row) != len(rows) for row in rows):
            raise ValueError(
                f"Confusion.counts has {len(rows)} rows of {[len(r) for r in rows]} counts: it must be (k, k)."
            )
        return cls(np.array(rows))

    @property
    def num_classes(self) -> int:
        return len(self.counts)

    def iou(self, classes: Sequence[int] | None = None) -> np.ndarray:
        """Intersection over union of each class, in [0, 1]; NaN for a class found in neither truth nor prediction.

        With a subset of `classes` (16 of 19 for networks trained on SYNTHIA) there is one entry per class named, in
        that order, and labels outside the subset count as `IGNORE`: such pixels harm no class, whatever is predicted
        there. A pixel whose label is in the subset and whose prediction is outside remains an error of its label.
        """
        wanted = self._subset(classes)
        judged = self.counts[wanted]
        hits = judged[np.arange(len(wanted)), wanted]
        return _divide(hits, judged.sum(axis=1) + judged[:, wanted].sum(axis=0) - hits)

    def mean_iou(self, classes: Sequence[int] | None = None) -> float:
        """Mean of `iou`, in [0, 1], over the classes found in truth or prediction; NaN if there is none.

        A class that is only predicted counts 0. On one matrix of all images and all classes this is the `nanmean` of
        the published codes: 0 / 0 drops out, 0 / n counts 0. It differs from code that

        - averages a slice of the IoUs over all classes for a subset: that charges the subset with what is predicted on
          pixels whose label is outside, which `iou` ignores;
        - drops labels outside the table without a word (`of` raises);
        - averages the scores of batches or images (here counts are added before anything is divided).
        """
        iou = self.iou(classes)
        found = iou[~np.isnan(iou)]
        return float(found.mean()) if len(found) else float("nan")

    def class_accuracy(self) -> np.ndarray:
        """Share of each class's pixels or images that is predicted right, (k,) in [0, 1]; NaN if not in the truth."""
        return _divide(self.counts.diagonal(), self.counts.sum(axis=1))

    def accuracy(self) -> float:
        """Share of all that counts that is predicted right, in [0, 1]: of pixels, or of images (top-1)."""
        return float(_divide(self.counts.trace(), self.counts.sum()))

    def score(self, task: Task, classes: Sequence[int] | None = None) -> float:
        """The one headline number, in percent: mean IoU, over some classes if given, or accuracy for classification."""
        return 100 * (self.mean_iou(classes) if conform(task, Task, "task") == "segmentation" else self.accuracy())

    def _subset(self, classes: Sequence[int] | None) -> np.ndarray:
        if classes is None:
            return np.arange(self.num_classes)
        if not classes or len(set(classes)) != len(classes) or not set(classes) <= set(range(self.num_classes)):
            raise ValueError(
                f"The subset of classes is {list(classes)}: it must name at least one class, "
                f"each once, from 0 to {self.num_classes - 1}."
            )
        return np.array(classes)


def _divide(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """The only division of counts: NaN where the whole is 0."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)


AS_VALIDATED = "as validated"
"""Label of the view of an image that validation has: `Experiment.evaluation_size`, else the whole image."""


@dataclass(frozen=True)
class Histogram(Value):
    """`Calibration.to_json()`, as a row carries it."""

    cells: Cells
    """By true class, bin, and count, confidence, correct."""
    gaps: tuple[int, ...]
    """By true class."""


@dataclass(frozen=True)
class Cost(Value):
    """What a prediction took; of the machine, not of the model alone.

    Raises:
        ValueError: a time that is negative or not finite.
    """

    seconds_per_image: float
    """Median over the images of the seconds of the image's forward divided by its images, decoding and counting left
    out. Variants of an adaptation come from one run, and each carries the time of the whole."""
    measured_on: str
    """Processor, threads, arithmetic and the size of the images."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(0 <= self.seconds_per_image < float("inf"), "seconds_per_image", "0 or more, and finite")


@dataclass(frozen=True)
class Row(Value):
    """What one evaluation produced: one checkpoint, predicting in one way, counted on one split of one domain.

    Raises:
        ValueError: a negative step or order, no images, or counts that are no confusion.
    """

    step: int
    """Training step of the checkpoint."""
    role: RowRole
    """What the row may be used for: only source-validation and development rows may select."""
    domain: str
    """Name of the domain."""
    split: str
    """Its split."""
    inference: str
    """Label of the inference, such as "Pred-Ens"."""
    adaptation: str
    """Label of the adaptation, such as "IaBN(instance_weight=0.1)"."""
    order: int
    """Which random order the images came in; 0 where the order does not matter."""
    num_images: int
    """Images counted."""
    counts: Counts
    """`Confusion.to_json()`: truth by prediction."""
    protocol: str = AS_VALIDATED
    """Label of what was shown of an image."""
    histogram: Histogram | None = None
    """Confidence of the predictions; None for validation, which counts hits alone."""
    record: str | None = None
    """File with the counts of every image (`raydg.records.Record`), below the run's folder."""
    loss: float | None = None
    """Mean of -log of the true class's probability over all that counts, where it was measured: see raydg.analysis."""
    content: str = ""
    """What the prepared domain held: SHA-256 of its index; empty where training validates."""
    cost: Cost | None = field(default=None, compare=False)
    """Time of a prediction; two rows are equal whatever they took."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.step >= 0, "step", "at least 0")
        self.require(self.order >= 0, "order", "at least 0")
        self.require(self.num_images > 0, "num_images", "at least 1")
        Confusion.from_json(self.counts)
        if self.calibration is not None and self.calibration.num_classes != len(self.counts):
            raise ValueError(
                f"Row.histogram has {self.calibration.num_classes} classes and Row.counts {len(self.counts)}: "
                "they must be of one label space."
            )

    @property
    def calibration(self) -> Calibration | None:
        """The histogram, ready to be added and scored."""
        return Calibration.from_json(self.histogram.cells, self.histogram.gaps) if self.histogram else None

    @property
    def confusion(self) -> Confusion:
        """The counts, ready to be added and scored."""
        return Confusion.from_json(self.counts)


def to_lines(rows: Iterable[Row]) -> str:
    """JSON lines, one per row, each with its line end, so that texts may be joined."""
    return "".join(json.dumps(encode(row)) + "\n" for row in rows)


def from_lines(text: str) -> tuple[Row, ...]:
    """The rows that `to_lines` wrote.

    Raises:
        ValueError: a line is no JSON or no row; the message has its number.
    """
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            rows.append(decode(Row, json.loads(line)))
        except ValueError as error:
            raise ValueError(f"Line {number} of the rows: {error}") from error
    return tuple(rows)
