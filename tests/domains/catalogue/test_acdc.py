"""ACDC: four conditions, each a domain whose weather is known, with both kinds of label files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raydg.domains.catalogue.acdc import DATASET
from raydg.domains.labels import CITYSCAPES_19
from raydg.shards import prepare_domains

# Written down anew: raw ids in the order of the train ids.
TRAIN_IDS = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
NAMES = {
    "train": ("GOPR0475/GOPR0475_frame_000041", "GP010476/GP010476_frame_000054"),
    "val": ("GOPR0476/GOPR0476_frame_000854",),
}
SAMPLES = {"fog": (400, 100), "night": (400, 106), "rain": (400, 100), "snow": (400, 100)}


def ids_of(name: str, condition: str) -> np.ndarray:
    return (np.arange(5)[:, None] * 7 + np.arange(40) + len(condition) + int(name[-2:])) % 34


def train_ids(raw_ids: np.ndarray) -> np.ndarray:
    expected = np.full(34, 255)
    expected[TRAIN_IDS] = range(19)
    return expected[raw_ids]


def write(raw: Path, suffix: str) -> Path:
    for condition in SAMPLES:
        for split, names in NAMES.items():
            for name in names:
                image = raw / f"rgb_anon/{condition}/{split}/{name}_rgb_anon.png"
                reference = raw / f"rgb_anon/{condition}/{split}_ref/{name}_rgb_ref_anon.png"
                label = raw / f"gt/{condition}/{split}/{name}_gt_{suffix}.png"
                for path in (image, reference, label):
                    path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (40, 5)).save(image)
                Image.new("RGB", (40, 5)).save(reference)
                ids = ids_of(name, condition)
                Image.fromarray((ids if suffix == "labelIds" else train_ids(ids)).astype(np.uint8)).save(label)
    return raw


@pytest.mark.parametrize("suffix", ["labelIds", "labelTrainIds"])
def test_every_condition_becomes_classes_pixel_by_pixel(tmp_path, suffix):
    raw = write(tmp_path / "raw", suffix)
    assert DATASET.domains == tuple(f"acdc/{condition}" for condition in SAMPLES)
    for condition in SAMPLES:
        domain = f"acdc/{condition}"
        assert DATASET.recognise(raw, domain).name == suffix
        options = {"accept_difference": "a few small frames for a test"}
        prepared = prepare_domains(DATASET, (domain,), raw, tmp_path / "out", CITYSCAPES_19, **options)[0].domain
        for split, names in NAMES.items():
            assert prepared.sample_ids(split) == list(names)
            assert prepared.attributes(split) == [{"weather": condition}] * len(names)
            for position, name in enumerate(names):
                assert np.array_equal(prepared.read(split, position).label, train_ids(ids_of(name, condition)))


def test_wrong_copies_are_refused(tmp_path):
    raw = write(tmp_path / "raw", "labelIds")
    for condition, (train, val) in SAMPLES.items():
        complaint = rf"(?s)acdc/{condition}/train has 2 samples.* {train} .*acdc/{condition}/val has 1 samples.* {val} "
        with pytest.raises(ValueError, match=complaint):
            prepare_domains(DATASET, (f"acdc/{condition}",), raw, tmp_path / "out", CITYSCAPES_19)
    (raw / f"gt/rain/val/{NAMES['val'][0]}_gt_labelIds.png").unlink()
    options = {"accept_difference": "a few small frames for a test", "edition": "labelIds"}
    with pytest.raises(ValueError, match=r"_gt_labelIds\.png is missing, the label map of .*_rgb_anon\.png"):
        prepare_domains(DATASET, ("acdc/rain",), raw, tmp_path / "out", CITYSCAPES_19, **options)
