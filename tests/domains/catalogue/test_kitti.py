"""KITTI's labels are ids of Cityscapes, beside images of the same name."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raydg.domains.catalogue import dataset
from raydg.domains.labels import CITYSCAPES_19
from raydg.shards import prepare_domains

KITTI = dataset("kitti")
FRAMES = Path(__file__).parents[4] / "shared/data/streets/kitti"
needs_frames = pytest.mark.skipif(not FRAMES.exists(), reason="the real frames are not here")

TRAIN_IDS = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]


def expected(ids: np.ndarray) -> np.ndarray:
    return np.array([TRAIN_IDS.index(raw_id) if raw_id in TRAIN_IDS else 255 for raw_id in range(34)])[ids]


def write(raw: Path, name: str, ids: np.ndarray) -> None:
    image = np.full((*ids.shape, 3), (90, 120, 60), dtype=np.uint8)
    for folder, pixels in (("image_2", image), ("semantic", ids)):
        (raw / "training" / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(raw / "training" / folder / f"{name}.png")


def every_id(height: int, width: int) -> np.ndarray:
    return np.resize(np.arange(34, dtype=np.uint8), (height, width))


def uncounted():
    (edition,) = KITTI.editions
    return replace(KITTI, editions=(replace(edition, contract=replace(edition.contract, splits=())),))


@pytest.mark.parametrize("folder", ["", "data_semantics"])
def test_the_archive_with_or_without_its_folder(tmp_path, folder):
    write(tmp_path / folder, "000000_10", every_id(374, 1238))
    domain = prepare_domains(uncounted(), ("kitti",), tmp_path, tmp_path / "out", CITYSCAPES_19)[0].domain
    assert domain.sample_ids("training") == ["000000_10"]
    np.testing.assert_array_equal(domain.read("training", 0).label, expected(every_id(374, 1238)))


@needs_frames
def test_real_frames(tmp_path):
    """Their images were cropped by who shared them, so only the labels that were cropped alike fit."""
    images, labels = FRAMES / "data_semantics/training/image_2", FRAMES / "data_semantics_aligned/training/semantic"
    (tmp_path / "training").mkdir()
    (tmp_path / "training/image_2").symlink_to(images)
    (tmp_path / "training/semantic").symlink_to(labels)
    domain = prepare_domains(uncounted(), ("kitti",), tmp_path, tmp_path / "out", CITYSCAPES_19)[0].domain
    assert domain.num_samples("training") == 5
    name = domain.sample_ids("training")[4]
    with Image.open(labels / f"{name}.png") as label, Image.open(images / f"{name}.png") as image:
        sample = domain.read("training", 4)
        np.testing.assert_array_equal(sample.label, expected(np.asarray(label)))
        np.testing.assert_array_equal(sample.image, np.asarray(image))
    with pytest.raises(ValueError, match=r"semantic/.*_10\.png is 1242 x 375 pixels, but its image .* 1224 x 370"):
        prepare_domains(uncounted(), ("kitti",), FRAMES, tmp_path / "other", CITYSCAPES_19)


def test_wrong_copies_are_refused(tmp_path):
    write(tmp_path, "000007_10", every_id(370, 1224))
    write(tmp_path, "000300_11", every_id(370, 1224))
    with pytest.raises(ValueError, match=r"(?s)has 2 samples, expected 200.*another split, such as 000300_11"):
        prepare_domains(KITTI, ("kitti",), tmp_path, tmp_path / "out", CITYSCAPES_19)
    write(tmp_path / "small", "000007_10", every_id(37, 122))
    with pytest.raises(ValueError, match="1 images are 122 x 37 pixels; expected 1242 x 375"):
        prepare_domains(uncounted(), ("kitti",), tmp_path / "small", tmp_path / "out", CITYSCAPES_19)
    write(tmp_path / "train_ids", "000007_10", every_id(370, 1224) % 19)
    with pytest.raises(ValueError, match=r"no label has the raw ids 20, 21, 22.*look like train ids"):
        prepare_domains(uncounted(), ("kitti",), tmp_path / "train_ids", tmp_path / "out", CITYSCAPES_19)
