"""SYNTHIA: the class is the red one of three 16-bit channels, and the split is drawn by a seed or listed."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raydg.domains.catalogue.synthia import DATASET
from raydg.domains.decoding import BadSample, read_red_of_16_bits
from raydg.domains.labels import CITYSCAPES_19, IDD_LEVEL1, SYNTHIA_13, SYNTHIA_16
from raydg.shards import prepare_domains
from raydg.storage import Place

# Written down anew: what SYNTHIA's ids 0 to 22 are called.
NAMES = [
    "void", "sky", "building", "road", "sidewalk", "fence", "vegetation", "pole", "car", "traffic sign", "person",
    "bicycle", "motorcycle", "parking slot", "road work", "traffic light", "terrain", "rider", "truck", "bus", "train",
    "wall", "lane marking",
]  # fmt: skip
COARSE = {
    "drivable": ("road", "parking slot", "lane marking"),
    "non-drivable": ("sidewalk", "terrain"),
    "living things": ("person", "rider"),
    "vehicles": ("car", "bicycle", "motorcycle", "truck", "bus", "train"),
    "roadside objects": ("fence", "pole", "traffic sign", "traffic light", "wall"),
    "far objects": ("building", "vegetation"),
    "sky": ("sky",),
}
SIZE = (46, 4)


def png16(red: np.ndarray, green: np.ndarray) -> bytes:
    """A PNG of three channels of 16 bits, put together by hand so that no decoder's channel order is relied on."""
    height, width = red.shape
    pixels = np.zeros((height, width, 3), dtype=">u2")
    pixels[..., 0], pixels[..., 1] = red, green
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def ids_of(seed: int) -> np.ndarray:
    width, height = SIZE
    return (np.arange(height)[:, None] * 5 + np.arange(width) + seed) % 23


def write_frames(raw: Path, images: str, labels: str, *names: str, eight_bits: bool = False) -> None:
    for number, name in enumerate(names):
        image, label = raw / images.format(name), raw / labels.format(name)
        for path in (image, label):
            path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (*SIZE[::-1], 3), dtype=np.uint8)).save(image)
        if eight_bits:
            Image.fromarray(ids_of(number).astype(np.uint8)).save(label)
        else:
            label.write_bytes(png16(ids_of(number), np.full(SIZE[::-1], 700 + number)))


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """The official layout, with ten frames."""
    raw = tmp_path / "RAND_CITYSCAPES"
    write_frames(raw, "RGB/{}.png", "GT/LABELS/{}.png", *(f"{number:07d}" for number in range(10)))
    return raw


def prepare(raw: Path, out: Path, space=CITYSCAPES_19, **options):
    options = {"accept_difference": "a few small frames for a test", **options}
    return prepare_domains(DATASET, ("synthia",), raw, out, space, **options)[0].domain


@pytest.mark.parametrize("space", [CITYSCAPES_19, SYNTHIA_16, SYNTHIA_13, IDD_LEVEL1], ids=lambda space: space.name)
def test_the_red_channel_becomes_classes_pixel_by_pixel(raw, tmp_path, space):
    expected = np.full(23, 255)
    for raw_id, name in enumerate(NAMES):
        if space is IDD_LEVEL1:
            name = next((coarse for coarse, names in COARSE.items() if name in names), "void")
        expected[raw_id] = space.classes.index(name) if name in space.classes else 255
    prepared = prepare(raw, tmp_path / "out", space)
    for split in ("train", "val"):
        for position, name in enumerate(prepared.sample_ids(split)):
            sample = prepared.read(split, position)
            assert np.array_equal(sample.label, expected[ids_of(int(name))])
            assert np.array_equal(sample.image, np.asarray(Image.open(raw / f"RGB/{name}.png")))


def test_the_seed_draws_the_split_that_numpy_s_global_seed_draws(raw):
    names = [f"{number:07d}" for number in range(10)]
    state = np.random.get_state()
    np.random.seed(12345)  # what TSMLDG does, on a list of paths
    np.random.shuffle(names)
    np.random.set_state(state)
    edition = DATASET.recognise(raw, "synthia")
    samples = edition.list_samples(raw, "synthia")
    assert edition.name == "TSMLDG's seed"
    assert [s.sample_id for s in samples if s.split == "train"] == sorted(names[:7])
    assert [s.sample_id for s in samples if s.split == "val"] == sorted(names[7:])
    assert int(0.7 * 9400) == 6580


def test_lists_are_preferred_and_folders_and_8_bits_are_told_apart(raw, tmp_path):
    (raw / "synthia_split_train.txt").write_text("0000003.png\n0000001.png\n")
    (raw / "synthia_split_val.txt").write_text("".join(f"{number:07d}.png\n" for number in (0, 2, 4, 5, 6, 7, 8, 9)))
    edition = DATASET.recognise(raw, "synthia")
    assert edition.name == "RobustNet's lists"
    assert [s.sample_id for s in edition.list_samples(raw, "synthia", ("train",))] == ["0000001", "0000003"]
    folders = tmp_path / "folders"
    write_frames(folders, "RGB/{}.png", "GT/LABELS/{}.png", "train/0000001", "val/0000000")
    assert DATASET.recognise(folders, "synthia").name == "folders train, val"
    converted = tmp_path / "converted"
    patterns = "leftImg8bit/{}_leftImg8bit.png", "gtFine/{}_gtFine_labelIds.png"
    write_frames(converted, *patterns, "train/a/0000001", "val/a/0000000", eight_bits=True)
    assert DATASET.recognise(converted, "synthia").name == "8 bits, named like Cityscapes"
    label = prepare(converted, tmp_path / "out", SYNTHIA_16).read("val", 0).label
    assert label[ids_of(1) == 1].tolist() == [SYNTHIA_16.classes.index("sky")] * int((ids_of(1) == 1).sum())


def test_wrong_copies_are_refused(raw, tmp_path):
    with pytest.raises(ValueError, match=r"(?s)synthia/train has 7 samples.*6,580.*synthia/val has 3 samples.*2,820"):
        prepare(raw, tmp_path / "out", accept_difference=None)
    path = raw / "GT/LABELS/0000003.png"
    for data, complaint in (
        (png16(np.full(SIZE[::-1], 23), ids_of(0)), r"0000003\.png holds the label ids \[23\]"),
        (png16(ids_of(0) + 256, ids_of(0)), r"0000003\.png holds the label ids \[256, 257"),
        (path.read_bytes()[:-40], r"0000003\.png cannot be decoded: it is truncated or damaged"),
    ):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=complaint):
            prepare(raw, tmp_path / "out")
    # What Pillow makes of such a file when it is saved anew.
    Image.fromarray(np.zeros((*SIZE[::-1], 3), dtype=np.uint8)).save(path)
    with pytest.raises(BadSample, match=r"0000003\.png is no PNG of three channels of 16 bits"):
        read_red_of_16_bits(Place.at(path))
    (raw / "synthia_split_train.txt").write_text("RGB/0000003.png\n")
    with pytest.raises(ValueError, match=r"synthia_split_train\.txt has the entry 'RGB/0000003\.png'"):
        DATASET.editions[0].list_samples(raw, "synthia", ("train",))


def test_ids_that_all_lie_in_another_channel_are_noticed(raw, tmp_path):
    for number in range(10):
        (raw / f"GT/LABELS/{number:07d}.png").write_bytes(png16(np.zeros(SIZE[::-1], int), ids_of(number)))
    differences = prepare(raw, tmp_path / "out").manifest.differences
    assert any(
        "synthia/val: no label has the raw ids 1, 2, 3, 4, 6, 7, 8, 10; found are 0" in each for each in differences
    )
