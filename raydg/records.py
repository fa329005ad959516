"""What scoring counted, image by image, on disk: parts of an evaluation that a kill leaves whole, and the record of a
finished one."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from uuid import uuid4

import numpy as np

from raydg.calibration import Calibration
from raydg.evaluation import Confusion
from raydg.types import Task


@dataclass(frozen=True, eq=False)
class Record:
    """The counts of n images under the v variants of one adaptation; joined in order, those of parts make the whole."""

    num_classes: int
    """k."""
    images: np.ndarray
    """(n,) names, `split/sample id`."""
    counts: np.ndarray
    """(m, 5) int64: variant, image, true class, predicted class, how often; what never happened has no line."""
    cells: np.ndarray
    """(v, k, bins, 3) int64: `Calibration.cells` of every variant."""
    gaps: np.ndarray
    """(v, k) int64: `Calibration.gaps`."""
    seconds: np.ndarray
    """(n,) float64: time of the forward that the image was in, divided by its images, all variants together."""
    sizes: np.ndarray
    """(n, 2) int64: height and width that the predictor was given, px."""
    measured_on: np.ndarray
    """(n,) the processor that took that time."""

    @classmethod
    def joined(cls, parts: Sequence["Record"]) -> "Record":
        """The record of all images of the parts, in that order.

        Raises:
            ValueError: no part, or parts of other variants or classes.
        """
        if not parts or len({(part.num_classes, part.cells.shape) for part in parts}) > 1:
            raise ValueError("Records can be joined if there is one and all have the same classes and variants.")
        starts = np.cumsum([0, *(len(part.images) for part in parts)])
        counts = [part.counts + np.array([0, start, 0, 0, 0]) for part, start in zip(parts, starts, strict=False)]
        every = {
            name: [getattr(part, name) for part in parts] for name in ("images", "seconds", "sizes", "measured_on")
        }
        return cls(
            num_classes=parts[0].num_classes,
            counts=np.concatenate(counts),
            cells=np.sum([part.cells for part in parts], axis=0),
            gaps=np.sum([part.gaps for part in parts], axis=0),
            **{name: np.concatenate(arrays) for name, arrays in every.items()},
        )

    @property
    def num_variants(self) -> int:
        return len(self.cells)

    def confusion(self, variant: int = -1) -> Confusion:
        """Counts of all images under one variant, by default the last."""
        lines = self._lines(variant)
        return self._confusion(lines)

    def calibration(self, variant: int = -1) -> Calibration:
        """Likewise, how confident it was."""
        return Calibration(self.cells[variant], self.gaps[variant])

    def scores(self, task: Task, classes: Sequence[int] | None = None, variant: int = -1) -> np.ndarray:
        """The headline score of every image by itself (n,), percent; NaN for one in which nothing counts.

        The difference of two adaptations' is what self-adaptation's Figure 10 draws.
        """
        lines = self._lines(variant)
        lines = lines[np.argsort(lines[:, 1], kind="stable")]
        of_image = np.split(lines, np.searchsorted(lines[:, 1], np.arange(1, len(self.images))))
        return np.array([self._confusion(each).score(task, classes) for each in of_image])

    def save(self, path: Path) -> None:
        """Write it whole or not at all; its folder is made."""
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.{uuid4().hex}.unfinished")
        try:
            with unfinished.open("wb") as file:
                np.savez_compressed(file, **{field.name: getattr(self, field.name) for field in fields(self)})
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> "Record":
        """Inverse of `save`.

        Raises:
            FileNotFoundError: there is none.
        """
        with np.load(path, allow_pickle=False) as arrays:
            held = {field.name: arrays[field.name] for field in fields(cls) if field.name != "num_classes"}
            return cls(num_classes=int(arrays["num_classes"]), **held)

    def _lines(self, variant: int) -> np.ndarray:
        return self.counts[self.counts[:, 0] == range(self.num_variants)[variant]]

    def _confusion(self, lines: np.ndarray) -> Confusion:
        counts = np.zeros((self.num_classes, self.num_classes), np.int64)
        np.add.at(counts, (lines[:, 2], lines[:, 3]), lines[:, 4])
        return Confusion(counts)
