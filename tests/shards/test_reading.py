"""Prepared domains hold what the raw ones hold, and say so when they no longer do."""

import hashlib
import io
import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tiny import CITYSCAPES, SIZES, as_it_comes, class_list, image_path, label_path, prepare

from raydg.domains.labels import CITYSCAPES_19, IDD_LEVEL1, IGNORE, PACS_7
from raydg.shards import PreparedDomain, draft, prepare_domains
from raydg.shards.writing import ShardWriter, shard_schema
from raydg.storage import Place
from raydg.values import encode

TRAIN_IDS = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
DATA = Path(__file__).parents[3] / "shared" / "data"


# What is read is what was there


def test_every_sample_comes_back_with_its_labels_mapped(raw, out):
    domain = prepare(raw, out)
    assert domain.name == "cityscapes" and domain.label_space == CITYSCAPES_19 and domain.splits == ("train", "val")
    for split, sizes in SIZES.items():
        assert domain.num_samples(split) == len(sizes)
        assert domain.sizes(split).tolist() == [list(size) for size in sizes]
        assert domain.sample_ids(split) == [f"town/{number}" for number in range(len(sizes))]
        for number in range(len(sizes)):
            sample = domain.read(split, number)
            raw_ids = np.asarray(Image.open(label_path(raw, split, number)))
            expected = [[TRAIN_IDS.index(i) if i in TRAIN_IDS else IGNORE for i in row] for row in raw_ids.tolist()]
            assert sample.sample_id == f"town/{number}"
            assert (sample.image == np.asarray(Image.open(image_path(raw, split, number)))).all()
            assert isinstance(sample.label, np.ndarray) and sample.label.tolist() == expected
            assert sample.image.dtype == sample.label.dtype == np.uint8
            assert sample.image.flags.writeable and sample.label.flags.writeable
            pixels = [sum(row.count(c) for row in expected) for c in range(19)]
            assert domain.class_counts(split)[number].tolist() == pixels
            assert domain.present(split)[number].tolist() == [count > 0 for count in pixels]


def test_class_ids_come_back_as_numbers(tmp_path, out):
    lists = {"train": [("dog/a.png", 1), ("person/b.png", 7)], "crossval": [("dog/c.png", 1)], "test": []}
    class_list(tmp_path / "raw", "photo", lists)
    domain = prepare_domains(as_it_comes("pacs"), ("pacs/photo",), tmp_path / "raw", out, PACS_7)[0].domain
    assert [domain.read("train", i).label for i in range(2)] == [0, 6] == domain.labels("train").tolist()
    assert all(type(domain.read("train", i).label) is int for i in range(2))
    assert domain.present("train").tolist() == [[True] + [False] * 6, [False] * 6 + [True]]
    assert domain.present("val").tolist() == [[True] + [False] * 6]
    assert (domain.read("train", 1).image == 20).all()
    train = domain.manifest.splits[0]
    assert train.class_samples == train.class_counts == (1, 0, 0, 0, 0, 0, 1) and train.ignored_pixels == 0
    assert train.frequencies == (0.5, 0, 0, 0, 0, 0, 0.5)


def test_manifest_adds_up(raw, out):
    domain = prepare(raw, out)
    manifest = domain.manifest
    assert manifest.num_samples == 4 and manifest.dataset == "cityscapes" and manifest.licence.commercial_use == "no"
    for split in manifest.splits:
        labels = [domain.read(split.name, i).label for i in range(split.num_samples)]
        flat = np.concatenate([np.ravel(label) for label in labels])
        assert split.class_counts == tuple((flat == c).sum() for c in range(19))
        assert split.class_samples == tuple(sum(bool((label == c).any()) for label in labels) for c in range(19))
        assert split.ignored_pixels == (flat == IGNORE).sum()
        assert split.frequencies == pytest.approx(np.array(split.class_counts) / (flat != IGNORE).sum())
        for shard in split.shards:
            assert (domain.folder / shard.name).info().size == shard.num_bytes
    assert json.loads((domain.folder / "manifest.json").read_text())["label_space"] == encode(CITYSCAPES_19)
    assert PreparedDomain.open(out, CITYSCAPES_19, "cityscapes").manifest == manifest


def test_rows_carry_a_hash_of_image_and_labels(raw, out):
    domain = prepare(raw, out)
    rows = pq.read_table((domain.folder / domain.manifest.splits[0].shards[0].name).path).to_pylist()
    assert len(rows) == 3
    for number, row in enumerate(rows):
        label = np.asarray(Image.open(io.BytesIO(row["label"])))
        assert row["image"] == image_path(raw, "train", number).read_bytes()
        assert row["sha256"] == hashlib.sha256(row["image"] + label.tobytes()).hexdigest()
        assert (row["domain"], row["split"], row["sample_id"]) == ("cityscapes", "train", f"town/{number}")
        assert (row["height"], row["width"]) == label.shape == SIZES["train"][number]
    assert pq.read_table((domain.folder / domain.manifest.index).path)["sha256"].to_pylist()[:3] == [
        row["sha256"] for row in rows
    ]


def test_one_raw_dataset_serves_several_label_spaces(raw, out):
    fine = prepare(raw, out)
    coarse = prepare_domains(CITYSCAPES, ("cityscapes",), raw, out, IDD_LEVEL1)[0].domain
    fine_label, coarse_label = fine.read("val", 0).label, coarse.read("val", 0).label
    assert coarse.folder != fine.folder and coarse_label.max() <= IGNORE
    assert (coarse_label[fine_label == 10] == 6).all() and (coarse_label[fine_label == 0] == 0).all()


@pytest.mark.skipif(not DATA.exists(), reason="the real data is not here")
def test_real_kitti_survives_the_trip(tmp_path, out):
    (tmp_path / "raw/training").mkdir(parents=True)
    (tmp_path / "raw/training/image_2").symlink_to(DATA / "streets/kitti/data_semantics/training/image_2")
    (tmp_path / "raw/training/semantic").symlink_to(DATA / "streets/kitti/data_semantics_aligned/training/semantic")
    domain = prepare_domains(as_it_comes("kitti"), ("kitti",), tmp_path / "raw", out, CITYSCAPES_19)[0].domain
    assert domain.num_samples("training") == 5
    sample = domain.read("training", 3)
    raw_ids = np.asarray(Image.open(tmp_path / "raw/training/semantic" / f"{sample.sample_id}.png"))
    for train_id, raw_id in enumerate(TRAIN_IDS):
        assert ((sample.label == train_id) == (raw_ids == raw_id)).all()
    image = Image.open(tmp_path / "raw/training/image_2" / f"{sample.sample_id}.png")
    assert (sample.image == np.asarray(image)).all()


# Shards and row groups


def test_rows_are_where_the_writer_says(tmp_path):
    lengths = [60, 60, 10, 120, 5, 5]
    row = {"domain": "d", "split": "s", "label": 1, "height": 1, "width": 1, "attributes": [], "sha256": ""}
    with ShardWriter(Place.at(tmp_path / "shard.parquet"), shard_schema(PACS_7), group_bytes=100) as writer:
        places = [writer.add(row | {"sample_id": str(i), "image": bytes(n)}) for i, n in enumerate(lengths)]
    file = pq.ParquetFile(tmp_path / "shard.parquet")
    assert places == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
    for i, (row_group, position) in enumerate(places):
        assert file.read_row_group(row_group)["sample_id"][position].as_py() == str(i)


def test_every_sample_is_found_across_shards(raw, out, monkeypatch):
    whole = prepare(raw, out / "whole")
    monkeypatch.setattr(draft, "SHARD_BYTES", 1)
    pieces = prepare(raw, out / "pieces")
    assert [len(split.shards) for split in pieces.manifest.splits] == [3, 1]
    for split in pieces.splits:
        for number in range(pieces.num_samples(split)):
            ours, reference = pieces.read(split, number), whole.read(split, number)
            assert ours.sample_id == reference.sample_id
            assert (ours.image == reference.image).all() and np.array_equal(ours.label, reference.label)


def test_a_domain_travels_without_its_handles(raw, out):
    domain = prepare(raw, out)
    sample = domain.read("train", 2)
    pickled = pickle.dumps(domain)
    assert len(pickled) < 20_000
    again = pickle.loads(pickled)
    assert again == domain and np.array_equal(again.read("train", 2).label, sample.label)


# Damaged, or not what was asked for


def test_opening_what_is_not_prepared_says_what_is(raw, out):
    prepare(raw, out)
    with pytest.raises(ValueError, match=r"'kitti' is not prepared.*cityscapes19/cityscapes.*raydg prepare kitti"):
        PreparedDomain.open(out, CITYSCAPES_19, "kitti")
    with pytest.raises(ValueError, match=r"'street/noon'.*no domains.*raydg prepare street FOLDER"):
        PreparedDomain.open(out / "elsewhere", CITYSCAPES_19, "street/noon")
    others = replace(CITYSCAPES_19, classes=("lane", *CITYSCAPES_19.classes[1:]))
    with pytest.raises(ValueError, match=r"manifest\.json.*other classes"):
        PreparedDomain.open(out, others, "cityscapes")


def test_positions_and_splits_that_are_not_there_are_refused(raw, out):
    domain = prepare(raw, out)
    for position in (-1, 3):
        with pytest.raises(ValueError, match=rf"train has no sample {position}: it has 0 to 2"):
            domain.read("train", position)
    with pytest.raises(ValueError, match="no prepared split 'test': it has train, val"):
        domain.read("test", 0)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-50])


def other_samples(path: Path) -> None:
    shutil.copy(next(path.parent.glob("val-*.parquet")), path)


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink, other_samples])
@pytest.mark.parametrize("kind", ["train", "index"])
def test_damaged_files_are_named(raw, out, kind, damage):
    (path,) = Path(prepare(raw, out).folder.path).glob(f"{kind}-*.parquet")
    damage(path)
    with pytest.raises(ValueError, match=rf"{path.name} cannot be used: .*--overwrite"):
        PreparedDomain.open(out, CITYSCAPES_19, "cityscapes").read("train", 2)


def test_shards_that_changed_places_are_noticed(raw, out, monkeypatch):
    monkeypatch.setattr(draft, "SHARD_BYTES", 1)
    domain = prepare(raw, out)
    first, second, _ = sorted(Path(domain.folder.path).glob("train-*.parquet"))
    shutil.copy(second, first)
    with pytest.raises(ValueError, match=rf"{first.name} cannot be used: it does not hold the samples"):
        domain.read("train", 0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"format": 2', '"format": 0', "it has format 0, this raydg reads format 2"),
        ('"row_group_bytes": ', '"row_group_bits": ', "'row_group_bits'; perhaps you meant 'row_group_bytes'"),
        ('"num_samples": 3', '"num_samples": "3"', "num_samples is '3'"),
        ("}", "", "Expecting"),
    ],
)
def test_manifests_are_checked_field_by_field(raw, out, old, new, message):
    path = Path((prepare(raw, out).folder / "manifest.json").path)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=rf"manifest\.json cannot be used: .*{message}.*--overwrite"):
        PreparedDomain.open(out, CITYSCAPES_19, "cityscapes")


def test_schema_of_labels_follows_the_task():
    assert shard_schema(CITYSCAPES_19).field("label").type == pa.binary()
    assert shard_schema(PACS_7).field("label").type == pa.uint16()
