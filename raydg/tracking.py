"""The record of a study in MLflow: parent run = study, child = experiment, grandchild = seed.

Training never talks to MLflow. It writes its steps to the run's folder; a thread of the driver reads them there and
sends them. So a slow or dead server delays nothing and loses nothing: what could not be sent is still in the folder,
and is sent when the same study is run again.
"""

import logging
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from raydg.checkpoint import RunFolder, read_metrics
from raydg.evaluation import Row
from raydg.experiment import Experiment, Study, settings
from raydg.licence import commercial_use
from raydg.types import Task
from raydg.values import Value, encode, fingerprint

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
FLUSH_SECONDS = 60.0  # how long the end of a training waits for a slow server
STEPS_AT_ONCE = 100
MOST_PARAMETERS = 100  # MLflow's limit for one request
CHECKPOINT_TAG = "raydg.checkpoint."
MEASURED_TAG = "raydg.measured"

# A server that is down should cost a request seconds, not MLflow's default of minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")


class Tracker:
    """The MLflow runs of one study; the same study run again goes on in the same runs.

    Faults of the tracking server are warnings: a run without a record is better than no run.

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
        if sender.is_alive():
            log.warning(
                "MLflow at %s is slow: %s holds the record; the next run sends the rest.", self.uri, folder.path
            )

    def log_targets(self, experiment: Experiment, folder: RunFolder, rows: Sequence[Row]) -> None:
        """Record target scores, per class too, and mark the run as finished."""
        names = experiment.label_space.classes
        own = experiment.stages[-1].method.default_inference().label

        content = fingerprint([encode(row) for row in rows])

        def send() -> None:
            run = self.run_of(experiment)
            if self.client.get_run(run).data.tags.get("raydg.targets") != content:
                for row in rows:
                    metrics = row_metrics(row, names, experiment.label_space.task, experiment.scored_ids, own)
                    self._log_metrics(run, metrics)
                self.client.set_tag(run, "raydg.targets", content)
            if rows:
                self.client.set_tag(run, "raydg.selected_checkpoint", str(folder.checkpoint_at(rows[0].step).path))
            self.client.set_tag(run, "raydg.selection", experiment.selection)
            self.client.set_terminated(run)

        self._try(send)

    def log_file(self, experiment: Experiment | None, path: Path) -> None:
        """Attach a file to an experiment's run, or to the study's."""
        self._try(lambda: self.client.log_artifact(self.run_of(experiment), str(path)))

    def finish(self, status: Literal["FINISHED", "FAILED"] = "FINISHED") -> None:
        """Mark the runs that this tracker has opened as ended."""
        for run in list(self._runs.values()):
            self._try(lambda run=run: self.client.set_terminated(run, status))

    @property
    def client(self) -> MlflowClient:
        if self._client is None:
            self._client = MlflowClient(self.uri)
        return self._client

    def run_of(self, experiment: Experiment | None) -> str:
        """Id of the run of an experiment's seed, made with its parents where it is missing; of the study, for None."""
        with self._opening:
            parent = self._run((self.study.name,), parent=None)
            if experiment is None:
                return parent
            fold = f"{experiment.name} → {', '.join(experiment.targets)}" if experiment.targets else experiment.name
            child = self._run((self.study.name, fold), parent)
            return self._run((self.study.name, fold, f"seed {experiment.seed}"), child, experiment)

    def _run(self, path: tuple[str, ...], parent: str | None, experiment: Experiment | None = None) -> str:
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
                self._log_parameters(run_id, experiment)
            self._runs[identity] = run_id
        return self._runs[identity]

    def _mlflow_experiment(self) -> str:
        found = self.client.get_experiment_by_name(self.study.name)
        if found:
            return found.experiment_id
        return self.client.create_experiment(self.study.name, artifact_location=self.artifacts)

    def _log_parameters(self, run: str, experiment: Experiment | None) -> None:
        if experiment is None:
            return
        leaves = [s for s in settings(experiment) if not _holds_values(s.value) and s.path != "label_space.palette"]
        parameters = [Param(setting.path, str(setting.value)) for setting in leaves]
        for i in range(0, len(parameters), MOST_PARAMETERS):
            self.client.log_batch(run, params=parameters[i : i + MOST_PARAMETERS])
        tags = {"raydg.fingerprint": experiment.fingerprint(), "raydg.training": experiment.training_fingerprint()}
        self.client.log_batch(run, tags=[RunTag(key, value) for key, value in tags.items()])

    def _follow(self, experiment: Experiment, folder: RunFolder, stop: threading.Event) -> None:
        state = _Sent()
        while not stop.wait(POLL_SECONDS):
            self._try(lambda: self._send_new(experiment, folder, state))
        self._try(lambda: self._send_new(experiment, folder, state))

    def _send_new(self, experiment: Experiment, folder: RunFolder, state: "_Sent") -> None:
        run = self.run_of(experiment)
        if state.step is None:
            history = self.client.get_metric_history(run, "train/loss")
            state.step = max((metric.step for metric in history), default=-1)
            tags = self.client.get_run(run).data.tags
            state.measured = int(tags.get(MEASURED_TAG, -1))
            state.checkpoints = {int(key.rpartition(".")[2]) for key in tags if key.startswith(CHECKPOINT_TAG)}
            self.client.set_tag(run, "raydg.folder", str(folder.path))
        record = read_metrics(folder.metrics)
        lines = [line for line in record if "loss" in line and line["step"] > state.step]
        for i in range(0, len(lines), STEPS_AT_ONCE):  # whole steps, so that none is ever sent in part
            some = lines[i : i + STEPS_AT_ONCE]
            self._log_metrics(run, [metric for line in some for metric in step_metrics(line)])
            state.step = int(some[-1]["step"])
        # What a method measures is written with a checkpoint, after the line of its step has perhaps been sent.
        for line in record:
            if "loss" not in line and line["step"] > state.measured:
                self._log_metrics(run, step_metrics(line))
                state.measured = int(line["step"])
                self.client.set_tag(run, MEASURED_TAG, str(state.measured))
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
        """One request; at most MLflow's 1,000 metrics: a row has as many as classes, `STEPS_AT_ONCE` steps and what a
        method measures fewer."""
        finite = [metric for metric in metrics if math.isfinite(metric.value)]  # an absent class has no IoU to record
        self.client.log_batch(run, metrics=finite)

    def _try(self, call: Callable[[], object]) -> None:
        try:
            call()
        except (MlflowException, OSError) as fault:
            log.warning("MLflow at %s: %s", self.uri, str(fault).splitlines()[0])


class _Sent:
    """How far a run's record has been sent."""

    def __init__(self) -> None:
        self.step: int | None = None
        self.measured = -1
        self.checkpoints: set[int] = set()


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
