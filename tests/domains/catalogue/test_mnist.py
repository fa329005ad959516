"""MNIST's files made into rotated and coloured domains."""

import gzip
import hashlib
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raydg.domains.catalogue.mnist import COLOURED, DIGITS, HALVES, ROTATED
from raydg.domains.dataset import Dataset, RawSample
from raydg.shards import prepare_domains

DATA = Path(__file__).parents[4] / "shared" / "data" / "extra" / "mnist_t10k"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the real data is not here")


def idx(path: Path, values: np.ndarray) -> None:
    head = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = head + values.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def small(raw: Path, count: int = 36, starts: tuple[str, ...] = ("train", "t10k"), ending: str = "") -> np.ndarray:
    """Files of `count` invented digits; the images, which both pairs have."""
    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
    for start in starts:
        idx(raw / f"{start}-images-idx3-ubyte{ending}", images)
        idx(raw / f"{start}-labels-idx1-ubyte{ending}", np.arange(count, dtype=np.uint8) % 10)
    return images


def official() -> tuple[np.ndarray, np.ndarray]:
    """The real test digits and their labels."""
    images = gzip.decompress((DATA / "t10k-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((DATA / "t10k-labels-idx1-ubyte.gz").read_bytes())
    return np.frombuffer(images, np.uint8, offset=16).reshape(10000, 28, 28), np.frombuffer(labels, np.uint8, offset=8)


def listed(dataset: Dataset) -> dict[str, list[RawSample]]:
    """The real test digits of every domain."""
    return {domain: dataset.editions[0].list_samples(DATA, domain, ["val"]) for domain in dataset.domains}


def position(sample_id: str) -> int:
    return int(sample_id.rpartition("-")[2])


@needs_data
def test_real_digits_are_prepared_rotated(tmp_path):
    images, labels = official()
    prepared = prepare_domains(ROTATED, ("rotated_mnist/15",), DATA, tmp_path, DIGITS, splits=["val"])[0].domain
    assert prepared.num_samples("val") == 1667
    for row, sample_id in enumerate(prepared.sample_ids("val")):
        if row % 60:
            continue
        sample = prepared.read("val", row)
        # As torchvision's rotate does, which DomainBed calls.
        turned = Image.fromarray(images[position(sample_id)]).rotate(15, resample=Image.Resampling.BICUBIC)
        assert np.array_equal(sample.image, np.stack([np.asarray(turned)] * 3, axis=2))
        assert sample.label == labels[position(sample_id)]


@needs_data
@pytest.mark.parametrize("dataset", [ROTATED, COLOURED], ids=lambda dataset: dataset.name)
def test_every_real_digit_is_in_one_domain(dataset):
    domains = listed(dataset)
    positions = [position(sample.sample_id) for samples in domains.values() for sample in samples]
    assert sorted(positions) == list(range(10000))
    contract = dataset.editions[0].contract
    assert contract is not None
    for domain, samples in domains.items():
        assert contract.differences_of_list(domain, "val", [sample.sample_id for sample in samples]) == []


@needs_data
def test_labels_and_colours_of_real_digits_are_exchanged_as_often_as_they_should():
    _, labels = official()
    for (domain, samples), share in zip(listed(COLOURED).items(), (0.1, 0.2, 0.9), strict=True):
        digits = labels[[position(sample.sample_id) for sample in samples]]
        assert [dict(sample.attributes)["digit"] for sample in samples] == [str(digit) for digit in digits]
        classes = np.array([sample.label for sample in samples])
        green = np.array([dict(sample.attributes)["colour"] == "green" for sample in samples])
        # 3,333 draws: the standard deviation is 0.0075 at most.
        assert abs(np.mean(classes != (digits < 5)) - 0.25) < 0.02, domain
        assert abs(np.mean(green != classes) - share) < 0.02, domain


@pytest.mark.parametrize(("folder", "ending"), [("", ""), ("", ".gz"), ("MNIST/raw", ""), ("raw", ".gz")])
def test_coloured_digits_have_one_channel(tmp_path, folder, ending):
    images = small(tmp_path / "raw" / folder, ending=ending)
    prepared = prepare_domains(
        COLOURED,
        ("coloured_mnist/minus90",),
        tmp_path / "raw",
        tmp_path / "out",
        HALVES,
        accept_difference="drawn for a test",
    )[0].domain
    colours = set()
    for split in ("train", "val"):
        assert prepared.num_samples(split) == 12
        for row, sample_id in enumerate(prepared.sample_ids(split)):
            sample, attributes = prepared.read(split, row), dict(prepared.attributes(split)[row])
            expected = np.zeros((28, 28, 3), np.uint8)
            expected[:, :, ["red", "green"].index(attributes["colour"])] = images[position(sample_id)]
            assert np.array_equal(sample.image, expected) and sample.label in (0, 1)
            assert attributes["digit"] == str(position(sample_id) % 10)
            colours.add((sample.label, attributes["colour"]))
    assert len(colours) >= 2


def hashed(*parts: str | int) -> int:
    """64 bits that stand for the parts."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def test_which_digit_becomes_what_is_fixed(tmp_path):
    small(tmp_path, count=36)
    # Another rule or seed would make numbers incomparable with those of earlier versions.
    order = sorted(range(36), key=lambda i: hashed(0, "mnist", "t10k", i))
    for first, domain in enumerate(ROTATED.domains):
        samples = ROTATED.editions[0].list_samples(tmp_path, domain, ["val"])
        assert [position(sample.sample_id) for sample in samples] == sorted(order[first::6])
        assert {dict(sample.attributes)["angle"] for sample in samples} == {str(15 * first)}
    exchanged = set()
    for domain, share in zip(COLOURED.domains, (0.1, 0.2, 0.9), strict=True):
        for sample in COLOURED.editions[0].list_samples(tmp_path, domain, ["train"]):
            i = position(sample.sample_id)
            wrong = hashed(0, "mnist", "label", "train", i) / 2**64 < 0.25
            other = hashed(0, "mnist", "colour", "train", i) / 2**64 < share
            assert sample.label == ((i % 10 < 5) != wrong)
            assert dict(sample.attributes)["colour"] == ("green" if (sample.label == 1) != other else "red")
            exchanged.add((wrong, other))
    assert len(exchanged) == 4


@needs_data
def test_without_the_train_files_only_val_is_prepared():
    with pytest.raises(ValueError, match=r"has no train-images-idx3-ubyte.*prepare with --splits val"):
        ROTATED.editions[0].list_samples(DATA, "rotated_mnist/0")
    assert len(ROTATED.editions[0].list_samples(DATA, "rotated_mnist/0", ["val"])) == 1667


def test_wrong_files_are_refused(tmp_path):
    edition = ROTATED.editions[0]

    def prepare() -> None:
        prepare_domains(
            ROTATED, ("rotated_mnist/0",), tmp_path, tmp_path / "out", DIGITS, accept_difference="drawn for a test"
        )

    small(tmp_path, count=30)
    with pytest.raises(ValueError, match=r"rotated_mnist/0/train has 5 samples, expected 10,000"):
        prepare_domains(ROTATED, ("rotated_mnist/0",), tmp_path, tmp_path / "out", DIGITS)

    images, labels = (tmp_path / f"t10k-{name}-ubyte" for name in ("images-idx3", "labels-idx1"))
    idx(images, np.zeros((7, 28, 28), np.uint8))
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte holds 7 digits, but its list of labels has more"):
        prepare()
    images.write_bytes(images.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"says that it holds 7 x 28 x 28 bytes; it has 5,487"):
        prepare()
    shutil.copy(images, labels)
    with pytest.raises(ValueError, match=r"labels-idx1-ubyte is no idx file of bytes in 1 dimensions: .* 00000803"):
        edition.list_samples(tmp_path, "rotated_mnist/0")
    small(tmp_path, starts=("t10k",), ending=".gz")
    labels.unlink()
    packed = tmp_path / "t10k-labels-idx1-ubyte.gz"
    packed.write_bytes(packed.read_bytes()[:-12])
    with pytest.raises(ValueError, match=r"t10k-labels-idx1-ubyte\.gz (cannot be read|is no idx file|says)"):
        edition.list_samples(tmp_path, "rotated_mnist/0")
