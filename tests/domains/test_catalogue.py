"""The catalogue's entries mean what the datasets mean."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raydg.domains import pacs, streets
from raydg.domains.catalogue import DATASETS, dataset
from raydg.domains.decoding import read_ids
from raydg.domains.label_table import IGNORED
from raydg.domains.labels import CITYSCAPES_19, IGNORE, PACS_7

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the real data is not here")

# Written down anew from the descriptions of the datasets, not from the catalogue: raw id (or colour) -> class.
CITYSCAPES_TRAIN_IDS = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
CITYSCAPES_COARSE = {
    0: (7, 9),
    1: (8, 10, 22),
    2: (24, 25),
    3: (26, 27, 28, 29, 30, 31, 32, 33),
    4: (12, 13, 14, 17, 18, 19, 20),
    5: (11, 15, 16, 21),
    6: (23,),
}
CAMVID_COARSE = {0: (3,), 1: (4,), 2: (9, 10), 3: (8,), 4: (2, 6, 7), 5: (1, 5), 6: (0,)}
CARLA_COARSE = {
    0: ((128, 64, 128), (157, 234, 50)),
    1: ((244, 35, 232),),
    2: ((220, 20, 60),),
    3: ((0, 0, 142),),
    4: ((102, 102, 156), (190, 153, 153), (153, 153, 153), (220, 220, 0)),
    5: ((70, 70, 70), (107, 142, 35)),
}


def painted(shape: tuple[int, int], masks: Iterator[tuple[int, np.ndarray]]) -> np.ndarray:
    """A label map that is IGNORE but where a mask gives it a class."""
    labels = np.full(shape, IGNORE)
    for train_id, mask in masks:
        assert (labels[mask] == IGNORE).all()
        labels[mask] = train_id
    return labels


@pytest.mark.parametrize("entry", DATASETS, ids=lambda entry: entry.name)
def test_label_tables_are_total_and_stay_in_their_space(entry):
    for table in entry.tables:
        assert len(table.lookup) == 256
        for raw_id, train_id in enumerate(table.lookup.tolist()):
            name = table.classes.get(raw_id)
            expected = -1 if name is None else IGNORE if name == IGNORED else table.space.classes.index(name)
            assert train_id == expected
        assert table.space.task == entry.task


@pytest.mark.parametrize(
    ("table", "train_ids", "known"),
    [
        (streets.CITYSCAPES_TO_19, {c: (raw_id,) for c, raw_id in enumerate(CITYSCAPES_TRAIN_IDS)}, range(34)),
        (streets.CITYSCAPES_TO_IDD, CITYSCAPES_COARSE, range(34)),
        (streets.CAMVID_TO_IDD, CAMVID_COARSE, range(12)),
        (streets.IDD_TO_IDD, {c: (c,) for c in range(7)}, (*range(7), 255)),
        (pacs.NUMBERED_FROM_1, {c: (c + 1,) for c in range(7)}, range(1, 8)),
    ],
)
def test_ids_mean_what_the_datasets_say(table, train_ids, known):
    assert set(table.classes) == set(known)
    mapped = {raw_id: train_id for train_id, raw_ids in train_ids.items() for raw_id in raw_ids}
    assert all(table.lookup[raw_id] == mapped.get(raw_id, IGNORE) for raw_id in known)


def test_colours_of_carla_mean_what_carla_says():
    colours = {colour: tag for tag, (colour, _) in enumerate(streets.CARLA_TAGS)}
    assert len(colours) == 13 == len(streets.CARLA_TO_IDD.classes)
    mapped = {colour: train_id for train_id, group in CARLA_COARSE.items() for colour in group}
    assert all(streets.CARLA_TO_IDD.lookup[tag] == mapped.get(colour, IGNORE) for colour, tag in colours.items())


def test_every_class_of_a_space_can_occur_but_the_sky_of_carla():
    for name, table in [(entry.name, table) for entry in DATASETS for table in entry.tables]:
        unused = set(table.space.classes) - set(table.classes.values())
        assert unused == ({"sky"} if name == "carla" else set())


def test_domains_and_names_are_unique_and_found():
    names = [entry.name for entry in DATASETS]
    domains = [domain for entry in DATASETS for domain in entry.domains]
    assert len(set(names)) == len(names) and len(set(domains)) == len(domains)
    assert all(dataset(name).name == name for name in names)
    with pytest.raises(ValueError, match=r"'cityscape'.*pacs.*cityscapes"):
        dataset("cityscape")


def test_each_of_the_19_classes_lies_in_one_coarse_class():
    coarse = {}
    for fine_id, coarse_id in zip(streets.CITYSCAPES_TO_19.lookup, streets.CITYSCAPES_TO_IDD.lookup, strict=True):
        if 0 <= fine_id < 19:
            assert coarse.setdefault(int(fine_id), int(coarse_id)) == coarse_id != IGNORE
    assert len(coarse) == 19


def test_label_space_is_chosen_by_name():
    cityscapes = dataset("cityscapes")
    assert cityscapes.label_space() == CITYSCAPES_19
    assert cityscapes.table(cityscapes.label_space("idd_level1")) is streets.CITYSCAPES_TO_IDD
    with pytest.raises(ValueError, match=r"'pacs7'.*cityscapes19, idd_level1"):
        cityscapes.label_space("pacs7")
    with pytest.raises(ValueError, match=r"carla has no label table.*'cityscapes19'"):
        dataset("carla").table(CITYSCAPES_19)


def test_domains_are_named_after_their_dataset():
    with pytest.raises(ValueError, match="domains of pacs"):
        replace(dataset("pacs"), domains=("photo",))


# Real data


@needs_data
def test_pacs_splits_are_disjoint_and_make_up_the_test_list():
    numbers = {}
    for domain in dataset("pacs").domains:
        samples = dataset("pacs").list_samples(DATA / "pacs", domain)
        name = domain.removeprefix("pacs/")
        lines = (DATA / "pacs/splits_subset" / f"{name}_test_kfold.txt").read_text().split("\n")
        assert {f"{name}/{sample.sample_id} {sample.label}" for sample in samples} == set(lines) - {""}
        for sample in samples:
            assert isinstance(sample.label, int)
            assert PACS_7.classes[pacs.NUMBERED_FROM_1.class_of(sample.label, sample.image)] == sample.image.parent.name
        numbers[name] = [sum(sample.split == split for sample in samples) for split in ("train", "val")]
    assert numbers == {"art_painting": [380, 40], "cartoon": [372, 48], "photo": [372, 48], "sketch": [381, 39]}


def real(name: str, raw: str, *splits: str, space: str | None = None) -> list[tuple[Path, np.ndarray]]:
    """Label files of three samples of real data, with the train ids that the catalogue gives them."""
    entry = dataset(name)
    table = entry.table(entry.label_space(space))
    samples = entry.list_samples(DATA / "streets" / raw, entry.domains[0], splits or None)
    paths = [sample.label for sample in samples[:: max(1, len(samples) // 3)] if isinstance(sample.label, Path)]
    return [(path, table.map(entry.read_label(path), path)[0]) for path in paths]


@needs_data
def test_cityscapes_ids_are_those_of_its_train_id_maps():
    for path, train_ids in real("cityscapes", "cityscapes", "train"):
        reference = np.asarray(Image.open(str(path).replace("labelIds", "labelTrainIds")))
        assert (train_ids == reference).all()


@needs_data
@pytest.mark.parametrize(
    ("name", "raw", "split", "coarse"),
    [("cityscapes", "cityscapes", "train", CITYSCAPES_COARSE), ("camvid", "CamVid", "train", CAMVID_COARSE)],
)
def test_coarse_labels_equal_a_second_decoding(name, raw, split, coarse):
    for path, train_ids in real(name, raw, split, space="idd_level1"):
        raw_ids = np.asarray(Image.open(path))
        expected = painted(raw_ids.shape, ((train_id, np.isin(raw_ids, ids)) for train_id, ids in coarse.items()))
        assert (train_ids == expected).all()


@needs_data
def test_idd_lite_is_labelled_with_its_own_ids():
    for path, train_ids in real("idd_lite", "idd20k_lite"):
        assert (train_ids == np.asarray(Image.open(path))).all()


@needs_data
def test_carla_labels_equal_a_second_decoding():
    for path, train_ids in real("carla", "carla_town03"):
        red, green, blue, _ = (np.asarray(channel) for channel in Image.open(path).split())
        masks = (
            (train_id, (red == r) & (green == g) & (blue == b))
            for train_id, colours in CARLA_COARSE.items()
            for r, g, b in colours
        )
        assert (train_ids == painted(train_ids.shape, masks)).all()


@needs_data
def test_kitti_labels_are_painted_as_kitti_paints_them(tmp_path):
    streets_folder = DATA / "streets/kitti"
    (tmp_path / "training").mkdir()
    (tmp_path / "training/image_2").symlink_to(streets_folder / "data_semantics/training/image_2")
    (tmp_path / "training/semantic").symlink_to(streets_folder / "data_semantics_aligned/training/semantic")
    for sample in dataset("kitti").list_samples(tmp_path, "kitti"):
        assert isinstance(sample.label, Path)
        train_ids, _ = streets.CITYSCAPES_TO_19.map(read_ids(sample.label), sample.label)
        painted_by_kitti = np.asarray(
            Image.open(streets_folder / "data_semantics_aligned/training/semantic_rgb" / sample.label.name).convert(
                "RGB"
            )
        )
        classes = train_ids != IGNORE
        assert (np.array(CITYSCAPES_19.palette)[train_ids[classes]] == painted_by_kitti[classes]).all()
