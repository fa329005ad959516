"""CARLA's labels are colours, decoded to its tags."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raydg.domains.catalogue import dataset
from raydg.domains.labels import IDD_LEVEL1
from raydg.shards import prepare_domains

CARLA = dataset("carla")
FRAMES = Path(__file__).parents[4] / "shared/data/streets/carla_town03"
needs_frames = pytest.mark.skipif(not FRAMES.exists(), reason="the real frames are not here")

# CARLA 0.9.5, Cityscapes colours: the class of the first level of IDD -> colours. Black and "other" are ignored.
COLOURS = {
    0: ((128, 64, 128), (157, 234, 50)),
    1: ((244, 35, 232),),
    2: ((220, 20, 60),),
    3: ((0, 0, 142),),
    4: ((102, 102, 156), (190, 153, 153), (153, 153, 153), (220, 220, 0)),
    5: ((70, 70, 70), (107, 142, 35)),
    255: ((0, 0, 0), (250, 170, 160)),
}


def expected(colours: np.ndarray) -> np.ndarray:
    labels = np.full(colours.shape[:2], -1)
    for train_id, group in COLOURS.items():
        for colour in group:
            labels[(colours[..., :3] == colour).all(axis=-1)] = train_id
    assert (labels >= 0).all()
    return labels


def write(raw: Path, colours: np.ndarray) -> None:
    """A frame as CARLA saves it: RGBA, opaque."""
    image = np.random.default_rng(3).integers(0, 256, colours.shape, dtype=np.uint8)
    for folder, pixels in (("RGB", image), ("Segmentation_Images", colours)):
        (raw / folder).mkdir(parents=True, exist_ok=True)
        opaque = np.concatenate([pixels, np.full((*pixels.shape[:2], 1), 255, np.uint8)], axis=-1)
        Image.fromarray(opaque).save(raw / folder / "00183311.png")


def every_colour() -> np.ndarray:
    colours = [colour for group in COLOURS.values() for colour in group]
    return np.resize(np.array(colours, dtype=np.uint8), (6, 26, 3))


def test_colours_mean_what_carla_says(tmp_path):
    write(tmp_path, every_colour())
    domain = prepare_domains(CARLA, ("carla",), tmp_path, tmp_path / "out", IDD_LEVEL1)[0].domain
    sample = domain.read("all", 0)
    np.testing.assert_array_equal(sample.label, expected(every_colour()))
    with Image.open(tmp_path / "RGB/00183311.png") as image:
        np.testing.assert_array_equal(sample.image, np.asarray(image)[..., :3])


@needs_frames
def test_a_real_frame(tmp_path):
    for folder in ("RGB", "Segmentation_Images"):
        (tmp_path / folder).mkdir()
        shutil.copy(FRAMES / folder / "00183312.png", tmp_path / folder)
    domain = prepare_domains(CARLA, ("carla",), tmp_path, tmp_path / "out", IDD_LEVEL1)[0].domain
    with Image.open(FRAMES / "Segmentation_Images/00183312.png") as label:
        np.testing.assert_array_equal(domain.read("all", 0).label, expected(np.asarray(label)))


def test_colours_that_are_no_tags_are_refused(tmp_path):
    blurred = every_colour()
    blurred[0, 0] = (1, 2, 3)
    write(tmp_path, blurred)
    with pytest.raises(ValueError, match=r"00183311\.png has 1 colours that stand for no class: \(1, 2, 3\)"):
        prepare_domains(CARLA, ("carla",), tmp_path, tmp_path / "out", IDD_LEVEL1)
    Image.fromarray(every_colour()).save(tmp_path / "Segmentation_Images/00183311.png", format="JPEG")
    with pytest.raises(ValueError, match="is a JPEG file: its compression changes class ids"):
        prepare_domains(CARLA, ("carla",), tmp_path, tmp_path / "out", IDD_LEVEL1)
