"""A domain is prepared whole, the same every time, or not at all."""

import os
import pickle
import re
import runpy
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import CITYSCAPES, SIZES, as_it_comes, class_list, contents, image_path, label_path, prepare, save

from raydg.domains.contract import Band, Contract, ExpectedSplit
from raydg.domains.dataset import Dataset, Subset
from raydg.domains.decoding import RawImage
from raydg.domains.label_table import LabelTable
from raydg.domains.labels import CITYSCAPES_19, PACS_7
from raydg.shards import Encoding, PreparedDomain, draft, prepare_domains
from raydg.shards.encoding import jpeg
from raydg.shards.writing import ShardReport, ShardTask
from raydg.storage import Place

DATA = Path(__file__).parents[3] / "shared" / "data"

PACS = as_it_comes("pacs")

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
    first = prepare_domains(CITYSCAPES, ("cityscapes",), raw, out, CITYSCAPES_19)[0]
    shutil.rmtree(raw)
    again = prepare_domains(CITYSCAPES, ("cityscapes",), raw, out, CITYSCAPES_19, run_tasks=never)[0]
    assert first.written and not again.written and again.domain == first.domain


def test_what_was_prepared_otherwise_is_not_taken_for_the_same(raw, out):
    prepare(raw, out)
    before = contents(out)
    with pytest.raises(
        ValueError, match=r"prepared already, but with the splits train, val instead of val\..*--overwrite"
    ):
        prepare(raw, out, splits=["val"])
    (edition,) = CITYSCAPES.editions
    table = LabelTable(CITYSCAPES_19, {**edition.tables[0].classes, 22: "vegetation"})
    other = replace(CITYSCAPES, editions=(replace(edition, tables=(table,)),))
    with pytest.raises(ValueError, match="another label table"):
        prepare_domains(other, ("cityscapes",), raw, out, CITYSCAPES_19)
    assert contents(out) == before


def test_overwriting_shows_the_new_content_to_who_opens_anew(raw, out):
    domain = prepare(raw, out)
    assert domain.read("val", 0).image.any()
    save(image_path(raw, "val", 0), np.zeros((4, 7, 3), dtype=np.uint8))
    renewed = prepare_domains(CITYSCAPES, ("cityscapes",), raw, out, CITYSCAPES_19, overwrite=True)[0]
    assert renewed.written and not renewed.domain.read("val", 0).image.any()
    manifest = renewed.domain.manifest
    named = {shard.name for split in manifest.splits for shard in split.shards}
    assert set(os.listdir(domain.folder.path)) == {"manifest.json", manifest.index, *named}


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
    assert contents(out) == {}


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
    with pytest.raises(ValueError, match="no usable sample of split 'val'"):
        prepare(raw, out, skip_bad=2)
    assert not list(out.rglob("manifest.json"))


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
    save(out / "cityscapes19/cityscapes/figure.png", np.zeros((2, 2), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"is in the way, and no prepared domain \(it holds figure\.png\)"):
        prepare(raw, out, overwrite=True)
    with pytest.raises(ValueError, match="accept_difference is empty"):
        prepare(raw, out, accept_difference=" ")
    with pytest.raises(ValueError, match=r"no edition 'second': it has 'labelIds'"):
        prepare(raw, out, edition="second")


@pytest.mark.skipif(not DATA.exists(), reason="the real data is not here")
def test_labels_of_cityscapes_without_their_images_are_refused(out):
    with pytest.raises(ValueError, match=r"val/frankfurt/frankfurt_\d+_\d+_leftImg8bit\.png is missing"):
        prepare(DATA / "streets/cityscapes", out)
    assert contents(out) == {}


# Interrupted


def interrupted(function: Callable[[ShardTask], ShardReport], tasks: Sequence[ShardTask]) -> Iterator[ShardReport]:
    yield function(tasks[0])
    raise KeyboardInterrupt


def test_an_interrupted_preparation_goes_on_where_it_was(raw, out, monkeypatch):
    monkeypatch.setattr(draft, "SHARD_BYTES", 1)
    whole = prepare(raw, out / "whole")
    with pytest.raises(KeyboardInterrupt):
        prepare(raw, out / "parts", run_tasks=interrupted)
    with pytest.raises(ValueError, match="'cityscapes' is not prepared"):
        PreparedDomain.open(out / "parts", CITYSCAPES_19, "cityscapes")
    asked: list[str] = []

    def counted(function: Callable[[ShardTask], ShardReport], tasks: Sequence[ShardTask]) -> Iterator[ShardReport]:
        asked.extend(task.name for task in tasks)
        return map(function, tasks)

    again = prepare_domains(CITYSCAPES, ("cityscapes",), raw, out / "parts", CITYSCAPES_19, run_tasks=counted)[0]
    assert again.resumed == 1 and len(asked) == 3
    assert again.domain.manifest == whole.manifest
    assert contents(out / "parts") == contents(out / "whole")


def test_what_changed_since_an_interrupt_is_not_taken_up(raw, out):
    with pytest.raises(KeyboardInterrupt):
        prepare(raw, out, run_tasks=interrupted)
    save(image_path(raw, "train", 0), np.zeros((8, 12, 3), dtype=np.uint8))
    again = prepare_domains(CITYSCAPES, ("cityscapes",), raw, out, CITYSCAPES_19)[0]
    assert again.resumed == 0 and not again.domain.read("train", 0).image.any()
    assert len(list(out.rglob("train-*.parquet"))) == 1 and not list(out.rglob("*.report"))


def test_the_old_domain_is_there_until_the_new_one_is(raw, out):
    domain = prepare(raw, out)
    before = domain.manifest, domain.read("train", 0).image
    save(image_path(raw, "train", 0), np.zeros((8, 12, 3), dtype=np.uint8))
    with pytest.raises(KeyboardInterrupt):
        prepare(raw, out, overwrite=True, run_tasks=interrupted)
    old = PreparedDomain.open(out, CITYSCAPES_19, "cityscapes")
    assert old.manifest == before[0] and (old.read("train", 0).image == before[1]).all()


def test_a_shard_that_a_killed_process_was_writing_is_written_anew(raw, out):
    whole = prepare(raw, out / "whole")
    shard = whole.manifest.splits[0].shards[0].name
    folder = out / "parts/cityscapes19/cityscapes"
    folder.mkdir(parents=True)
    (folder / shard).write_bytes(b"half a sha")
    (folder / f"{shard}.abc.unfinished").write_bytes(b"half")
    os.utime(folder / f"{shard}.abc.unfinished", (0, 0))
    prepare(raw, out / "parts")
    assert contents(out / "parts") == contents(out / "whole")


def test_a_refused_overwrite_leaves_the_domain_as_it_was(raw, out):
    """Nothing of the raw data changed, so that only the generation tells the new files from the old."""
    truncate(raw)
    domain = prepare(raw, out, skip_bad=1)
    before = contents(out)
    with pytest.raises(ValueError, match="bad samples"):
        prepare(raw, out, overwrite=True)
    assert PreparedDomain.open(out, CITYSCAPES_19, "cityscapes").manifest == domain.manifest
    assert contents(out).items() >= before.items() and domain.read("train", 1).sample_id == "town/2"
    again = prepare_domains(CITYSCAPES, ("cityscapes",), raw, out, CITYSCAPES_19, skip_bad=1, overwrite=True)[0]
    assert again.domain.manifest.generation == 1 and again.domain.manifest.index_sha256 == domain.manifest.index_sha256
    assert len(contents(out)) == len(before)


def test_an_interrupted_overwrite_goes_on_too(raw, out):
    prepare(raw, out)
    with pytest.raises(KeyboardInterrupt):
        prepare(raw, out, overwrite=True, run_tasks=interrupted)
    assert prepare_domains(CITYSCAPES, ("cityscapes",), raw, out, CITYSCAPES_19, overwrite=True)[0].resumed == 1


def test_a_report_without_its_shard_is_not_believed(raw, out):
    with pytest.raises(KeyboardInterrupt):
        prepare(raw, out, run_tasks=interrupted)
    (shard,) = out.rglob("train-*.parquet")
    shard.unlink()
    again = prepare_domains(CITYSCAPES, ("cityscapes",), raw, out, CITYSCAPES_19)[0]
    assert again.resumed == 0 and again.domain.read("train", 0).image.any()


def test_a_domain_that_lost_a_shard_is_not_called_prepared(raw, out):
    prepare(raw, out)
    (shard,) = out.rglob("train-*.parquet")
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(
        ValueError, match=rf"1 of its shards are missing or cut short, such as {shard.name}.*--overwrite"
    ):
        prepare(raw, out)
    prepare(raw, out, overwrite=True)


def test_two_that_prepare_the_same_do_not_disturb_each_other(raw, out):
    def second_meanwhile(function: Callable, tasks: Sequence[ShardTask]) -> Iterator[ShardReport]:
        for number, task in enumerate(tasks):
            yield function(task)
            if number == 0:
                prepare(raw, out)

    first = prepare(raw, out, run_tasks=second_meanwhile)
    assert PreparedDomain.open(out, CITYSCAPES_19, "cityscapes").manifest == first.manifest
    for split in first.splits:
        for number in range(first.num_samples(split)):
            first.read(split, number)


def test_what_is_not_of_a_preparation_stays(raw, out):
    prepare(raw, out)
    folder = out / "cityscapes19/cityscapes"
    (folder / "notes.txt").write_text("mine")
    save(folder / "sub/image.png", np.zeros((2, 2), dtype=np.uint8))
    (folder / "sub/train.parquet").write_text("another domain's")
    prepare(raw, out, overwrite=True)
    assert (folder / "notes.txt").exists() and (folder / "sub/train.parquet").exists()


def test_a_disk_that_fails_stops_the_work_and_is_no_bad_sample(raw, out, monkeypatch):
    real = Place.read_bytes

    def fail(place: Place) -> bytes:
        if place.name == "1_leftImg8bit.png":
            raise OSError(5, "connection reset")
        return real(place)

    monkeypatch.setattr(Place, "read_bytes", fail)
    with pytest.raises(OSError, match="connection reset"):
        prepare(raw, out, skip_bad=3)
    monkeypatch.undo()
    assert prepare(raw, out).num_samples("train") == 3


def test_code_that_reads_otherwise_makes_other_shards(raw, out, tmp_path):
    (edition,) = CITYSCAPES.editions
    for version, value in (("old", 7), ("new", 23)):
        path = tmp_path / f"{version}.py"
        path.write_text(f"import numpy as np\n\ndef read(place):\n    return np.full((8, 12), {value}, np.uint8)\n")
    readers = [runpy.run_path(str(tmp_path / f"{version}.py"))["read"] for version in ("old", "new")]
    for split, number in (("train", 1), ("train", 2), ("val", 0)):
        save(image_path(raw, split, number), np.zeros((8, 12, 3), dtype=np.uint8))
    entries = [replace(CITYSCAPES, editions=(replace(edition, read_label=read),)) for read in readers]
    with pytest.raises(KeyboardInterrupt):
        prepare_domains(entries[0], ("cityscapes",), raw, out, CITYSCAPES_19, run_tasks=interrupted)
    again = prepare_domains(entries[1], ("cityscapes",), raw, out, CITYSCAPES_19)[0]
    assert again.resumed == 0 and (again.domain.read("train", 0).label == 10).all()


def test_reports_that_fail_to_come_are_noticed(raw, out):
    with pytest.raises(ValueError, match="reports came back for fewer than its 2 shards"):
        prepare(raw, out, run_tasks=lambda function, tasks: map(function, tasks[:1]))
    assert not list(out.rglob("manifest.json"))


# Differences from the contract


def contracted(**expectations: object) -> Dataset:
    """Cityscapes as the tests draw it, with a contract of its own."""
    sizes = ((12, 8), (6, 6), (5, 9), (7, 4))
    splits = tuple(
        ExpectedSplit(domain="cityscapes", split=split, samples=n, members="town/")
        for split, n in (("train", 3), ("val", 1))
    )
    contract = Contract(**{"edition": "test", "source": "test", "sizes": sizes, "splits": splits, **expectations})
    (edition,) = CITYSCAPES.editions
    return replace(CITYSCAPES, editions=(replace(edition, contract=contract),))


def test_a_copy_as_expected_has_no_differences(raw, out):
    domain = prepare_domains(contracted(), ("cityscapes",), raw, out, CITYSCAPES_19, accept_difference="unneeded")[
        0
    ].domain
    assert domain.manifest.contract == "test" and domain.manifest.differences == () and domain.manifest.accepted == ""


SPLIT = ExpectedSplit(domain="cityscapes", split="val", samples=1)


@pytest.mark.parametrize(
    ("expectations", "message"),
    [
        ({"splits": (replace(SPLIT, samples=500),)}, "cityscapes/val has 1 samples, expected 500"),
        ({"splits": (replace(SPLIT, members="lindau/"),)}, "1 samples that belong to another split, such as town/0"),
        ({"splits": (replace(SPLIT, ids_sha256="0" * 64),)}, r"as many samples as test, but not the same ones"),
        ({"sizes": ((2048, 1024),)}, "train: 3 images are 5 x 9, 6 x 6, 12 x 8 pixels; expected 2048 x 1024"),
        (
            {"sizes": (), "usual_size": (12, 8)},
            "train: most images should be 12 x 8 pixels, but 1 of 3 are; 1 are 12 x 8",
        ),
        ({"occurring": (255,)}, "train: no label has the raw ids 255; found are 0, 1, 2"),
        ({"bands": (Band("sky", 0.5, 0.9, "a guess"),)}, r"sky has .*, expected 50.0% to 90.0% .a guess."),
    ],
)
def test_a_copy_that_differs_is_refused_until_it_is_accepted(raw, out, expectations, message):
    entry = contracted(**expectations)
    with pytest.raises(ValueError, match=rf"(?s){message}.*--accept-difference"):
        prepare_domains(entry, ("cityscapes",), raw, out, CITYSCAPES_19)
    assert not list(out.rglob("manifest.json"))
    domain = prepare_domains(entry, ("cityscapes",), raw, out, CITYSCAPES_19, accept_difference="test data")[0].domain
    assert domain.manifest.accepted == "test data"
    assert any(re.search(message, difference) for difference in domain.manifest.differences)


def test_bands_are_of_the_default_classes_only(raw, out):
    entry = contracted(bands=(Band("road", 0.0, 1.0, "a guess"),))
    (edition,) = entry.editions
    coarse = edition.tables[-1].space
    domain = prepare_domains(entry, ("cityscapes",), raw, out, coarse)[0].domain
    assert "road" not in coarse.classes and domain.manifest.differences == ()
    strict = contracted(bands=(Band("road", 0.9, 1.0, "a guess"),))
    assert prepare_domains(strict, ("cityscapes",), raw, out / "strict", coarse)[0].domain.manifest.differences == ()


def test_accepting_what_was_only_seen_in_the_content_decodes_nothing_again(raw, out):
    entry = contracted(sizes=((2048, 1024),))
    with pytest.raises(ValueError, match="2048 x 1024"):
        prepare_domains(entry, ("cityscapes",), raw, out, CITYSCAPES_19)
    prepare_domains(entry, ("cityscapes",), raw, out, CITYSCAPES_19, accept_difference="small", run_tasks=never)


def test_what_ids_look_like_is_said(raw, out):
    for split, sizes in SIZES.items():
        for number, size in enumerate(sizes):
            save(label_path(raw, split, number), np.full(size, number, dtype=np.uint8))
    with pytest.raises(
        ValueError, match=r"no label has the raw ids 7, 26; found are 0, 1, 2\. These look like train ids"
    ):
        prepare_domains(contracted(occurring=(7, 26)), ("cityscapes",), raw, out, CITYSCAPES_19)
    save(label_path(raw, "train", 0), np.full(SIZES["train"][0], 255, dtype=np.uint8))
    with pytest.raises(ValueError, match=r"\[255\].*they look like train ids"):
        prepare(raw, out)
    for number, size in enumerate(SIZES["train"]):
        save(label_path(raw, "train", number), np.full(size, 8 + number, dtype=np.uint8))
    with pytest.raises(ValueError, match=r"no label has the raw ids 7; .* seem to be shifted by \+1"):
        prepare_domains(contracted(occurring=(7, 8, 9)), ("cityscapes",), raw, out, CITYSCAPES_19, splits=["train"])


def test_jpeg_labels_are_refused(raw, out):
    path = label_path(raw, "train", 0)
    path.write_bytes(jpeg(Image.fromarray(np.full(SIZES["train"][0], 7, dtype=np.uint8)), 90))
    with pytest.raises(ValueError, match=r"0_gtFine_labelIds\.png is a JPEG file: its compression changes class ids"):
        prepare(raw, out)


def too_small(image: RawImage, raw_ids: np.ndarray) -> str | None:
    return "too small" if image.size == (6, 6) else None


def test_what_the_dataset_itself_takes_out_is_listed_and_no_error(raw, out):
    (edition,) = CITYSCAPES.editions
    small = replace(edition, exclude=too_small)
    entry = replace(CITYSCAPES, editions=(small,))
    domain = prepare_domains(entry, ("cityscapes",), raw, out, CITYSCAPES_19)[0].domain
    (excluded,) = domain.manifest.excluded
    assert (excluded.sample_id, excluded.reason) == ("town/1", "too small")
    assert domain.sample_ids("train") == ["town/0", "town/2"] and domain.manifest.skipped == ()
    expected = ExpectedSplit(domain="cityscapes", split="train", samples=3, kept_elsewhere=1)
    contract = Contract(edition="test", source="somebody's list", splits=(expected,), most_excluded=0.4)
    entry = replace(CITYSCAPES, editions=(replace(small, contract=contract),))
    domain = prepare_domains(entry, ("cityscapes",), raw, out, CITYSCAPES_19, overwrite=True)[0].domain
    assert domain.manifest.differences == ()
    (remark,) = domain.manifest.remarks
    assert remark.endswith("took out 1 and left 2; others kept 1 (somebody's list)")
    entry = replace(CITYSCAPES, editions=(replace(small, contract=replace(contract, most_excluded=0.3)),))
    with pytest.raises(
        ValueError, match=r"takes out 1 of 3 samples, expected 30\.0% at most; 1 times because too small"
    ):
        prepare_domains(entry, ("cityscapes",), raw, out, CITYSCAPES_19, overwrite=True)


def test_a_named_part_of_a_split_is_read_like_a_split(raw, out):
    (edition,) = CITYSCAPES.editions
    entry = replace(CITYSCAPES, editions=(replace(edition, subsets=(Subset("train-first-2", "train", 2, "nobody"),)),))
    label_path(raw, "train", 1).unlink()  # missing or damaged, it is one of the first two
    domain = prepare_domains(entry, ("cityscapes",), raw, out, CITYSCAPES_19, skip_bad=1)[0].domain
    assert domain.splits == ("train", "val") and domain.parts == ("train", "val", "train-first-2")
    assert domain.sample_ids("train-first-2") == ["town/0"]
    assert (domain.read("train-first-2", 0).image == domain.read("train", 0).image).all()
    with pytest.raises(ValueError, match="it has 0 to 0"):
        domain.read("train-first-2", 1)


# Object stores


def test_an_object_store_holds_raw_and_prepared_alike(raw, out, s3, monkeypatch):
    monkeypatch.setattr(draft, "SHARD_BYTES", 1)
    store = Place.at(s3)
    for path in raw.rglob("*.png"):
        (store / "raw" / path.relative_to(raw).as_posix()).write_bytes(path.read_bytes())
    local = prepare(raw, out)
    with pytest.raises(KeyboardInterrupt):
        prepare(store / "raw", store / "data", run_tasks=interrupted)
    prepare(store / "raw", store / "data")
    remote = PreparedDomain.open(store / "data", CITYSCAPES_19, "cityscapes")
    assert remote.manifest.index_sha256 == local.manifest.index_sha256
    remote = pickle.loads(pickle.dumps(remote))
    for split in local.splits:
        for number in range(local.num_samples(split)):
            ours, theirs = remote.read(split, number), local.read(split, number)
            assert ours.sample_id == theirs.sample_id and (ours.image == theirs.image).all()
            assert np.array_equal(ours.label, theirs.label)
    assert not [name for name in (store / "data").files() if name.endswith("report")]


# Smaller images


def test_scaled_images_and_labels_stay_aligned_and_the_effect_is_stated(raw, out):
    domain = prepare(raw, out, encoding=Encoding(longest_side=6))
    assert domain.sizes("train").tolist() == [[4, 6], [6, 6], [6, 3]]
    whole = prepare(raw, out / "whole")
    for number, (height, width) in enumerate(domain.sizes("train").tolist()):
        small, large = domain.read("train", number), whole.read("train", number)
        assert small.image.shape == (height, width, 3) and small.label.shape == (height, width)
        image = Image.fromarray(large.image).resize((width, height), Image.Resampling.LANCZOS)
        assert (small.image == np.asarray(image)).all()
        assert set(np.unique(small.label)) <= set(np.unique(large.label))
        counts = [(small.label == c).sum() for c in range(19)]
        assert domain.class_counts("train")[number].tolist() == counts
    assert domain.manifest.splits[0].effect.scaled == 2 and domain.manifest.encoding == Encoding(longest_side=6)
    with pytest.raises(ValueError, match=r"prepared already, but stored as Encoding\(longest_side=6.*--overwrite"):
        prepare(raw, out)


def test_jpeg_costs_what_the_manifest_says(raw, out):
    domain = prepare(raw, out, encoding=Encoding(jpeg_quality=50))
    whole = prepare(raw, out / "whole")
    pairs = [(domain.read("train", i).image, whole.read("train", i).image) for i in range(3)]
    errors = np.concatenate([np.ravel(ours.astype(float) - theirs) for ours, theirs in pairs])
    effect = domain.manifest.splits[0].effect
    assert effect.psnr == pytest.approx(10 * np.log10(255**2 / np.mean(errors**2)))
    assert effect.raw_bytes == sum(image_path(raw, "train", i).stat().st_size for i in range(3))
    assert whole.manifest.splits[0].effect.psnr == float("inf")
    for wrong in ({"jpeg_quality": 0}, {"longest_side": 0}):
        with pytest.raises(ValueError, match="must be 1"):
            Encoding(**wrong)


def test_domains_before_a_bad_one_stay(tmp_path, out):
    names = {"train": [("dog/a.png", 1)], "crossval": [("dog/b.png", 1)]}
    for domain in ("photo", "sketch"):
        class_list(tmp_path / "raw", domain, names)
    class_list(tmp_path / "raw", "cartoon", names)
    (tmp_path / "raw/PACS/cartoon/dog/a.png").write_bytes(b"?")
    with pytest.raises(ValueError, match=r"pacs/cartoon has bad samples.*\n.*dog/a\.png holds no image"):
        domains = ["pacs/photo", "pacs/cartoon", "pacs/sketch"]
        prepare_domains(PACS, domains, tmp_path / "raw", out, PACS_7)
    assert os.listdir(out) == ["pacs7"] and os.listdir(out / "pacs7/pacs") == ["photo"]
    done = prepare_domains(PACS, ["pacs/photo", "pacs/sketch"], tmp_path / "raw", out, PACS_7)
    assert [(p.domain.name, p.written) for p in done] == [("pacs/photo", False), ("pacs/sketch", True)]
