"""What is shown of a prepared domain is what is in it."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from raydg.cli import main
from raydg.domains.labels import IGNORE
from raydg.inspection import CELL, HEAD, LINE, MARGIN, OVERLAY, contact_sheet, find, histogram, inspect, spread
from raydg.pictures import paint
from raydg.storage import Place


def shown(renderable: object, width: int = 200) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(renderable)
    return console.export_text()


def test_every_domain_below_a_folder_is_shown(prepared, tmp_path, capsys):
    written = inspect(f"{prepared}/cityscapes19/street", tmp_path / "sheets", images=2)
    assert sorted(path.name for path in written) == [
        f"cityscapes19-street-{name}.png" for name in ("dusk", "fog", "night", "noon", "rain")
    ]
    printed = capsys.readouterr().out
    assert "Drawn by raydg, Apache-2.0. Commercial use: yes." in " ".join(printed.replace("│", " ").split())
    one = inspect(f"{prepared}/cityscapes19/street/noon", tmp_path / "one", images=2)
    assert [path.name for path in one] == ["cityscapes19-street-noon.png"]


def test_the_command_line_reaches_it(prepared, tmp_path, capsys):
    main(["inspect", f"{prepared}/cityscapes19/street/fog", "--sheets", str(tmp_path), "--images", "1"])
    assert Path(tmp_path / "cityscapes19-street-fog.png").is_file() and "street/fog" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["inspect", str(tmp_path)])
    assert "holds no prepared domain" in capsys.readouterr().err


def test_no_images_are_refused(prepared):
    with pytest.raises(ValueError, match="images is 0: it must be 1 or more"):
        inspect(prepared, images=0)


def test_a_histogram_has_the_shares_of_the_manifest(prepared):
    (domain,) = find(Place.at(prepared) / "cityscapes19/street/noon")
    text = shown(histogram(domain.manifest))
    lines = {line.replace("│", "|").split("|")[1].strip(): line for line in text.splitlines() if line.startswith("│")}
    labels = [domain.read("train", i).label for i in range(domain.num_samples("train"))]
    pixels = np.concatenate([np.ravel(label) for label in labels])
    for c, name in enumerate(domain.label_space.classes):
        assert f"{(pixels == c).sum() / (pixels != IGNORE).sum():.2%}" in lines[name]


def test_a_sheet_shows_image_and_overlay_where_they_should_be(prepared):
    (domain,) = find(Place.at(prepared) / "cityscapes19/street/noon")
    sheet = np.asarray(contact_sheet(domain, images=1))
    sample = domain.read("train", 0)
    height = round(sample.image.shape[0] * CELL / sample.image.shape[1])
    photo = Image.fromarray(sample.image).resize((CELL, height), Image.Resampling.LANCZOS)
    top, left = HEAD + LINE, MARGIN
    assert (sheet[top : top + height, left : left + CELL] == np.asarray(photo)).all()
    labels = np.asarray(Image.fromarray(sample.label).resize((CELL, height), Image.Resampling.NEAREST))
    expected = OVERLAY * paint(labels, domain.label_space) + (1 - OVERLAY) * np.asarray(photo, float)
    overlay = sheet[top + height : top + 2 * height, left : left + CELL]
    assert np.abs(overlay - expected).max() <= 1


def test_positions_are_spread_over_a_split():
    assert spread(3, 5) == [0, 1, 2] and spread(10, 5) == [0, 2, 4, 6, 8] and spread(7, 3) == [0, 2, 4]
