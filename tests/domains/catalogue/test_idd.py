"""IDD's label maps, in Cityscapes' ids or painted from polygons, mean what its own table says."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raydg.domains.catalogue import dataset
from raydg.domains.catalogue.idd import read_polygons
from raydg.domains.decoding import BadSample
from raydg.domains.labels import CITYSCAPES_19, IDD_LEVEL1, SYNTHIA_13, SYNTHIA_16
from raydg.shards import PreparedDomain, prepare_domains
from raydg.storage import Place

IDD = dataset("idd")
WHY = "a few frames that the test drew"
SIZE = (24, 40)
"""Height and width."""

# AutoNUE/public-code, helpers/anue_labels.py, written down anew: name -> (csTrainId, level1Id).
ANUE = {
    "road": (0, 0), "parking": (255, 0), "drivable fallback": (255, 0), "sidewalk": (1, 1), "rail track": (255, 1),
    "non-drivable fallback": (9, 1), "person": (11, 2), "animal": (255, 2), "rider": (12, 2), "motorcycle": (17, 3),
    "bicycle": (18, 3), "autorickshaw": (255, 3), "car": (13, 3), "truck": (14, 3), "bus": (15, 3),
    "caravan": (255, 3), "trailer": (255, 3), "train": (16, 3), "vehicle fallback": (255, 3), "curb": (255, 4),
    "wall": (3, 4), "fence": (4, 4), "guard rail": (255, 4), "billboard": (255, 4), "traffic sign": (7, 4),
    "traffic light": (6, 4), "pole": (5, 4), "polegroup": (255, 4), "obs-str-bar-fallback": (255, 4),
    "building": (2, 5), "bridge": (255, 5), "tunnel": (255, 5), "vegetation": (8, 5), "sky": (10, 6),
    "fallback background": (255, 6), "unlabeled": (255, 255), "ego vehicle": (255, 255),
    "rectification border": (255, 255), "out of roi": (255, 255), "license plate": (255, 255),
}  # fmt: skip
LEVEL1_OF_TRAIN_IDS = {0: 0, 1: 1, 2: 5, 3: 4, 4: 4, 5: 4, 6: 4, 7: 4, 8: 5, 9: 1, 10: 6, 11: 2, 12: 2} | {
    train_id: 3 for train_id in range(13, 19)
}
# Cityscapes ids of the 19 classes, and level 1 of every id that createLabels writes (static, 4, is ambiguous).
CITYSCAPES_IDS = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
LEVEL1_OF_CITYSCAPES_IDS = {
    6: 0, 7: 0, 9: 0, 8: 1, 10: 1, 22: 1, 24: 2, 25: 2, 11: 5, 15: 5, 16: 5, 21: 5, 23: 6,
    **dict.fromkeys(range(26, 34), 3), **dict.fromkeys((12, 13, 14, 17, 18, 19, 20), 4),
}  # fmt: skip


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8))


def save(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def frame(root: Path, sample_id: str, ending: str, ids: np.ndarray, split: str = "train", image: str = "png") -> None:
    save(root / f"leftImg8bit/{split}/{sample_id}_leftImg8bit.{image}", noise(len(sample_id)))
    save(root / f"gtFine/{split}/{sample_id}_gtFine_{ending}.png", Image.fromarray(ids))


def all_of(values: list[int]) -> np.ndarray:
    """A label map that holds every one of `values`."""
    return np.resize(np.array(values, dtype=np.uint8), SIZE)


def mapped(ids: np.ndarray, table: dict[int, int]) -> np.ndarray:
    expected = np.full(ids.shape, 255)
    for raw_id, train_id in table.items():
        expected[ids == raw_id] = train_id
    return expected


def prepare(raw: Path, out: Path, space, splits=("train",), entry=IDD, **options) -> PreparedDomain:
    return prepare_domains(entry, ("idd",), raw, out, space, splits, accept_difference=WHY, **options)[0].domain


def without_counts(entry):
    return replace(
        entry,
        editions=tuple(replace(each, contract=replace(each.contract, splits=())) for each in entry.editions),
    )


@pytest.mark.parametrize(
    ("ending", "values", "to_19", "to_level1"),
    [
        ("labelcsTrainIds", [*range(19), 255], {c: c for c in range(19)}, LEVEL1_OF_TRAIN_IDS),
        (
            "labelcsIds",
            [0, 1, 2, 3, 4, *range(6, 34), 255],
            {raw_id: c for c, raw_id in enumerate(CITYSCAPES_IDS)},
            LEVEL1_OF_CITYSCAPES_IDS,
        ),
    ],
)
def test_label_maps_in_cityscapes_ids(tmp_path, ending, values, to_19, to_level1):
    ids = all_of(values)
    frame(tmp_path / "raw", "seq/frame0029", ending, ids)
    assert IDD.recognise(tmp_path / "raw", "idd").name.endswith(ending.removeprefix("label"))
    kept_16 = [c for c in range(19) if c not in (9, 14, 16)]
    kept_13 = [c for c in kept_16 if c not in (3, 4, 5)]
    for space, kept in ((CITYSCAPES_19, range(19)), (SYNTHIA_16, kept_16), (SYNTHIA_13, kept_13)):
        sample = prepare(tmp_path / "raw", tmp_path / "out", space).read("train", 0)
        places = {c: i for i, c in enumerate(kept)}
        np.testing.assert_array_equal(
            sample.label, mapped(ids, {raw_id: places[c] for raw_id, c in to_19.items() if c in places})
        )
    sample = prepare(tmp_path / "raw", tmp_path / "out", IDD_LEVEL1).read("train", 0)
    np.testing.assert_array_equal(sample.label, mapped(ids, to_level1))
    np.testing.assert_array_equal(sample.image, np.asarray(noise(len("seq/frame0029"))))


def rectangle(left: int, top: int, right: int, bottom: int) -> list[list[float]]:
    """Corners, all of them inside."""
    return [[left, top], [right, top], [right, float(bottom)], [left, bottom]]


def write_polygons(path: Path, objects: list[dict], size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"imgHeight": size[0], "imgWidth": size[1], "objects": objects}))


def test_polygons_are_painted_in_their_order(tmp_path):
    """All 40 classes side by side, then one over others, a deleted one, a group, and one without points."""
    labels = np.full(SIZE, "unlabeled", dtype=object)
    objects = []
    for column, name in enumerate(ANUE):
        objects.append({"label": name, "polygon": rectangle(column, 2, column, 20), "deleted": 0, "id": column})
        labels[2:21, column] = name
    objects += [
        {"label": "sky", "polygon": rectangle(3, 4, 30, 7), "deleted": False},
        {"label": "cargroup", "polygon": rectangle(5, 6, 9, 12)},
        {"label": "road", "polygon": rectangle(0, 0, 39, 23), "deleted": 1},
        {"label": "ground", "polygon": rectangle(0, 0, 39, 23), "deleted": 1},
        {"label": "pole", "polygon": [], "deleted": 0},
    ]
    labels[4:8, 3:31] = "sky"
    labels[6:13, 5:10] = "car"
    save(tmp_path / "raw/leftImg8bit/val/7/1_leftImg8bit.png", noise(1))
    write_polygons(tmp_path / "raw/gtFine/val/7/1_gtFine_polygons.json", objects)
    assert IDD.recognise(tmp_path / "raw", "idd").name == "IDD part I, polygons"
    for space, column in ((CITYSCAPES_19, 0), (IDD_LEVEL1, 1)):
        sample = prepare(tmp_path / "raw", tmp_path / "out", space, ["val"]).read("val", 0)
        expected = np.vectorize(lambda name, column=column: ANUE[name][column])(labels)
        np.testing.assert_array_equal(sample.label, expected)


def test_copies_with_part_ii_are_told_by_their_jpegs(tmp_path):
    ids = all_of([*range(19), 255])
    frame(tmp_path / "IDD_Segmentation", "0/1", "labelcsTrainIds", ids)
    assert IDD.recognise(tmp_path, "idd").name == "IDD part I, csTrainIds"
    frame(tmp_path / "idd20kII", "283/frame2890", "labelcsTrainIds", ids, image="jpg")
    edition = IDD.recognise(tmp_path, "idd")
    assert edition.name == "IDD parts I and II, csTrainIds"
    assert [sample.sample_id for sample in edition.list_samples(tmp_path, "idd", ["train"])] == ["0/1", "283/frame2890"]
    domain = prepare(tmp_path, tmp_path / "out", CITYSCAPES_19)
    with Image.open(tmp_path / "idd20kII/leftImg8bit/train/283/frame2890_leftImg8bit.jpg") as image:
        np.testing.assert_array_equal(domain.read("train", 1).image, np.asarray(image))
    with pytest.raises(ValueError, match=r"train has 2 samples, expected 14,027"):
        prepare_domains(IDD, ("idd",), tmp_path, tmp_path / "other", CITYSCAPES_19, ["train"])
    frame(tmp_path, "0/1", "labelcsTrainIds", ids)
    with pytest.raises(ValueError, match="are both there for one sample"):
        edition.list_samples(tmp_path, "idd", ["train"])


def test_train_ids_under_the_name_of_ids_are_refused(tmp_path):
    frame(tmp_path, "0/1", "labelcsIds", all_of([*range(19), 255]))
    with pytest.raises(ValueError, match=r"no label has the raw ids 21, 23.*look like train ids"):
        prepare_domains(without_counts(IDD), ("idd",), tmp_path, tmp_path / "out", CITYSCAPES_19, ["train"])
    frame(tmp_path / "other", "0/1", "labelcsTrainIds", all_of([7, 11, 21, 26]))
    with pytest.raises(ValueError, match=r"holds the label ids \[21, 26\]"):
        prepare(tmp_path / "other", tmp_path / "out", CITYSCAPES_19)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"imgHeight": 4, "imgWidth": 4, "objects": [{"label": "tree", "polygon": []}]}',
            "polygon of 'tree', which is no",
        ),
        ('{"imgHeight": 4, "objects": []}', "cannot be read as polygons .*imgWidth"),
        ('{"imgHeight": 4, "imgWidth": 4, "objects": [{"label": "sky", "polygon": [[1], [2]]}]}', "cannot be read as"),
        ("[]", "cannot be read as polygons"),
        ("{", "cannot be read as polygons .*it must be JSON"),
        (None, "is missing"),
    ],
)
def test_polygons_that_cannot_be_understood_are_refused(tmp_path, content, message):
    path = tmp_path / "1_gtFine_polygons.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BadSample, match=message):
        read_polygons(Place.at(path))


def test_polygons_for_another_size_are_refused(tmp_path):
    save(tmp_path / "leftImg8bit/train/7/1_leftImg8bit.png", noise(1))
    write_polygons(tmp_path / "gtFine/train/7/1_gtFine_polygons.json", [], (12, 20))
    with pytest.raises(ValueError, match=r"polygons\.json is 20 x 12 pixels, but its image .* 40 x 24"):
        prepare(tmp_path, tmp_path / "out", CITYSCAPES_19)
