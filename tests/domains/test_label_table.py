"""Raw ids become train ids pixel by pixel, and unknown ones are named."""

import itertools

import numpy as np
import pytest

from raydg.domains.decoding import BadSample
from raydg.domains.label_table import IGNORED, LabelTable, NameTable
from raydg.domains.labels import CITYSCAPES_19, IGNORE, PACS_7, SYNTHIA_13, SYNTHIA_16
from raydg.storage import Place

FEW = LabelTable(CITYSCAPES_19, {0: IGNORED, 3: "road", 7: "sky", 9: "road", 200: "bicycle"})
TRAIN_IDS = {0: IGNORE, 3: 0, 7: 10, 9: 0, 200: 18}


def test_mapping_equals_a_loop_over_pixels():
    raw_ids = np.random.default_rng(0).choice(np.array(list(TRAIN_IDS), dtype=np.uint8), (13, 17))
    train_ids, pixels = FEW.map(raw_ids, Place.at("map.png"))
    assert train_ids.dtype == np.uint8 and train_ids.shape == raw_ids.shape
    seen = [0] * 19
    for row, column in itertools.product(range(13), range(17)):
        expected = TRAIN_IDS[int(raw_ids[row, column])]
        assert train_ids[row, column] == expected
        if expected != IGNORE:
            seen[expected] += 1
    assert FEW.class_counts(pixels).tolist() == seen
    assert pixels == {raw_id: (raw_ids == raw_id).sum() for raw_id in TRAIN_IDS}


@pytest.mark.parametrize("raw_id", [1, 8, 199, 255, 256, 65_535])
def test_unknown_ids_are_named_with_their_file(raw_id):
    raw_ids = np.full((4, 4), 7, dtype=np.uint16)
    raw_ids[1, 2] = raw_id
    with pytest.raises(BadSample, match=rf"city/map\.png.*\[{raw_id}\].*cityscapes19; known are 0, 3, 7, 9, 200"):
        FEW.map(raw_ids, Place.at("city/map.png"))
    with pytest.raises(BadSample, match=rf"city/image\.png.*\[{raw_id}\]"):
        FEW.class_of(raw_id, Place.at("city/image.png"))


def test_one_id_is_mapped_as_a_pixel_is():
    assert {raw_id: FEW.class_of(raw_id, Place.at("x")) for raw_id in TRAIN_IDS} == TRAIN_IDS


def test_wide_ids_have_a_wide_table():
    table = LabelTable(CITYSCAPES_19, {7_000: "road", 0: IGNORED})
    train_ids, pixels = table.map(np.array([[7_000, 0]], dtype=np.uint16), Place.at("map.png"))
    assert train_ids.tolist() == [[0, IGNORE]] and pixels == {0: 1, 7_000: 1}
    with pytest.raises(BadSample, match=r"\[6999\]"):
        table.map(np.array([[6_999]], dtype=np.uint16), Place.at("map.png"))


def test_tables_refuse_what_has_no_meaning():
    with pytest.raises(ValueError, match=r"'street'.*legal are"):
        LabelTable(CITYSCAPES_19, {7: "street"})
    with pytest.raises(ValueError, match="'ignore'"):
        LabelTable(PACS_7, {0: IGNORED})
    with pytest.raises(ValueError, match="id 65536"):
        LabelTable(CITYSCAPES_19, {65_536: "road"})


def test_version_changes_with_the_table_alone():
    same = LabelTable(CITYSCAPES_19, dict(reversed(FEW.classes.items())))
    other = LabelTable(CITYSCAPES_19, {**FEW.classes, 0: "sky"})
    assert same.version == FEW.version != other.version


def test_classes_that_a_smaller_space_lacks_are_ignored_in_it():
    ids = LabelTable(CITYSCAPES_19, dict(enumerate(CITYSCAPES_19.classes)))
    for space, absent in ((SYNTHIA_16, {9, 14, 16}), (SYNTHIA_13, {3, 4, 5, 9, 14, 16})):
        table = ids.within(space)
        kept = [i for i in range(19) if i not in absent]
        assert [int(table.lookup[i]) for i in kept] == list(range(len(kept))) and space.num_classes == len(kept)
        assert all(table.lookup[i] == IGNORE for i in absent)
        assert [space.classes[j] for j in range(len(kept))] == [CITYSCAPES_19.classes[i] for i in kept]
        assert [space.palette[j] for j in range(len(kept))] == [CITYSCAPES_19.palette[i] for i in kept]


def test_names_are_numbered_as_a_copy_numbers_them():
    names = NameTable(CITYSCAPES_19, {"street": "road", "air": "sky", "void": IGNORED})
    table = names.numbered({0: "void", 1: "air", 5: "street"}, Place.at("config.json"))
    assert table.classes == {0: IGNORED, 1: "sky", 5: "road"}
    assert names.numbered({3: "air"}, Place.at("config.json")).classes == {3: "sky"}
    with pytest.raises(ValueError, match=r"config\.json lists the classes water, which raydg's table"):
        names.numbered({0: "void", 1: "water"}, Place.at("config.json"))
    with pytest.raises(ValueError, match=r"'air' becomes 'heaven'; legal are"):
        NameTable(CITYSCAPES_19, {"air": "heaven"})
    assert names.version != NameTable(CITYSCAPES_19, {**names.classes, "void": "sky"}).version


def test_what_strange_ids_look_like_is_said():
    full = LabelTable(CITYSCAPES_19, {**dict.fromkeys(range(34), IGNORED), 7: "road"})
    with pytest.raises(BadSample, match=r"\[255\].*they look like train ids"):
        full.map(np.array([[0, 18, 255]], dtype=np.uint8), Place.at("map.png"))
    from_1 = LabelTable(PACS_7, dict(enumerate(PACS_7.classes, start=1)))
    with pytest.raises(BadSample, match="the dataset numbers its classes from 1, this list from 0"):
        from_1.class_of(0, Place.at("dog.jpg"))
