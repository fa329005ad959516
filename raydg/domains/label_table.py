"""What the ids in a dataset's label files mean: from raw ids to the train ids of a label space."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

from raydg.domains.decoding import BadSample
from raydg.domains.labels import IGNORE, LabelSpace
from raydg.storage import Place
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
        check_names(self.space, self.classes)
        for raw_id in self.classes:
            if not 0 <= raw_id <= 0xFFFF:
                raise ValueError(f"label table of {self.space.name}: id {raw_id} must lie in 0 to 65535.")

    def within(self, space: LabelSpace) -> "LabelTable":
        """The table to a space that has some of this one's classes; the others are ignored there."""
        return LabelTable(space, leave_out(self.classes, space))

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

    def class_of(self, raw_id: int, source: Place) -> int:
        """Train id of one raw id; `source` is named if it has none.

        Raises:
            BadSample: the id is not in the table.
        """
        if raw_id not in self.classes:
            raise BadSample(self._unknown([raw_id], [raw_id], source))
        return int(self.lookup[raw_id])

    def map(self, raw_ids: np.ndarray, source: Place) -> tuple[np.ndarray, dict[int, int]]:
        """Train ids of a label map; `source` is named if it holds an id that is not in the table.

        Args:
            raw_ids: (h, w), unsigned.

        Returns:
            train ids (h, w) uint8 with `IGNORE`, and the pixels of every raw id that occurs.

        Raises:
            BadSample: some id is not in the table.
        """
        pixels = histogram(raw_ids)
        found = np.flatnonzero(pixels).tolist()
        unknown = [raw_id for raw_id in found if raw_id >= len(self.lookup) or self.lookup[raw_id] == UNKNOWN]
        if unknown:
            raise BadSample(self._unknown(unknown, found, source))
        train_ids = self.lookup.astype(np.uint8).take(raw_ids)
        return train_ids, {raw_id: int(pixels[raw_id]) for raw_id in found}

    def class_counts(self, raw_pixels: Mapping[int, int]) -> np.ndarray:
        """Pixels (or images) of every class, (k,) int64, where those of every raw id are given."""
        counts = np.zeros(max(IGNORE, self.space.num_classes) + 1, dtype=np.int64)
        for raw_id, pixels in raw_pixels.items():
            counts[self.lookup[raw_id]] += pixels
        return counts[: self.space.num_classes]

    def _unknown(self, unknown: list[int], found: list[int], source: Place) -> str:
        hint = ""
        if len(self.classes) > 19 and set(found) <= {*range(19), IGNORE}:
            hint = ": they look like train ids (0 to 18 and 255), not like the dataset's own ids"
        elif self.space.task == "classification" and unknown == [0] and min(self.classes) == 1:
            hint = ": the dataset numbers its classes from 1, this list from 0"
        return (
            f"{source} holds the label ids {unknown}, which stand for no class of {self.space.name}; "
            f"known are {', '.join(map(str, sorted(self.classes)))}{hint}"
        )


@dataclass(frozen=True)
class NameTable:
    """What the class names of a dataset are called in a label space, where the dataset's own files number the names.

    Raises:
        ValueError: a class name that the space does not have.
    """

    space: LabelSpace
    classes: Mapping[str, str]
    """Class name of the space, or `IGNORED`, for every name that the dataset may list."""

    def __post_init__(self) -> None:
        check_names(self.space, self.classes)

    def within(self, space: LabelSpace) -> "NameTable":
        """As `LabelTable.within`."""
        return NameTable(space, leave_out(self.classes, space))

    @property
    def version(self) -> str:
        """Hash that changes with any entry and with the label space; the numbers are the dataset's matter."""
        return fingerprint([self.space.fingerprint(), [list(entry) for entry in sorted(self.classes.items())]])

    def numbered(self, names: Mapping[int, str], source: Place) -> LabelTable:
        """The label table for a copy of the dataset that numbers its classes like this, by the file `source`.

        Raises:
            ValueError: the copy lists a name that is not known.
        """
        strangers = sorted(set(names.values()) - set(self.classes))
        if strangers:
            raise ValueError(
                f"{source} lists the classes {', '.join(strangers[:8])}, which raydg's table for {self.space.name} "
                "does not know: is it another release of the dataset?"
            )
        return LabelTable(self.space, {raw_id: self.classes[name] for raw_id, name in names.items()})


def histogram(raw_ids: np.ndarray) -> np.ndarray:
    """How often each id from 0 on occurs. Pillow counts bytes four times as fast as numpy, which widens them first."""
    if raw_ids.dtype == np.uint8:
        return np.array(Image.fromarray(raw_ids).histogram())
    return np.bincount(raw_ids.ravel())


def check_names(space: LabelSpace, classes: Mapping[int, str] | Mapping[str, str]) -> None:
    """Raise a ValueError if an entry of a table leads to a class that the space does not have."""
    legal = {*space.classes, IGNORED} if space.task == "segmentation" else set(space.classes)
    for raw, name in classes.items():
        if name not in legal:
            raise ValueError(
                f"label table of {space.name}: {raw!r} becomes {name!r}; legal are {', '.join(sorted(legal))}."
            )


def leave_out(classes: Mapping, space: LabelSpace) -> dict:
    """Entries whose class `space` does not have become `IGNORED`."""
    return {raw: name if name in space.classes else IGNORED for raw, name in classes.items()}
