"""The record in MLflow: one run per study, fold and seed, every step once, and no server that can stop a training."""

import itertools
import json
import logging
import re
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Metric, Run
from mlflow.exceptions import MlflowException

from raydg.adaptation import TargetNorm, TrainBN
from raydg.augmentation import Augmentation, Resize
from raydg.calibration import Calibration
from raydg.checkpoint import RunFolder
from raydg.domains.labels import LabelSpace
from raydg.evaluation import Cost, Histogram, Row
from raydg.experiment import Experiment, Stage, Study
from raydg.methods import ERM
from raydg.models import DeepLabV3Plus, SmallNet
from raydg.optimization import SGD
from raydg.plan import Sampling
from raydg.tracking import SweepTracker, Tracker, checkpoint_of_run, row_metrics
from raydg.tracking.models import _run_of_training
from raydg.tracking.runs import _Sent
from raydg.trials import Trial

# MLflow's own mappers ask SQLAlchemy for what 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")

SPACE = LabelSpace("three", "segmentation", ("road", "parked+car", "sky"), ((0, 0, 0),) * 3)
EXPERIMENT = Experiment(
    name="ERM",
    label_space=SPACE,
    sources=("street/noon",),
    targets=("street/night",),
    model=DeepLabV3Plus(SmallNet(width=1), aspp_channels=2, low_level_channels=2, decoder_channels=2),
    stages=(Stage(method=ERM(), optimizer=SGD(lr=0.125), steps=10),),
    sampling=Sampling(images_per_domain=2),
    augmentation=Augmentation((Resize(32, 32),)),
    adaptations=(TrainBN(), TargetNorm(batch_size=4, orders=2)),
)
# IoU of road 30 / 60, of the parked car 40 / 70; no sky in truth or prediction, so it has none.
COUNTS = ((30, 10, 0), (20, 40, 0), (0, 0, 0))
ROAD, CAR = 100 * 30 / 60, 100 * 40 / 70
VALIDATION = Row(5, "source-validation", "street/noon", "val", "plain", "t-BN", 0, num_images=4, counts=COUNTS)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One sqlite store for all tests, since making its tables takes seconds; each test records a study of its own."""
    return tmp_path_factory.mktemp("runs")


def tracker_of(study: Study, store: Path) -> Tracker:
    """As a new process would make it."""
    return Tracker(study, f"sqlite:///{store / 'mlflow.db'}", store)


def study_of(name: str, *experiments: Experiment) -> Study:
    return Study(name=name, experiments=experiments or (EXPERIMENT,))


def write_steps(folder: RunFolder, steps: range) -> None:
    with folder.metrics.open("a") as file:
        for step in steps:
            file.write(json.dumps({"step": step, "loss": 1 / (step + 1), "lr": 0.1 * step}) + "\n")


def follow(tracker: Tracker, folder: RunFolder, steps: range) -> None:
    with tracker.following(EXPERIMENT, folder):
        write_steps(folder, steps)


def runs_of(study: Study, store: Path) -> dict[str, Run]:
    client = MlflowClient(f"sqlite:///{store / 'mlflow.db'}")
    recorded = client.get_experiment_by_name(study.name)
    assert recorded
    runs = client.search_runs([recorded.experiment_id])
    return {run.info.run_name or "": run for run in runs}


def history(tracker: Tracker, run: str, key: str) -> dict[int, list[float]]:
    values: dict[int, list[float]] = {}
    for metric in tracker.client.get_metric_history(run, key):
        values.setdefault(metric.step, []).append(metric.value)
    return values


def test_a_study_is_a_tree_of_study_fold_and_seed(store: Path, tmp_path: Path) -> None:
    other_seed, other_fold = replace(EXPERIMENT, seed=1), replace(EXPERIMENT, targets=("street/fog",))
    study = study_of("tree", EXPERIMENT, other_seed, other_fold)
    tracker = tracker_of(study, store)
    leaves = [tracker.run_of(experiment) for experiment in study.experiments]
    assert [tracker_of(study, store).run_of(e) for e in study.experiments] == leaves  # found again, not made again

    client = tracker.client
    up = [client.get_run(leaf).data.tags["mlflow.parentRunId"] for leaf in leaves]
    assert up[0] == up[1] != up[2]
    top = {client.get_run(fold).data.tags["mlflow.parentRunId"] for fold in up}
    assert top == {tracker.run_of(None)}
    assert "mlflow.parentRunId" not in client.get_run(tracker.run_of(None)).data.tags
    names = [client.get_run(run).info.run_name for run in (tracker.run_of(None), *up, *leaves)]
    seeds = ["ERM → street/night, seed 0", "ERM → street/night, seed 1", "ERM → street/fog, seed 0"]
    assert names == ["tree", *["ERM → street/night"] * 2, "ERM → street/fog", *seeds]


def test_every_plain_setting_is_a_parameter_of_the_seeds_run(store: Path) -> None:
    tracker = tracker_of(study_of("parameters"), store)
    data = tracker.client.get_run(tracker.run_of(EXPERIMENT)).data
    expected = {
        "seed": "0",
        "name": "ERM",
        "sources": "('street/noon',)",
        "stages.0.optimizer.lr": "0.125",
        "stages.0.method.batchnorm": "pooled",
        "model.backbone.width": "1",
        "adaptations.1.batch_size": "4",
    }
    assert expected.items() <= data.params.items()
    assert data.tags["raydg.fingerprint"] == EXPERIMENT.fingerprint()
    assert data.tags["raydg.training"] == EXPERIMENT.training_fingerprint()


def test_each_step_is_recorded_once_however_often_the_training_is_continued(store: Path, tmp_path: Path) -> None:
    study, folder = study_of("steps"), RunFolder.of(EXPERIMENT, tmp_path).open(EXPERIMENT)
    write_steps(folder, range(2))  # before anybody follows
    follow(tracker_of(study, store), folder, range(2, 4))
    tracker = tracker_of(study, store)
    follow(tracker, folder, range(4, 7))
    follow(tracker, folder, range(0))  # nothing new
    run = tracker.run_of(EXPERIMENT)
    assert history(tracker, run, "train/loss") == {step: [1 / (step + 1)] for step in range(7)}
    assert history(tracker, run, "train/lr") == {step: [0.1 * step] for step in range(7)}
    assert Counter(run.info.run_name for run in runs_of(study, store).values()) == {
        "steps": 1,
        "ERM → street/night": 1,
        "ERM → street/night, seed 0": 1,
    }


def test_what_a_method_measures_is_recorded_once_though_it_is_written_after_its_step_was_sent(
    store: Path, tmp_path: Path
) -> None:
    study, folder = study_of("measured"), RunFolder.of(EXPERIMENT, tmp_path).open(EXPERIMENT)

    def measure(step: int) -> None:
        with folder.metrics.open("a") as file:
            file.write(json.dumps({"step": step, "iou/before_fc6/0-1": 0.25 * step}) + "\n")

    follow(tracker_of(study, store), folder, range(3))
    measure(2)
    follow(tracker_of(study, store), folder, range(3, 5))
    measure(4)
    tracker = tracker_of(study, store)
    follow(tracker, folder, range(0))
    run = tracker.run_of(EXPERIMENT)
    assert history(tracker, run, "train/iou/before_fc6/0-1") == {2: [0.5], 4: [1.0]}
    assert history(tracker, run, "train/loss") == {step: [1 / (step + 1)] for step in range(5)}


def test_only_an_inference_that_is_not_the_methods_own_is_named() -> None:
    for inference, own, place in (("Pred-Ens", "Pred-Ens", "t-BN"), ("mask of a+b", "Pred-Ens", "mask of a b/t-BN")):
        target = replace(VALIDATION, inference=inference)
        keys = [metric.key for metric in row_metrics(target, SPACE.classes, "segmentation", own=own)]
        assert keys[0] == f"source-validation/street/noon/{place}/mIoU"


def test_an_ensemble_has_a_run_of_its_own_beside_its_seeds(store: Path) -> None:
    study = study_of("together")
    tracker = tracker_of(study, store)
    joint = replace(EXPERIMENT, name=f"{EXPERIMENT.name}, ensemble of 2")
    row = replace(VALIDATION, role="target", domain="street/night")
    for _ in range(2):  # what is there is not sent again
        tracker.log_ensemble(joint, (0, 3), [row])
    run = tracker.client.get_run(tracker.run_of(joint, (0, 3)))
    assert run.info.run_name.endswith(", seeds 0 3") and run.info.status == "FINISHED"
    assert history(tracker, run.info.run_id, "target/street/night/t-BN/mIoU") == {
        row.step: [pytest.approx((ROAD + CAR) / 2)]
    }
    parent = tracker.client.get_run(run.data.tags["mlflow.parentRunId"])
    assert parent.info.run_name.startswith(f"{EXPERIMENT.name}, ensemble of 2")
    assert tracker.run_of(EXPERIMENT) != run.info.run_id


def test_a_seeds_model_is_not_registered_in_the_run_of_its_ensemble(store: Path) -> None:
    tracker = tracker_of(study_of("apart"), store)
    alone = replace(EXPERIMENT, name="a seed of an ensemble", seed=91)  # which no other test has tracked
    joint = replace(alone, name=f"{alone.name}, ensemble of 2")
    assert joint.training_fingerprint() == alone.training_fingerprint()
    ensemble = tracker.run_of(joint, (91, 92))
    tags = tracker.client.get_run(ensemble).data.tags
    assert tags["raydg.members"] == "91 92" and "raydg.training" not in tags
    of_seed = tracker.run_of(alone)
    tracker.run_of(joint, (91, 93))  # the latest, which a search finds first
    assert _run_of_training(tracker.client, alone, tracker.uri) == of_seed


def test_validation_and_target_scores_are_recorded_per_class_with_what_they_stem_from(
    store: Path, tmp_path: Path
) -> None:
    study, folder = study_of("scores"), RunFolder.of(EXPERIMENT, tmp_path).open(EXPERIMENT)
    network = EXPERIMENT.model.build(SPACE)
    tracker = tracker_of(study, store)
    with tracker.following(EXPERIMENT, folder):
        checkpoint = folder.save(EXPERIMENT, 5, network, {}, [VALIDATION], [])
    label = EXPERIMENT.adaptations[1].label
    targets = [
        replace(VALIDATION, role="target", domain="street/night", adaptation=label, order=order) for order in (0, 1)
    ]
    tracker.log_targets(EXPERIMENT, folder, targets)

    run = tracker.client.get_run(tracker.run_of(EXPERIMENT))
    metrics = {name: value for name, value in run.data.metrics.items() if not name.startswith("train/")}
    places = (
        "source-validation/street/noon/t-BN",
        "target/street/night/TN batch_size 4",
        "target/street/night/TN batch_size 4/order 1",
    )
    expected = {}
    for place in places:
        expected |= {
            f"{place}/mIoU": (ROAD + CAR) / 2,
            f"{place}/per class/road": ROAD,
            f"{place}/per class/parked car": CAR,
        }
    assert metrics.keys() == expected.keys()
    assert all(np.isclose(metrics[name], value) for name, value in expected.items())
    assert history(tracker, run.info.run_id, f"{places[0]}/mIoU").keys() == {5}
    assert run.data.tags["raydg.folder"] == str(folder.path)
    assert run.data.tags["raydg.checkpoint.5"] == run.data.tags["raydg.selected_checkpoint"] == str(checkpoint.path)
    assert run.data.tags["raydg.selection"] == "source-validation"
    assert run.info.status == "FINISHED"


def test_names_of_metrics_are_legal_whatever_classes_and_adaptations_are_called() -> None:
    metrics = row_metrics(replace(VALIDATION, adaptation="A(x=1)+B[2]"), ("a*b", "c→d", "e%"), "segmentation")
    assert len({metric.key for metric in metrics}) == 4
    assert all(re.fullmatch(r"[\w\-./ ]+", metric.key) for metric in metrics)


def test_calibration_and_cost_are_recorded_where_they_were_measured() -> None:
    ids = torch.tensor([0, 1])  # both right, and half sure of it
    calibration = Calibration.of(ids, ids, torch.tensor([0.5, 0.5]), 3)
    row = replace(VALIDATION, histogram=Histogram(*calibration.to_json()), cost=Cost(0.25, "a CPU"))
    found = {m.key.rpartition("/")[2]: m.value for m in row_metrics(row, SPACE.classes, "segmentation")}
    assert (found["ECE 10 bins"], found["ECE 15 bins"], found["ms per image"]) == (50, 50, 250)
    assert found["per-image per-class ECE"] == pytest.approx(100 / 3)  # no label says sky
    assert not any("ECE" in m.key or "ms" in m.key for m in row_metrics(VALIDATION, SPACE.classes, "segmentation"))


def test_classification_is_recorded_as_accuracy() -> None:
    by_name = {
        metric.key.rpartition("/")[2]: metric.value
        for metric in row_metrics(VALIDATION, SPACE.classes, "classification")
    }
    assert np.isclose(by_name["accuracy"], 70) and np.isclose(by_name["road"], 75)


def test_files_are_attached_to_the_study_or_a_seed(store: Path, tmp_path: Path) -> None:
    tracker = tracker_of(study_of("files"), store)
    for name, experiment in (("table.md", None), ("notes.txt", EXPERIMENT)):
        path = tmp_path / name
        path.write_text(name)
        tracker.log_file(experiment, path)
        run = tracker.run_of(experiment)
        assert [file.path for file in tracker.client.list_artifacts(run)] == [name]
        assert Path(tracker.client.download_artifacts(run, name)).read_text() == name
    assert next((store / "artifacts").rglob("table.md"), None)


def test_the_end_of_a_training_is_in_its_status(store: Path, tmp_path: Path) -> None:
    study, folder = study_of("ends"), RunFolder.of(EXPERIMENT, tmp_path).open(EXPERIMENT)
    tracker = tracker_of(study, store)

    def status() -> str:
        return tracker.client.get_run(tracker.run_of(EXPERIMENT)).info.status

    with pytest.raises(KeyboardInterrupt), tracker.following(EXPERIMENT, folder):
        write_steps(folder, range(2))
        raise KeyboardInterrupt
    assert status() == "FAILED"
    assert history(tracker, tracker.run_of(EXPERIMENT), "train/loss").keys() == {0, 1}  # what was done is kept

    tracker = tracker_of(study, store)
    follow(tracker, folder, range(2, 4))
    assert status() == "FINISHED"
    assert tracker.client.get_run(tracker.run_of(None)).info.status == "RUNNING"  # further seeds may follow
    tracker.finish()
    assert {run.info.status for run in runs_of(study, store).values()} == {"FINISHED"}


def test_a_run_ends_with_its_training_whenever_it_is_scored(store: Path, tmp_path: Path) -> None:
    study, folder = study_of("lasts"), RunFolder.of(EXPERIMENT, tmp_path).open(EXPERIMENT)

    def end(tracker: Tracker) -> int:
        return tracker.client.get_run(tracker.run_of(EXPERIMENT)).info.end_time or 0

    trained = tracker_of(study, store)
    follow(trained, folder, range(2))
    ended = end(trained)
    scored = tracker_of(study, store)
    scored.log_targets(EXPERIMENT, folder, [])
    scored.finish()
    assert 0 < end(tracker_of(study, store)) == ended
    further = tracker_of(study, store)
    follow(further, folder, range(2, 4))
    assert end(further) > ended


def test_a_seed_that_fails_leaves_the_seeds_before_it_as_they_ended(store: Path, tmp_path: Path) -> None:
    study = study_of("one of three fails")
    seeds = [replace(EXPERIMENT, seed=seed) for seed in (0, 1)]
    other = replace(EXPERIMENT, name="another")
    folders = {each: RunFolder.of(each, tmp_path).open(each) for each in (other, *seeds)}
    tracker = tracker_of(study, store)
    for each in (other, seeds[0]):
        with tracker.following(each, folders[each]):
            write_steps(folders[each], range(2))
    with pytest.raises(RuntimeError), tracker.following(seeds[1], folders[seeds[1]]):
        raise RuntimeError

    def status(experiment: Experiment | None) -> str:
        return tracker.client.get_run(tracker.run_of(experiment)).info.status

    assert [status(each) for each in (other, *seeds, None)] == ["FINISHED", "FINISHED", "FAILED", "FAILED"]
    assert "RUNNING" not in {run.info.status for run in runs_of(study, store).values()}


def test_a_dead_server_is_a_warning_and_its_record_is_sent_later(
    store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    study, folder = study_of("dead"), RunFolder.of(EXPERIMENT, tmp_path).open(EXPERIMENT)
    dead = Tracker(study, "http://127.0.0.1:9", store)
    with caplog.at_level(logging.WARNING, "raydg.tracking"):
        for call in (
            lambda: follow(dead, folder, range(3)),
            lambda: dead.log_targets(EXPERIMENT, folder, [VALIDATION]),
            lambda: dead.log_file(None, folder.metrics),
        ):
            caplog.clear()
            call()
            messages = [record.getMessage() for record in caplog.records if record.name == "raydg.tracking.runs"]
            assert messages and all(message.startswith("MLflow at http://127.0.0.1:9") for message in messages)
    tracker = tracker_of(study, store)
    follow(tracker, folder, range(3, 4))
    assert history(tracker, tracker.run_of(EXPERIMENT), "train/loss").keys() == {0, 1, 2, 3}


def test_an_outage_is_told_once_and_when_it_is_over(
    store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker, path = tracker_of(study_of("outage"), store), tmp_path / "table.md"
    path.write_text("a table")
    real, answers = MlflowClient.log_artifact, [False, False, False, True, True, False, False]
    left = iter(answers)

    def flaky(client: MlflowClient, run: str, local_path: str) -> None:
        if not next(left):
            raise MlflowException("connection refused\nand a traceback")
        real(client, run, local_path)

    monkeypatch.setattr(MlflowClient, "log_artifact", flaky)
    with caplog.at_level(logging.WARNING, "raydg.tracking"):
        for _ in answers:
            tracker.log_file(None, path)
    assert next(left, None) is None, "a file was not sent once a time"
    told = [record.getMessage().removeprefix(f"MLflow at {tracker.uri}: ") for record in caplog.records]
    lost = "table.md cannot be recorded: connection refused"
    assert told == [lost, "table.md can be recorded again", lost]


def test_what_an_outage_kept_from_the_record_is_sent_after_it(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, folder = study_of("kept"), RunFolder.of(EXPERIMENT, tmp_path).open(EXPERIMENT)
    tracker, state = tracker_of(study, store), _Sent(folder)
    run = tracker.run_of(EXPERIMENT)

    def refuse(*args: object, **kwargs: object) -> None:
        raise MlflowException("down")

    write_steps(folder, range(4))
    with monkeypatch.context() as down:
        down.setattr(MlflowClient, "log_batch", refuse)
        with pytest.raises(MlflowException):
            tracker._send_to(run, EXPERIMENT, folder, state)
    folder.metrics.rename(folder.path / "before")  # the training goes on from step 2, and takes other seconds for it
    write_steps(folder, range(2))
    with pytest.raises(MlflowException), monkeypatch.context() as down:
        down.setattr(MlflowClient, "log_batch", refuse)
        tracker._send_to(run, EXPERIMENT, folder, state)
    write_steps(folder, range(2, 6))
    tracker._send_to(run, EXPERIMENT, folder, state)
    assert history(tracker, run, "train/loss") == {step: [1 / (step + 1)] for step in range(6)}
    assert not state.steps and state.step == 5


def test_requests_hold_whole_steps_and_no_more_than_mlflow_takes(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, folder = study_of("many"), RunFolder.of(EXPERIMENT, tmp_path).open(EXPERIMENT)
    tracker = tracker_of(study, store)
    losses = {"loss": 1.0} | {f"loss {i}": 0.5 for i in range(10)}  # as many as Pin the Memory has
    with folder.metrics.open("w") as file:
        for step in range(200):
            file.write(json.dumps({"step": step} | losses) + "\n")
        file.write(json.dumps({"step": 200} | {f"loss {i}": 1.0 for i in range(1499)} | {"loss": 1.0}) + "\n")
    run, sent = tracker.run_of(EXPERIMENT), list[list[tuple[int, str]]]()

    def receive(client: MlflowClient, run: str, metrics: list[Metric]) -> None:
        sent.append([(metric.step, metric.key) for metric in metrics])

    monkeypatch.setattr(MlflowClient, "log_batch", receive)
    tracker._send_to(run, EXPERIMENT, folder, _Sent(folder))
    assert [len(request) for request in sent] == [990, 990, 220, 1000, 500]
    everything = [metric for request in sent for metric in request]
    assert len(set(everything)) == len(everything) == 200 * 11 + 1500
    of_request = [{step for step, _ in request} for request in sent[:4]]
    assert not any(a & b for a, b in itertools.combinations(of_request, 2))


def test_who_opens_a_sqlite_store_second_waits_until_its_tables_are_made(
    store: Path, another_process: Callable[[Path], AbstractContextManager[subprocess.Popen[str]]]
) -> None:
    """MLflow makes them in several steps: a second process that begins meanwhile fails on one that is there already."""
    study, opened = study_of("second"), threading.Event()
    tracker = tracker_of(study, store)

    def open_it() -> None:
        tracker.run_of(None)
        opened.set()

    with another_process(store / "mlflow.db.lock") as first:
        second = threading.Thread(target=open_it)
        second.start()
        assert not opened.wait(0.2)
        first.kill()
    second.join()
    assert opened.is_set() and set(runs_of(study, store)) == {"second"}


def test_a_run_leads_back_to_its_checkpoint(store: Path, tmp_path: Path) -> None:
    uri, folder = f"sqlite:///{store / 'mlflow.db'}", RunFolder.of(EXPERIMENT, tmp_path).open(EXPERIMENT)
    network = EXPERIMENT.model.build(SPACE, pretrained=False)
    for step, seen in ((5, VALIDATION), (10, replace(VALIDATION, step=10, counts=((60, 0, 0), (0, 60, 0), (0, 0, 0))))):
        folder.save(EXPERIMENT, step, network, {}, [seen], ())
    tracker = tracker_of(study_of("back"), store)
    follow(tracker, folder, range(1))
    run = tracker.run_of(EXPERIMENT)
    for location in (f"mlflow:{run}", f"runs:/{run}"):
        assert checkpoint_of_run(location, tmp_path / "none", uri).path == folder.checkpoint_at(10).path
    tracker.log_targets(EXPERIMENT, folder, [replace(VALIDATION, role="target")])  # of step 5
    assert checkpoint_of_run(f"mlflow:{run}", tmp_path / "none", uri).path == folder.checkpoint_at(5).path

    with pytest.raises(ValueError, match="logged no folder of checkpoints"):
        checkpoint_of_run(f"mlflow:{tracker.run_of(None)}", tmp_path / "none", uri)
    with pytest.raises(ValueError, match="mlflow:nobody cannot be read from sqlite"):
        checkpoint_of_run("mlflow:nobody", tmp_path / "none", uri)
    folder.path.rename(tmp_path / "moved")
    with pytest.raises(ValueError, match=f"logged {folder.path} of .*, which is not on this machine"):
        checkpoint_of_run(f"mlflow:{run}", tmp_path / "none", uri)
    tracker.client.log_artifacts(run, str(tmp_path / "moved/checkpoints"), "checkpoints")
    (tmp_path / "download").mkdir()
    found = checkpoint_of_run(f"mlflow:{run}", tmp_path / "download", uri)
    assert found.step == 10 and found.path.is_relative_to(tmp_path / "download") and found.network() is not None


def test_a_sweep_is_a_tree_of_sweep_trial_and_fold_that_goes_on_where_it_was(store: Path, tmp_path: Path) -> None:
    study = study_of("swept")
    uri, given = f"sqlite:///{store / 'mlflow.db'}", (("SGD.lr", 0.25), ("Poly.power", None))
    folds = []
    for seed in (0, 1):
        experiment = replace(EXPERIMENT, seed=seed, targets=())
        folder = RunFolder(tmp_path / f"seed{seed}").open(experiment)
        write_steps(folder, range(4))
        folds.append((f"seed {seed}", experiment, folder))
    first = SweepTracker(study, "sweep-1", uri, store)
    first.log_trial(Trial(settings=given, reports=((2, 10.0),)), folds)
    write_steps(folds[1][2], range(4, 6))
    second = SweepTracker(study, "sweep-1", uri, store)  # a new driver
    done = Trial(settings=given, reports=((2, 10.0), (4, 30.0)), state="stopped")
    second.log_trial(done, folds)
    second.log_trial(Trial(settings=(("SGD.lr", 0.5),), reports=((2, 5.0),), state="finished"), folds[:1])
    second.end([])

    runs = runs_of(study, store)
    assert set(runs) == {"sweep-1", "lr 0.25, power None", "seed 0", "seed 1", "lr 0.5"}
    parents = {name: run.data.tags.get("mlflow.parentRunId") for name, run in runs.items()}
    ids = {name: run.info.run_id for name, run in runs.items()}
    assert parents == {
        "sweep-1": None,
        "lr 0.25, power None": ids["sweep-1"],
        "lr 0.5": ids["sweep-1"],
        "seed 0": ids["lr 0.25, power None"],
        "seed 1": ids["lr 0.25, power None"],
    }
    assert {name: run.info.status for name, run in runs.items()} == {
        "sweep-1": "FINISHED",
        "lr 0.25, power None": "KILLED",
        "seed 0": "KILLED",
        "seed 1": "KILLED",
        "lr 0.5": "FINISHED",
    }
    trial = runs["lr 0.25, power None"]
    assert trial.data.params == {"SGD.lr": "0.25", "Poly.power": "None"}
    assert history(second, trial.info.run_id, "selection/score") == {2: [10.0], 4: [30.0]}
    assert list(history(second, ids["seed 1"], "train/loss")) == list(range(6))
    # With one fold the trial's run is the training's, under the names that every training has.
    alone = runs["lr 0.5"].data
    assert list(history(second, ids["lr 0.5"], "train/loss")) == list(range(4))
    assert (alone.params["SGD.lr"], alone.params["stages.0.steps"]) == ("0.5", "10")
