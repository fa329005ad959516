"""Runs a sweep with Ray Tune: trials train and score, are stopped early, and are told apart by what they give on data
that may choose a setting.

A trial is a driver that takes no CPU and stays on the head; what it trains or scores are actors, one for each training,
with the hardware of a worker (`--workers 0`) or with Ray Train's workers below them. Trials that ask for the same
training, or the same first stages, wait for one actor: nothing is trained twice, in one sweep or in the next.
"""

import json
import logging
import math
import os
import shlex
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import ray
import ray.exceptions
from ray import tune
from ray.tune.schedulers import ASHAScheduler, MedianStoppingRule, TrialScheduler
from ray.tune.search import SearchAlgorithm, Searcher
from ray.tune.search.basic_variant import BasicVariantGenerator
from rich.console import Console
from rich.table import Table as RichTable

from raydg import search as spaces
from raydg import trials
from raydg.checkpoint import RunFolder, write_whole
from raydg.cluster import session
from raydg.cluster.selecting import selection_rows
from raydg.cluster.train import train
from raydg.errors import MENDABLE
from raydg.evaluation import Row, RowRole
from raydg.experiment import Experiment, Study
from raydg.locking import held
from raydg.overview import code
from raydg.prefix import fork, parts
from raydg.resources import Resources
from raydg.search import Search, Settings, Sweep
from raydg.selection import SelectionScore
from raydg.tracking import FLUSH_SECONDS, SweepTracker
from raydg.trials import Entry, Ledger, Trial
from raydg.values import encode, fingerprint

POLL_SECONDS = 0.5
HEAD = {"node:__internal_head__": 0.001}
"""Keeps what only waits on the node that does not come and go."""


def sweep_study(
    study: Study, resources: Resources, console: Console, search: Search, space_files: Sequence[str]
) -> Trial:
    """Search the settings of a study's experiments, which are the folds of every trial; print and write the trials.

    Killed, it goes on where it stopped when it is run again; finished, it only prints.

    Returns:
        The best trial.

    Raises:
        ValueError: what `raydg.search.planned` refuses, a cluster that holds no trial, or no trial that got a score.
    """
    resources = resources.resolved()
    sweep = spaces.planned(study, search, space_files)
    if not sweep.judge.trains and sweep.judge.criterion != "leave-one-out":
        for fold in sweep.folds:
            RunFolder.of_trained(fold, resources.runs)
    description = _description(sweep, search)
    path = Path(resources.runs) / study.name / f"sweep-{fingerprint(description)[:10]}"
    ledger = Ledger(path)
    failed = any(trial.state == "failed" for trial in ledger.trials())
    if failed or not (path / "trials.json").exists():
        path.mkdir(parents=True, exist_ok=True)
        write_whole(path / "sweep.json", json.dumps(description, indent=1))
        tracker = SweepTracker(study, path.name, resources.tracking_uri or "", resources.runs)
        with _following(ledger, sweep, tracker, console):
            _run(sweep, search, resources, path, console)
        _finish(ledger)
        notes = _notes(study, sweep, search, ledger.trials())
        trials.write_tables(path, f"{study.name}: sweep", notes, ledger.trials())
        for trial in ledger.trials():
            tracker.log_trial(trial, _runs(trial, sweep))
        tracker.end([path / "trials.md", path / "trials.csv", path / "trials.json"])
    return _show(study, sweep, search, ledger, console)


def _description(sweep: Sweep, search: Search) -> Any:
    """All that decides what a sweep is: what runs beside what decides nothing."""
    options = encode(replace(search, concurrent=None))
    space = {key: spaces.described(domain) for key, domain in sweep.space.items()}
    return {"folds": [encode(fold) for fold in sweep.folds], "space": space, "search": options}


def _run(sweep: Sweep, search: Search, resources: Resources, path: Path, console: Console) -> None:
    """Let Tune run the trials that are left."""
    each = max(1, resources.workers) * resources.cpus_per_worker
    session.start(resources.address, each * (search.concurrent or 1), kills=True)
    concurrent, folds_at_once = room(resources, len(sweep.folds), search.concurrent)
    console.print(
        f"{path}: {concurrent} trial{'s' * (concurrent > 1)} at a time, {len(sweep.folds)} "
        f"fold{'s' * (len(sweep.folds) > 1)} each",
        soft_wrap=True,
        highlight=False,
    )
    # An interrupted sweep is one that goes on later, not one that ends as if its budget were spent.
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a trial's error is a line of ours, not a traceback
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # which with verbose=0 still prints
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "5")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # the ledger and MLflow are the record
    work = Work(sweep, resources, path, folds_at_once)
    trainable = tune.with_resources(tune.with_parameters(run_trial, work=work), {"CPU": 0, **HEAD})
    if tune.Tuner.can_restore(str(path / "tune")):
        tuner = tune.Tuner.restore(str(path / "tune"), trainable, restart_errored=True)
    else:
        tuner = tune.Tuner(
            trainable,
            param_space=points(sweep.space, search),
            tune_config=tune.TuneConfig(
                metric="score",
                mode="max",
                search_alg=searcher(search, concurrent),
                scheduler=scheduler(sweep, search, Ledger(path)),
                num_samples=1 if search.search == "grid" else search.most_trials or -1,
                max_concurrent_trials=None if search.search in ("grid", "random") else concurrent,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(path),
                stop=Budget(Ledger(path), search.steps, search.hours, len(sweep.folds)),
                verbose=0,
            ),
        )
    tuner.fit()


def room(resources: Resources, folds: int, concurrent: int | None = None) -> tuple[int, int]:
    """Trials at a time, and folds of each at a time, that the cluster holds beside one CPU for data.

    Raises:
        ValueError: it holds no fold.
    """
    there = ray.cluster_resources()
    workers = max(1, resources.workers)
    slots = int((there.get("CPU", 0) - 1) // (workers * resources.cpus_per_worker))
    if resources.gpus_per_worker:
        # Shares such as 0.1 add up to a little more than a GPU.
        slots = min(slots, math.floor(there.get("GPU", 0) / (workers * resources.gpus_per_worker) + 1e-9))
    if slots < 1 and concurrent is None:
        raise ValueError(
            f"a trial takes {workers * resources.cpus_per_worker} CPUs and {workers * resources.gpus_per_worker:g} "
            f"GPUs, the cluster has {there.get('CPU', 0):g} and {there.get('GPU', 0):g}, and data needs one CPU. "
            "Use fewer workers, or shares of a GPU (--gpus-per-worker 0.5); say --concurrent where nodes will come."
        )
    trials_at_once = concurrent or max(1, slots // folds)
    return trials_at_once, max(1, min(folds, slots // trials_at_once))


def points(space: spaces.Space, search: Search) -> dict[str, Any]:
    """A space as Tune wants it."""
    if search.search != "grid":
        return dict(space)
    values: dict[str, list[Any]] = {}
    for point in spaces.grid(space):
        for key, value in point.items():
            if value not in values.setdefault(key, []):
                values[key].append(value)
    return {key: tune.grid_search(found) for key, found in values.items()}


def searcher(search: Search, concurrent: int = 0) -> Searcher | SearchAlgorithm:
    """What draws the points.

    Raises:
        ValueError: Optuna is asked for and not installed.
    """
    if search.search != "optuna":
        return BasicVariantGenerator(random_state=search.search_seed, max_concurrent=concurrent)
    try:
        from optuna.samplers import TPESampler
        from ray.tune.search.optuna import OptunaSearch
    except ImportError:
        raise ValueError("--search optuna needs the package optuna: pip install 'raydg[optuna]'.") from None
    return OptunaSearch(sampler=TPESampler(seed=search.search_seed))


def scheduler(sweep: Sweep, search: Search, ledger: Ledger) -> TrialScheduler | None:
    """What stops trials, by the steps that they report: a trial that goes on after a crash counts Tune's iterations
    anew."""
    first, last = spaces.first_report(sweep.folds[0]), sweep.folds[0].steps
    if search.scheduler == "asha":
        factor = search.reduction_factor
        return _Halving(ledger, time_attr="step", grace_period=first, max_t=last, reduction_factor=factor)
    if search.scheduler == "median":
        return _Median(ledger, time_attr="step", grace_period=first)
    return None


class _Halving(ASHAScheduler):
    """ASHA that knows after a crash what trials had reported before it, for Tune saves nothing of a scheduler."""

    def __init__(self, ledger: Ledger, **settings: Any) -> None:
        super().__init__(**settings)
        self.ledger = ledger

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_add(tune_controller, trial)
        for result in _reported(self.ledger, trial.config):
            super().on_trial_result(tune_controller, trial, result)


class _Median(MedianStoppingRule):
    """Likewise."""

    def __init__(self, ledger: Ledger, **settings: Any) -> None:
        super().__init__(**settings)
        self.ledger = ledger

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_add(tune_controller, trial)
        for result in _reported(self.ledger, trial.config):
            super().on_trial_result(tune_controller, trial, result)

    def _on_insufficient_samples(self, tune_controller: Any, trial: Any, time: float) -> str:
        """Ray's rule pauses a trial until others have caught up, which costs each of them a start of its workers."""
        return self.CONTINUE


def _reported(ledger: Ledger, given: Settings) -> list[dict[str, float]]:
    trial = ledger.read(given)
    return [{"step": step, "score": score} for step, score in trial.reports] if trial else []


class Budget(tune.Stopper):
    """Ends a sweep when it has spent its steps or hours, those before a crash included.

    Args:
        ledger: of the sweep; the time spent is written beside it.
        steps: optimiser steps, or None.
        hours: or None.
        folds: of each trial, which take every step of it.
        clock: seconds from any start.
    """

    def __init__(
        self,
        ledger: Ledger,
        steps: int | None,
        hours: float | None,
        folds: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ledger, self.steps, self.hours, self.folds, self.clock = ledger, steps, hours, folds, clock
        self.began: float | None = None

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        now = self.clock()
        if self.began is None:  # in this process: a crash forgets it
            self.began = self.looked = now
            self.before = self._seconds()
            self.spent = self._spent()
        if now - self.looked >= 1:
            self.looked = now
            self.spent = self._spent()
            write_whole(self.ledger.path / "seconds.json", json.dumps(self.before + now - self.began))
        out_of_time = self.hours is not None and self.before + now - self.began >= 3600 * self.hours
        return out_of_time or (self.steps is not None and self.spent >= self.steps)

    def _spent(self) -> int:
        return sum(trial.step for trial in self.ledger.trials()) * self.folds if self.steps is not None else 0

    def _seconds(self) -> float:
        place = self.ledger.path / "seconds.json"
        return json.loads(place.read_text()) if place.exists() else 0.0


@dataclass(frozen=True)
class Work:
    """What a trial needs to know beside its settings."""

    sweep: Sweep
    resources: Resources
    path: Path
    """The sweep's folder."""
    folds_at_once: int


def run_trial(given: Settings, work: Work) -> None:
    """One trial, in its own process: train its folds, score their checkpoints, report.

    Reports are written to the ledger before Tune hears of them. A trial that goes on after a crash begins with its last
    report, which Tune may not have heard.
    """
    ledger, judge = Ledger(work.path), work.sweep.judge
    before = ledger.read(given)
    if before and before.state == "diverged":
        raise ArithmeticError(before.error)  # a step is a function of its number: it would diverge again
    folds = tuple(dict.fromkeys(work.sweep.of(given)))
    folders = [str(RunFolder.of(fold, work.resources.runs).path) for fold in folds]
    entry = Entry(ledger, given, folders)
    last = folds[0].steps
    try:
        if before and before.reports:
            step, score = before.reports[-1]
            entry.report(step, score, done=step == last)
            tune.report({"step": step, "score": score})
        for step, scores in scores_of(folds, work, after=before.step if before else 0):
            told = judge.report(step, scores)
            entry.report(step, told["score"], done=step == last)
            tune.report(told)
    except ArithmeticError as error:
        entry.fail("diverged", str(error))
        raise
    except Exception as error:
        entry.fail("failed", str(error))
        raise


def scores_of(folds: Sequence[Experiment], work: Work, after: int) -> Iterator[tuple[int, tuple[SelectionScore, ...]]]:
    """Train the folds, as many at once as there is room for, and score them at every step that all have a checkpoint
    of.

    Args:
        after: steps up to this one are known already.
    """
    judge, resources = work.sweep.judge, work.resources
    slots = threading.Semaphore(work.folds_at_once)
    trainings = [_Training(fold, resources, slots) for fold in folds]
    for training in trainings:
        training.start()
    scored: dict[tuple[Experiment, int], SelectionScore] = {}
    while after < folds[0].steps:
        done = not any(training.is_alive() for training in trainings)
        for training in trainings:
            if training.failure:
                raise training.failure
        every = [{c.step for c in t.folder.results(t.experiment)} for t in trainings]
        together = sorted(step for step in set.intersection(*every) if step > after)
        if not judge.trains:
            together = [step for step in together if done and step == folds[0].steps]
        for step in together:
            if step == folds[0].steps:
                for training in trainings:
                    training.join()  # a trial may be killed with its last report, and what trains must let go before
            try:
                scores = tuple(_score(t.experiment, t.folder, step, work, scored) for t in trainings)
            except FileNotFoundError:
                break  # pruned while it was read; the next checkpoint is there, or will be
            yield step, scores
            after = step
        time.sleep(0 if done else POLL_SECONDS)


def _score(
    fold: Experiment,
    folder: RunFolder,
    step: int,
    work: Work,
    scored: dict[tuple[Experiment, int], SelectionScore],
) -> SelectionScore:
    """What a fold is worth after a step."""
    judge = work.sweep.judge
    rows = [row for row in folder.validation_rows(fold) if row.step <= step]
    chosen = judge.step(fold, rows)
    if (fold, chosen) not in scored:
        own = [row for row in rows if row.step == chosen]
        if judge.adaptation is not None:
            own = _adapted(fold, folder, chosen, work)
        scored[fold, chosen] = judge.score(fold, own)
    return scored[fold, chosen]


def _adapted(fold: Experiment, folder: RunFolder, step: int, work: Work) -> list[Row]:
    adaptation = work.sweep.judge.adaptation
    assert adaptation is not None
    only = replace(fold, adaptations=(fold.adaptations[adaptation],))
    on = work.sweep.judge.role
    return once(f"score {only.fingerprint()} {step} {on}", work.resources, "score", only, folder, step, on)


class _Training(threading.Thread):
    """A fold's training, which waits for its turn; it ends with the trial's process, whatever it waits for."""

    def __init__(self, experiment: Experiment, resources: Resources, slots: threading.Semaphore) -> None:
        super().__init__(daemon=True)
        self.experiment, self.resources, self.slots = experiment, resources, slots
        self.folder = RunFolder.of(experiment, resources.runs)
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            with self.slots:
                for part in parts(self.experiment, self.resources.runs):
                    once(f"train {part.training_fingerprint()}", self.resources, "train", part)
        except Exception as failure:
            self.failure = failure


class Worker:
    """Trains or scores in a process of its own; there is one for everything that is to be done once."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources

    def train(self, experiment: Experiment) -> None:
        """Train to the end, from wherever this or another run got to; or wait until another sweep, or a worker that is
        still dying, has let go of it."""
        folder = RunFolder.of(experiment, self.resources.runs)
        with held(folder.lock, wait=True):
            fork(experiment, folder.open(experiment), self.resources.runs)
            train(experiment, self.resources)

    def score(self, experiment: Experiment, folder: RunFolder, step: int, on: RowRole) -> list[Row]:
        return selection_rows(experiment, folder, step, self.resources, on)

    def call(self, method: str, arguments: tuple[Any, ...]) -> Any:
        """What a method returns, or the error of which the user can mend the cause."""
        try:
            return getattr(self, method)(*arguments)
        except MENDABLE as error:
            return error


def once(name: str, resources: Resources, method: str, *arguments: Any) -> Any:
    """What the cluster's one worker of that name returns.

    It dies with the trial that started it; who waits for it too then starts it again, and it goes on from what is on
    disk.

    Raises:
        RayActorError: it died more often than `Resources.max_failures`.
    """
    hardware: dict[str, Any] = {"num_cpus": 0, "resources": HEAD}  # Ray Train books the hardware of its workers itself
    if resources.workers == 0:
        hardware = {"num_cpus": resources.cpus_per_worker, "num_gpus": resources.gpus_per_worker}
        hardware |= {"accelerator_type": resources.accelerator_type} if resources.accelerator_type else {}
    hardware["scheduling_strategy"] = "DEFAULT"  # not inside what the trial itself has booked
    for deaths in count(1):
        try:
            worker = ray.remote(Worker).options(name=name, get_if_exists=True, **hardware).remote(resources)
            outcome = ray.get(worker.call.remote(method, arguments))
        except ray.exceptions.RayActorError:
            if 0 <= resources.max_failures < deaths:
                raise
            time.sleep(POLL_SECONDS)  # until Ray has given up the name of the dead
            continue
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@contextmanager
def _following(ledger: Ledger, sweep: Sweep, tracker: SweepTracker, console: Console) -> Iterator[None]:
    """Print and send what trials report while the block runs."""
    stop = threading.Event()
    follower = threading.Thread(target=_follow, args=(ledger, sweep, tracker, console, stop), daemon=True)
    follower.start()
    try:
        yield
    finally:
        stop.set()
        follower.join(FLUSH_SECONDS)


def _follow(ledger: Ledger, sweep: Sweep, tracker: SweepTracker, console: Console, stop: threading.Event) -> None:
    shown: dict[Any, Trial] = {}
    ended = False
    while not ended:
        ended = stop.wait(1.0)  # once more when all is over
        for number, trial in enumerate(ledger.trials(), start=1):
            if shown.get(trial.settings) == trial:
                continue
            if trial.reports and (trial.settings not in shown or shown[trial.settings].reports != trial.reports):
                console.print(f"trial {number}: {label(trial)}: step {trial.step}, {trial.score:.2f}", highlight=False)
            if trial.error and (trial.settings not in shown or shown[trial.settings].error != trial.error):
                console.print(f"trial {number}: {label(trial)}: {trial.state}, {trial.error}", highlight=False)
            shown[trial.settings] = trial
            tracker.log_trial(trial, _runs(trial, sweep))


def label(trial: Trial) -> str:
    """A trial's settings in a line."""
    return ", ".join(f"{key} {trials.text(value)}" for key, value in trial.settings)


def _runs(trial: Trial, sweep: Sweep) -> list[tuple[str, Experiment, RunFolder]]:
    """The folds of a trial with their names and folders, where they have trained something of the trial's own."""
    if not sweep.judge.trains:
        return []
    folds = dict.fromkeys(sweep.of(dict(trial.settings)))
    names = [spaces.fold_name(fold, sweep.judge.criterion) for fold in folds]
    return [(name, fold, RunFolder(Path(place))) for name, fold, place in zip(names, folds, trial.folders, strict=True)]


def _finish(ledger: Ledger) -> None:
    """What still says that it runs was stopped."""
    for trial in ledger.trials():
        if trial.state == "running":
            ledger.write(replace(trial, state="stopped"))


def _notes(study: Study, sweep: Sweep, search: Search, found: Sequence[Trial]) -> list[str]:
    """What a table of trials must say."""
    judge = sweep.judge
    space = sweep.folds[0].label_space
    metric = "mIoU" if space.task == "segmentation" else "accuracy"
    judges = {
        "source-validation": f"mean over the validation splits of {', '.join(dict.fromkeys(sweep.folds[0].sources))}",
        "development": f"on the development domain {sweep.folds[0].development}",
        "leave-one-out": f"mean over {', '.join(str(f.development) for f in sweep.folds)}, each left out of training",
    }
    notes = [
        f"score: {metric} in percent, {judges[judge.criterion]}; of the checkpoint selected so far",
        "no target was read",
        f"{search.search} search with seed {search.search_seed}, scheduler {search.scheduler}, {len(found)} trials, "
        f"{len(sweep.folds)} folds each",
    ]
    if judge.adaptation is not None and judge.criterion == "source-validation":
        notes.append(
            "the sources' own validation splits favour what changes nothing about normalisation: a development domain, "
            "or leave-one-out, can tell more"
        )
    winner = trials.best(found)
    if failed := sum(trial.state == "failed" for trial in found):
        notes.append(f"{failed} failed: run the sweep again to try these once more")
    if winner:
        notes.append(f"best: {winner.score:.2f} at step {winner.step}: {_shown(reproduce(study, search, winner))}")
        if targets := sorted({target for experiment in study.experiments for target in experiment.targets}):
            notes.append(
                f"beside the flags of this sweep, and for --targets {' '.join(targets)} only: what these experiments "
                "trained on, and were judged by, may be the target of another"
            )
    return notes


def reproduce(study: Study, search: Search, trial: Trial) -> list[str]:
    """The flags that make the study's experiments those of a trial."""
    before = spaces.with_adaptation(study, search).experiments[0]
    after = spaces.applied(before, dict(trial.settings))
    if search.adaptation is not None:
        others = spaces.flags(before, replace(after, adaptations=before.adaptations))
        return [*others, f"in the job file: adaptations = ({code(after.adaptations[0])},)"]
    return spaces.flags(before, after)


def _shown(said: Sequence[str]) -> str:
    """Flags as a shell wants them."""
    return " ".join(each if each.startswith("in the job file") else shlex.quote(each) for each in said)


def _show(study: Study, sweep: Sweep, search: Search, ledger: Ledger, console: Console) -> Trial:
    found = ledger.trials()
    header, lines = trials.table(found)
    shown = RichTable(title=f"{study.name}: sweep, {len(found)} trials")
    for name in header:
        shown.add_column(name, overflow="fold", justify="left" if name == "state" else "right")
    for line in lines:
        shown.add_row(*line)
    console.print(shown)
    for note in _notes(study, sweep, search, found):
        console.print(f"- {note}", highlight=False, soft_wrap=True)
    console.print(f"trials: {ledger.path / 'trials.md'}, .csv, .json", soft_wrap=True, highlight=False)
    winner = trials.best(found)
    if winner is None:
        errors = [trial.error for trial in found if trial.error]
        raise ValueError(f"no trial got a score{f': {errors[0]}' if errors else ''}. {ledger.path} has the record.")
    return winner
