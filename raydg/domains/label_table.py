"""What the ids in a dataset's label files mean: from raw ids to the train ids of a label space."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from raydg.domains.decoding import BadSample
from raydg.domains.labels import IGNORE, LabelSpace
from raydg.values import fingerprint

IGNORED = "ignore"
"""Stands in a label table for a class that has no place in the label space."""

UNKNOWN = -1
"""Stands in a lookup array for an id that is not in the table."""


@dataclass(frozen=True)
class LabelTable:
    """What a dataset's raw ids are called in a label space. An id that is not in `classes` is an error, never ignored.

    Raises:
        ValueError: a class name that the space does not have, an id outside 0 to 65535, or `IGNORED` in a table for
            classification.
    """

    space: LabelSpace
    classes: Mapping[int, str]
    """Class name, or `IGNORED`, of every raw id that may occur."""

    def __post_init__(self) -> None:
        legal = {*self.space.classes, IGNORED} if self.space.task == "segmentation" else set(self.space.classes)
        for raw_id, name in self.classes.items():
            if name not in legal:
                raise ValueError(
                    f"label table of {self.space.name}: id {raw_id} is {name!r}; legal are {', '.join(sorted(legal))}."
                )
            if not 0 <= raw_id <= 0xFFFF:
                raise ValueError(f"label table of {self.space.name}: id {raw_id} must lie in 0 to 65535.")

    @cached_property
    def lookup(self) -> np.ndarray:
        """Train id, `IGNORE` or `UNKNOWN` for every raw id: int16, 256 entries, or 65536 for ids beyond 8 bits."""
        lookup = np.full(0x100 if max(self.classes) <= 0xFF else 0x10000, UNKNOWN, dtype=np.int16)
        for raw_id, name in self.classes.items():
            lookup[raw_id] = IGNORE if name == IGNORED else self.space.classes.index(name)
        return lookup

    @property
    def version(self) -> str:
        """Hash that changes with any entry and with the label space."""
        return fingerprint([self.space.fingerprint(), [list(entry) for entry in sorted(self.classes.items())]])

    def class_of(self, raw_id: int, source: Path) -> int:
        """Train id of one raw id; `source` is named if it has none.

        Raises:
            BadSample: the id is not in the table.
        """
        if raw_id not in self.classes:
            raise BadSample(self._unknown([raw_id], source))
        return int(self.lookup[raw_id])

    def map(self, raw_ids: np.ndarray, source: Path) -> tuple[np.ndarray, np.ndarray]:
        """Train ids of a label map; `source` is named if it holds an id that is not in the table.

        Args:
            raw_ids: (h, w), unsigned.

        Returns:
            train ids (h, w) uint8 with `IGNORE`, and the number of pixels of each class (k,) int64.

        Raises:
            BadSample: some id is not in the table.
        """
        pixels = np.bincount(raw_ids.ravel(), minlength=len(self.lookup))
        found = np.flatnonzero(pixels)
        unknown = [int(raw_id) for raw_id in found if raw_id >= len(self.lookup) or self.lookup[raw_id] == UNKNOWN]
        if unknown:
            raise BadSample(self._unknown(unknown, source))
        counts = np.zeros(IGNORE + 1, dtype=np.int64)
        np.add.at(counts, self.lookup[found], pixels[found])
        return self.lookup.astype(np.uint8)[raw_ids], counts[: self.space.num_classes]

    def _unknown(self, raw_ids: list[int], source: Path) -> str:
        return (
            f"{source} holds the label ids {raw_ids}, which stand for no class of {self.space.name}; "
            f"known are {', '.join(map(str, sorted(self.classes)))}"
        )
