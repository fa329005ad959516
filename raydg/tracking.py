"""The record of a study in MLflow: parent run = study, child = experiment, grandchild = seed, or seeds of an ensemble.

Training never talks to MLflow. It writes its steps to the run's folder; a thread of the driver reads them there and
sends them. So a slow or dead server delays nothing and loses nothing: what could not be sent is still in the folder,
and is sent when the same study is run again.

From a run back to its checkpoint leads `checkpoint_of_run`; `export` writes one as a model that MLflow loads.
"""

import importlib.metadata
import importlib.util
import logging
import math
import os
import re
import socket
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from raydg import exported
from raydg.checkpoint import Checkpoint, MetricsReader, RunFolder
from raydg.evaluation import Row
from raydg.experiment import Experiment, Study
from raydg.licence import commercial_use
from raydg.locking import held
from raydg.prediction import ImagePredictor, find_checkpoint
from raydg.settings import settings
from raydg.trials import Trial, text
from raydg.types import Task
from raydg.values import Value, encode, fingerprint

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
FLUSH_SECONDS = 60.0  # how long the end of a training waits for a slow server
MOST_METRICS, MOST_PARAMETERS = 1000, 100  # MLflow's limits for one request
CHECKPOINT_TAG = "raydg.checkpoint."
FOLDER_TAG, SELECTED_TAG, HOST_TAG = "raydg.folder", "raydg.selected_checkpoint", "raydg.host"
ARTIFACTS = "checkpoints"
"""Folder among a run's artifacts that holds checkpoints, if somebody put them there, under their own names."""
RUN_PREFIXES = ("mlflow:", "runs:/")
"""What stands before a run's id on a command line."""

REQUIREMENTS = (
    "numpy", "opencv-python-headless", "pillow", "pyarrow", "rich", "safetensors", "scipy", "torch", "torchvision",
)  # fmt: skip
"""Packages that an exported model imports."""
OPTIONAL = ("timm", "transformers")
"""Those that only some networks need; an exported model asks for them where they are installed."""
SQLITE = "sqlite:///"
"""What stands before a file in the URI of a store."""
MEASURED_TAG = "raydg.measured"
MEMBERS_TAG = "raydg.members"

# A server that is down should cost a request seconds, not MLflow's default of minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")


class Tracker:
    """The MLflow runs of one study; the same study run again goes on in the same runs.

    Faults of the tracking server are warnings: a run without a record is better than no run. What fails again and again
    is told once, and when it is over.

    Args:
        study: names the MLflow experiment and its parent run.
        uri: MLflow tracking server or store, as `Resources.tracking_uri` gives it.
        runs: folder of the runs; a store without a server keeps its artifacts there.
    """

    def __init__(self, study: Study, uri: str, runs: str | Path) -> None:
        for chatty in ("alembic", "mlflow.store.db.utils"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        self.study, self.uri = study, uri
        self.artifacts = (
            None if uri.startswith(("http://", "https://", "databricks")) else str(Path(runs) / "artifacts")
        )
        self._client: MlflowClient | None = None
        self._runs: dict[str, str] = {}
        self._failing: set[str] = set()  # what cannot be recorded at the moment
        self._opening = threading.Lock()  # the follower and the driver ask for the same runs

    @contextmanager
    def following(self, experiment: Experiment, folder: RunFolder) -> Iterator[None]:
        """Send the folder's new steps and validation scores while the block runs; at its end send the rest."""
        stop = threading.Event()
        sender = threading.Thread(target=self._follow, args=(experiment, folder, stop), daemon=True)
        sender.start()
        try:
            yield
        except BaseException:
            self._end(stop, sender, folder)
            self.finish("FAILED")
            raise
        self._end(stop, sender, folder)

    def _end(self, stop: threading.Event, sender: threading.Thread, folder: RunFolder) -> None:
        stop.set()
        sender.join(FLUSH_SECONDS)
        if sender.is_alive() or folder.path.name in self._failing:
            log.warning(
                "MLflow at %s has not taken all of %s, which keeps the record: the next run sends the rest.",
                self.uri,
                folder.path,
            )

    def log_targets(self, experiment: Experiment, folder: RunFolder, rows: Sequence[Row]) -> None:
        """Record target scores, per class too, and mark the run as finished."""

        def send() -> None:
            run = self.run_of(experiment)
            self._send_scores(run, experiment, rows)
            if rows:
                self.client.set_tag(run, SELECTED_TAG, str(folder.checkpoint_at(rows[0].step).path))
            self.client.set_tag(run, "raydg.selection", experiment.selection)
            self.client.set_terminated(run)

        self._try(f"scores of {folder.path.name}", send)

    def log_ensemble(self, experiment: Experiment, seeds: Sequence[int], rows: Sequence[Row]) -> None:
        """Record scores of an ensemble of seeds, by the names that its members' have; `experiment` is called so."""

        def send() -> None:
            run = self.run_of(experiment, seeds)
            self._send_scores(run, experiment, rows)
            self.client.set_terminated(run)

        self._try(f"scores of {experiment.name}, seeds {' '.join(map(str, seeds))}", send)

    def _send_scores(self, run: str, experiment: Experiment, rows: Sequence[Row]) -> None:
        """Send rows that were scored after selection, unless they are there."""
        content = fingerprint([encode(row) for row in rows])
        if self.client.get_run(run).data.tags.get("raydg.targets") == content:
            return
        own = experiment.stages[-1].method.default_inference().label
        classes, task = experiment.label_space.classes, experiment.label_space.task
        for row in rows:
            self._log_metrics(run, row_metrics(row, classes, task, experiment.scored_ids, own))
        self.client.set_tag(run, "raydg.targets", content)

    def log_file(self, experiment: Experiment | None, path: Path) -> None:
        """Attach a file to an experiment's run, or to the study's."""
        self._try(path.name, lambda: self.client.log_artifact(self.run_of(experiment), str(path)))

    def finish(self, status: Literal["FINISHED", "FAILED"] = "FINISHED") -> None:
        """Mark the runs that this tracker has opened as ended."""
        for run in list(self._runs.values()):
            self._try(f"the end of run {run}", lambda run=run: self.client.set_terminated(run, status))

    @property
    def client(self) -> MlflowClient:
        if self._client is None:
            self._client = _opened(self.uri)
        return self._client

    def run_of(self, experiment: Experiment | None, seeds: Sequence[int] = ()) -> str:
        """Id of the run of an experiment's seed, made with its parents where it is missing; of the study, for None; of
        an ensemble where its seeds are given."""
        with self._opening:
            parent = self._run((self.study.name,), parent=None)
            if experiment is None:
                return parent
            fold = f"{experiment.name} → {', '.join(experiment.targets)}" if experiment.targets else experiment.name
            child = self._run((self.study.name, fold), parent)
            of = f"seeds {' '.join(map(str, seeds))}" if seeds else f"seed {experiment.seed}"
            return self._run((self.study.name, fold, of), child, experiment, seeds)

    def _run(
        self,
        path: tuple[str, ...],
        parent: str | None,
        experiment: Experiment | None = None,
        members: Sequence[int] = (),
    ) -> str:
        # Two trainings that differ in a setting are two runs, even under one name.
        identity = fingerprint([*path, experiment.training_fingerprint() if experiment else None])
        if identity not in self._runs:
            mlflow_experiment = self._mlflow_experiment()
            query = f"tags.`raydg.identity` = '{identity}'"
            found = self.client.search_runs([mlflow_experiment], query, max_results=1)
            if found:
                run_id = found[0].info.run_id
                self.client.update_run(run_id, status="RUNNING")
            else:
                tags = {"raydg.identity": identity} | ({"mlflow.parentRunId": parent} if parent else {})
                run_id = self.client.create_run(mlflow_experiment, tags=tags, run_name=path[-1]).info.run_id
                self._log_parameters(run_id, experiment, members)
            self._runs[identity] = run_id
        return self._runs[identity]

    def _mlflow_experiment(self) -> str:
        found = self.client.get_experiment_by_name(self.study.name)
        if found:
            return found.experiment_id
        return self.client.create_experiment(self.study.name, artifact_location=self.artifacts)

    def _log_parameters(self, run: str, experiment: Experiment | None, members: Sequence[int] = ()) -> None:
        """Settings, and what a run is found by: a seed's by its training, which no ensemble of several has."""
        if experiment is None:
            return
        leaves = [s for s in settings(experiment) if not _holds_values(s.value) and s.path != "label_space.palette"]
        parameters = [Param(setting.path, str(setting.value)) for setting in leaves]
        for i in range(0, len(parameters), MOST_PARAMETERS):
            self.client.log_batch(run, params=parameters[i : i + MOST_PARAMETERS])
        tags = {"raydg.fingerprint": experiment.fingerprint()}
        if members:
            tags[MEMBERS_TAG] = " ".join(map(str, members))
        else:
            tags["raydg.training"] = experiment.training_fingerprint()
        self.client.log_batch(run, tags=[RunTag(key, value) for key, value in tags.items()])

    def _follow(self, experiment: Experiment, folder: RunFolder, stop: threading.Event) -> None:
        state = _Sent(folder)
        while not stop.wait(POLL_SECONDS):
            self._try(folder.path.name, lambda: self._send_new(experiment, folder, state))
        self._try(folder.path.name, lambda: self._send_new(experiment, folder, state))

    def _send_new(self, experiment: Experiment, folder: RunFolder, state: "_Sent") -> None:
        self._send_to(self.run_of(experiment), experiment, folder, state)

    def _send_to(self, run: str, experiment: Experiment, folder: RunFolder, state: "_Sent") -> None:
        """Send what a run lacks of a folder's record."""
        if state.step is None:
            history = self.client.get_metric_history(run, "train/loss")
            state.step = max((metric.step for metric in history), default=-1)
            tags = self.client.get_run(run).data.tags
            state.measured = int(tags.get(MEASURED_TAG, -1))
            state.checkpoints = {int(key.rpartition(".")[2]) for key in tags if key.startswith(CHECKPOINT_TAG)}
            self.client.set_tag(run, FOLDER_TAG, str(folder.path))
            self.client.set_tag(run, HOST_TAG, socket.gethostname())
        for line in state.record.new():
            (state.steps if "loss" in line else state.measurements)[int(line["step"])] = line
        for some in _requests([line for step, line in state.steps.items() if step > state.step]):
            self._log_metrics(run, [metric for line in some for metric in step_metrics(line)])
            state.step = int(some[-1]["step"])
        state.steps.clear()
        # What a method measures is written with a checkpoint, after the line of its step has perhaps been sent.
        for step, line in state.measurements.items():
            if step > state.measured:
                self._log_metrics(run, step_metrics(line))
                state.measured = step
                self.client.set_tag(run, MEASURED_TAG, str(step))
        state.measurements.clear()
        for checkpoint in folder.checkpoints():
            if checkpoint.step in state.checkpoints:
                continue
            classes, task = experiment.label_space.classes, experiment.label_space.task
            for row in checkpoint.rows():
                self._log_metrics(run, row_metrics(row, classes, task, experiment.scored_ids, row.inference))
            self.client.set_tag(run, f"{CHECKPOINT_TAG}{checkpoint.step}", str(checkpoint.path))
            self.client.set_tag(run, "raydg.commercial_use", commercial_use(checkpoint.licences()))
            state.checkpoints.add(checkpoint.step)

    def _log_metrics(self, run: str, metrics: list[Metric]) -> None:
        finite = [metric for metric in metrics if math.isfinite(metric.value)]  # an absent class has no IoU to record
        for i in range(0, len(finite), MOST_METRICS):
            self.client.log_batch(run, metrics=finite[i : i + MOST_METRICS])

    def _try(self, what: str, call: Callable[[], object]) -> None:
        """Call it; if MLflow fails, warn that `what` is not recorded, unless that is known already."""
        try:
            call()
        except (MlflowException, OSError) as fault:
            if what not in self._failing:
                log.warning("MLflow at %s: %s cannot be recorded: %s", self.uri, what, str(fault).splitlines()[0])
            self._failing.add(what)
        else:
            if what in self._failing:
                log.warning("MLflow at %s: %s can be recorded again", self.uri, what)
            self._failing.discard(what)


def unreachable(uri: str) -> str | None:
    """Why a tracking server or store cannot be used from this process, or None if it answers."""
    try:
        MlflowClient(uri).search_experiments(max_results=1)
    except (MlflowException, OSError, ImportError) as fault:  # the last where a database's driver is not installed
        return str(fault).partition("\n")[0]
    return None


def _opened(uri: str | None) -> MlflowClient:
    """A client that writes. Who opens a sqlite file first makes its tables, which MLflow lets two processes begin at
    once, and then one of them fails: here they do it one after the other."""
    if uri is None or not uri.startswith(SQLITE):
        return MlflowClient(uri)
    with held(Path(f"{uri.removeprefix(SQLITE)}.lock"), wait=True):
        return MlflowClient(uri)


class _Sent:
    """How far a run's record has been sent, and what of it was read and waits until a server takes it."""

    def __init__(self, folder: RunFolder) -> None:
        self.record = MetricsReader(folder.metrics)
        self.steps: dict[int, dict[str, float]] = {}
        self.measurements: dict[int, dict[str, float]] = {}
        self.step: int | None = None
        self.measured = -1
        self.checkpoints: set[int] = set()


def _requests(lines: Sequence[dict[str, float]]) -> Iterator[list[dict[str, float]]]:
    """Lines of steps by requests of at most `MOST_METRICS`: whole steps, so that none is ever sent in part, unless one
    alone has more."""
    some, size = [], 0
    for line in lines:
        metrics = len(line) - 1  # all but the step's number
        if some and size + metrics > MOST_METRICS:
            yield some
            some, size = [], 0
        some.append(line)
        size += metrics
    if some:
        yield some


class SweepTracker(Tracker):
    """The MLflow runs of one sweep, beside those of its study: parent = sweep, child = trial, grandchild = fold or seed
    where a trial has several; a trial that goes on does so in its run.

    A child has the trial's settings as parameters and what it reported as `selection/score`, and, with one fold, the
    record of that training under the names that every training has.

    Args:
        study: whose MLflow experiment it is in.
        sweep: names the parent run.
        uri: MLflow tracking server or store.
        runs: folder of the runs.
    """

    def __init__(self, study: Study, sweep: str, uri: str, runs: str | Path) -> None:
        super().__init__(study, uri, runs)
        self.sweep = sweep
        self._sent: dict[str, _Sent] = {}
        self._told: dict[str, int] = {}

    def log_trial(self, trial: Trial, folds: Sequence[tuple[str, Experiment, RunFolder]]) -> None:
        """Send what is new of a trial, and of its folds, each with its name."""
        self._try(f"trial {_name(trial)}", lambda: self._send_trial(trial, folds))

    def end(self, files: Sequence[Path]) -> None:
        """Attach files to the sweep's run, and mark it as ended."""

        def send() -> None:
            with self._opening:
                parent = self._run((self.study.name, self.sweep), None)
            for path in files:
                self.client.log_artifact(parent, str(path))
            self.client.set_terminated(parent)

        self._try(f"the end of {self.sweep}", send)

    def _send_trial(self, trial: Trial, folds: Sequence[tuple[str, Experiment, RunFolder]]) -> None:
        name = _name(trial)
        identity = fingerprint([[key, value] for key, value in trial.settings])
        with self._opening:
            parent = self._run((self.study.name, self.sweep), None)
            only = folds[0][1] if len(folds) == 1 else None
            run = self._run((self.study.name, self.sweep, identity, name), parent, only)
        if run not in self._told:
            for key, value in trial.settings:
                self.client.log_param(run, key, str(value))
            history = self.client.get_metric_history(run, "selection/score")
            self._told[run] = max((metric.step for metric in history), default=-1)
        new = [(step, score) for step, score in trial.reports if step > self._told[run]]
        self._log_metrics(run, [Metric("selection/score", score, _now(), step) for step, score in new])
        self._told[run] = max([self._told[run], *(step for step, _ in new)])
        runs = [run]
        for fold, experiment, folder in folds:
            if len(folds) > 1:
                with self._opening:
                    runs.append(self._run((self.study.name, self.sweep, identity, name, fold), run, experiment))
            if folder.path.exists():
                self._send_to(runs[-1], experiment, folder, self._sent.setdefault(runs[-1], _Sent(folder)))
        for each in runs:
            self.client.set_tag(each, "raydg.trial", trial.state)
            if trial.state != "running":
                self.client.set_terminated(each, TRIAL_STATUS[trial.state])


def _name(trial: Trial) -> str:
    return ", ".join(f"{key.rpartition('.')[2]} {text(value)}" for key, value in trial.settings)


TRIAL_STATUS = {"finished": "FINISHED", "stopped": "KILLED", "diverged": "FAILED", "failed": "FAILED"}
"""How a trial's run ends, in MLflow's words."""


def checkpoint_of_run(location: str, download: str | Path, uri: str | None = None) -> Checkpoint:
    """The checkpoint of a seed's run in MLflow.

    It is the selected one among the run's artifacts, if `checkpoints/step_…` are among them; else the one that was
    selected when the run's targets were scored; else the one that the experiment's rule selects in the folder that the
    run logged.

    Args:
        location: `mlflow:RUN_ID`, or the run's URI, `runs:/RUN_ID`.
        download: empty folder, for artifacts.
        uri: tracking server or store; None: MLflow's own default (`MLFLOW_TRACKING_URI`).

    Raises:
        ValueError: no such run, one that is no seed's, or one whose folder is not on this machine.
    """
    prefix = next(prefix for prefix in RUN_PREFIXES if location.startswith(prefix))
    run_id = location.removeprefix(prefix).strip("/")
    client = MlflowClient(uri)
    try:
        run = client.get_run(run_id)
        there = {Path(artifact.path).name for artifact in client.list_artifacts(run_id)}
        if ARTIFACTS in there:
            client.download_artifacts(run_id, ARTIFACTS, str(download))
            return find_checkpoint(download)
    except MlflowException as fault:
        where = uri or "MLflow's default store (--tracking-uri names another)"
        raise ValueError(f"{location} cannot be read from {where}: {str(fault).splitlines()[0]}") from None
    tags = run.data.tags
    folders = [tags[tag] for tag in (SELECTED_TAG, FOLDER_TAG) if tag in tags]
    if not folders:
        raise ValueError(f"{location} logged no folder of checkpoints: give the run of a seed, which has no children.")
    for folder in folders:
        if Path(folder).is_dir():
            return find_checkpoint(folder)
    host = f" of {tags[HOST_TAG]}" if HOST_TAG in tags else ""
    raise ValueError(
        f"{location} logged {folders[-1]}{host}, which is not on this machine: mount it, or log its folder "
        f"{ARTIFACTS!r} as artifacts of the run."
    )


def export(predictor: ImagePredictor, out: str | Path) -> None:
    """Write a checkpoint as a model of MLflow's `pyfunc` flavour that predicts as `predictor` does: images (b, h, w, 3)
    uint8 to probabilities, see `raydg.exported`.

    It holds weights, experiment and licences, and the code of raydg; `mlflow.pyfunc.load_model(out)` needs no more than
    its requirements. The folder is whole or not there.

    Raises:
        ValueError: the folder is there already, or an adaptation that cannot be exported.
    """
    with warnings.catch_warnings():
        # MLflow warns of its own type hints when its models are imported, and of an example, which our signature is
        # not taken from.
        warnings.filterwarnings("ignore", ".*(Any type hint is inferred|An input example was not provided)")
        _save(predictor, Path(out))


def attach(study: Study, uri: str, runs: str | Path, path: Path) -> None:
    """Attach a file to the run of a study, which is made if it was never tracked; faults are warnings."""
    tracker = Tracker(study, uri, runs)
    tracker.log_file(None, path)
    tracker.finish()


DESCRIPTION = 5000
"""Characters that MLflow keeps of a version's description."""


def register(predictor: ImagePredictor, name: str, card: str, experiment: Experiment, uri: str | None = None) -> str:
    """Put a model into MLflow's registry, as a new version of `name` with its card.

    Model and card are artifacts of the run that tracked the training, or of one that is made for them; the card is the
    version's description too, cut where MLflow must.

    Args:
        predictor: what is registered, as `export` writes it.
        name: of the registered model.
        card: Markdown.
        experiment: what was trained.
        uri: MLflow server or store; None: MLflow's own default.

    Returns:
        The version's number.

    Raises:
        ValueError: MLflow refuses, or an adaptation that cannot be exported.
    """
    client = _opened(uri)
    way = predictor.way()
    place = f"model-{fingerprint(way)[:12]}"
    try:
        run = client.get_run(_run_of_training(client, experiment, uri))
        with tempfile.TemporaryDirectory(prefix="raydg_") as folder:
            export(predictor, Path(folder) / place)
            try:
                client.get_registered_model(name)
            except MlflowException:
                client.create_registered_model(name)
            client.log_artifacts(run.info.run_id, str(Path(folder) / place), place)
        client.log_text(run.info.run_id, card, f"{place}/card.md")
        cut = card if len(card) <= DESCRIPTION else f"{card[: DESCRIPTION - 30]}\n\n… the rest is in card.md"
        tags = {
            "raydg.fingerprint": experiment.fingerprint(),
            "raydg.training": experiment.training_fingerprint(),
            "raydg.adaptation": predictor.adaptation.label,
            "raydg.inference": predictor.inference.label,
            "raydg.selection": experiment.selection,
            "raydg.commercial_use": commercial_use(predictor.checkpoint.licences()),
        }
        source = f"{run.info.artifact_uri}/{place}"
        version = client.create_model_version(name, source, run.info.run_id, tags=tags, description=cut)
    except MlflowException as fault:
        where = uri or "MLflow's default store (--tracking-uri names another)"
        raise ValueError(f"{name!r} cannot be registered in {where}: {str(fault).splitlines()[0]}") from None
    return str(version.version)


def _run_of_training(client: MlflowClient, experiment: Experiment, uri: str | None) -> str:
    """The run that tracked a training, else a new one in an MLflow experiment of its name."""
    every = [each.experiment_id for each in client.search_experiments()]
    query = f"tags.`raydg.training` = '{experiment.training_fingerprint()}'"
    found = client.search_runs(every, query, max_results=1)
    if found:
        return found[0].info.run_id
    known = client.get_experiment_by_name(experiment.name)
    if known:
        at = known.experiment_id
    elif uri and uri.startswith(SQLITE):  # which would put artifacts into the current directory
        beside = Path(uri.removeprefix(SQLITE)).parent / "artifacts"
        at = client.create_experiment(experiment.name, artifact_location=str(beside))
    else:
        at = client.create_experiment(experiment.name)
    tags = {
        "raydg.fingerprint": experiment.fingerprint(),
        "raydg.training": experiment.training_fingerprint(),
    }
    run = client.create_run(at, tags=tags, run_name=f"{experiment.name}, seed {experiment.seed}").info.run_id
    client.set_terminated(run)
    return run


def _save(predictor: ImagePredictor, out: Path) -> None:
    # Only here: MLflow takes seconds to import its models, and tracking does not need them.
    from mlflow import pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    if out.exists():
        raise ValueError(f"{out} is there already: choose another folder, or remove it.")
    space, licences = predictor.experiment.label_space, predictor.checkpoint.licences()
    # -1: any batch, height and width.
    shape = (-1, space.num_classes, *((-1, -1) if space.task == "segmentation" else ()))
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, 3))]),
        Schema([TensorSpec(np.dtype(np.float32), shape)]),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export_", dir=out.parent) as folder:
        data, model = Path(folder) / "data", Path(folder) / "model"
        data.mkdir()
        exported.write(predictor, data)
        pyfunc.save_model(
            str(model),
            loader_module="raydg.exported",
            data_path=str(data),
            code_paths=[str(Path(exported.__file__).parent)],
            pip_requirements=requirements(),
            signature=signature,
            model_config=exported.CONFIG,
            metadata={
                "classes": list(space.classes),
                "commercial_use": commercial_use(licences),
                "licences": encode(licences),
                **predictor.way(),
            },
        )
        model.rename(out)


def requirements() -> list[str]:
    """What an exported model imports, in the versions of this process."""
    optional = [name for name in OPTIONAL if importlib.util.find_spec(name)]
    return [f"{name}=={importlib.metadata.version(name)}" for name in (*REQUIREMENTS, *optional)]


def step_metrics(line: dict[str, float]) -> list[Metric]:
    """What one line of a run's metrics says, under the name of its training step."""
    return [Metric(f"train/{name}", value, _now(), int(line["step"])) for name, value in line.items() if name != "step"]


def row_metrics(
    row: Row, classes: Sequence[str], task: Task, scored: Sequence[int] | None = None, own: str | None = None
) -> list[Metric]:
    """A row's headline score, per-class scores and calibration errors, in percent, and its cost, under names that say
    role, domain, inference, adaptation and order. The inference labelled `own`, the method's, goes without saying, so
    that methods compare by name."""
    way = "" if row.inference == own else f"/{metric_name(row.inference)}"
    name = f"{row.role}/{row.domain}{way}/{metric_name(row.adaptation)}" + (f"/order {row.order}" if row.order else "")
    headline = "mIoU" if task == "segmentation" else "accuracy"
    per_class = row.confusion.iou() if task == "segmentation" else row.confusion.class_accuracy()
    scores = {headline: row.confusion.score(task, scored)}
    if row.calibration:
        scores |= {f"ECE {bins} bins": row.calibration.ece(bins, scored) for bins in (10, 15)}
        scores["per-image per-class ECE"] = row.calibration.per_image_per_class_ece(scored)
    if row.cost:
        scores["ms per image"] = 1000 * row.cost.seconds_per_image
    scores |= {f"per class/{label}": 100 * float(score) for label, score in zip(classes, per_class, strict=True)}
    return [Metric(f"{name}/{metric_name(key)}", value, _now(), row.step) for key, value in scores.items()]


def metric_name(text: str) -> str:
    """Text with nothing but what MLflow allows in names: letters, digits, blanks, `_ - . /`."""
    return re.sub(r"[^\w\-./ ]+", " ", text).strip()


def _holds_values(value: object) -> bool:
    return isinstance(value, Value) or (isinstance(value, tuple) and any(isinstance(v, Value) for v in value))


def _now() -> int:
    return int(time.time() * 1000)
