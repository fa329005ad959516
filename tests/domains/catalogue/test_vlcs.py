"""VLCS in the three forms in which it is found."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raydg.domains.catalogue.vlcs import DATASET, DOMAINBED, LISTS, MINI, VLCS_5
from raydg.shards import prepare_domains
from raydg.storage import Place

DATA = Path(__file__).parents[4] / "shared" / "data" / "extra"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the real data is not here")

# From the description of the mini edition: domain -> folders in the order bird, car, chair, dog, person.
MINI_FOLDERS = {
    "caltech": ["vogel", "auto", "stuhl", "hund", "mensch"],
    "labelme": ["bird", "drive", "sit", "husky"],
    "sun": ["flying", "vehicle", "sofa", "dog", "sapiens"],
}
MINI_SIZES = {"caltech": (44, 11), "labelme": (61, 16), "sun": (44, 11)}


def picture(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (9, 7)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@needs_data
@pytest.mark.parametrize("domain", MINI_FOLDERS)
def test_mini_edition_is_prepared_whole(tmp_path, domain):
    raw = DATA / "vlcs_mini"
    assert DATASET.recognise(raw, f"vlcs/{domain}") is MINI
    prepared = prepare_domains(DATASET, (f"vlcs/{domain}",), raw, tmp_path, VLCS_5)[0].domain
    assert (prepared.num_samples("train"), prepared.num_samples("val")) == MINI_SIZES[domain]
    found = set()
    for split in ("train", "val"):
        for position, sample_id in enumerate(prepared.sample_ids(split)):
            sample = prepared.read(split, position)
            assert sample.label == MINI_FOLDERS[domain].index(sample_id.split("/")[0])
            file = np.asarray(Image.open(raw / domain / sample_id))
            # Some are greyscale; all are stored in three channels.
            assert np.array_equal(sample.image, file if file.ndim == 3 else np.stack([file] * 3, axis=2))
            found.add(sample_id)
    assert found == {str(path.relative_to(raw / domain)) for path in (raw / domain).rglob("*.jpg")}


@needs_data
def test_mini_edition_has_no_pascal_and_notices_what_is_missing(tmp_path):
    with pytest.raises(ValueError, match=r"no domain 'pascal'.*caltech, labelme, sun"):
        MINI.list_samples(DATA / "vlcs_mini", "vlcs/pascal")
    shutil.copytree(DATA / "vlcs_mini", tmp_path / "raw", copy_function=shutil.copyfile)
    next((tmp_path / "raw/sun/sofa").iterdir()).unlink()
    with pytest.raises(ValueError, match=r"vlcs/sun/train has 43 samples, expected 44"):
        prepare_domains(DATASET, ("vlcs/sun",), tmp_path / "raw", tmp_path / "out", VLCS_5)


@needs_data
@pytest.mark.parametrize("name", ["CALTECH", "LABELME", "PASCAL", "SUN"])
def test_lists_name_what_the_contract_expects(tmp_path, name):
    domain = f"vlcs/{name.lower()}"
    shutil.copytree(DATA / "vlcs_split_lists", tmp_path / "lists")
    (tmp_path / name).mkdir()
    samples = LISTS.list_samples(tmp_path, domain)
    expected = [
        line.split()
        for split in ("train", "test")
        for line in (DATA / f"vlcs_split_lists/{name}_{split}.txt").read_text().splitlines()
    ]
    assert [(s.image, s.label) for s in samples] == [
        (Place.at(tmp_path) / path.removeprefix("/home/fmc/data/VLCS/"), int(raw_id)) for path, raw_id in expected
    ]
    assert LISTS.contract is not None
    for split in ("train", "val"):
        ids = [sample.sample_id for sample in samples if sample.split == split]
        assert LISTS.contract.differences_of_list(domain, split, ids) == []
        assert LISTS.contract.differences_of_list(domain, split, [*ids[:-1], "another.jpg"]) != []


def listed(raw: Path, shift: int = 0) -> None:
    """The lists and their folders, a picture of one colour for each class and split."""
    for split, folder in (("train", "full"), ("test", "test")):
        entries = [(f"SUN/{folder}/{c}/{split}_imgs_{c}.png", c) for c in range(5)]
        for file, c in entries:
            picture(raw / "VLCS" / file, (40 * c, 0, 200 if split == "test" else 0))
        text = "".join(f"/home/somebody/VLCS/{file} {(c + shift) % 5}\n" for file, c in entries)
        (raw / "VLCS" / f"SUN_{split}.txt").write_text(text)


def test_listed_images_are_prepared(tmp_path):
    listed(tmp_path / "raw")
    assert DATASET.recognise(tmp_path / "raw", "vlcs/sun") is LISTS
    prepared = prepare_domains(
        DATASET, ("vlcs/sun",), tmp_path / "raw", tmp_path / "out", VLCS_5, accept_difference="drawn for a test"
    )[0].domain
    for split, blue in (("train", 0), ("val", 200)):
        assert [prepared.read(split, i).label for i in range(5)] == [0, 1, 2, 3, 4]
        for c in range(5):
            assert (prepared.read(split, c).image == (40 * c, 0, blue)).all()


def test_lists_with_shifted_ids_are_refused(tmp_path):
    listed(tmp_path, shift=1)
    with pytest.raises(ValueError, match=r"SUN_train\.txt gives '.*full/0/.*' the id 1: .* has the id 0"):
        LISTS.list_samples(tmp_path, "vlcs/sun")
    (tmp_path / "VLCS/SUN_test.txt").unlink()
    with pytest.raises(ValueError, match=r"no folder of .* has the lists SUN_train\.txt, SUN_test\.txt"):
        LISTS.list_samples(tmp_path, "vlcs/sun")


def test_folders_of_domainbed_are_recognised_and_prepared(tmp_path):
    for number in range(10):
        name = ["bird", "car", "chair", "dog", "person"][number % 5]
        picture(tmp_path / f"raw/VLCS/LabelMe/{name}/{number:03}.png", (number, 20 * number, 255 - number))
    (tmp_path / "raw/VLCS/LabelMe/car/._001.png").write_bytes(b"left by an archiver")
    assert DATASET.recognise(tmp_path / "raw", "vlcs/labelme") is DOMAINBED
    prepared = prepare_domains(
        DATASET, ("vlcs/labelme",), tmp_path / "raw", tmp_path / "out", VLCS_5, accept_difference="drawn for a test"
    )[0].domain
    assert (prepared.num_samples("train"), prepared.num_samples("val")) == (8, 2)
    found = {}
    for split in ("train", "val"):
        for position, sample_id in enumerate(prepared.sample_ids(split)):
            sample = prepared.read(split, position)
            number = int(sample_id[-7:-4])
            assert (sample.image == (number, 20 * number, 255 - number)).all()
            found[number] = sample.label
    assert found == {number: number % 5 for number in range(10)}


def test_strange_folders_are_refused(tmp_path):
    picture(tmp_path / "VLCS/SUN09/bird/1.png", (0, 0, 0))
    picture(tmp_path / "VLCS/SUN09/train/bird/1.png", (0, 0, 0))
    with pytest.raises(ValueError, match=r"images in 'train/bird', which is no class of sun.*bird, car, chair"):
        DOMAINBED.list_samples(tmp_path, "vlcs/sun")
    picture(tmp_path / "SUN09/bird/1.png", (0, 0, 0))
    with pytest.raises(ValueError, match=r"exactly one of .*VLCS/SUN09 or .*SUN09 must be .* found 2"):
        DOMAINBED.list_samples(tmp_path, "vlcs/sun")
