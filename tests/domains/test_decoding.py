"""Image and label files are decoded whole, or refused by name."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raydg.domains.decoding import BadSample, read_colours, read_ids, read_rgb


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


COLOURS = [(0, 0, 0), (128, 64, 128), (0, 0, 142), (220, 220, 0)]


def test_colours_become_their_places_in_the_list(tmp_path):
    places = np.random.default_rng(0).integers(0, len(COLOURS), (20, 30))
    rgba = np.dstack([np.array(COLOURS, dtype=np.uint8)[places], np.full(places.shape, 255, dtype=np.uint8)])
    path = save(tmp_path / "label.png", rgba)
    assert (read_colours(path, COLOURS) == places).all()
    rgba[3, 4, :3] = (1, 2, 3)
    with pytest.raises(BadSample, match=r"label\.png has 1 colours.*: \(1, 2, 3\)$"):
        read_colours(save(path, rgba), COLOURS)


def test_colour_above_all_known_ones_is_found(tmp_path):
    with pytest.raises(BadSample, match=r"\(255, 255, 255\)"):
        read_colours(save(tmp_path / "label.png", np.full((2, 2, 3), 255, dtype=np.uint8)), [(0, 0, 0), (9, 9, 9)])


def test_ids_are_indices_of_the_palette_and_may_have_16_bits(tmp_path):
    ids = np.arange(12, dtype=np.uint8).reshape(3, 4)
    image = Image.fromarray(ids)
    image.putpalette(list(range(255, -1, -1)) * 3)
    image.save(tmp_path / "palette.png")
    assert (read_ids(tmp_path / "palette.png") == ids).all()
    wide = ids.astype(np.uint16) * 1000
    assert (read_ids(save(tmp_path / "wide.png", wide)) == wide).all()
    with pytest.raises(BadSample, match=r"rgb\.png.*'RGB'"):
        read_ids(save(tmp_path / "rgb.png", np.zeros((2, 2, 3), dtype=np.uint8)))


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_rgb_files_keep_their_bytes(tmp_path, suffix):
    path = save(tmp_path / f"image.{suffix}", np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8))
    assert read_rgb(path) == (path.read_bytes(), 5, 7)


@pytest.mark.parametrize("mode", ["RGBA", "L", "LA", "P", "1", "CMYK"])
def test_other_files_become_rgb_png(tmp_path, mode):
    pixels = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8))
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    image = pixels.convert(mode)
    image.save(path, **({"transparency": bytes([0, 128])} if mode == "P" else {}))
    data, height, width = read_rgb(path)
    stored = Image.open(io.BytesIO(data))
    assert (height, width) == (5, 7) and stored.mode == "RGB" and stored.format == "PNG"
    assert (np.asarray(stored) == np.asarray(image.convert("RGB"))).all()


def test_unusable_images_are_named(tmp_path):
    whole = save(tmp_path / "image.png", np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    jpeg = save(tmp_path / "image.jpg", np.asarray(Image.open(whole)))
    for path in (whole, jpeg):
        path.write_bytes(path.read_bytes()[:-200])
        with pytest.raises(BadSample, match=rf"{path.name} cannot be decoded"):
            read_rgb(path)
    whole.write_bytes(b"not an image")
    with pytest.raises(BadSample, match=r"image\.png holds no image"):
        read_rgb(whole)
    with pytest.raises(BadSample, match=r"wide\.png.*'I;16'"):
        read_rgb(save(tmp_path / "wide.png", np.zeros((2, 2), dtype=np.uint16)))
    with pytest.raises(BadSample, match=r"absent\.png"):
        read_rgb(tmp_path / "absent.png")
