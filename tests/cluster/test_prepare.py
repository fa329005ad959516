"""Preparing on a cluster gives what preparing in one process gives, and fails with the same words."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from raydg.cluster import prepare as cluster_prepare
from raydg.domains.catalogue import dataset
from raydg.shards import prepare_domains

NAMES = ("photo", "painting", "cartoon", "sketch")
DOMAINS = tuple(f"objects/{name}" for name in NAMES)


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
    done = cluster_prepare.prepare("objects", raw, tmp_path / "out")
    assert [p.domain.name for p in done] == list(dataset("objects").domains)
    assert all(p.domain.label_space == dataset("objects").label_space() for p in done)
    assert "objects/sketch" in capsys.readouterr().out


def test_domains_splits_and_bad_samples_are_passed_on(raw, tmp_path, without_ray):
    (raw / "PACS/photo/dog/1.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"photo/dog/1\.png"):
        cluster_prepare.prepare("objects", raw, tmp_path / "out", domains=["objects/photo"])
    (done,) = cluster_prepare.prepare(
        "objects", raw, tmp_path / "out", domains=["objects/photo"], splits=["train"], skip_bad=1
    )
    assert done.domain.sample_ids("train") == ["dog/0.png", "dog/2.png"] and done.domain.splits == ("train",)
    with pytest.raises(ValueError, match="the splits train instead of train, val"):
        cluster_prepare.prepare("objects", raw, tmp_path / "out", domains=["objects/photo"], skip_bad=1)
    cluster_prepare.prepare("objects", raw, tmp_path / "out", domains=["objects/photo"], skip_bad=1, overwrite=True)


def test_summary_counts_what_is_there(raw, tmp_path):
    options = {"splits": None, "skip_bad": 1}
    (raw / "PACS/cartoon/dog/2.png").write_bytes(b"")
    entry, out = dataset("objects"), tmp_path / "out"
    prepare_domains(entry, DOMAINS[:1], raw, out, entry.label_space(), **options)
    done = prepare_domains(entry, (DOMAINS[0], DOMAINS[2]), raw, out, entry.label_space(), **options)
    console = Console(file=io.StringIO(), width=120)
    console.print(cluster_prepare.summary(done))
    assert isinstance(console.file, io.StringIO)
    lines = [line.replace("│", " ").split() for line in console.file.getvalue().splitlines()]
    assert ["objects/photo", "train", "3", "4", "0.0", "0", "there", "already"] in lines
    assert ["objects/cartoon", "train", "2", "3", "0.0", "1", "written"] in lines
    assert lines.count(["val", "1"]) == 2


def test_unknown_datasets_and_label_spaces_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no dataset is called 'gta'; there are pacs"):
        cluster_prepare.prepare("gta", tmp_path, tmp_path / "out")
    with pytest.raises(ValueError, match=r"'cityscapes19'.*pacs7"):
        cluster_prepare.prepare("objects", tmp_path, tmp_path / "out", label_space="cityscapes19")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")  # Ray's own settings warn of each other
def test_a_cluster_gives_the_same_bytes_and_the_same_errors(raw, tmp_path):
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        entry = dataset("objects")
        cluster_prepare.prepare("objects", raw, tmp_path / "cluster")
        prepare_domains(entry, entry.domains, raw, tmp_path / "here", entry.label_space())
        assert contents(tmp_path / "cluster") == contents(tmp_path / "here") != {}

        (raw / "PACS/sketch/dog/2.png").write_bytes(b"no picture")
        with pytest.raises(ValueError, match=r"objects/sketch has bad samples.*\n.*2\.png holds no image") as caught:
            cluster_prepare.prepare("objects", raw, tmp_path / "bad", domains=["objects/sketch"])
        assert type(caught.value) is ValueError
        assert contents(tmp_path / "bad") == {}

        def fail(task: int) -> int:
            raise OSError(28, f"no space for task {task}")

        with pytest.raises(OSError, match="no space for task 5") as failed:
            list(cluster_prepare.run_on_ray(fail, [5, 6]))
        assert type(failed.value) is OSError
    finally:
        ray.shutdown()
