"""Samples are found where the layouts say, and what is wrong with a folder is said."""

from pathlib import Path

import pytest

from raydg.domains.catalogue import dataset
from raydg.domains.dataset import RawSample
from raydg.domains.layouts import ListedPairs, PairedFiles


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_pairs_run_over_folders_and_need_no_partner_to_be_listed(tmp_path):
    layout = PairedFiles("img/{split}/{id}_x.png", "lab/{split}/{id}_y.png", ("train", "val"))
    touch(tmp_path / "img/train/b/2_x.png", tmp_path / "img/train/b/2_x.txt", tmp_path / "img/val/c/3_x.png")
    touch(tmp_path / "lab/train/b/2_y.png", tmp_path / "lab/train/a/1_y.png")
    assert layout.samples(tmp_path, "any", "train") == [
        RawSample("a/1", "train", tmp_path / "img/train/a/1_x.png", tmp_path / "lab/train/a/1_y.png"),
        RawSample("b/2", "train", tmp_path / "img/train/b/2_x.png", tmp_path / "lab/train/b/2_y.png"),
    ]
    assert [sample.sample_id for sample in layout.samples(tmp_path, "any", "val")] == ["c/3"]


def test_linked_folders_are_followed_and_links_turned_text_are_noticed(tmp_path):
    touch(tmp_path / "elsewhere/1.png", tmp_path / "training/semantic/1.png")
    (tmp_path / "training/image_2").symlink_to(tmp_path / "elsewhere")
    (sample,) = dataset("kitti").list_samples(tmp_path, "kitti")
    assert sample.image.is_file() and sample.split == "training"
    (tmp_path / "training/image_2").unlink()
    (tmp_path / "training/image_2").write_text("../elsewhere")
    with pytest.raises(ValueError, match="image_2 is a file, not a folder"):
        dataset("kitti").list_samples(tmp_path, "kitti")


def test_street_world_has_a_tree_per_domain(tmp_path):
    entry = dataset("street")
    name = entry.domains[0].removeprefix("street/")
    touch(
        tmp_path / name / "leftImg8bit/train/t/1_leftImg8bit.png",
        tmp_path / name / "gtFine/train/t/1_gtFine_labelIds.png",
    )
    (sample,) = entry.list_samples(tmp_path, entry.domains[0], ["train"])
    assert sample.image.is_file() and Path(str(sample.label)).is_file() and sample.sample_id == "t/1"


def test_only_the_end_of_listed_paths_counts(tmp_path):
    (tmp_path / "val.txt").write_text("/SegNet/CamVid/val/a.png /SegNet/CamVid/valannot/a.png\n\n")
    assert ListedPairs(("val",)).samples(tmp_path, "camvid", "val") == [
        RawSample("a", "val", tmp_path / "val/a.png", tmp_path / "valannot/a.png")
    ]
    (tmp_path / "val.txt").write_text("val/a.png valannot/a.png\nval/b.png\n")
    with pytest.raises(ValueError, match=r"val\.txt, line 2, has 1 columns"):
        dataset("camvid").list_samples(tmp_path, "camvid", ["val"])
    with pytest.raises(ValueError, match=r"list .*test\.txt is missing"):
        dataset("camvid").list_samples(tmp_path, "camvid", ["test"])


def pacs_folder(raw: Path, images: str = "PACS") -> Path:
    """PACS with two photos of class 1 and their lists in `raw`/lists."""
    touch(raw / images / "photo/dog/1.jpg", raw / images / "photo/dog/2.jpg")
    (raw / "lists").mkdir()
    (raw / "lists/photo_train_kfold.txt").write_text("photo/dog/1.jpg 1\n")
    (raw / "lists/photo_crossval_kfold.txt").write_text("photo/dog/2.jpg 1\n")
    return raw


@pytest.mark.parametrize("images", ["PACS", "kfold", "."])
def test_pacs_is_found_wherever_its_archives_put_it(tmp_path, images):
    samples = dataset("pacs").list_samples(pacs_folder(tmp_path, images), "pacs/photo")
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
    assert len(dataset("pacs").list_samples(raw, "pacs/photo")) == 2
    touch(*(raw / f"PACS/photo/dog/photo_{split}_kfold.txt.jpg" for split in ("train", "crossval")))
    with pytest.raises(
        ValueError, match=r"several folders of lists for photo.*full names 0 files.*lists names 0 files"
    ):
        dataset("pacs").list_samples(raw, "pacs/photo")


def test_what_is_wrong_with_a_pacs_folder_is_said(tmp_path):
    raw = pacs_folder(tmp_path)
    with pytest.raises(ValueError, match=r"sketch.* must be the images' folder; found 0"):
        dataset("pacs").list_samples(raw, "pacs/sketch")
    (raw / "lists/photo_train_kfold.txt").write_text("photo/dog/1.jpg dog\n")
    with pytest.raises(ValueError, match=r"photo_train_kfold\.txt has the label 'dog'"):
        dataset("pacs").list_samples(raw, "pacs/photo")
    (raw / "lists/photo_train_kfold.txt").write_text("photo/dog/2.jpg 1\n")
    with pytest.raises(ValueError, match=r"1 images are listed more than once, first .*2\.jpg"):
        dataset("pacs").list_samples(raw, "pacs/photo")
    (raw / "lists/photo_train_kfold.txt").unlink()
    with pytest.raises(ValueError, match=r"no folder of .* has the lists photo_train_kfold\.txt"):
        dataset("pacs").list_samples(raw, "pacs/photo")


def test_list_samples_refuses_what_the_dataset_does_not_have(tmp_path):
    entry = dataset("cityscapes")
    with pytest.raises(ValueError, match="no domain 'cityscapes/aachen': it has cityscapes"):
        entry.list_samples(tmp_path, "cityscapes/aachen")
    for splits in (["test"], [], ["val", "val"]):
        with pytest.raises(ValueError, match=r"splits of cityscapes are .*one or more of train, val"):
            entry.list_samples(tmp_path, "cityscapes", splits)
    with pytest.raises(ValueError, match=r"no samples of split 'train'.*leftImg8bit/\{split\}"):
        entry.list_samples(tmp_path, "cityscapes")
    with pytest.raises(ValueError, match="absent is no folder"):
        entry.list_samples(tmp_path / "absent", "cityscapes")
