"""Pictures of what was scored: labels in colour, grids of image, truth and predictions, reliability diagrams."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from raydg.calibration import Calibration
from raydg.domains.labels import IGNORE, LabelSpace
from raydg.report import ECE, ECE_BINS


def paint(labels: np.ndarray, space: LabelSpace) -> np.ndarray:
    """Class ids (h, w) in the label space's palette: (h, w, 3) uint8; `IGNORE` is black."""
    colours = np.zeros((256, 3), np.uint8)
    colours[: space.num_classes] = space.palette
    colours[IGNORE] = 0
    return colours[labels]


@dataclass(frozen=True)
class Column:
    """One column of a picture grid: pictures (h, w, 3) uint8 under a title, with a caption each where there is one."""

    title: str
    pictures: Sequence[np.ndarray]
    captions: Sequence[str] | None = None


def picture_grid(columns: Sequence[Column], path: Path, shows: str = "", cell_width: int = 320) -> None:
    """Write a PNG with one picture a cell: image | truth | predictions. It carries what it `shows`, for `shown_by`."""
    font = ImageFont.load_default(size=15)
    num_rows = len(columns[0].pictures)
    heights = [round(p.shape[0] * cell_width / p.shape[1]) for p in columns[0].pictures]
    captions = 20 if any(column.captions for column in columns) else 0
    gap, head = 6, 30
    size = (len(columns) * (cell_width + gap) + gap, head + sum(heights) + num_rows * (gap + captions))
    grid = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(grid)
    for i, column in enumerate(columns):
        left, top = gap + i * (cell_width + gap), head
        draw.text((left + cell_width / 2, head / 2), column.title, fill="black", font=font, anchor="mm")
        for row, picture in enumerate(column.pictures):
            flat = Image.fromarray(picture)
            # Label colours must not mix; photographs should.
            flat = flat.resize(
                (cell_width, heights[row]), Image.Resampling.BICUBIC if i == 0 else Image.Resampling.NEAREST
            )
            grid.paste(flat, (left, top))
            if column.captions:
                at = (left + cell_width / 2, top + heights[row] + captions / 2)
                draw.text(at, column.captions[row], fill="black", font=font, anchor="mm")
            top += heights[row] + gap + captions
    _save(grid, path, shows)


def shown_by(path: Path) -> str | None:
    """What a grid was said to show; None where there is no picture that says."""
    if not path.exists():
        return None
    with Image.open(path) as picture:
        return picture.info.get(SHOWS)


SHOWS = "shows"
"""The text in a PNG that says what it shows."""


def reliability_diagrams(found: Mapping[str, Calibration], path: Path, side: int = 300) -> None:
    """Write a PNG of one reliability diagram per title: accuracy over confidence in `ECE_BINS` bins.

    Bars are accuracies, red what they miss of the bin's mean confidence or, where the bar is over it, exceed; the line
    is perfect calibration. The share of the predictions in each bin stands below as a grey bar.

    Args:
        found: by title.
        path: of the PNG; its folder is made.
        side: of a diagram, px.

    Raises:
        ValueError: nothing was found.
    """
    if not found:
        raise ValueError("There is no calibration to draw: run `evaluate` first.")
    gap, head, shares = 24, 50, 40
    columns = min(4, len(found))
    rows = -(-len(found) // columns)
    cell = side + gap, side + head + shares + gap
    picture = Image.new("RGB", (columns * cell[0] + gap, rows * cell[1] + gap), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=13)
    for number, (title, calibration) in enumerate(found.items()):
        left, top = gap + number % columns * cell[0], gap + number // columns * cell[1] + head
        bottom = top + side
        error = calibration.ece(ECE_BINS)
        for line, text in enumerate((title, f"{ECE} {error:.2f} %")):
            draw.text((left, top - head + 18 * line), text, fill="black", font=font)
        bins = calibration.bins(ECE_BINS)
        most = bins[:, 0].max()
        for i, (count, confidence, accuracy) in enumerate(bins):
            if not count:
                continue
            x = left + round(i * side / ECE_BINS), left + round((i + 1) * side / ECE_BINS) - 1
            reach, right = bottom - round(confidence * side), bottom - round(accuracy * side)
            draw.rectangle((x[0], min(right, bottom), x[1], bottom), fill=BAR)
            draw.rectangle((x[0], min(reach, right), x[1], max(reach, right)), fill=GAP)
            draw.rectangle((x[0], bottom + 4, x[1], bottom + 4 + round(count / most * (shares - 8))), fill=SHARE)
        draw.line((left, bottom, left + side, top), fill="black")
        draw.rectangle((left, top, left + side, bottom), outline="black")
    _save(picture, path)


BAR, GAP, SHARE = (70, 120, 190), (220, 70, 60), (160, 160, 160)
"""Colours of a reliability diagram."""


def _save(picture: Image.Image, path: Path, shows: str = "") -> None:
    """Put a PNG in place, whole or not at all."""
    text = PngInfo()
    text.add_text(SHOWS, shows)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished.png")
    picture.save(unfinished, pnginfo=text)
    unfinished.replace(path)
