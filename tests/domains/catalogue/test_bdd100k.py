"""BDD100K: the 10k release and the older ones, with weather and time of day from the label files."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raydg.domains.catalogue.bdd100k import DATASET, attributes
from raydg.domains.catalogue.cityscapes import TRAIN_IDS_TO_19
from raydg.domains.decoding import read_ids
from raydg.domains.labels import CITYSCAPES_19, IDD_LEVEL1
from raydg.shards import prepare_domains
from raydg.storage import Place

STUBS = Path(__file__).parents[4] / "shared" / "data" / "streets" / "layout_stubs"
needs_stubs = pytest.mark.skipif(not STUBS.exists(), reason="the layout stubs are not here")

# Written down anew: class of IDD's first level of every train id, 0 to 18.
COARSE = [0, 1, 5, 4, 4, 4, 4, 4, 5, 1, 6, 2, 2, 3, 3, 3, 3, 3, 3]
NAMES = {"train": ("0004a4c0-d4dff0ad", "00054602-3bf57337"), "val": ("7d06fefd-f7be05a6",)}
TREES = {
    "10k": ("images/10k", "labels/sem_seg/masks", ""),
    "seg": ("seg/images", "seg/labels", "_train_id"),
    "images and labels": ("images", "labels", "_train_id"),
}


def ids_of(name: str) -> np.ndarray:
    ids = (np.arange(4)[:, None] * 3 + np.arange(40) + int(name[-1], 16)) % 20
    return np.where(ids == 19, 255, ids)


def write(raw: Path, images: str, labels: str, ending: str) -> Path:
    for split, names in NAMES.items():
        for name in names:
            image, label = raw / images / split / f"{name}.jpg", raw / labels / split / f"{name}{ending}.png"
            for path in (image, label):
                path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 4), (90, 80, 70)).save(image)
            Image.fromarray(ids_of(name).astype(np.uint8)).save(label)
    return raw


def prepare(raw: Path, out: Path, space=CITYSCAPES_19, **options):
    options = {"accept_difference": "a few small frames for a test", **options}
    return prepare_domains(DATASET, ("bdd100k",), raw, out, space, **options)[0].domain


@pytest.mark.parametrize("root", ["", "bdd100k/"])
@pytest.mark.parametrize("name", list(TREES))
def test_masks_become_classes_pixel_by_pixel(tmp_path, name, root):
    images, labels, ending = TREES[name]
    raw = write(tmp_path / "raw", root + images, root + labels, ending)
    assert DATASET.recognise(raw, "bdd100k").name == name
    for space, classes in ((CITYSCAPES_19, list(range(19))), (IDD_LEVEL1, COARSE)):
        expected = np.full(256, 255)
        expected[:19] = classes
        prepared = prepare(raw, tmp_path / "out", space)
        for split, names in NAMES.items():
            assert prepared.sample_ids(split) == list(names)
            assert prepared.attributes(split) == [{}] * len(names)
            for position, sample_id in enumerate(names):
                assert np.array_equal(prepared.read(split, position).label, expected[ids_of(sample_id)])


def frame(name: str, **attributes: str) -> dict:
    """A frame as in the label files of 2018."""
    box = {"x1": 1.5, "y1": 2.5, "x2": 3.5, "y2": 4.5}
    label = {"category": "car", "attributes": {"occluded": False}, "box2d": box, "id": 0}
    return {"name": f"{name}.jpg", "attributes": attributes, "timestamp": 10000, "labels": [label]}


def test_attributes_come_from_any_label_file_by_the_name_of_the_image(tmp_path):
    raw = write(tmp_path / "raw", *TREES["10k"])
    rainy = {"weather": "rainy", "scene": "city street", "timeofday": "dawn/dusk"}
    files = {
        "labels/bdd100k_labels_images_train.json": [
            frame("unrelated-é", weather="clear"),
            frame(NAMES["val"][0], **rainy),
        ],
        "labels/det_20/det_train.json": [frame(NAMES["train"][1], timeofday="night", hidden="no")],
    }
    for file, content in files.items():
        (raw / file).parent.mkdir(exist_ok=True)
        (raw / file).write_text(json.dumps(content, indent=4, ensure_ascii=False), encoding="utf-8")
    prepared = prepare(raw, tmp_path / "out")
    assert prepared.attributes("train") == [{}, {"timeofday": "night"}]
    assert prepared.attributes("val") == [rainy]


@pytest.mark.parametrize(
    "text", ["", "{}", '[{"name": "a.jpg"}', '[{"name": "a.jpg"}, {"na', '[{"x": 1}]', "[1, 2]", "\xff"]
)
def test_a_label_file_that_is_none_is_refused(tmp_path, text):
    (tmp_path / "labels.json").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"labels\.json is no list of frames"):
        attributes(Place.at(tmp_path / "labels.json"), 0)


def test_wrong_copies_are_refused(tmp_path):
    raw = write(tmp_path / "raw", *TREES["10k"])
    with pytest.raises(ValueError, match=r"(?s)bdd100k/train has 2 samples.*7,000.*bdd100k/val has 1 samples.*1,000"):
        prepare(raw, tmp_path / "out", accept_difference=None)
    mask = raw / f"labels/sem_seg/masks/val/{NAMES['val'][0]}.png"
    Image.fromarray(np.full((4, 40), 33, dtype=np.uint8)).save(mask)
    with pytest.raises(ValueError, match=rf"{mask.name} holds the label ids \[33\]"):
        prepare(raw, tmp_path / "out")


@needs_stubs
def test_the_stubs_of_the_10k_release_are_read(tmp_path):
    raw = STUBS / "mmseg" / "pseudo_bdd100k_dataset"
    prepared = prepare(raw, tmp_path / "out")
    assert [prepared.num_samples(split) for split in ("train", "val")] == [3, 3]
    for position, name in enumerate(prepared.sample_ids("train")):
        stored = np.asarray(Image.open(raw / f"labels/sem_seg/masks/train/{name}.png"))
        assert np.array_equal(prepared.read("train", position).label, stored)
    assert any("are 8 x 8 pixels; expected 1280 x 720" in each for each in prepared.manifest.differences)


@needs_stubs
def test_masks_and_labels_of_the_devkit_are_understood():
    cases = STUBS / "bdd100k_devkit" / "tests" / "label" / "testcases"
    table = TRAIN_IDS_TO_19
    for mask in (cases / "semseg_mask.png", cases / "to_rle/sem_seg/masks/0.png"):
        place = Place.at(mask)
        stored = np.asarray(Image.open(mask))
        assert stored.shape == (720, 1280)
        assert np.array_equal(table.map(read_ids(place), place)[0], stored)
    example = cases / "example_annotation.json"
    assert list(attributes(Place.at(example), 0)) == [each["name"] for each in json.loads(example.read_text())]
