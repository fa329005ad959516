"""IDD-Lite is labelled with the first level of IDD as it is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raydg.domains.catalogue import dataset
from raydg.domains.labels import IDD_LEVEL1
from raydg.shards import prepare_domains

IDD_LITE = dataset("idd_lite")
FRAMES = Path(__file__).parents[4] / "shared/data/streets/idd20k_lite"
needs_frames = pytest.mark.skipif(not FRAMES.exists(), reason="the real frames are not here")

# Some of each class, about as the real frames have it: sky, far objects, roadside objects, vehicles, road and the rest.
SHARES = ((6, 45), (5, 60), (4, 25), (3, 20), (2, 3), (1, 4), (255, 2), (0, 68))


def street(shares: tuple[tuple[int, int], ...] = SHARES) -> np.ndarray:
    """A label map of 227 x 320 with stripes: an id, and how many rows it has."""
    return np.repeat(np.array([raw_id for raw_id, _ in shares], np.uint8), [rows for _, rows in shares])[
        :, None
    ].repeat(320, axis=1)


def write(raw: Path, ids: np.ndarray, split: str = "train") -> None:
    image = np.random.default_rng(3).integers(0, 256, (*ids.shape, 3), dtype=np.uint8)
    for path, pixels in ((f"leftImg8bit/{split}/7/12_image.jpg", image), (f"gtFine/{split}/7/12_label.png", ids)):
        (raw / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(raw / path)


def uncounted():
    (edition,) = IDD_LITE.editions
    return replace(IDD_LITE, editions=(replace(edition, contract=replace(edition.contract, splits=())),))


def test_ids_are_the_classes(tmp_path):
    write(tmp_path, street())
    domain = prepare_domains(uncounted(), ("idd_lite",), tmp_path, tmp_path / "out", IDD_LEVEL1, ["train"])[0].domain
    np.testing.assert_array_equal(domain.read("train", 0).label, street())
    assert IDD_LEVEL1.classes[0] == "drivable" and IDD_LEVEL1.classes[6] == "sky"


@needs_frames
def test_the_real_frames_are_what_is_expected_but_for_their_number(tmp_path):
    domain = prepare_domains(uncounted(), ("idd_lite",), FRAMES, tmp_path / "out", IDD_LEVEL1, ["val"])[0].domain
    assert domain.num_samples("val") == 50
    for i, name in enumerate(domain.sample_ids("val")[:5]):
        with (
            Image.open(FRAMES / f"gtFine/val/{name}_label.png") as label,
            Image.open(FRAMES / f"leftImg8bit/val/{name}_image.jpg") as image,
        ):
            np.testing.assert_array_equal(domain.read("val", i).label, np.asarray(label))
            np.testing.assert_array_equal(domain.read("val", i).image, np.asarray(image))
    with pytest.raises(ValueError, match="idd_lite/val has 50 samples, expected 204"):
        prepare_domains(IDD_LITE, ("idd_lite",), FRAMES, tmp_path / "other", IDD_LEVEL1, ["val"])


def test_wrong_copies_are_refused(tmp_path):
    # Level 3 of IDD, made by createLabels by default, has ids up to 25.
    write(tmp_path, street(((0, 100), (22, 60), (25, 67))))
    with pytest.raises(ValueError, match=r"holds the label ids \[22, 25\]"):
        prepare_domains(uncounted(), ("idd_lite",), tmp_path, tmp_path / "out", IDD_LEVEL1, ["train"])
    # Classes in another order: sky and road have changed places with living things and the path.
    write(tmp_path, street(((2, 45), (5, 60), (4, 25), (3, 20), (6, 3), (0, 4), (255, 2), (1, 68))))
    with pytest.raises(
        ValueError, match=r"drivable has 1\.78% of what is labelled, expected 15\.0% to 50\.0% \(measured on 170"
    ):
        prepare_domains(uncounted(), ("idd_lite",), tmp_path, tmp_path / "out", IDD_LEVEL1, ["train"])
    write(tmp_path, np.ascontiguousarray(street()[::2, ::2]))
    with pytest.raises(ValueError, match="1 images are 160 x 114 pixels; expected 320 x 227"):
        prepare_domains(uncounted(), ("idd_lite",), tmp_path, tmp_path / "out", IDD_LEVEL1, ["train"])
