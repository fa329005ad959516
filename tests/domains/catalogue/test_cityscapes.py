"""Cityscapes: both kinds of label files, the official cities, and what the real files hold."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raydg.domains.catalogue.cityscapes import DATASET, TRAIN_IDS_TO_IDD
from raydg.domains.labels import CITYSCAPES_19, IDD_LEVEL1, SYNTHIA_13, SYNTHIA_16
from raydg.shards import prepare_domains

DATA = Path(__file__).parents[4] / "shared" / "data" / "streets"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the real data is not here")

# Written down anew: raw ids in the order of the train ids, and the raw ids of every class of IDD's first level.
TRAIN_IDS = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
COARSE = [(7, 9), (8, 10, 22), (24, 25), range(26, 34), (12, 13, 14, 17, 18, 19, 20), (11, 15, 16, 21), (23,)]
NOT_IN_16, NOT_IN_13 = (9, 14, 16), (3, 4, 5, 9, 14, 16)
FOLDERS = {
    "": ("leftImg8bit", "gtFine"),
    ", a folder for each archive": ("leftImg8bit_trainvaltest/leftImg8bit", "gtFine_trainvaltest/gtFine"),
}
NAMES = {"train": ("ulm/ulm_000000_000019", "jena/jena_000001_000019"), "val": ("munster/munster_000000_000019",)}


def ids_of(name: str) -> np.ndarray:
    """All raw ids, shifted from frame to frame."""
    return (np.arange(5)[:, None] * 7 + np.arange(40) + len(name)) % 34


def train_ids(raw_ids: np.ndarray, dropped: tuple[int, ...] = ()) -> np.ndarray:
    """Train ids of raw ids, those of the space that lacks the train ids `dropped`."""
    expected = np.full(34, 255)
    kept = [raw_id for train_id, raw_id in enumerate(TRAIN_IDS) if train_id not in dropped]
    for train_id, raw_id in enumerate(kept):
        expected[raw_id] = train_id
    return expected[raw_ids]


def coarse_ids(raw_ids: np.ndarray) -> np.ndarray:
    expected = np.full(34, 255)
    for class_id, members in enumerate(COARSE):
        expected[list(members)] = class_id
    return expected[raw_ids]


def write(raw: Path, suffix: str, folders: tuple[str, str] = FOLDERS[""], names=NAMES) -> Path:
    for split, of_split in names.items():
        for name in of_split:
            image = raw / folders[0] / split / f"{name}_leftImg8bit.png"
            label = raw / folders[1] / split / f"{name}_gtFine_{suffix}.png"
            for path in (image, label):
                path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 5), (len(name), 1, 2)).save(image)
            ids = ids_of(name)
            Image.fromarray((ids if suffix == "labelIds" else train_ids(ids)).astype(np.uint8)).save(label)
    return raw


def prepare(raw: Path, out: Path, space=CITYSCAPES_19, **options):
    options = {"accept_difference": "a few small frames for a test", **options}
    return prepare_domains(DATASET, ("cityscapes",), raw, out, space, **options)[0].domain


@pytest.mark.parametrize("where", list(FOLDERS))
@pytest.mark.parametrize("suffix", ["labelIds", "labelTrainIds"])
def test_both_kinds_of_labels_in_both_trees_become_classes_pixel_by_pixel(tmp_path, suffix, where):
    raw = write(tmp_path / "raw", suffix, FOLDERS[where])
    assert DATASET.recognise(raw, "cityscapes").name == suffix
    # With train ids, what has none of its own cannot be told from void.
    with_19 = np.isin(np.arange(34), TRAIN_IDS)
    for space, expected in (
        (CITYSCAPES_19, train_ids),
        (SYNTHIA_16, lambda ids: train_ids(ids, NOT_IN_16)),
        (SYNTHIA_13, lambda ids: train_ids(ids, NOT_IN_13)),
        (IDD_LEVEL1, coarse_ids if suffix == "labelIds" else lambda ids: np.where(with_19[ids], coarse_ids(ids), 255)),
    ):
        prepared = prepare(raw, tmp_path / "out", space)
        assert {split: prepared.sample_ids(split) for split in NAMES} == {s: sorted(n) for s, n in NAMES.items()}
        for split in NAMES:
            for position, name in enumerate(prepared.sample_ids(split)):
                assert np.array_equal(prepared.read(split, position).label, expected(ids_of(name)))


def test_train_ids_of_idd_are_those_of_the_raw_ids():
    assert TRAIN_IDS_TO_IDD.lookup[:19].tolist() == coarse_ids(np.array(TRAIN_IDS)).tolist()


def test_wrong_copies_are_refused(tmp_path):
    swapped = {"train": NAMES["val"], "val": NAMES["train"]}
    with pytest.raises(
        ValueError, match=r"(?s)train holds 1 samples that belong to another split, such as munster/.*jena"
    ):
        prepare(write(tmp_path / "swapped", "labelIds", names=swapped), tmp_path / "out", accept_difference=None)
    mislabelled = write(tmp_path / "mislabelled", "labelTrainIds")
    for path in mislabelled.rglob("*_labelTrainIds.png"):
        path.rename(path.with_name(path.name.replace("labelTrainIds", "labelIds")))
    with pytest.raises(ValueError, match=r"ids \[255\].*they look like train ids"):
        prepare(mislabelled, tmp_path / "out")


@needs_data
def test_real_train_ids_are_what_raw_ids_become(tmp_path):
    name, raw = "aachen/aachen_000003_000019", tmp_path / "raw"
    for file in (f"leftImg8bit/train/{name}_leftImg8bit.png", f"gtFine/train/{name}_gtFine_labelIds.png"):
        for path in (file, file.replace("labelIds", "labelTrainIds")):
            (raw / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(DATA / "cityscapes" / path, raw / path)
    stored = np.asarray(Image.open(raw / f"gtFine/train/{name}_gtFine_labelIds.png"))
    for edition in ("labelIds", "labelTrainIds"):
        prepared = prepare(raw, tmp_path / edition, edition=edition, splits=("train",))
        assert np.array_equal(prepared.read("train", 0).label, train_ids(stored))
        assert "train has 1 samples" in prepared.manifest.differences[0]
        assert not any("pixels" in each or "another split" in each for each in prepared.manifest.differences)


@needs_data
def test_real_label_maps_without_images_are_refused(tmp_path):
    missing = r"leftImg8bit/val/frankfurt/frankfurt_\w+_leftImg8bit\.png is missing, the image of .*labelIds\.png"
    with pytest.raises(ValueError, match=missing):
        prepare(DATA / "cityscapes", tmp_path / "out", splits=("val",))


@needs_data
def test_a_resized_copy_is_refused(tmp_path):
    one = {"splits": ("val",), "accept_difference": None}
    with pytest.raises(ValueError, match=r"val has 1 samples, expected 500"):
        prepare(DATA / "cityscapes_mmseg_256x128", tmp_path / "out", **one)
    prepared = prepare(DATA / "cityscapes_mmseg_256x128", tmp_path / "out", splits=("val",))
    assert any("are 256 x 128 pixels; expected 2048 x 1024" in each for each in prepared.manifest.differences)


def test_train_ids_shifted_down_are_refused(tmp_path):
    raw = write(tmp_path / "raw", "labelTrainIds")
    for path in (raw / "gtFine").rglob("*.png"):
        ids = np.asarray(Image.open(path))
        Image.fromarray(np.where(ids < 255, ids - 1, 255).astype(np.uint8)).save(path)
    prepared = prepare(raw, tmp_path / "out", splits=["train"], edition="labelTrainIds")
    assert any("no label has the raw ids 18; found are 0, 1," in each for each in prepared.manifest.differences)
