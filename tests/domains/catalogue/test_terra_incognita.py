"""Terra Incognita as DomainBed's script lays it out."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raydg.domains.catalogue.terra_incognita import DATASET, TERRA_10
from raydg.shards import prepare_domains

(EDITION,) = DATASET.editions
CLASSES = ["bird", "bobcat", "cat", "coyote", "dog", "empty", "opossum", "rabbit", "raccoon", "squirrel"]
# What the camera traps' identifiers look like.
IDS = [f"5858c1{number:02x}-23d2-11e8-a6a3-ec086b02610b" for number in range(10)]


def place(raw: Path, name: str, classes: list[str]) -> dict[str, tuple[np.ndarray, int]]:
    """Images of one place, and what they should become: pixels and class by sample id."""
    expected = {}
    rng = np.random.default_rng(1)
    for number, class_name in enumerate(classes):
        (raw / name / class_name).mkdir(parents=True, exist_ok=True)
        sample_id = f"{class_name}/{IDS[number]}.jpg"
        # Night images are greyscale files.
        shape = (6, 8) if number % 2 else (6, 8, 3)
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(raw / name / sample_id)
        pixels = np.asarray(Image.open(raw / name / sample_id).convert("RGB"))
        expected[sample_id] = pixels, CLASSES.index(class_name)
    return expected


@pytest.mark.parametrize("root", ["", "terra_incognita"])
def test_images_and_classes_come_from_the_folders(tmp_path, root):
    expected = place(tmp_path / root, "location_38", CLASSES)
    prepared = prepare_domains(DATASET, ("terra_incognita/location_38",), tmp_path, tmp_path / "out", TERRA_10)[
        0
    ].domain
    assert (prepared.num_samples("train"), prepared.num_samples("val")) == (8, 2)
    for split in ("train", "val"):
        for position, sample_id in enumerate(prepared.sample_ids(split)):
            pixels, class_id = expected.pop(sample_id)
            sample = prepared.read(split, position)
            assert np.array_equal(sample.image, pixels) and sample.label == class_id
    assert not expected


def test_a_class_may_be_missing_at_a_place_but_none_may_be_added(tmp_path):
    place(tmp_path, "location_100", CLASSES[3:])
    assert len(EDITION.list_samples(tmp_path, "terra_incognita/location_100")) == 7
    (tmp_path / "location_100/bird").mkdir()
    (tmp_path / "location_100/coyote").rename(tmp_path / "location_100/car")
    with pytest.raises(ValueError, match=r"'car', which is no class of location_100.*bird, bobcat"):
        EDITION.list_samples(tmp_path, "terra_incognita/location_100")


def test_unselected_archives_and_broken_files_are_refused(tmp_path):
    (tmp_path / "eccv_18_all_images_sm").mkdir()
    with pytest.raises(ValueError, match=r"location_46 must be the images' folder of location_46; found 0"):
        EDITION.list_samples(tmp_path, "terra_incognita/location_46")
    expected = place(tmp_path, "location_46", CLASSES)
    file = tmp_path / "location_46" / next(iter(expected))
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(ValueError, match=rf"{file.name} cannot be decoded"):
        prepare_domains(DATASET, ("terra_incognita/location_46",), tmp_path, tmp_path / "out", TERRA_10)
