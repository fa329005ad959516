"""Image and label files are decoded whole, or refused by name."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raydg.domains.dataset import RawSample
from raydg.domains.decoding import BadSample, read_colours, read_ids, read_image
from raydg.storage import Place


def save(path: Path, pixels: np.ndarray) -> Place:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return Place.at(path)


def sample(path: Path) -> RawSample:
    return RawSample("1", "train", Place.at(path), 0)


COLOURS = [(0, 0, 0), (128, 64, 128), (0, 0, 142), (220, 220, 0)]


def test_colours_become_their_places_in_the_list(tmp_path):
    places = np.random.default_rng(0).integers(0, len(COLOURS), (20, 30))
    rgba = np.dstack([np.array(COLOURS, dtype=np.uint8)[places], np.full(places.shape, 255, dtype=np.uint8)])
    path = save(tmp_path / "label.png", rgba)
    assert (read_colours(path, COLOURS) == places).all()
    rgba[3, 4, :3] = (1, 2, 3)
    with pytest.raises(BadSample, match=r"label\.png has 1 colours.*: \(1, 2, 3\)$"):
        read_colours(save(tmp_path / "label.png", rgba), COLOURS)


def test_colour_above_all_known_ones_is_found(tmp_path):
    with pytest.raises(BadSample, match=r"\(255, 255, 255\)"):
        read_colours(save(tmp_path / "label.png", np.full((2, 2, 3), 255, dtype=np.uint8)), [(0, 0, 0), (9, 9, 9)])


def test_ids_are_indices_of_the_palette_and_may_have_16_bits(tmp_path):
    ids = np.arange(12, dtype=np.uint8).reshape(3, 4)
    image = Image.fromarray(ids)
    image.putpalette(list(range(255, -1, -1)) * 3)
    image.save(tmp_path / "palette.png")
    assert (read_ids(Place.at(tmp_path / "palette.png")) == ids).all()
    wide = ids.astype(np.uint16) * 1000
    assert (read_ids(save(tmp_path / "wide.png", wide)) == wide).all()
    with pytest.raises(BadSample, match=r"rgb\.png.*'RGB'"):
        read_ids(save(tmp_path / "rgb.png", np.zeros((2, 2, 3), dtype=np.uint8)))


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_rgb_files_keep_their_bytes(tmp_path, suffix):
    place = save(tmp_path / f"image.{suffix}", np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8))
    image = read_image(RawSample("1", "train", place, 0))
    assert image.data == place.read_bytes() and image.size == (7, 5)
    assert (np.asarray(image.pixels) == np.asarray(Image.open(place.path))).all()


@pytest.mark.parametrize("mode", ["RGBA", "L", "LA", "P", "1", "CMYK"])
def test_other_files_become_rgb_png(tmp_path, mode):
    pixels = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8))
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    image = pixels.convert(mode)
    image.save(path, **({"transparency": bytes([0, 128])} if mode == "P" else {}))
    converted = read_image(sample(path))
    stored = Image.open(io.BytesIO(converted.data))
    assert converted.size == (7, 5) and stored.mode == "RGB" and stored.format == "PNG"
    assert (np.asarray(stored) == np.asarray(image.convert("RGB"))).all()
    assert (np.asarray(stored) == np.asarray(converted.pixels)).all()


def test_unusable_images_are_named(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    for name in ("image.png", "image.jpg"):
        save(tmp_path / name, pixels)
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-200])
        with pytest.raises(BadSample, match=rf"{name} cannot be decoded"):
            read_image(sample(tmp_path / name))
    (tmp_path / "image.png").write_bytes(b"not an image")
    with pytest.raises(BadSample, match=r"image\.png holds no image"):
        read_image(sample(tmp_path / "image.png"))
    save(tmp_path / "wide.png", np.zeros((2, 2), dtype=np.uint16))
    with pytest.raises(BadSample, match=r"wide\.png.*'I;16'"):
        read_image(sample(tmp_path / "wide.png"))
    with pytest.raises(BadSample, match=r"absent\.png"):
        read_image(sample(tmp_path / "absent.png"))


def test_labels_in_a_lossy_file_are_refused(tmp_path):
    path = save(tmp_path / "ids.jpg", np.zeros((8, 8), dtype=np.uint8))
    for read in (read_ids, lambda place: read_colours(place, COLOURS)):
        with pytest.raises(BadSample, match=r"ids\.jpg is a JPEG file: its compression changes class ids"):
            read(path)
