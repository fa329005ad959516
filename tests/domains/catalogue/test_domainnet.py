"""DomainNet with its official lists, and with those of DMG."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raydg.domains.catalogue.domainnet import DATASET, DMG, DOMAINNET_345, OFFICIAL
from raydg.domains.layouts import DrawnSplit
from raydg.shards import prepare_domains

# From the list of validation images that DMG's authors publish.
LISTED = {
    "airplane": 1, "ambulance": 3, "angel": 4, "anvil": 7, "baseball_bat": 17, "basket": 18, "basketball": 19,
    "bathtub": 21, "broccoli": 43, "camouflage": 56, "cello": 66, "coffee_cup": 75, "diving_board": 90,
    "eyeglasses": 107, "fire_hydrant": 113, "fireplace": 114, "firetruck": 115, "hot_tub": 151, "hourglass": 152,
    "lighthouse": 171, "map": 179, "paintbrush": 205, "paint_can": 206, "pickup_truck": 220, "police_car": 227,
    "roller_coaster": 245, "rollerskates": 246, "sea_turtle": 255, "see_saw": 256, "sword": 299, "syringe": 300,
    "table": 301, "teapot": 302, "teddy-bear": 303, "tent": 307, "The_Eiffel_Tower": 308,
    "The_Great_Wall_of_China": 309, "The_Mona_Lisa": 310, "tiger": 311, "trumpet": 326, "t-shirt": 327,
    "umbrella": 328, "yoga": 342, "zebra": 343, "zigzag": 344,
}  # fmt: skip

USED = ("airplane", "sea_turtle", "The_Eiffel_Tower", "zigzag")
LISTS = {"official": ("train", "test"), "DMG": ("train", "val", "test")}


def copy_of(raw: Path, domain: str, lists: tuple[str, ...], folder: str = ".", shift: int = 0) -> dict[str, list[str]]:
    """Images of four classes, ten in each list, in the order of a list."""
    named, number = {}, 0
    ending = "png" if domain == "quickdraw" else "jpg"
    (raw / folder).mkdir(parents=True, exist_ok=True)
    for name in lists:
        named[name] = []
        for class_name in [USED[i % 4] for i in range(10)]:
            number += 1
            file = f"{domain}/{class_name}/{domain}_{LISTED[class_name] + 1:03}_{number:06}.{ending}"
            (raw / file).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (6, 5), (number, 7 * number, 255 - number)).save(raw / file)
            named[name].append(file)
        entries = [f"{file} {LISTED[file.split('/')[1]] + shift}\n" for file in named[name]]
        (raw / folder / f"{domain}_{name}.txt").write_text("".join(entries))
    return named


@pytest.mark.parametrize(("domain", "folder"), [("clipart", "."), ("quickdraw", "splits"), ("real", "real")])
@pytest.mark.parametrize("edition", LISTS)
def test_images_and_classes_are_those_of_the_lists(tmp_path, domain, folder, edition):
    raw = tmp_path / "raw"
    named = copy_of(raw, domain, LISTS[edition], folder)
    assert DATASET.recognise(raw, f"domainnet/{domain}") is {"official": OFFICIAL, "DMG": DMG}[edition]
    prepared = prepare_domains(
        DATASET, (f"domainnet/{domain}",), raw, tmp_path / "out", DOMAINNET_345, accept_difference="drawn for a test"
    )[0].domain
    found = {split: list(prepared.sample_ids(split)) for split in ("train", "val", "test")}
    expected = {name: [file.removeprefix(f"{domain}/") for file in files] for name, files in named.items()}
    if edition == "DMG":
        assert found == expected
    else:
        assert len(found["train"]) == 9 and len(found["val"]) == 1 and found["test"] == expected["test"]
        assert sorted(found["train"] + found["val"]) == sorted(expected["train"])
    for split, sample_ids in found.items():
        for position, sample_id in enumerate(sample_ids):
            sample = prepared.read(split, position)
            assert sample.label == LISTED[sample_id.split("/")[0]]
            assert np.array_equal(sample.image, np.asarray(Image.open(raw / domain / sample_id)))


def test_ids_are_those_of_the_lists():
    assert len(DOMAINNET_345.classes) == 345
    assert {name: DOMAINNET_345.classes.index(name) for name in LISTED} == LISTED


def test_drawn_split_has_the_sizes_of_dmg():
    drawn = DrawnSplit(train_percent=90)
    names = [f"{number:06}" for number in range(1005)]
    train, val = (drawn.part("clipart", split, names) for split in ("train", "val"))
    assert (len(train), len(val)) == (904, 101) and train | val == set(names)
    assert drawn.part("clipart", "val", reversed(names)) == val != drawn.part("sketch", "val", names)
    assert DrawnSplit(train_percent=90, seed=1).part("clipart", "val", names) != val
    # The official train lists, and what DMG has of them.
    sizes = {"clipart": (33525, 30172), "infograph": (36023, 32420), "painting": (50416, 45374),
             "quickdraw": (120750, 108675), "real": (120906, 108815), "sketch": (48212, 43390)}  # fmt: skip
    for edition in (OFFICIAL, DMG):
        for domain, (listed, of_dmg) in sizes.items():
            assert edition.contract is not None
            expected = edition.contract.expected(f"domainnet/{domain}", "train")
            assert expected is not None and expected.samples == of_dmg == listed * 90 // 100


def test_lists_that_do_not_fit_their_folders_are_refused(tmp_path):
    copy_of(tmp_path, "clipart", LISTS["official"], shift=1)
    with pytest.raises(ValueError, match=r"clipart_train\.txt gives 'clipart/airplane/.*' the id 2: .* has the id 1"):
        OFFICIAL.list_samples(tmp_path, "domainnet/clipart")
    copy_of(tmp_path, "sketch", ("train",))
    with pytest.raises(ValueError, match=r"has the lists sketch_train\.txt, sketch_test\.txt"):
        OFFICIAL.list_samples(tmp_path, "domainnet/sketch")
    copy_of(tmp_path, "real", LISTS["official"])
    (tmp_path / "real_test.txt").write_text("real/lion/real_175_000001.jpg 174\nreal/lioness/1.jpg 174\n")
    with pytest.raises(ValueError, match=r"'lioness' is the folder of no class"):
        OFFICIAL.list_samples(tmp_path, "domainnet/real")


def test_incomplete_copies_and_exchanged_lists_are_refused(tmp_path):
    raw = tmp_path / "raw"
    copy_of(raw, "painting", LISTS["official"])
    with pytest.raises(ValueError, match=r"domainnet/painting/train has 9 samples, expected 45,374"):
        prepare_domains(DATASET, ("domainnet/painting",), raw, tmp_path / "out", DOMAINNET_345)
    (raw / "painting_test.txt").write_text((raw / "painting_train.txt").read_text())
    with pytest.raises(ValueError, match="images are listed more than once"):
        prepare_domains(DATASET, ("domainnet/painting",), raw, tmp_path / "out", DOMAINNET_345)
