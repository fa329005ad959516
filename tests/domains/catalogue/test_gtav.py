"""GTAV: palette indices are the ids, split.mat the splits, and bad frames are taken out by rule."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from raydg.domains.catalogue.gtav import DATASET, bad_frame
from raydg.domains.decoding import RawImage
from raydg.domains.labels import CITYSCAPES_19, IDD_LEVEL1
from raydg.shards import prepare_domains
from raydg.storage import Place

# Written down anew: id of Cityscapes -> train id, all other ids up to 34 (license plate in GTAV) are ignored.
TRAIN_IDS = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
COARSE = {
    0: (7, 9), 1: (8, 10, 22), 2: (24, 25), 3: range(26, 34), 4: (12, 13, 14, 17, 18, 19, 20), 5: (11, 15, 16, 21),
    6: (23,),
}  # fmt: skip
CAR_BLUE = (0, 0, 142)


def write_frame(raw: Path, name: str, seed: int = 0, size: tuple[int, int] = (70, 6)) -> np.ndarray:
    """A frame with all 35 ids, the label map a PNG with a palette in which license plate is painted like car."""
    width, height = size
    ids = (np.arange(height)[:, None] * 3 + np.arange(width) + seed) % 35
    label = Image.fromarray(ids.astype(np.uint8)).convert("P")
    palette = np.random.default_rng(1).integers(0, 256, (256, 3))
    palette[26] = palette[34] = CAR_BLUE
    label.putpalette(palette.astype(np.uint8).tobytes())
    noise = np.random.default_rng(seed).integers(0, 256, (6, 70, 3), dtype=np.uint8)
    for folder, image in (("images", Image.fromarray(noise)), ("labels", label)):
        (raw / folder / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(raw / folder / f"{name}.png")
    return ids


def write_split(raw: Path, **numbers: list[int]) -> None:
    """split.mat with its columns of frame numbers."""
    savemat(raw / "split.mat", {key: np.array(ids, dtype=np.uint16)[:, None] for key, ids in numbers.items()})


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """The official layout, with five frames."""
    raw = tmp_path / "GTAV"
    for number in range(1, 6):
        write_frame(raw, f"{number:05d}", seed=number)
    write_split(raw, trainIds=[5, 1], valIds=[2], testIds=[3, 4])
    return raw


def prepare(raw: Path, out: Path, space=CITYSCAPES_19, **options):
    options = {"accept_difference": "a few frames for a test", **options}
    return prepare_domains(DATASET, ("gtav",), raw, out, space, **options)[0].domain


@pytest.mark.parametrize("space", [CITYSCAPES_19, IDD_LEVEL1])
def test_palette_indices_become_classes_pixel_by_pixel(raw, tmp_path, space):
    classes = dict(enumerate((each,) for each in TRAIN_IDS)) if space is CITYSCAPES_19 else COARSE
    expected = np.full(35, 255)
    for class_id, raw_ids in classes.items():
        expected[list(raw_ids)] = class_id
    assert expected[34] == 255, "license plate is ignored, though it has the colour of car"
    prepared = prepare(raw, tmp_path / "out", space)
    assert {split: prepared.sample_ids(split) for split in prepared.splits} == {
        "train": ["00001", "00005"],
        "val": ["00002"],
        "test": ["00003", "00004"],
    }
    for split in prepared.splits:
        for position, name in enumerate(prepared.sample_ids(split)):
            sample, stored = prepared.read(split, position), Image.open(raw / f"labels/{name}.png")
            assert stored.mode == "P"
            assert np.array_equal(sample.label, expected[np.asarray(stored)])
            assert np.array_equal(sample.image, np.asarray(Image.open(raw / f"images/{name}.png")))


def test_split_mat_may_lie_where_the_archive_puts_it(raw):
    (raw / "read_mapping").mkdir()
    (raw / "split.mat").rename(raw / "read_mapping/split.mat")
    assert [sample.sample_id for sample in DATASET.editions[0].list_samples(raw, "gtav", ("val",))] == ["00002"]


def test_bad_frames_are_taken_out_and_counted(raw, tmp_path):
    write_frame(raw, "00001", size=(80, 6))
    Image.new("RGB", (70, 6), (1, 0, 2)).save(raw / "images/00005.png")
    write_frame(raw, "00006")
    write_split(raw, trainIds=[1, 5, 6], valIds=[2], testIds=[3, 4])
    prepared = prepare(raw, tmp_path / "out")
    assert prepared.sample_ids("train") == ["00006"]
    assert {each.sample_id: each.reason for each in prepared.manifest.excluded} == {
        "00001": "the label map is 80 x 6, the image 70 x 6 pixels",
        "00005": "the image is of nearly one colour",
    }


def test_a_night_frame_is_not_of_one_colour_and_a_noisy_black_one_is():
    pixels = np.zeros((200, 500, 3), dtype=np.uint8)
    pixels[:] = np.random.default_rng(0).integers(0, 3, (200, 500, 1))
    ids = np.zeros((200, 500), dtype=np.uint8)
    assert bad_frame(RawImage(b"", Image.fromarray(pixels)), ids) == "the image is of nearly one colour"
    pixels[100, 100:150] = 200  # a lamp
    assert bad_frame(RawImage(b"", Image.fromarray(pixels)), ids) is None


def test_editions_are_told_apart(raw, tmp_path):
    assert DATASET.recognise(raw, "gtav").name == "official split.mat"
    (raw / "split.mat").unlink()
    for split, names in (("train", "00001.png\n00005.png\n"), ("val", "00002.png\n"), ("test", "00003.png\n")):
        (raw / f"gtav_split_{split}.txt").write_text(names)
    edition = DATASET.recognise(raw, "gtav")
    assert edition.name == "RobustNet's lists"
    assert [sample.sample_id for sample in edition.list_samples(raw, "gtav")] == ["00001", "00005", "00002", "00003"]
    for val in ("val", "valid"):
        folders = tmp_path / val
        for name in ("train/a/00001", "train/b/00002", f"{val}/a/00003", "test/a/00004"):
            write_frame(folders, name)
        edition = DATASET.recognise(folders, "gtav")
        assert edition.name == f"folders train, {val}, test"
        samples = edition.list_samples(folders, "gtav")
        assert [(s.split, s.sample_id) for s in samples if s.split != "test"] == [
            ("train", "a/00001"),
            ("train", "b/00002"),
            ("val", "a/00003"),
        ]
        assert all(Path(str(s.image)).is_file() and Path(str(s.label)).is_file() for s in samples)


def test_wrong_copies_are_refused(raw, tmp_path):
    with pytest.raises(ValueError, match=r"(?s)gtav/train has 2 samples.*12,403.*gtav/val has 1 sample.*6,382"):
        prepare(raw, tmp_path / "out", accept_difference=None)
    Image.open(raw / "labels/00002.png").convert("RGB").save(raw / "labels/00002.png")
    with pytest.raises(ValueError, match=r"00002\.png has pixels of mode 'RGB'; class ids need one channel"):
        prepare(raw, tmp_path / "out")
    (raw / "images/00003.png").unlink()
    with pytest.raises(ValueError, match=r"images/00003\.png is missing"):
        prepare(raw, tmp_path / "out")


def test_a_broken_split_mat_is_refused(raw):
    layout = DATASET.editions[0].layout
    write_split(raw, trainIds=[1], valIds=[2])
    with pytest.raises(ValueError, match=r"split\.mat has no array 'testIds'"):
        layout.samples(Place.at(raw), "gtav", "test")
    (raw / "split.mat").write_text("no matlab")
    with pytest.raises(ValueError, match=r"split\.mat is no MATLAB file"):
        layout.samples(Place.at(raw), "gtav", "test")
    (raw / "split.mat").unlink()
    with pytest.raises(ValueError, match=r"split\.mat is missing.*read_mapping\.zip"):
        layout.samples(Place.at(raw), "gtav", "test")
