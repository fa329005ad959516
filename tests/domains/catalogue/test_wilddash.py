"""WildDash's ids are those of Cityscapes and five more."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raydg.domains.catalogue import dataset
from raydg.domains.labels import CITYSCAPES_19, IDD_LEVEL1, SYNTHIA_16
from raydg.shards import PreparedDomain, prepare_domains

WILDDASH = dataset("wilddash")
WHY = "a few frames that the test drew"

# visinf/self-adaptive, datasets/labels.py: train id -> ids of release 2. Release 1 has none beyond 33.
TO_19 = {
    0: (7, 38), 1: (8,), 2: (11,), 3: (12,), 4: (13,), 5: (17,), 6: (19,), 7: (20,), 8: (21,), 9: (22,), 10: (23,),
    11: (24,), 12: (25,), 13: (26, 34, 35), 14: (27,), 15: (28,), 16: (31,), 17: (32,), 18: (33,),
}  # fmt: skip
TO_LEVEL1 = {
    0: (7, 9, 38), 1: (8, 10, 22), 2: (24, 25), 3: (*range(26, 36),), 4: (12, 13, 14, 17, 18, 19, 20, 36, 37),
    5: (11, 15, 16, 21), 6: (23,),
}  # fmt: skip


def expected(ids: np.ndarray, table: dict[int, tuple[int, ...]]) -> np.ndarray:
    labels = np.full(ids.shape, 255)
    for train_id, raw_ids in table.items():
        labels[np.isin(ids, raw_ids)] = train_id
    return labels


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (9, 16, 3), dtype=np.uint8)


def all_ids(highest: int) -> np.ndarray:
    return np.resize(np.arange(highest + 1, dtype=np.uint8), (9, 16))


def prepare(raw: Path, out: Path, space=CITYSCAPES_19, **options) -> PreparedDomain:
    return prepare_domains(WILDDASH, ("wilddash",), raw, out, space, accept_difference=WHY, **options)[0].domain


@pytest.mark.parametrize("folder", ["", "wd_public_02"])
def test_release_2(tmp_path, folder):
    save(tmp_path / folder / "images/ar0001_100000.jpg", noise())
    save(tmp_path / folder / "labels/ar0001_100000.png", all_ids(38))
    assert WILDDASH.recognise(tmp_path, "wilddash").name == "2 (wd_public_02)"
    sample = prepare(tmp_path, tmp_path / "out").read("all", 0)
    np.testing.assert_array_equal(sample.label, expected(all_ids(38), TO_19))
    with Image.open(tmp_path / folder / "images/ar0001_100000.jpg") as image:
        np.testing.assert_array_equal(sample.image, np.asarray(image))
    sample = prepare(tmp_path, tmp_path / "out", IDD_LEVEL1).read("all", 0)
    np.testing.assert_array_equal(sample.label, expected(all_ids(38), TO_LEVEL1))
    kept = [c for c in range(19) if c not in (9, 14, 16)]
    sample = prepare(tmp_path, tmp_path / "out", SYNTHIA_16).read("all", 0)
    np.testing.assert_array_equal(sample.label, expected(all_ids(38), {i: TO_19[c] for i, c in enumerate(kept)}))


def test_release_1(tmp_path):
    folder = tmp_path / "wd_val_01"
    save(folder / "cn0000_100000.png", noise())
    save(folder / "cn0000_100000_labelIds.png", all_ids(33))
    save(folder / "cn0000_100000_instanceIds.png", all_ids(33).astype(np.uint16) * 1000)
    save(folder / "cn0000_100000_labelColors.png", noise())
    assert WILDDASH.recognise(tmp_path, "wilddash").name == "1 (wd_val_01)"
    domain = prepare(tmp_path, tmp_path / "out")
    assert domain.sample_ids("all") == ["cn0000"]
    sample = domain.read("all", 0)
    np.testing.assert_array_equal(sample.image, noise())
    np.testing.assert_array_equal(sample.label, expected(all_ids(33), TO_19))


def test_wrong_copies_are_refused(tmp_path):
    save(tmp_path / "images/1.jpg", noise())
    save(tmp_path / "labels/1.png", all_ids(38))
    with pytest.raises(ValueError, match=r"wilddash/all has 1 samples, expected 4,256"):
        prepare_domains(WILDDASH, ("wilddash",), tmp_path, tmp_path / "out", CITYSCAPES_19)
    # The later panoptic package has ids beyond 38.
    save(tmp_path / "labels/1.png", all_ids(41))
    with pytest.raises(ValueError, match=r"holds the label ids \[39, 40, 41\]"):
        prepare(tmp_path, tmp_path / "out")
    (tmp_path / "labels/1.png").rename(tmp_path / "labels/2.png")
    with pytest.raises(ValueError, match=r"images/2\.jpg is missing|labels/1\.png is missing"):
        prepare(tmp_path, tmp_path / "out")
