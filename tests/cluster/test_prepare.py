"""Preparing on a cluster gives what preparing in one process gives, and fails with the same words."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from raydg.cluster import prepare as cluster_prepare
from raydg.domains.catalogue import dataset
from raydg.shards import Encoding, prepare_domains
from raydg.storage import Place

NAMES = ("photo", "painting", "cartoon", "sketch")
DOMAINS = tuple(f"objects/{name}" for name in NAMES)
OBJECTS = dataset("objects")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """The object world's layout, with pictures of noise: three to train on and one to validate on in each domain."""
    raw = tmp_path / "raw"
    (raw / "splits").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name in NAMES:
        lines = {"train": "", "crossval": ""}
        for number, split in enumerate(("train", "train", "train", "crossval")):
            path = Path(name, "dog", f"{number}.png")
            (raw / "PACS" / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(raw / "PACS" / path)
            lines[split] += f"{path} 1\n"
        for split, text in lines.items():
            (raw / "splits" / f"{name}_{split}_kfold.txt").write_text(text)
    return raw


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def without_ray(monkeypatch):
    monkeypatch.setattr(cluster_prepare, "run_on_ray", map)


def test_all_domains_of_the_default_label_space_are_prepared(raw, tmp_path, without_ray, capsys):
    done = cluster_prepare.prepare(OBJECTS, raw, tmp_path / "out")
    assert [p.domain.name for p in done] == list(OBJECTS.domains)
    assert all(p.domain.label_space == OBJECTS.label_space() for p in done)
    assert "objects/sketch" in capsys.readouterr().out


def test_domains_splits_and_bad_samples_are_passed_on(raw, tmp_path, without_ray):
    (raw / "PACS/photo/dog/1.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"photo/dog/1\.png"):
        cluster_prepare.prepare(OBJECTS, raw, tmp_path / "out", domains=["objects/photo"])
    (done,) = cluster_prepare.prepare(
        OBJECTS, raw, tmp_path / "out", domains=["objects/photo"], splits=["train"], skip_bad=1
    )
    assert done.domain.sample_ids("train") == ["dog/0.png", "dog/2.png"] and done.domain.splits == ("train",)
    with pytest.raises(ValueError, match="the splits train instead of train, val"):
        cluster_prepare.prepare(OBJECTS, raw, tmp_path / "out", domains=["objects/photo"], skip_bad=1)
    cluster_prepare.prepare(OBJECTS, raw, tmp_path / "out", domains=["objects/photo"], skip_bad=1, overwrite=True)


def test_summary_counts_what_is_there(raw, tmp_path):
    options = {"splits": None, "skip_bad": 1}
    (raw / "PACS/cartoon/dog/2.png").write_bytes(b"")
    entry, out = OBJECTS, tmp_path / "out"
    prepare_domains(entry, DOMAINS[:1], raw, out, entry.label_space(), **options)
    done = prepare_domains(entry, (DOMAINS[0], DOMAINS[2]), raw, out, entry.label_space(), **options)
    console = Console(file=io.StringIO(), width=120)
    console.print(cluster_prepare.summary(done))
    assert isinstance(console.file, io.StringIO)
    lines = [line.replace("│", " ").split() for line in console.file.getvalue().splitlines()]
    assert ["objects/photo", "drawn", "train", "3", "4", "0.0", "0", "0", "there", "already"] in lines
    assert ["objects/cartoon", "drawn", "train", "2", "3", "0.0", "1", "0", "written"] in lines
    assert lines.count(["val", "1"]) == 2


def test_summary_says_what_storing_did(raw, tmp_path, without_ray, capsys):
    (done,) = cluster_prepare.prepare(
        OBJECTS, raw, tmp_path / "out", domains=["objects/photo"], encoding=Encoding(longest_side=4, jpeg_quality=90)
    )
    notes = cluster_prepare.notes(done)
    assert len(notes) == 2 and f"objects/photo: {notes[0]}" in capsys.readouterr().out
    assert notes[0].startswith("train: ") and ", 3 scaled down, " in notes[0] and notes[0].endswith(" dB PSNR")


def test_unknown_label_spaces_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"'cityscapes19'.*pacs7"):
        cluster_prepare.prepare(OBJECTS, tmp_path, tmp_path / "out", label_space="cityscapes19")


OWN = """
from dataclasses import replace

from raydg.domains.catalogue import dataset
from raydg.domains.decoding import RawImage, png, read_image


def mirrored(sample):
    pixels = read_image(sample).pixels.transpose(0)
    return RawImage(png(pixels), pixels)


OBJECTS = dataset("objects")
DATASET = replace(OBJECTS, editions=(replace(OBJECTS.editions[0], read_image=mirrored),))
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")  # Ray's own settings warn of each other
def test_a_cluster_gives_the_same_bytes_and_the_same_errors(raw, tmp_path, s3, local_ray):
    space = OBJECTS.label_space()
    cluster_prepare.prepare(OBJECTS, raw, tmp_path / "cluster")
    (here, *_) = prepare_domains(OBJECTS, OBJECTS.domains, raw, tmp_path / "here", space)
    assert contents(tmp_path / "cluster") == contents(tmp_path / "here") != {}

    (raw / "PACS/sketch/dog/2.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"objects/sketch has bad samples.*\n.*2\.png holds no image") as caught:
        cluster_prepare.prepare(OBJECTS, raw, tmp_path / "bad", domains=["objects/sketch"])
    assert type(caught.value) is ValueError
    assert not list((tmp_path / "bad").rglob("manifest.json"))

    store = Place.at(s3) / "data"
    (remote,) = cluster_prepare.prepare(OBJECTS, raw, store, domains=["objects/photo"])
    assert remote.domain.manifest.index_sha256 == here.domain.manifest.index_sha256
    assert (remote.domain.read("train", 2).image == here.domain.read("train", 2).image).all()

    (tmp_path / "own.py").write_text(OWN)
    own = dataset(str(tmp_path / "own.py"))
    (mirrored,) = cluster_prepare.prepare(own, raw, tmp_path / "own", domains=["objects/photo"])
    ours, theirs = mirrored.domain.read("train", 0).image, here.domain.read("train", 0).image
    assert (ours == theirs[:, ::-1]).all() and (ours != theirs).any()

    def fail(task: int) -> int:
        raise OSError(28, f"no space for task {task}")

    with pytest.raises(OSError, match="no space for task 5") as failed:
        list(cluster_prepare.run_on_ray(fail, [5, 6]))
    assert type(failed.value) is OSError
