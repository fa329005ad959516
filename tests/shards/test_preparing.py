"""A domain is prepared whole, the same every time, or not at all."""

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import CITYSCAPES, class_list, contents, image_path, label_path, prepare, save

from raydg.domains.catalogue import dataset
from raydg.domains.label_table import LabelTable
from raydg.domains.labels import CITYSCAPES_19, PACS_7
from raydg.shards import draft, prepare_domain, prepare_domains
from raydg.shards.writing import ShardReport, ShardTask

DATA = Path(__file__).parents[3] / "shared" / "data"

# The same every time


def test_same_input_same_bytes_in_whatever_order_shards_are_written(raw, out, monkeypatch):
    monkeypatch.setattr(draft, "SHARD_BYTES", 1)

    def backwards(function: Callable[[ShardTask], ShardReport], tasks: Sequence[ShardTask]) -> Iterator[ShardReport]:
        reports = [function(task) for task in reversed(tasks)]
        return reversed(reports)

    prepare(raw, out / "first")
    prepare(raw, out / "second", run_tasks=backwards)
    prepare(raw, out / "third", splits=["val", "train"])
    assert contents(out / "first") == contents(out / "second") == contents(out / "third")


def never(function: Callable, tasks: Iterable) -> Iterator:
    raise AssertionError("nothing was to be written")


def test_preparing_again_changes_nothing_and_says_so(raw, out):
    first = prepare_domain(CITYSCAPES, "cityscapes", raw, out, CITYSCAPES_19)
    shutil.rmtree(raw)
    again = prepare_domain(CITYSCAPES, "cityscapes", raw, out, CITYSCAPES_19, run_tasks=never)
    assert first.written and not again.written and again.domain == first.domain


def test_what_was_prepared_otherwise_is_not_taken_for_the_same(raw, out):
    prepare(raw, out)
    before = contents(out)
    with pytest.raises(
        ValueError, match=r"prepared already, but with the splits train, val instead of val\..*--overwrite"
    ):
        prepare(raw, out, splits=["val"])
    table = LabelTable(CITYSCAPES_19, {**CITYSCAPES.tables[0].classes, 22: "vegetation"})
    with pytest.raises(ValueError, match="another label table"):
        prepare_domain(replace(CITYSCAPES, tables=(table,)), "cityscapes", raw, out, CITYSCAPES_19)
    assert contents(out) == before


def test_overwriting_shows_the_new_content_to_who_opens_anew(raw, out):
    domain = prepare(raw, out)
    assert domain.read("val", 0).image.any()
    save(image_path(raw, "val", 0), np.zeros((4, 7, 3), dtype=np.uint8))
    renewed = prepare_domain(CITYSCAPES, "cityscapes", raw, out, CITYSCAPES_19, overwrite=True)
    assert renewed.written and not renewed.domain.read("val", 0).image.any()
    assert set(contents(out)) == {f"cityscapes19/cityscapes/{name}" for name in os.listdir(domain.folder)}


# Bad input


def truncate(raw: Path) -> None:
    path = image_path(raw, "train", 1)
    path.write_bytes(path.read_bytes()[:-30])


def resize(raw: Path) -> None:
    save(label_path(raw, "train", 1), np.full((4, 9), 7, dtype=np.uint8))


def invent(raw: Path) -> None:
    save(label_path(raw, "train", 1), np.full((6, 6), 77, dtype=np.uint8))


BAD = [
    (truncate, r"1_leftImg8bit\.png cannot be decoded"),
    (resize, r"1_gtFine_labelIds\.png is 9 x 4 pixels, but its image .*1_leftImg8bit\.png 6 x 6"),
    (invent, r"1_gtFine_labelIds\.png holds the label ids \[77\]"),
    (lambda raw: label_path(raw, "train", 1).unlink(), r"1_gtFine_labelIds\.png is missing, the label map of"),
    (lambda raw: image_path(raw, "train", 1).unlink(), r"1_leftImg8bit\.png is missing, the image of"),
    (lambda raw: label_path(raw, "train", 1).write_bytes(b"?"), r"1_gtFine_labelIds\.png holds no image"),
]


@pytest.mark.parametrize(("spoil", "message"), BAD)
def test_a_bad_sample_stops_it_and_leaves_nothing(raw, out, spoil, message):
    spoil(raw)
    with pytest.raises(ValueError, match=message):
        prepare(raw, out)
    assert contents(out) == {} and not (out / "cityscapes19").exists()


@pytest.mark.parametrize(("spoil", "message"), BAD)
def test_tolerated_bad_samples_are_left_out_and_listed(raw, out, spoil, message):
    spoil(raw)
    domain = prepare(raw, out, skip_bad=1)
    (skipped,) = domain.manifest.skipped
    assert (skipped.sample_id, skipped.split) == ("town/1", "train")
    assert re.search(message, skipped.reason)
    assert domain.sample_ids("train") == ["town/0", "town/2"] and domain.read("train", 1).sample_id == "town/2"
    with pytest.raises(ValueError, match="without 1 bad samples, where 0 are tolerated now"):
        prepare(raw, out)


def test_more_bad_samples_than_tolerated_are_all_named(raw, out, monkeypatch):
    monkeypatch.setattr(draft, "SHARD_BYTES", 1)
    truncate(raw)
    label_path(raw, "val", 0).unlink()
    with pytest.raises(ValueError, match=r"(?s)1 are tolerated \(--skip-bad 1\).*val/town/0: .*train/town/1: "):
        prepare(raw, out, skip_bad=1)
    assert contents(out) == {}
    with pytest.raises(ValueError, match="no usable sample of split 'val'"):
        prepare(raw, out, skip_bad=2)
    assert contents(out) == {}


def test_splits_that_are_not_asked_for_may_be_bad(raw, out):
    truncate(raw)
    domain = prepare(raw, out, splits=["val"])
    assert domain.splits == ("val",)
    with pytest.raises(ValueError, match="no prepared split 'train': it has val"):
        domain.num_samples("train")


def test_an_empty_domain_is_refused(raw, out):
    shutil.rmtree(raw / "leftImg8bit/val")
    shutil.rmtree(raw / "gtFine/val")
    with pytest.raises(ValueError, match=r"cityscapes has no samples of split 'val' in .*raw"):
        prepare(raw, out)
    assert not out.exists()


def test_wrong_requests_are_refused(raw, out):
    with pytest.raises(ValueError, match="skip_bad is -1"):
        prepare(raw, out, skip_bad=-1)
    for domains in ([], ["cityscapes", "cityscapes"], ["kitti"]):
        with pytest.raises(ValueError, match=r"domains of cityscapes are .*one or more of cityscapes, each once"):
            prepare_domains(CITYSCAPES, domains, raw, out, CITYSCAPES_19)
    (out / "cityscapes19/cityscapes/thesis").mkdir(parents=True)
    with pytest.raises(ValueError, match="is in the way, and no prepared domain"):
        prepare(raw, out, overwrite=True)


@pytest.mark.skipif(not DATA.exists(), reason="the real data is not here")
def test_labels_of_cityscapes_without_their_images_are_refused(out):
    with pytest.raises(ValueError, match=r"val/frankfurt/frankfurt_\d+_\d+_leftImg8bit\.png is missing"):
        prepare(DATA / "streets/cityscapes", out)
    assert not out.exists()


# Interrupted


def test_an_interrupt_leaves_the_old_domain_and_nothing_else(raw, out):
    def interrupted(function: Callable[[ShardTask], ShardReport], tasks: Sequence[ShardTask]) -> Iterator[ShardReport]:
        yield function(tasks[0])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(raw, out, run_tasks=interrupted)
    assert contents(out) == {}
    prepare(raw, out)
    before = contents(out)
    with pytest.raises(KeyboardInterrupt):
        prepare(raw, out, overwrite=True, run_tasks=interrupted)
    assert contents(out) == before


def test_what_runs_the_tasks_is_closed_before_their_folder_goes(raw, out):
    folder_was_there = []

    def watched(function: Callable[[ShardTask], ShardReport], tasks: Sequence[ShardTask]) -> Iterator[ShardReport]:
        try:
            yield from map(function, tasks)
        finally:
            folder_was_there.append(tasks[0].path.parent.exists())

    truncate(raw)
    with pytest.raises(ValueError, match="bad samples"):
        prepare(raw, out, run_tasks=watched)
    assert folder_was_there == [True]


def test_reports_that_fail_to_come_are_noticed(raw, out):
    with pytest.raises(ValueError, match="shorter"):
        prepare(raw, out, run_tasks=lambda function, tasks: map(function, tasks[:1]))
    assert contents(out) == {}


def test_what_a_killed_process_left_is_cleared_away(raw, out):
    killed = out / ".preparing-cityscapes19-cityscapes.abc/new"
    killed.mkdir(parents=True)
    (out / ".preparing-cityscapes19-other.abc").mkdir()
    prepare(raw, out)
    assert sorted(os.listdir(out)) == [".preparing-cityscapes19-other.abc", "cityscapes19"]


def test_domains_before_a_bad_one_stay(tmp_path, out):
    names = {"train": [("dog/a.png", 1)], "crossval": [("dog/b.png", 1)]}
    for domain in ("photo", "sketch"):
        class_list(tmp_path / "raw", domain, names)
    class_list(tmp_path / "raw", "cartoon", {"train": [("dog/a.png", 0)], "crossval": [("dog/b.png", 1)]})
    with pytest.raises(ValueError, match=r"pacs/cartoon has bad samples.*\n.*dog/a\.png.*\[0\]"):
        domains = ["pacs/photo", "pacs/cartoon", "pacs/sketch"]
        prepare_domains(dataset("pacs"), domains, tmp_path / "raw", out, PACS_7)
    assert os.listdir(out) == ["pacs7"] and os.listdir(out / "pacs7/pacs") == ["photo"]
    done = prepare_domains(dataset("pacs"), ["pacs/photo", "pacs/sketch"], tmp_path / "raw", out, PACS_7)
    assert [(p.domain.name, p.written) for p in done] == [("pacs/photo", False), ("pacs/sketch", True)]
