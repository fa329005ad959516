"""Pictures against what stands in them, pixel by pixel."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from raydg.calibration import Calibration
from raydg.domains.labels import IGNORE, LabelSpace
from raydg.pictures import BAR, GAP, Column, paint, picture_grid, reliability_diagrams

TWO = LabelSpace("two", "classification", ("cat", "dog"), ((255, 0, 0), (0, 0, 255)))


def calibrated(confidence: float, right: int, of: int = 100) -> Calibration:
    """`of` cats predicted with one confidence, `right` of them as cats."""
    labels = torch.zeros(of, dtype=torch.int64)
    return Calibration.of(labels, (torch.arange(of) >= right).long(), torch.full((of,), confidence), 2)


def test_a_reliability_diagram_shows_accuracy_and_what_it_misses(tmp_path: Path) -> None:
    """All confidences in the last of 15 bins, at 0.98; half of the predictions right."""
    path = tmp_path / "new" / "reliability.png"
    reliability_diagrams({"a": calibrated(0.98, 50), "b": calibrated(0.02, 50)}, path, side=300)
    picture = np.asarray(Image.open(path).convert("RGB"))
    halves = picture[:, : picture.shape[1] // 2], picture[:, picture.shape[1] // 2 :]
    # In the first the gap stands on the bar, from accuracy up to confidence; in the second it hangs in it.
    for half, bar_height, gap_height in ((halves[0], 150, 144), (halves[1], 6, 144)):
        heights = {}
        for name, colour in (("bar", BAR), ("gap", GAP)):
            rows, columns = np.nonzero((half == colour).all(axis=2))
            heights[name] = np.ptp(rows) + 1
            assert np.ptp(columns) + 1 == pytest.approx(20, abs=2)
        assert heights == {"bar": pytest.approx(bar_height, abs=3), "gap": pytest.approx(gap_height, abs=3)}
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(ValueError, match="no calibration to draw: run `evaluate` first"):
        reliability_diagrams({}, path)


def test_labels_are_painted_in_their_colours_and_ignored_ones_black() -> None:
    labels = np.array([[0, 1, IGNORE], [1, 0, 0]], np.uint8)
    red, blue, black = (255, 0, 0), (0, 0, 255), (0, 0, 0)
    assert np.array_equal(paint(labels, TWO), np.array([[red, blue, black], [blue, red, red]], np.uint8))
    assert np.array_equal(paint(labels.astype(np.int64), TWO), paint(labels, TWO))


def flat(colour: tuple[int, int, int], height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def place(grid: np.ndarray, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Top, left, height and width of the only rectangle of a colour."""
    rows, columns = np.nonzero((grid == colour).all(axis=2))
    top, left, bottom, right = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
    assert len(rows) == (bottom - top) * (right - left)
    return int(top), int(left), int(bottom - top), int(right - left)


def test_a_grid_shows_each_picture_whole_in_its_row_and_column(tmp_path: Path) -> None:
    # Two rows of pictures, wide and high; the second column has half the size and is enlarged.
    images = [flat((200, 10, 10), 50, 100), flat((10, 200, 10), 120, 100)]
    maps = [flat((10, 10, 200), 25, 50), flat((200, 200, 10), 60, 50)]
    path = tmp_path / "new" / "grid.png"
    picture_grid([Column("image", images), Column("truth", maps, captions=["one", "two"])], path, cell_width=100)
    grid = np.asarray(Image.open(path).convert("RGB"))
    upper, lower, upper_map, lower_map = (
        place(grid, colour) for colour in ((200, 10, 10), (10, 200, 10), (10, 10, 200), (200, 200, 10))
    )
    assert upper[2:] == upper_map[2:] == (50, 100) and lower[2:] == lower_map[2:] == (120, 100)
    assert upper[0] == upper_map[0] and lower[0] == lower_map[0]  # rows line up
    assert upper[1] == lower[1] and upper_map[1] == lower_map[1]  # columns line up
    gap = upper[1]
    assert gap > 0 and upper_map[1] == gap + 100 + gap and grid.shape[1] == upper_map[1] + 100 + gap
    assert upper[0] + 50 < lower[0] and lower[0] + 120 < grid.shape[0]
    assert list(path.parent.iterdir()) == [path]


def test_pictures_that_fit_are_copied_and_labels_are_enlarged_without_mixing(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (8, 16, 3), dtype=np.uint8)
    checks = paint(np.indices((4, 8)).sum(axis=0) % 2, TWO)
    path = tmp_path / "grid.png"
    picture_grid([Column("", [noise]), Column("", [checks])], path, cell_width=16)
    grid = np.asarray(Image.open(path).convert("RGB"))
    corners = [
        (y, x)
        for y in range(grid.shape[0] - 7)
        for x in range(grid.shape[1] - 15)
        if np.array_equal(grid[y : y + 8, x : x + 16], noise)
    ]
    ((top, left),) = corners
    beside = grid[top : top + 8, left + 16 + left : left + 16 + left + 16]
    assert np.array_equal(beside, checks.repeat(2, axis=0).repeat(2, axis=1))
