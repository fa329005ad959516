"""PACS as it is shared, with its official lists."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raydg.domains.catalogue.pacs import DATASET
from raydg.domains.labels import PACS_7
from raydg.shards import prepare_domains
from raydg.storage import Place

DATA = Path(__file__).parents[4] / "shared" / "data" / "pacs"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the real data is not here")

(EDITION,) = DATASET.editions
OFFICIAL_IDS = {"dog": 1, "elephant": 2, "giraffe": 3, "guitar": 4, "horse": 5, "house": 6, "person": 7}


def lines(path: Path) -> list[tuple[str, int]]:
    return [(line.split()[0], int(line.split()[1])) for line in path.read_text().splitlines()]


def some_of(raw: Path, domain: str, first_id: int = 1) -> dict[str, list[tuple[str, int]]]:
    """A copy with two real images of each class in each split, whose lists number the classes from `first_id`."""
    kept = {}
    for split in ("train", "crossval"):
        name = f"{domain}_{split}_kfold.txt"
        whole = lines(DATA / "splits_subset" / name)
        kept[split] = [entry for raw_id in range(1, 8) for entry in [e for e in whole if e[1] == raw_id][:2]]
        (raw / "lists").mkdir(parents=True, exist_ok=True)
        (raw / "lists" / name).write_text("".join(f"{file} {i - 1 + first_id}\n" for file, i in kept[split]))
        for file, _ in kept[split]:
            (raw / "PACS" / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(DATA / "PACS" / file, raw / "PACS" / file)
    return kept


def official_lists(raw: Path) -> None:
    """The full lists, and folders of domains without images."""
    shutil.copytree(DATA / "splits_official", raw / "lists", copy_function=shutil.copyfile)
    for domain in DATASET.domains:
        (raw / "PACS" / domain.partition("/")[2]).mkdir(parents=True)


def differences(raw: Path, domain: str) -> list[str]:
    contract = EDITION.contract
    assert contract is not None
    name = domain.partition("/")[2]
    return [
        difference
        for split in ("train", "val")
        for difference in contract.differences_of_list(
            domain, split, [sample.sample_id for sample in EDITION.layout.samples(Place.at(raw), name, split)]
        )
    ]


@needs_data
@pytest.mark.parametrize("domain", ["photo", "sketch"])
def test_prepared_images_and_classes_are_the_official_ones(tmp_path, domain):
    kept = some_of(tmp_path / "raw", domain)
    prepared = prepare_domains(
        DATASET, (f"pacs/{domain}",), tmp_path / "raw", tmp_path / "out", PACS_7, accept_difference="two of a class"
    )[0].domain
    for split, name in (("train", "train"), ("val", "crossval")):
        assert list(prepared.sample_ids(split)) == [file.removeprefix(f"{domain}/") for file, _ in kept[name]]
        for position, (file, raw_id) in enumerate(kept[name]):
            sample = prepared.read(split, position)
            assert np.array_equal(sample.image, np.asarray(Image.open(DATA / "PACS" / file)))
            assert sample.label == raw_id - 1 == OFFICIAL_IDS[file.split("/")[1]] - 1


@needs_data
def test_official_lists_are_what_the_contract_expects(tmp_path):
    official_lists(tmp_path)
    for domain in DATASET.domains:
        assert differences(tmp_path, domain) == []


@needs_data
def test_the_altered_list_in_circulation_is_noticed(tmp_path):
    official_lists(tmp_path)
    path = tmp_path / "lists" / "art_painting_crossval_kfold.txt"
    altered = path.read_text().replace("dog/pic_225.jpg 1", "dog/pic_225.jpg 0")
    path.write_text(altered.replace("dog/pic_249.jpg 1", "dog/pic_248.jpg 0"))
    with pytest.raises(ValueError, match=r"gives 'art_painting/dog/pic_225\.jpg' the id 0: .* this list counts from 0"):
        differences(tmp_path, "pacs/art_painting")
    path.write_text(path.read_text().replace(".jpg 0", ".jpg 1"))
    (difference,) = differences(tmp_path, "pacs/art_painting")
    assert difference.startswith("pacs/art_painting/val") and "not the same ones" in difference


@needs_data
def test_exchanged_lists_and_parts_are_noticed(tmp_path):
    official_lists(tmp_path)
    train, val = (tmp_path / "lists" / f"photo_{name}_kfold.txt" for name in ("train", "crossval"))
    train.rename(tmp_path / "other")
    val.rename(train)
    (tmp_path / "other").rename(val)
    assert len(differences(tmp_path, "pacs/photo")) == 2
    some_of(tmp_path / "raw", "photo")
    with pytest.raises(ValueError, match=r"pacs/photo/train has 14 samples, expected 1,499"):
        prepare_domains(DATASET, ("pacs/photo",), tmp_path / "raw", tmp_path / "out", PACS_7)


@needs_data
def test_lists_numbered_from_0_are_refused(tmp_path):
    some_of(tmp_path / "raw", "photo", first_id=0)
    with pytest.raises(ValueError, match=r"the id 0: the class in that folder has 1; this list counts from 0"):
        prepare_domains(
            DATASET, ("pacs/photo",), tmp_path / "raw", tmp_path / "out", PACS_7, accept_difference="two of a class"
        )
