"""Records of images: joined in order, scored one by one, on disk whole or not at all."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from raydg.calibration import FINE_BINS
from raydg.evaluation import Confusion
from raydg.records import Record


def record(names: list[str], *lines: tuple[int, int, int, int, int]) -> Record:
    """Of three classes and two variants; `lines` are variant, image, truth, prediction, how often."""
    n = len(names)
    return Record(
        num_classes=3,
        images=np.array(names),
        counts=np.array(lines, np.int64).reshape(-1, 5),
        cells=np.full((2, 3, FINE_BINS, 3), n, np.int64),
        gaps=np.arange(6).reshape(2, 3) * n,
        seconds=np.arange(n) + 0.5,
        sizes=np.full((n, 2), 32),
        measured_on=np.full(n, "a CPU"),
    )


FIRST = record(["val/a", "val/b"], (0, 0, 0, 0, 4), (0, 1, 1, 1, 3), (0, 1, 1, 0, 1), (1, 1, 2, 2, 2))
SECOND = record(["val/c"], (0, 0, 0, 1, 2), (1, 0, 2, 2, 7))


def test_parts_join_in_order() -> None:
    whole = Record.joined([FIRST, SECOND])
    assert whole.images.tolist() == ["val/a", "val/b", "val/c"] and whole.seconds.tolist() == [0.5, 1.5, 0.5]
    assert whole.confusion(0) == Confusion(np.array([[4, 2, 0], [1, 3, 0], [0, 0, 0]]))
    assert whole.confusion() == whole.confusion(1) == Confusion(np.array([[0, 0, 0], [0, 0, 0], [0, 0, 9]]))
    assert whole.calibration(1) == FIRST.calibration(1) + SECOND.calibration(1)


def test_every_image_is_scored_by_itself() -> None:
    whole = Record.joined([FIRST, SECOND])
    # a: IoU of class 0 is 1. b: class 1 3/4, class 0 only predicted. c: class 0 and, only predicted, class 1 0.
    assert whole.scores("segmentation", variant=0) == pytest.approx([100, 37.5, 0])
    assert whole.scores("segmentation", (1,), variant=0) == pytest.approx([np.nan, 75, np.nan], nan_ok=True)
    assert whole.scores("classification", variant=0) == pytest.approx([100, 75, 0])
    assert whole.scores("classification") == pytest.approx([np.nan, 100, 100], nan_ok=True)


def test_a_record_comes_back_from_disk(tmp_path: Path) -> None:
    path = tmp_path / "new" / "record.npz"
    FIRST.save(path)
    back = Record.load(path)
    for field in fields(Record):
        assert np.array_equal(getattr(back, field.name), getattr(FIRST, field.name))
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(FileNotFoundError):
        Record.load(tmp_path / "none.npz")


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record.npz"
    FIRST.save(path)
    before = path.read_bytes()

    def half(file, **arrays: np.ndarray) -> None:
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", half)
    with pytest.raises(OSError, match="disk full"):
        SECOND.save(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_records_of_other_variants_do_not_join() -> None:
    other = record(["val/d"])
    narrow = Record(**{f.name: getattr(other, f.name) for f in fields(Record)} | {"cells": other.cells[:1]})
    for parts in ([], [FIRST, narrow]):
        with pytest.raises(ValueError, match="all have the same classes and variants"):
            Record.joined(parts)
