"""Mapillary's configuration decides which id is which class, as the published code has it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raydg.domains.catalogue import dataset
from raydg.domains.label_table import IGNORED
from raydg.domains.labels import CITYSCAPES_19, IDD_LEVEL1, SYNTHIA_16
from raydg.shards import prepare_domains

MAPILLARY = dataset("mapillary")
WHY = "a few frames for a test"
STUBS = Path(__file__).parents[4] / "shared/data/streets/layout_stubs"
needs_stubs = pytest.mark.skipif(not STUBS.exists(), reason="the layout stubs are not here")

# Labels of config.json in release 1.2 and of config_v2.0.json, in their order, the parts of each name after the first
# two dashes abbreviated by their group.
GROUPS_1_2 = {
    "animal": "bird ground-animal",
    "construction--barrier": "curb fence guard-rail other-barrier wall",
    "construction--flat": (
        "bike-lane crosswalk-plain curb-cut parking pedestrian-area rail-track road service-lane sidewalk"
    ),
    "construction--structure": "bridge building tunnel",
    "human": "person rider--bicyclist rider--motorcyclist rider--other-rider",
    "marking": "crosswalk-zebra general",
    "nature": "mountain sand sky snow terrain vegetation water",
    "object": (
        "banner bench bike-rack billboard catch-basin cctv-camera fire-hydrant junction-box mailbox manhole "
        "phone-booth pothole street-light support--pole support--traffic-sign-frame support--utility-pole "
        "traffic-light traffic-sign--back traffic-sign--front trash-can"
    ),
    "object--vehicle": "bicycle boat bus car caravan motorcycle on-rails other-vehicle trailer truck wheeled-slow",
    "void": "car-mount ego-vehicle unlabeled",
}
GROUPS_2_0 = {
    "animal": "bird ground-animal",
    "construction--barrier": (
        "ambiguous concrete-block curb fence guard-rail other-barrier road-median road-side separator temporary wall"
    ),
    "construction--flat": (
        "bike-lane crosswalk-plain curb-cut driveway parking parking-aisle pedestrian-area rail-track road "
        "road-shoulder service-lane sidewalk traffic-island"
    ),
    "construction--structure": "bridge building garage tunnel",
    "human": "person--individual person--person-group rider--bicyclist rider--motorcyclist rider--other-rider",
    "marking--continuous": "dashed solid zigzag",
    "marking--discrete": (
        "ambiguous arrow--left arrow--other arrow--right arrow--split-left-or-straight arrow--split-right-or-straight "
        "arrow--straight crosswalk-zebra give-way-row give-way-single hatched--chevron hatched--diagonal other-marking "
        "stop-line symbol--bicycle symbol--other text"
    ),
    "marking-only": "continuous--dashed discrete--crosswalk-zebra discrete--other-marking discrete--text",
    "nature": "mountain sand sky snow terrain vegetation water",
    "object": (
        "banner bench bike-rack catch-basin cctv-camera fire-hydrant junction-box mailbox manhole parking-meter "
        "phone-booth pothole sign--advertisement sign--ambiguous sign--back sign--information sign--other sign--store "
        "street-light support--pole support--pole-group support--traffic-sign-frame support--utility-pole traffic-cone "
        "traffic-light--general-single traffic-light--pedestrians traffic-light--general-upright "
        "traffic-light--general-horizontal traffic-light--cyclists traffic-light--other traffic-sign--ambiguous "
        "traffic-sign--back traffic-sign--direction-back traffic-sign--direction-front traffic-sign--front "
        "traffic-sign--information-parking traffic-sign--temporary-back traffic-sign--temporary-front trash-can"
    ),
    "object--vehicle": (
        "bicycle boat bus car caravan motorcycle on-rails other-vehicle trailer truck vehicle-group wheeled-slow"
    ),
    "object--": "water-valve",
    "void": "car-mount dynamic ego-vehicle ground static unlabeled",
}


def names_of(groups: dict[str, str]) -> list[str]:
    return [f"{group.removesuffix('--')}--{rest}" for group, parts in groups.items() for rest in parts.split()]


NAMES = {"1.2": names_of(GROUPS_1_2), "2.0": names_of(GROUPS_2_0)}

# visinf/self-adaptive, datasets/labels.py, and PintheMemory, datasets/mapillary.py: id in release 1.2 -> train id.
PUBLISHED_1_2 = {
    13: 0, 24: 0, 41: 0, 2: 1, 15: 1, 17: 2, 6: 3, 3: 4, 45: 5, 47: 5, 48: 6, 50: 7, 30: 8, 29: 9, 27: 10, 19: 11,
    20: 12, 21: 12, 22: 12, 55: 13, 61: 14, 54: 15, 58: 16, 57: 17, 52: 18,
}  # fmt: skip
# The same classes and what they were divided into, by the ids of release 2.0.
CHOSEN_2_0 = {
    21: 0, 74: 0, **dict.fromkeys((35, 36, 37, *range(39, 45), *range(46, 56), 57, 58), 0), 4: 1, 24: 1, 27: 2, 12: 3,
    5: 4, 85: 5, 88: 5, **dict.fromkeys(range(90, 96), 6), **dict.fromkeys((99, 100, 101, 103), 7), 64: 8, 63: 9,
    61: 10, 30: 11, 32: 12, 33: 12, 34: 12, 108: 13, 114: 14, 107: 15, 111: 16, 110: 17, 105: 18,
}  # fmt: skip
# Level 1 of IDD (drivable, non-drivable, living, vehicles, roadside, far, sky) by the ids of release 1.2.
LEVEL1_1_2 = {
    **dict.fromkeys((7, 8, 10, 11, 13, 14, 23, 24, 26, 36, 41, 43), 0), **dict.fromkeys((12, 15, 29, 31), 1),
    **dict.fromkeys((0, 1, 19, 20, 21, 22), 2), **dict.fromkeys((52, 54, 55, 56, 57, 58, 59, 60, 61, 62), 3),
    **dict.fromkeys((2, 3, 4, 5, 6, 9, 32, 33, 34, 35, 37, 38, 39, 40, 42, *range(44, 52)), 4),
    **dict.fromkeys((16, 17, 18, 30), 5), 25: 6, 27: 6,
}  # fmt: skip
FOLDERS = {"1.2": "v1.2/labels", "2.0": "v2.0/labels"}
CONFIGS = {"1.2": "config_v1.2.json", "2.0": "config_v2.0.json"}


def write_config(path: Path, names: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = [
        {"name": name, "readable": name, "instances": True, "evaluate": True, "color": [0, 0, 0]} for name in names
    ]
    path.write_text(json.dumps({"labels": labels, "version": "1.1", "mapping": "public", "folder_structure": ""}))


def write_frame(raw: Path, folder: str, ids: np.ndarray, split: str = "training", name: str = "0" * 22) -> None:
    """A frame as it is in the dataset: a JPEG, and a palette PNG of 8 bits."""
    label = Image.fromarray(ids)
    label.putpalette(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).tobytes())
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (*ids.shape, 3), dtype=np.uint8))
    for path, picture in ((f"images/{name}.jpg", image), (f"{folder}/{name}.png", label)):
        (raw / split / path).parent.mkdir(parents=True, exist_ok=True)
        picture.save(raw / split / path)


def every_id(release: str) -> np.ndarray:
    return np.resize(np.arange(len(NAMES[release]), dtype=np.uint8), (12, 20))


def mapped(ids: np.ndarray, table: dict[int, int]) -> np.ndarray:
    return np.vectorize(lambda raw_id: table.get(raw_id, 255))(ids)


def prepare(raw: Path, out: Path, space=CITYSCAPES_19, splits=("train",), entry=MAPILLARY, **options):
    return prepare_domains(entry, ("mapillary",), raw, out, space, splits, accept_difference=WHY, **options)[0].domain


@pytest.mark.parametrize(
    ("release", "folder", "config", "to_19"),
    [
        ("1.2", "v1.2/labels", "config_v1.2.json", PUBLISHED_1_2),
        ("1.2", "labels", "config.json", PUBLISHED_1_2),
        ("2.0", "v2.0/labels", "config_v2.0.json", CHOSEN_2_0),
    ],
)
def test_ids_mean_what_published_code_makes_of_them(tmp_path, release, folder, config, to_19):
    assert len(NAMES["1.2"]) == 66 and len(NAMES["2.0"]) == 124 and NAMES["2.0"][117] == "object--water-valve"
    write_config(tmp_path / config, NAMES[release])
    ids = every_id(release)
    write_frame(tmp_path, folder, ids)
    assert MAPILLARY.recognise(tmp_path, "mapillary").name == release
    sample = prepare(tmp_path, tmp_path / "out").read("train", 0)
    np.testing.assert_array_equal(sample.label, mapped(ids, to_19))
    with Image.open(tmp_path / f"training/images/{'0' * 22}.jpg") as image:
        np.testing.assert_array_equal(sample.image, np.asarray(image))
    kept = [c for c in range(19) if c not in (9, 14, 16)]
    to_16 = {raw_id: kept.index(c) for raw_id, c in to_19.items() if c in kept}
    sample = prepare(tmp_path, tmp_path / "out", SYNTHIA_16).read("train", 0)
    np.testing.assert_array_equal(sample.label, mapped(ids, to_16))


def test_the_first_level_of_idd(tmp_path):
    write_config(tmp_path / "config.json", NAMES["1.2"])
    ids = every_id("1.2")
    write_frame(tmp_path, "labels", ids)
    sample = prepare(tmp_path, tmp_path / "out", IDD_LEVEL1).read("train", 0)
    np.testing.assert_array_equal(sample.label, mapped(ids, LEVEL1_1_2))
    # What both releases call alike is the same class in both.
    first, second = (edition.table(IDD_LEVEL1).classes for edition in MAPILLARY.editions)
    assert all(first[name] == second[name] for name in first.keys() & second.keys())
    assert second["object--traffic-light--pedestrians"] == "roadside objects"
    assert second["human--person--person-group"] == IGNORED


def test_release_1_2_is_preferred_where_both_are_there(tmp_path):
    for release in ("1.2", "2.0"):
        write_config(tmp_path / CONFIGS[release], NAMES[release])
        write_frame(tmp_path, FOLDERS[release], every_id(release))
    assert MAPILLARY.recognise(tmp_path, "mapillary").name == "1.2"
    sample = prepare(tmp_path, tmp_path / "out", edition="2.0").read("train", 0)
    np.testing.assert_array_equal(sample.label, mapped(every_id("2.0"), CHOSEN_2_0))


@needs_stubs
def test_the_stub_of_a_frame_in_both_releases(tmp_path):
    """One frame with palette labels of both releases: building, street light and pole."""
    (name,) = [path.stem for path in (STUBS / "mmseg/pseudo_mapillary_dataset/images").iterdir()]
    for release in ("1.2", "2.0"):
        write_config(tmp_path / CONFIGS[release], NAMES[release])
        for source, target in ((f"v{release}/{name}.png", FOLDERS[release]), (f"images/{name}.jpg", "images")):
            (tmp_path / "validation" / target).mkdir(parents=True, exist_ok=True)
            shutil.copy(STUBS / "mmseg/pseudo_mapillary_dataset" / source, tmp_path / "validation" / target)
    labels = {}
    for release, expected in (("1.2", {17: 2, 45: 5}), ("2.0", {27: 2, 85: 5})):
        domain = prepare(tmp_path, tmp_path / release, splits=["val"], edition=release)
        assert domain.sample_ids("val") == [name]
        with Image.open(tmp_path / "validation" / FOLDERS[release] / f"{name}.png") as image:
            ids = np.asarray(image)
        labels[release] = domain.read("val", 0).label
        np.testing.assert_array_equal(labels[release], mapped(ids, expected))
    np.testing.assert_array_equal(labels["1.2"], labels["2.0"])


@needs_stubs
def test_the_stub_of_the_tree(tmp_path):
    """Its configuration lists three classes, one of which only release 2.0 has."""
    stub = STUBS / "datumaro/mapillary_vistas_dataset"
    for split, folder in (("training", "train"), ("validation", "val")):
        shutil.copytree(stub / folder, tmp_path / split)
    for config in CONFIGS.values():
        shutil.copy(stub / config, tmp_path)
    domain = prepare(tmp_path, tmp_path / "out", splits=None, edition="2.0")
    assert [domain.num_samples(split) for split in ("train", "val")] == [1, 2]
    for i, name in enumerate("01"):
        with Image.open(stub / f"val/v2.0/labels/{name}.png") as image:
            np.testing.assert_array_equal(domain.read("val", i).label, mapped(np.asarray(image), {2: 18}))
    with pytest.raises(ValueError, match=r"config_v1\.2\.json lists the classes construction--barrier--separator"):
        prepare(tmp_path, tmp_path / "out", SYNTHIA_16, edition="1.2")


def test_configurations_that_do_not_fit_are_refused(tmp_path):
    write_frame(tmp_path, "labels", every_id("1.2"))
    with pytest.raises(ValueError, match=r"has no config_v1\.2\.json or config\.json, which numbers the classes"):
        prepare(tmp_path, tmp_path / "out")
    write_config(tmp_path / "config.json", NAMES["2.0"])
    with pytest.raises(ValueError, match="which raydg's table for cityscapes19 does not know: is it another release"):
        prepare(tmp_path, tmp_path / "out")
    for content in ('{"labels": ["road"]}', "[]", "{"):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(ValueError, match=r"config\.json cannot be read .* it must be JSON with a list 'labels'"):
            prepare(tmp_path, tmp_path / "out")


def test_wrong_copies_are_refused(tmp_path):
    write_config(tmp_path / "config.json", NAMES["1.2"])
    write_frame(tmp_path, "labels", every_id("1.2"))
    with pytest.raises(ValueError, match=r"mapillary/train has 1 samples, expected 18,000"):
        prepare_domains(MAPILLARY, ("mapillary",), tmp_path, tmp_path / "out", CITYSCAPES_19, ["train"])
    uncounted = replace(
        MAPILLARY,
        editions=tuple(replace(each, contract=replace(each.contract, splits=())) for each in MAPILLARY.editions),
    )
    write_frame(tmp_path, "labels", np.resize(np.arange(19, dtype=np.uint8), (12, 20)))
    with pytest.raises(ValueError, match=r"no label has the raw ids 19, 24, 27.*look like train ids"):
        prepare_domains(uncounted, ("mapillary",), tmp_path, tmp_path / "out", CITYSCAPES_19, ["train"])


def test_parts_that_published_numbers_are_of():
    for edition in MAPILLARY.editions:
        assert [(subset.split, subset.first) for subset in edition.subsets] == [("val", 500), ("train", 2000)]
