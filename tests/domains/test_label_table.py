"""Raw ids become train ids pixel by pixel, and unknown ones are named."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from raydg.domains.decoding import BadSample
from raydg.domains.label_table import IGNORED, LabelTable
from raydg.domains.labels import CITYSCAPES_19, IGNORE, PACS_7

FEW = LabelTable(CITYSCAPES_19, {0: IGNORED, 3: "road", 7: "sky", 9: "road", 200: "bicycle"})
TRAIN_IDS = {0: IGNORE, 3: 0, 7: 10, 9: 0, 200: 18}


def test_mapping_equals_a_loop_over_pixels():
    raw_ids = np.random.default_rng(0).choice(np.array(list(TRAIN_IDS), dtype=np.uint8), (13, 17))
    train_ids, counts = FEW.map(raw_ids, Path("map.png"))
    assert train_ids.dtype == np.uint8 and train_ids.shape == raw_ids.shape
    seen = [0] * 19
    for row, column in itertools.product(range(13), range(17)):
        expected = TRAIN_IDS[int(raw_ids[row, column])]
        assert train_ids[row, column] == expected
        if expected != IGNORE:
            seen[expected] += 1
    assert counts.tolist() == seen


@pytest.mark.parametrize("raw_id", [1, 8, 199, 255, 256, 65_535])
def test_unknown_ids_are_named_with_their_file(raw_id):
    raw_ids = np.full((4, 4), 7, dtype=np.uint16)
    raw_ids[1, 2] = raw_id
    with pytest.raises(BadSample, match=rf"city/map\.png.*\[{raw_id}\].*cityscapes19; known are 0, 3, 7, 9, 200"):
        FEW.map(raw_ids, Path("city/map.png"))
    with pytest.raises(BadSample, match=rf"city/image\.png.*\[{raw_id}\]"):
        FEW.class_of(raw_id, Path("city/image.png"))


def test_one_id_is_mapped_as_a_pixel_is():
    assert {raw_id: FEW.class_of(raw_id, Path("x")) for raw_id in TRAIN_IDS} == TRAIN_IDS


def test_wide_ids_have_a_wide_table():
    table = LabelTable(CITYSCAPES_19, {7_000: "road", 0: IGNORED})
    train_ids, counts = table.map(np.array([[7_000, 0]], dtype=np.uint16), Path("map.png"))
    assert train_ids.tolist() == [[0, IGNORE]] and counts.sum() == 1
    with pytest.raises(BadSample, match=r"\[6999\]"):
        table.map(np.array([[6_999]], dtype=np.uint16), Path("map.png"))


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
