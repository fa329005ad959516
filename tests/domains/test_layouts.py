"""Samples are found where the layouts say, and what is wrong with a folder is said."""

from dataclasses import replace
from pathlib import Path

import pytest

from raydg.domains.catalogue import dataset
from raydg.domains.dataset import Edition, RawSample
from raydg.domains.layouts import ListedPairs, PairedFiles, SampleTable
from raydg.storage import Place


def edition(name: str) -> Edition:
    return dataset(name).editions[0]


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_pairs_run_over_folders_and_need_no_partner_to_be_listed(tmp_path):
    layout = PairedFiles("img/{split}/{id}_x.png", "lab/{split}/{id}_y.png", ("train", "val"))
    touch(tmp_path / "img/train/b/2_x.png", tmp_path / "img/train/b/2_x.txt", tmp_path / "img/val/c/3_x.png")
    touch(tmp_path / "lab/train/b/2_y.png", tmp_path / "lab/train/a/1_y.png")
    raw = Place.at(tmp_path)
    assert layout.samples(raw, "any", "train") == [
        RawSample("a/1", "train", raw / "img/train/a/1_x.png", raw / "lab/train/a/1_y.png"),
        RawSample("b/2", "train", raw / "img/train/b/2_x.png", raw / "lab/train/b/2_y.png"),
    ]
    assert [sample.sample_id for sample in layout.samples(raw, "any", "val")] == ["c/3"]


def test_linked_folders_are_followed_and_links_turned_text_are_noticed(tmp_path):
    touch(tmp_path / "elsewhere/1.png", tmp_path / "training/semantic/1.png")
    (tmp_path / "training/image_2").symlink_to(tmp_path / "elsewhere")
    (sample,) = edition("kitti").list_samples(tmp_path, "kitti")
    assert sample.image.is_file() and sample.split == "training"
    (tmp_path / "training/image_2").unlink()
    (tmp_path / "training/image_2").write_text("../elsewhere")
    with pytest.raises(ValueError, match="image_2 is a file, not a folder"):
        edition("kitti").list_samples(tmp_path, "kitti")


def test_street_world_has_a_tree_per_domain(tmp_path):
    entry = dataset("street")
    name = entry.domains[0].removeprefix("street/")
    touch(
        tmp_path / name / "leftImg8bit/train/t/1_leftImg8bit.png",
        tmp_path / name / "gtFine/train/t/1_gtFine_labelIds.png",
    )
    (sample,) = entry.editions[0].list_samples(tmp_path, entry.domains[0], ["train"])
    assert sample.image.is_file() and Path(str(sample.label)).is_file() and sample.sample_id == "t/1"


def test_only_the_end_of_listed_paths_counts(tmp_path):
    (tmp_path / "val.txt").write_text("/SegNet/CamVid/val/a.png /SegNet/CamVid/valannot/a.png\n\n")
    raw = Place.at(tmp_path)
    assert ListedPairs(("val",)).samples(raw, "camvid", "val") == [
        RawSample("a", "val", raw / "val/a.png", raw / "valannot/a.png")
    ]
    (tmp_path / "val.txt").write_text("val/a.png valannot/a.png\nval/b.png\n")
    with pytest.raises(ValueError, match=r"val\.txt, line 2, has 1 columns"):
        edition("camvid").list_samples(tmp_path, "camvid", ["val"])
    with pytest.raises(ValueError, match=r"list .*test\.txt is missing"):
        edition("camvid").list_samples(tmp_path, "camvid", ["test"])


def pacs_folder(raw: Path, images: str = "PACS") -> Path:
    """PACS with two photos of class 1 and their lists in `raw`/lists."""
    touch(raw / images / "photo/dog/1.jpg", raw / images / "photo/dog/2.jpg")
    (raw / "lists").mkdir()
    (raw / "lists/photo_train_kfold.txt").write_text("photo/dog/1.jpg 1\n")
    (raw / "lists/photo_crossval_kfold.txt").write_text("photo/dog/2.jpg 1\n")
    return raw


@pytest.mark.parametrize("images", ["PACS", "kfold", "."])
def test_pacs_is_found_wherever_its_archives_put_it(tmp_path, images):
    samples = edition("pacs").list_samples(pacs_folder(tmp_path, images), "pacs/photo")
    assert [(sample.sample_id, sample.split, sample.label) for sample in samples] == [
        ("dog/1.jpg", "train", 1),
        ("dog/2.jpg", "val", 1),
    ]
    assert all(sample.image.is_file() for sample in samples)


def test_of_several_folders_of_lists_the_one_that_fits_is_taken(tmp_path):
    raw = pacs_folder(tmp_path)
    (raw / "full").mkdir()
    for name in ("photo_train_kfold.txt", "photo_crossval_kfold.txt"):
        (raw / "full" / name).write_text((raw / "lists" / name).read_text() + f"photo/dog/{name}.jpg 1\n")
    assert len(edition("pacs").list_samples(raw, "pacs/photo")) == 2
    touch(*(raw / f"PACS/photo/dog/photo_{split}_kfold.txt.jpg" for split in ("train", "crossval")))
    with pytest.raises(
        ValueError, match=r"several folders of lists for photo.*full names 0 files.*lists names 0 files"
    ):
        edition("pacs").list_samples(raw, "pacs/photo")


def test_what_is_wrong_with_a_pacs_folder_is_said(tmp_path):
    raw = pacs_folder(tmp_path)
    with pytest.raises(ValueError, match=r"sketch.* must be the images' folder; found 0"):
        edition("pacs").list_samples(raw, "pacs/sketch")
    (raw / "lists/photo_train_kfold.txt").write_text("photo/dog/1.jpg dog\n")
    with pytest.raises(ValueError, match=r"photo_train_kfold\.txt has the label 'dog'"):
        edition("pacs").list_samples(raw, "pacs/photo")
    (raw / "lists/photo_train_kfold.txt").write_text("photo/dog/2.jpg 1\n")
    with pytest.raises(ValueError, match=r"1 images are listed more than once, first .*2\.jpg"):
        edition("pacs").list_samples(raw, "pacs/photo")
    (raw / "lists/photo_train_kfold.txt").unlink()
    with pytest.raises(ValueError, match=r"no folder of .* has the lists photo_train_kfold\.txt"):
        edition("pacs").list_samples(raw, "pacs/photo")


def test_list_samples_refuses_what_the_dataset_does_not_have(tmp_path):
    cityscapes = edition("cityscapes")
    for splits in (["test"], [], ["val", "val"]):
        with pytest.raises(ValueError, match=r"splits of labelIds are .*one or more of train, val"):
            cityscapes.list_samples(tmp_path, "cityscapes", splits)
    with pytest.raises(ValueError, match=r"no samples of split 'train'.*leftImg8bit/\{split\}"):
        cityscapes.list_samples(tmp_path, "cityscapes")
    with pytest.raises(ValueError, match="absent is no folder"):
        cityscapes.list_samples(tmp_path / "absent", "cityscapes")


TABLE = """image,label,split,domain,weather
img/b.jpg,ids/b.png,train,yard,rain
img/a.jpg,ids/a.png,train,yard,"sun, late"
img/c.jpg,3,val,yard,fog
img/d.jpg,ids/d.png,train,dock,fog
"""


def test_a_table_lists_what_is_ones_own(tmp_path):
    raw, layout = Place.at(tmp_path), SampleTable()
    (tmp_path / "samples.csv").write_text(TABLE)
    assert layout.samples(raw, "yard", "train") == [
        RawSample("img/a", "train", raw / "img/a.jpg", raw / "ids/a.png", (("weather", "sun, late"),)),
        RawSample("img/b", "train", raw / "img/b.jpg", raw / "ids/b.png", (("weather", "rain"),)),
    ]
    assert [sample.label for sample in layout.samples(raw, "yard", "val")] == [3]
    assert [sample.sample_id for sample in layout.samples(raw, "dock", "train")] == ["img/d"]


def test_two_samples_of_one_name_and_one_image_in_two_splits_are_refused(tmp_path):
    head, own = "image,label,split,weather\n", replace(edition("cityscapes"), layout=SampleTable())
    (tmp_path / "samples.csv").write_text(f"{head}a.jpg,a.png,train,sun\na.png,b.png,train,sun\n")
    with pytest.raises(ValueError, match="1 samples have a name that another has, such as train/a"):
        own.list_samples(tmp_path, "cityscapes", ["train"])
    (tmp_path / "samples.csv").write_text(f"{head}a.jpg,a.png,train,sun\na.jpg,a.png,val,rain\n")
    with pytest.raises(ValueError, match=r"1 images are listed more than once, first .*a\.jpg"):
        own.list_samples(tmp_path, "cityscapes")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (None, r"the table .*samples\.csv is missing\. Expected: a table samples\.csv with the columns image, label"),
        ("image,split\na,train\n", r"has the columns \['image', 'split'\]"),
        ("image,label,split\na.png,b.png,training\n", r"line 2: .*a split of train, val"),
        ("image,label,split\na.png,b.png\n", "line 2: it must have a value in every column"),
        ("image,label,split\na.png,b.png,val,more\n", "line 2: it must have a value in every column"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(tmp_path, table, message):
    if table is not None:
        (tmp_path / "samples.csv").write_text(table)
    with pytest.raises(ValueError, match=message):
        SampleTable().samples(Place.at(tmp_path), "yard", "train")
