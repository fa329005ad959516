"""The record of a study in MLflow: parent run = study, child = experiment, grandchild = seed, or seeds of an ensemble.

Training never talks to MLflow. It writes its steps to the run's folder; a thread of the driver reads them there and
sends them. So a slow or dead server delays nothing and loses nothing: what could not be sent is still in the folder,
and is sent when the same study is run again.
"""

import logging
import math
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from raydg.checkpoint import MetricsReader, RunFolder
from raydg.evaluation import Row
from raydg.experiment import Experiment, Study
from raydg.licence import commercial_use
from raydg.settings import settings
from raydg.tracking.store import opened
from raydg.trials import Trial, text
from raydg.types import Task
from raydg.values import Value, encode, fingerprint

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
FLUSH_SECONDS = 60.0  # how long the end of a training waits for a slow server
MOST_METRICS, MOST_PARAMETERS = 1000, 100  # MLflow's limits for one request
CHECKPOINT_TAG = "raydg.checkpoint."
FOLDER_TAG, SELECTED_TAG, HOST_TAG = "raydg.folder", "raydg.selected_checkpoint", "raydg.host"
MEASURED_TAG, MEMBERS_TAG = "raydg.measured", "raydg.members"

Status = Literal["FINISHED", "FAILED", "KILLED"]
"""How a run ends, in MLflow's words."""


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
        self._open: set[str] = set()  # those of `_runs` that have not been marked as ended
        # When runs ended that have not gone on since: a training keeps its duration, however late targets are scored.
        self._ended: dict[str, int] = {}
        self._failing: set[str] = set()  # what cannot be recorded at the moment
        self._opening = threading.Lock()  # the follower and the driver ask for the same runs

    @contextmanager
    def following(self, experiment: Experiment, folder: RunFolder) -> Iterator[None]:
        """Send the folder's new steps and validation scores while the block runs; at its end send the rest, and mark
        the seed's run as ended. If the block raises it has failed, with its parents, and whatever else is open ends.
        """
        stop = threading.Event()
        sender = threading.Thread(target=self._follow, args=(experiment, folder, stop), daemon=True)
        sender.start()
        try:
            yield
        except BaseException:
            self._end(stop, sender, folder)
            self._try(f"the end of {folder.path.name}", lambda: self._close(self._lineage(experiment), "FAILED"))
            self.finish()
            raise
        self._end(stop, sender, folder)
        self._try(f"the end of {folder.path.name}", lambda: self._close([self.run_of(experiment)]))

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
            self._close([run])

        self._try(f"scores of {folder.path.name}", send)

    def log_ensemble(self, experiment: Experiment, seeds: Sequence[int], rows: Sequence[Row]) -> None:
        """Record scores of an ensemble of seeds, by the names that its members' have; `experiment` is called so."""

        def send() -> None:
            run = self.run_of(experiment, seeds)
            self._send_scores(run, experiment, rows)
            self._close([run])

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

    def finish(self, status: Status = "FINISHED") -> None:
        """Mark the runs that are still open as ended: those of the study and of its experiments."""
        for run in list(self._open):
            self._try(f"the end of run {run}", lambda run=run: self._close([run], status))

    def _close(self, runs: Sequence[str], status: Status = "FINISHED") -> None:
        for run in runs:
            self.client.set_terminated(run, status, self._ended.setdefault(run, _now()))
            self._open.discard(run)

    @property
    def client(self) -> MlflowClient:
        if self._client is None:
            self._client = opened(self.uri)
        return self._client

    def run_of(self, experiment: Experiment | None, seeds: Sequence[int] = ()) -> str:
        """Id of the run of an experiment's seed, made with its parents where it is missing; of the study, for None; of
        an ensemble where its seeds are given."""
        return self._lineage(experiment, seeds)[-1]

    def _lineage(self, experiment: Experiment | None, seeds: Sequence[int] = ()) -> list[str]:
        """That run after its parents."""
        with self._opening:
            parent = self._run((self.study.name,), parent=None)
            if experiment is None:
                return [parent]
            fold = f"{experiment.name} → {', '.join(experiment.targets)}" if experiment.targets else experiment.name
            child = self._run((self.study.name, fold), parent)
            of = f"seeds {' '.join(map(str, seeds))}" if seeds else f"seed {experiment.seed}"
            # Its name says whose seed it is, for runs are compared without their parents.
            return [parent, child, self._run((self.study.name, fold, f"{fold}, {of}"), child, experiment, seeds)]

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
                if experiment and found[0].info.end_time:
                    self._ended[run_id] = found[0].info.end_time
                self.client.update_run(run_id, status="RUNNING")
            else:
                tags = {"raydg.identity": identity} | ({"mlflow.parentRunId": parent} if parent else {})
                run_id = self.client.create_run(mlflow_experiment, tags=tags, run_name=path[-1]).info.run_id
                self._log_parameters(run_id, experiment, members)
            self._runs[identity] = run_id
            self._open.add(run_id)
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
            self._ended.pop(run, None)
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
        if new:
            self._ended.pop(run, None)
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
                self._close([each], TRIAL_STATUS[trial.state])


def _name(trial: Trial) -> str:
    return ", ".join(f"{key.rpartition('.')[2]} {text(value)}" for key, value in trial.settings)


TRIAL_STATUS: dict[str, Status] = {
    "finished": "FINISHED",
    "stopped": "KILLED",
    "diverged": "FAILED",
    "failed": "FAILED",
}
"""How a trial's run ends, in MLflow's words."""


def attach(study: Study, uri: str, runs: str | Path, path: Path) -> None:
    """Attach a file to the run of a study, which is made if it was never tracked; faults are warnings."""
    tracker = Tracker(study, uri, runs)
    tracker.log_file(None, path)
    tracker.finish()


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
