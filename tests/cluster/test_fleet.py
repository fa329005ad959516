"""Evaluation by a fleet: any number of actors, one of them killed, or a driver killed and started again, and every
image counts once."""

import os
import shutil
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import ray
import torch
from torch import Tensor, nn

from raydg import loop, scoring
from raydg.adaptation import Adaptation, Predictor, Sees, TargetNorm, TrainBN
from raydg.calibration import Calibration
from raydg.checkpoint import RunFolder, read_rows
from raydg.cluster import session
from raydg.cluster.evaluate import _run, score_targets
from raydg.evaluation import AS_VALIDATED, Confusion, Row
from raydg.experiment import Experiment
from raydg.judging.read import selected_rows
from raydg.judging.scorer import Scorer
from raydg.progress import Scored
from raydg.protocol import CenterCrop, SlidingWindow, WholeImage
from raydg.records import Record
from raydg.resources import Resources
from raydg.selection import Selected
from raydg.shards import PreparedDomain

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SELECTED = Selected(step=6, rule="last", score=None)
CPU = torch.device("cpu")


class _Sharpened(Predictor):
    """The network at temperatures 2 and 1/2, from one forward."""

    forwards = 0

    def all(self, images: Tensor) -> Tensor:
        type(self).forwards += 1
        with torch.inference_mode():
            logits = self.network(images)
        return torch.stack([(logits / 2).softmax(1), (2 * logits).softmax(1)])

    def __call__(self, images: Tensor) -> Tensor:
        return self.all(images)[-1]


@dataclass(frozen=True)
class Sharpened(Adaptation):
    """Two results of one run."""

    @property
    def label(self) -> str:
        return "sharp"

    @property
    def sees(self) -> Sees:
        return "one image"

    @property
    def variants(self) -> tuple[str, ...]:
        return ("soft", "sharp")

    def predictor(self, network: nn.Module) -> Predictor:
        return _Sharpened(network)


class _Streamed(Predictor):
    """Adds a bias to the logits that grows with every batch."""

    def __init__(self, network: nn.Module, seen: list[float]) -> None:
        super().__init__(network)
        self.batches, self.seen = 0, seen

    def __call__(self, images: Tensor) -> Tensor:
        self.batches += 1
        self.seen.append(float(images.double().sum()))
        with torch.inference_mode():
            logits = self.network(images)
            return (logits + self.batches * torch.arange(logits.shape[1]).view(1, -1, 1, 1) / 10).softmax(1)


@dataclass(frozen=True)
class Streamed(Adaptation):
    """An adaptation whose predictions depend on how many batches came before."""

    keeps_state: ClassVar[bool] = True
    seen: ClassVar[list[float]] = []

    @property
    def label(self) -> str:
        return "streamed"

    @property
    def sees(self) -> Sees:
        return "a stream"

    def predictor(self, network: nn.Module) -> Predictor:
        return _Streamed(network, self.seen)


class _Fitted(Predictor):
    """Adds to the logits the mean colour of all images that it was fitted to."""

    fits = 0

    def fit(self, batches: Iterable[Tensor]) -> None:
        type(self).fits += 1
        pixels = torch.cat([batch.movedim(1, -1).reshape(-1, 3) for batch in batches])
        self.bias = pixels.mean(0)

    def __call__(self, images: Tensor) -> Tensor:
        with torch.inference_mode():
            logits = self.network(images).clone()
            logits[:, :3] += 10 * self.bias.view(1, 3, 1, 1)
            return logits.softmax(1)


@dataclass(frozen=True)
class Fitted(Adaptation):
    """An adaptation that looks at a whole domain first."""

    needs_fit: ClassVar[bool] = True

    @property
    def label(self) -> str:
        return "fitted"

    @property
    def sees(self) -> Sees:
        return "the whole target"

    def predictor(self, network: nn.Module) -> Predictor:
        return _Fitted(network)


class _Interrupted(Predictor):
    """Stops the driver at its third batch, once, and counts the images that it has predicted."""

    images = 0
    armed = True

    def __call__(self, images: Tensor) -> Tensor:
        if _Interrupted.armed and _Interrupted.images == 2:
            _Interrupted.armed = False
            raise KeyboardInterrupt
        _Interrupted.images += len(images)
        return super().__call__(images)


@dataclass(frozen=True)
class Interrupted(TrainBN):
    def predictor(self, network: nn.Module) -> Predictor:
        return _Interrupted(network)


class _Killed(Predictor):
    def __init__(self, network: nn.Module, flag: str) -> None:
        super().__init__(network)
        self.flag, self.batches = flag, 0

    def __call__(self, images: Tensor) -> Tensor:
        self.batches += 1
        if self.batches == 2 and not os.path.exists(self.flag):
            Path(self.flag).write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(images)


@dataclass(frozen=True)
class Killed(TrainBN):
    """t-BN in an actor that is killed at its second batch unless the file `flag` is there."""

    flag: str = ""

    def predictor(self, network: nn.Module) -> Predictor:
        return _Killed(network, self.flag)


@pytest.fixture
def one_image_a_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "PIXELS_AT_ONCE", 1)
    monkeypatch.setattr(scoring, "IMAGES_OF_A_SHARD", 1)


@pytest.fixture(scope="module")
def judged(experiment: Experiment) -> Experiment:
    """All six images of the target."""
    return replace(experiment, target_splits=("train", "val"), adaptations=(TrainBN(),))


@pytest.fixture
def folder(judged: Experiment, tmp_path: Path) -> RunFolder:
    """A run whose network is as it was drawn."""
    torch.set_num_threads(1)
    folder = RunFolder.of(judged, tmp_path / "runs").open(judged)
    folder.save(judged, 6, loop.build_network(judged), {}, [], [])
    return folder


@pytest.fixture
def resources(prepared: str, folder: RunFolder) -> Resources:
    return Resources(data=prepared, runs=str(folder.path.parent), workers=0)


def network(folder: RunFolder) -> nn.Module:
    return folder.checkpoint_at(6).network()


def images(prepared: str, judged: Experiment, adaptation: Adaptation | None = None) -> list[tuple[Tensor, Tensor]]:
    """Images (1, 3, h, w) in [0, 1] and labels (h, w) of the target, as they stand or in the order that an adaptation
    meets them in."""
    domain = PreparedDomain.open(prepared, judged.label_space, judged.targets[0])
    places = [(split, i) for split in ("train", "val") for i in range(domain.num_samples(split))]
    if adaptation is not None:
        planned = scoring.scoring_batches(domain, ("train", "val"), adaptation, WholeImage(), judged.seed, order=0)
        met = [(batch.split, i) for batch in planned for i in batch.positions]
        assert sorted(met) == places != met
        places = met
    samples = [domain.read(split, i) for split, i in places]
    return [(torch.from_numpy(s.image).permute(2, 0, 1)[None] / 255, torch.from_numpy(s.label).long()) for s in samples]


def check(row: Row, expected: list[tuple[Tensor, Tensor]]) -> None:
    """A row's counts against probabilities (1, k, h, w) and labels, image by image."""
    confusion, calibration = Confusion.empty(19), Calibration.empty(19)
    for probabilities, label in expected:
        confidence, predicted = probabilities[0].max(0)
        confusion = confusion + Confusion.of(label, predicted, 19)
        calibration = calibration + Calibration.of(label, predicted, confidence, 19)
    assert row.confusion == confusion and row.calibration == calibration
    assert row.num_images == len(expected)


def test_every_variant_of_one_run_has_its_row(
    judged: Experiment, folder: RunFolder, resources: Resources, prepared: str, one_image_a_shard: None
) -> None:
    _Sharpened.forwards = 0
    rows = score_targets(replace(judged, adaptations=(Sharpened(), TrainBN())), folder, SELECTED, resources)
    assert [row.adaptation for row in rows] == ["soft", "sharp", "t-BN"]
    assert _Sharpened.forwards == 6
    data = images(prepared, judged)
    net = network(folder)
    with torch.no_grad():
        for row, scale in zip(rows, (0.5, 2, 1), strict=True):
            check(row, [((scale * net(image)).softmax(1), label) for image, label in data])
    assert rows[0].confusion == rows[1].confusion and rows[0].calibration != rows[1].calibration
    assert rows[0].record == rows[1].record != rows[2].record


def test_the_record_holds_every_image(
    judged: Experiment, folder: RunFolder, resources: Resources, prepared: str
) -> None:
    (row,) = score_targets(judged, folder, SELECTED, resources)
    record = Record.load(folder.path / str(row.record))
    domain = PreparedDomain.open(prepared, judged.label_space, judged.targets[0])
    names = [f"{split}/{name}" for split in ("train", "val") for name in domain.sample_ids(split)]
    assert record.images.tolist() == names
    net = network(folder)
    with torch.no_grad():
        alone = [
            Confusion.of(label, net(image).argmax(1)[0], 19).score("segmentation", (0, 10))
            for image, label in images(prepared, judged)
        ]
    assert record.scores("segmentation", (0, 10)).tolist() == pytest.approx(alone, nan_ok=True)
    assert row.cost is not None and row.cost.seconds_per_image == float(np.median(record.seconds))
    assert "float32, 64x128" in row.cost.measured_on and "CPU, 1 threads" in row.cost.measured_on
    assert sorted(folder.records.iterdir()) == [folder.path / str(row.record)]


def test_a_stream_is_met_in_order_by_one_predictor(
    judged: Experiment, folder: RunFolder, resources: Resources, prepared: str, one_image_a_shard: None
) -> None:
    Streamed.seen.clear()
    streamed = replace(judged, adaptations=(Streamed(),))
    (row,) = score_targets(streamed, folder, SELECTED, resources)
    data, net = images(prepared, judged, Streamed()), network(folder)
    assert Streamed.seen == pytest.approx([float(image.double().sum()) for image, _ in data])
    with torch.no_grad():
        steps = torch.arange(19).view(1, -1, 1, 1)
        check(row, [((net(image) + (i + 1) * steps / 10).softmax(1), label) for i, (image, label) in enumerate(data)])
    # Another domain begins with what was trained, not with what the one before has left.
    both = replace(streamed, targets=(*judged.targets, "street/fog"), development=None)
    alone = score_targets(replace(both, targets=("street/fog",)), folder, SELECTED, resources)
    shutil.rmtree(folder.records)
    folder.targets.unlink()
    assert score_targets(both, folder, SELECTED, resources)[1] == alone[0]


def test_what_needs_the_whole_target_is_fitted_once_before_it_predicts(
    judged: Experiment, folder: RunFolder, resources: Resources, prepared: str, one_image_a_shard: None
) -> None:
    _Fitted.fits = 0
    (row,) = score_targets(replace(judged, adaptations=(Fitted(),)), folder, SELECTED, resources)
    assert _Fitted.fits == 1
    data, net = images(prepared, judged), network(folder)
    bias = torch.zeros(1, 19, 1, 1)
    bias[0, :3, 0, 0] = 10 * torch.cat([image for image, _ in data]).mean((0, 2, 3))
    with torch.no_grad():
        expected = [((net(image) + bias).softmax(1), label) for image, label in data]
    (found,) = score_targets(replace(judged, adaptations=(Fitted(),)), folder, SELECTED, resources)
    assert found == row and _Fitted.fits == 1
    confusion = sum((Confusion.of(label, p[0].argmax(0), 19) for p, label in expected), Confusion.empty(19))
    # The mean colour is summed in another order: a pixel at a tie may fall to the other side.
    assert abs(row.confusion.counts - confusion.counts).sum() <= 4


def test_a_killed_evaluation_goes_on_and_counts_every_image_once(
    judged: Experiment, folder: RunFolder, resources: Resources, one_image_a_shard: None
) -> None:
    (whole,) = score_targets(judged, folder, SELECTED, resources)
    folder.targets.unlink()
    _Interrupted.images, _Interrupted.armed = 0, True
    interrupted, told = replace(judged, adaptations=(Interrupted(),)), list[Scored]()
    with pytest.raises(KeyboardInterrupt):
        score_targets(interrupted, folder, SELECTED, resources)
    parts = [path for path in folder.records.rglob("*.npz") if path.parent != folder.records]
    assert len(parts) == 2 and not read_rows(folder.targets)
    (row,) = score_targets(interrupted, folder, SELECTED, resources, told.append)
    assert _Interrupted.images == 6  # two before, four after
    assert row.counts == whole.counts and row.histogram == whole.histogram
    assert [(s.images, s.resumed, s.total) for s in told] == [(i, 2, 6) for i in range(2, 7)]
    assert told[-1].score == row.confusion.score("segmentation")
    assert all(path.parent == folder.records for path in folder.records.rglob("*.npz"))


def test_every_actor_has_a_workers_hardware(
    judged: Experiment, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    class Jobs:
        def map(self, actor: type, **options: Any) -> "Jobs":
            asked.update(options)
            return self

        def iter_rows(self) -> Iterator[dict[str, bytes]]:
            return iter(())

    monkeypatch.setattr(ray.data, "from_items", lambda *args, **options: Jobs())
    monkeypatch.setattr(session, "start", lambda *args: None)
    fleet = replace(resources, workers=2, cpus_per_worker=3, gpus_per_worker=0.5, accelerator_type="H100")
    assert list(_run([{}, {}], Scorer((), judged, fleet))) == []
    hardware = {"num_cpus": 3, "num_gpus": 0.5, "accelerator_type": "H100"}
    assert hardware.items() <= asked.items() and asked["compute"].min_size == 2


def test_a_part_of_another_question_is_not_taken(
    judged: Experiment, folder: RunFolder, resources: Resources, one_image_a_shard: None
) -> None:
    """The same adaptation under another protocol, and other weights in the same place, are asked anew."""
    (whole,) = score_targets(judged, folder, SELECTED, resources)
    (crop,) = score_targets(replace(judged, protocol=CenterCrop(32)), folder, SELECTED, resources)
    assert crop.protocol == "middle square of short side 32" and whole.protocol == AS_VALIDATED
    assert crop.confusion.counts.sum() < whole.confusion.counts.sum()
    assert score_targets(judged, folder, SELECTED, resources) == [whole]
    (same,) = score_targets(replace(judged, protocol=WholeImage()), folder, SELECTED, resources)
    assert same.counts == whole.counts and same.record == whole.record and same.protocol == "whole image"
    (windows,) = score_targets(replace(judged, protocol=SlidingWindow(64, 128)), folder, SELECTED, resources)
    assert windows.counts == whole.counts and windows.record != whole.record

    other = replace(judged, seed=1)
    shutil.rmtree(folder.checkpoint_at(6).path)
    folder.save(judged, 6, loop.build_network(other), {}, [], [])
    folder.targets.unlink()
    (again,) = score_targets(judged, folder, SELECTED, resources)
    assert again.counts != whole.counts


def test_rows_of_one_protocol_make_a_table(judged: Experiment, folder: RunFolder, resources: Resources) -> None:
    crop = replace(judged, protocol=CenterCrop(32), selection="last")
    shutil.rmtree(folder.checkpoint_at(6).path)
    row = Row(6, "source-validation", "street/noon", "val", "plain", "t-BN", 0, 2, Confusion.empty(19).to_json())
    folder.save(judged, 6, loop.build_network(judged), {}, [row], [])
    score_targets(crop, folder, SELECTED, resources)
    score_targets(judged, folder, SELECTED, resources)
    found = [row.protocol for row in selected_rows(crop, resources) if row.role == "target"]
    assert found == [CenterCrop(32).label]
    found = [row.protocol for row in selected_rows(replace(judged, selection="last"), resources)]
    assert found == [AS_VALIDATED] * 2  # validation, and the target


def copied(folder: RunFolder, to: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(folder.path, to)))


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_any_number_of_actors_counts_the_same(
    judged: Experiment, folder: RunFolder, resources: Resources, tmp_path: Path, one_image_a_shard: None
) -> None:
    ways = replace(judged, adaptations=(TrainBN(), TargetNorm(batch_size=2, orders=2)))
    alone = score_targets(ways, copied(folder, tmp_path / "alone"), SELECTED, resources)
    for actors in (1, 3):
        fleet = replace(resources, workers=1, scorers=actors)
        assert score_targets(ways, copied(folder, tmp_path / str(actors)), SELECTED, fleet) == alone
    assert len(alone) == 3


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_the_shard_of_a_killed_actor_is_redone_and_counted_once(
    judged: Experiment, folder: RunFolder, resources: Resources, tmp_path: Path, one_image_a_shard: None
) -> None:
    (alone,) = score_targets(judged, copied(folder, tmp_path / "alone"), SELECTED, resources)
    flag, killed, told = tmp_path / "flag", copied(folder, tmp_path / "killed"), list[Scored]()
    deadly = replace(judged, adaptations=(Killed(flag=str(flag)),))
    (row,) = score_targets(deadly, killed, SELECTED, replace(resources, workers=1, scorers=3), told.append)
    assert flag.exists(), "no actor was killed"
    assert int(flag.read_text()) != os.getpid()
    assert row.counts == alone.counts and row.histogram == alone.histogram
    assert [scored.images for scored in told] == list(range(7))
    records = [Record.load(tmp_path / name / str(r.record)) for name, r in (("alone", alone), ("killed", row))]
    assert records[0].images.tolist() == records[1].images.tolist()


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_an_actor_that_dies_too_often_ends_the_evaluation_and_loses_nothing(
    judged: Experiment, folder: RunFolder, resources: Resources, tmp_path: Path, one_image_a_shard: None
) -> None:
    (alone,) = score_targets(judged, copied(folder, tmp_path / "alone"), SELECTED, resources)
    deadly = replace(judged, adaptations=(Killed(flag=str(tmp_path / "flag")),))
    fleet = replace(resources, workers=1, scorers=1, max_failures=0)
    told: list[Scored] = []
    with pytest.raises(ChildProcessError, match=r"more often than Resources.max_failures, 0: .* is kept"):
        score_targets(deadly, folder, SELECTED, fleet)
    (row,) = score_targets(deadly, folder, SELECTED, fleet, told.append)  # the flag is there now
    assert row.counts == alone.counts and row.histogram == alone.histogram
    assert told[-1].images == 6
