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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from raydg.checkpoint import RunFolder, read_metrics
from raydg.evaluation import Row
from raydg.experiment import Experiment, Study, settings
from raydg.values import Value

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
FLUSH_SECONDS = 60.0  # how long the end of a training waits for a slow server
MOST_METRICS = 1_000  # MLflow's limit for one request
MOST_PARAMETERS = 100

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
        self._runs: dict[tuple[str, ...], str] = {}

    @contextmanager
    def following(self, experiment: Experiment, folder: RunFolder) -> Iterator[None]:
        """Send the folder's new steps and validation scores while the block runs; at its end send the rest."""
        stop = threading.Event()
        sender = threading.Thread(target=self._follow, args=(experiment, folder, stop), daemon=True)
        sender.start()
        try:
            yield
        except BaseException:
            self._try(lambda: self.client.set_terminated(self.run_of(experiment), "FAILED"))
            raise
        finally:
            stop.set()
            sender.join(FLUSH_SECONDS)
            if sender.is_alive():
                log.warning(
                    "MLflow at %s is slow: the record is in %s and will be sent by the next run.", self.uri, folder.path
                )

    def log_targets(self, experiment: Experiment, folder: RunFolder, rows: Sequence[Row]) -> None:
        """Record target scores, per class too, and mark the run as finished."""
        names = experiment.label_space.classes

        def send() -> None:
            run = self.run_of(experiment)
            metrics = [metric for row in rows for metric in row_metrics(row, names, experiment.label_space.task)]
            self._log_metrics(run, metrics)
            self.client.set_tag(run, "raydg.selected_checkpoint", str(folder.checkpoint_at(rows[0].step).path))
            self.client.set_tag(run, "raydg.selection", experiment.selection)
            self.client.set_terminated(run)

        self._try(send)

    def log_file(self, experiment: Experiment | None, path: Path) -> None:
        """Attach a file to an experiment's run, or to the study's."""
        self._try(lambda: self.client.log_artifact(self.run_of(experiment), str(path)))

    def finish(self) -> None:
        """Mark the study's own runs as finished."""
        for run in list(self._runs.values()):
            self._try(lambda run=run: self.client.set_terminated(run))

    @property
    def client(self) -> MlflowClient:
        if self._client is None:
            self._client = MlflowClient(self.uri)
        return self._client

    def run_of(self, experiment: Experiment | None) -> str:
        """Id of the run of an experiment's seed, made with its parents where it is missing; of the study, for None."""
        if experiment is None:
            return self._run((self.study.name,), parent=None)
        parent = self._run((self.study.name,), parent=None)
        fold = f"{experiment.name} → {', '.join(experiment.targets)}" if experiment.targets else experiment.name
        child = self._run((self.study.name, fold), parent)
        return self._run((self.study.name, fold, f"seed {experiment.seed}"), child, experiment)

    def _run(self, path: tuple[str, ...], parent: str | None, experiment: Experiment | None = None) -> str:
        # Two trainings that differ in a setting are two runs, even under one name.
        identity = "/".join(path) + (f"/{experiment.training_fingerprint()}" if experiment else "")
        if (identity,) not in self._runs:
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
            self._runs[(identity,)] = run_id
        return self._runs[(identity,)]

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
            self.client.set_tag(run, "raydg.folder", str(folder.path))
        lines = [line for line in read_metrics(folder.metrics) if line["step"] > state.step]
        metrics = [
            Metric(f"train/{name}", value, _now(), int(line["step"]))
            for line in lines
            for name, value in line.items()
            if name != "step"
        ]
        self._log_metrics(run, metrics)
        state.step = int(lines[-1]["step"]) if lines else state.step
        for checkpoint in folder.checkpoints():
            if checkpoint.step in state.checkpoints:
                continue
            classes, task = experiment.label_space.classes, experiment.label_space.task
            self._log_metrics(run, [metric for row in checkpoint.rows() for metric in row_metrics(row, classes, task)])
            self.client.set_tag(run, f"raydg.checkpoint.{checkpoint.step}", str(checkpoint.path))
            state.checkpoints.add(checkpoint.step)

    def _log_metrics(self, run: str, metrics: list[Metric]) -> None:
        finite = [metric for metric in metrics if math.isfinite(metric.value)]  # an absent class has no IoU to record
        for i in range(0, len(finite), MOST_METRICS):
            self.client.log_batch(run, metrics=finite[i : i + MOST_METRICS])

    def _try(self, call: Callable[[], object]) -> None:
        try:
            call()
        except (MlflowException, OSError) as fault:
            log.warning("MLflow at %s: %s", self.uri, str(fault).splitlines()[0])


class _Sent:
    """How far a run's record has been sent."""

    def __init__(self) -> None:
        self.step: int | None = None
        self.checkpoints: set[int] = set()


def row_metrics(row: Row, classes: Sequence[str], task: str) -> list[Metric]:
    """A row's headline score and per-class scores, in percent, under names that say role, domain, adaptation and
    order."""
    name = f"{row.role}/{row.domain}/{metric_name(row.adaptation)}" + (f"/order {row.order}" if row.order else "")
    headline = "mIoU" if task == "segmentation" else "accuracy"
    per_class = row.confusion.iou() if task == "segmentation" else row.confusion.class_accuracy()
    scores = {headline: row.confusion.score(task)}
    scores |= {f"per class/{label}": 100 * float(score) for label, score in zip(classes, per_class, strict=True)}
    return [Metric(f"{name}/{metric_name(key)}", value, _now(), row.step) for key, value in scores.items()]


def metric_name(text: str) -> str:
    """Text with nothing but what MLflow allows in names: letters, digits, blanks, `_ - . /`."""
    return re.sub(r"[^\w\-./ ]+", " ", text).strip()


def _holds_values(value: object) -> bool:
    return isinstance(value, Value) or (isinstance(value, tuple) and any(isinstance(v, Value) for v in value))


def _now() -> int:
    import time

    return int(time.time() * 1000)
