"""Sweeps: Optuna finds more than chance, a crash forgets nothing that decides, and real ones on the street world."""

import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from ray import tune
from rich.console import Console

from raydg import loop
from raydg.adaptation import IaBN, TargetNorm, TrainBN
from raydg.assembly import open_sources
from raydg.checkpoint import RunFolder
from raydg.cluster import session
from raydg.cluster.selecting import selection_rows
from raydg.cluster.sweep import Budget, Worker, points, reproduce, room, scheduler, searcher, sweep_study
from raydg.evaluation import Confusion
from raydg.experiment import Experiment, Study
from raydg.resources import Resources
from raydg.search import Judge, Search, Sweep, swept
from raydg.shards import PreparedDomain
from raydg.trials import Entry, Ledger, Trial
from raydg.values import encode

IGNORED = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
UNRAISABLE = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
pytestmark = [IGNORED, UNRAISABLE]


SPACE = {"lr": tune.loguniform(1e-5, 1.0), "weight": tune.uniform(0.0, 1.0), "kind": tune.choice(["a", "b", "c"])}


def worth(point: dict[str, Any]) -> float:
    """A stub objective: at most 100, at lr 1e-3, weight 0.7 and kind b."""
    return (
        100.0
        - 8 * (np.log10(point["lr"]) + 3) ** 2
        - 60 * (point["weight"] - 0.7) ** 2
        - (0 if point["kind"] == "b" else 15)
    )


def best_of_forty(kind: str, seed: int) -> float:
    drawing: Any = searcher(Search(search=kind, search_seed=seed))  # pyright: ignore[reportArgumentType]
    found = []
    if kind == "optuna":
        assert drawing.set_search_properties("score", "max", points(SPACE, Search()))
    else:  # Tune resolves the space itself; it draws with a generator of this seed
        draw = np.random.default_rng(seed)
    for number in range(40):
        if kind == "optuna":
            point = drawing.suggest(str(number))
        else:
            point = {key: domain.sample(random_state=draw) for key, domain in SPACE.items()}
        found.append(worth(point))
        if kind == "optuna":
            drawing.on_trial_complete(str(number), {"score": found[-1], "training_iteration": 1})
    return max(found)


def test_optuna_finds_the_optimum_s_region_better_than_chance_in_forty_trials() -> None:
    pytest.importorskip("optuna")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seeds = range(10)
    by_optuna = np.array([best_of_forty("optuna", seed) for seed in seeds])
    by_chance = np.array([best_of_forty("random", seed) for seed in seeds])
    assert (by_optuna > by_chance).sum() >= 8  # of fair coins: 5.5 % of the time
    assert np.median(by_optuna) > 98 and np.median(by_optuna) > np.median(by_chance) + 1
    assert best_of_forty("optuna", 3) == by_optuna[3]


def sweep_of(experiment: Experiment, **changes: Any) -> Sweep:
    space = {"ERM.distance_weight": tune.uniform(0.0, 1.0)}
    return swept(Study(name="s", experiments=(replace(experiment, **changes),)), space, Search())


class Seen:
    """As much of Tune's trial as a scheduler looks at."""

    def __init__(self, name: str, config: dict[str, float]) -> None:
        self.trial_id, self.config, self.status = name, config, "RUNNING"


@pytest.mark.parametrize("kind", ["asha", "median"])
def test_after_a_crash_a_scheduler_knows_what_was_reported_before_it(
    experiment: Experiment, tmp_path: Path, kind: Any
) -> None:
    """Three good trials before the crash; a bad one after it is stopped at its first report."""
    ledger, sweep = Ledger(tmp_path), sweep_of(experiment)
    trials = [Seen(str(i), {"w": i / 10}) for i in range(4)]
    for trial in trials[:3]:
        entry = Entry(ledger, trial.config, [])
        entry.report(2, 60.0, done=False)
        entry.report(4, 70.0, done=False)
    decisions = {}
    for remembered in (False, True):
        made: Any = scheduler(sweep, Search(scheduler=kind), ledger if remembered else Ledger(tmp_path / "empty"))
        assert made.set_search_properties("score", "max")
        for trial in trials:
            made.on_trial_add(None, trial)
        decisions[remembered] = made.on_trial_result(None, trials[3], {"step": 2, "score": 10.0})
    assert decisions == {False: "CONTINUE", True: "STOP"}


def test_a_budget_counts_what_was_spent_before_a_crash(tmp_path: Path) -> None:
    ledger, now = Ledger(tmp_path), 50.0

    def clock() -> float:
        return now

    Entry(ledger, {"w": 1.0}, []).report(4, 1.0, done=False)
    steps = Budget(ledger, steps=12, hours=None, folds=2, clock=clock)
    assert not steps.stop_all()  # 4 steps in each of two folds
    Entry(ledger, {"w": 2.0}, []).report(2, 1.0, done=False)
    assert not steps.stop_all()  # looks once a second
    now += 1
    assert steps.stop_all()  # 8 + 4
    assert Budget(ledger, steps=12, hours=None, folds=2, clock=clock).stop_all()

    hours = Budget(ledger, steps=None, hours=1.0, folds=1, clock=clock)
    (tmp_path / "seconds.json").unlink()
    assert not hours.stop_all()
    now += 3000
    assert not hours.stop_all()
    after = Budget(ledger, steps=None, hours=1.0, folds=1, clock=clock)
    assert not after.stop_all()
    now += 601
    assert after.stop_all()


@pytest.mark.parametrize(
    ("there", "resources", "folds", "concurrent", "expected"),
    [
        ({"CPU": 9.0}, Resources(workers=0), 1, None, (8, 1)),
        ({"CPU": 9.0}, Resources(workers=2, cpus_per_worker=2), 1, None, (2, 1)),
        ({"CPU": 9.0}, Resources(workers=1), 3, None, (2, 3)),
        ({"CPU": 3.0}, Resources(workers=1), 5, None, (1, 2)),
        ({"CPU": 65.0, "GPU": 4.0}, Resources(workers=1, gpus_per_worker=0.1), 1, None, (40, 1)),
        ({"CPU": 65.0, "GPU": 4.0}, Resources(workers=0, gpus_per_worker=0.5), 2, None, (4, 2)),
        ({"CPU": 2.0}, Resources(workers=4), 2, 6, (6, 1)),  # nodes are yet to come
    ],
)
def test_trials_at_a_time_follow_from_the_cluster(
    there: dict[str, float],
    resources: Resources,
    folds: int,
    concurrent: int | None,
    expected: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: there)
    assert room(resources, folds, concurrent) == expected
    with pytest.raises(ValueError, match="a trial takes 99 CPUs and 0 GPUs, the cluster has"):
        room(Resources(workers=99), folds)


@pytest.fixture(scope="module")
def trained_in(
    experiment: Experiment, prepared: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Experiment, Resources, RunFolder]:
    """The experiment with a development domain, trained; its resources and its folder."""
    torch.set_num_threads(1)
    experiment = replace(experiment, development="street/fog", adaptations=(TrainBN(), TargetNorm(2, 2), IaBN(0.3)))
    resources = Resources(workers=0, data=prepared, runs=str(tmp_path_factory.mktemp("runs")))
    folder = RunFolder.of(experiment, resources.runs).open(experiment)
    loop.train(experiment, folder, loop.in_process_feed(prepared), prepared, torch.device("cpu"))
    return experiment, resources, folder


def test_adaptations_are_scored_where_they_may_be_chosen_and_nowhere_else(
    trained_in: tuple[Experiment, Resources, RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment, resources, folder = trained_in
    opened, real = [], PreparedDomain.open.__func__

    def watch(cls: type[PreparedDomain], root: str, label_space: object, domain: str) -> PreparedDomain:
        opened.append(domain)
        return real(cls, root, label_space, domain)

    monkeypatch.setattr(PreparedDomain, "open", classmethod(watch))
    open_sources.cache_clear()
    rows = selection_rows(experiment, folder, 6, resources, "source-validation")
    assert set(opened) == set(experiment.sources)
    opened.clear()
    on_development = selection_rows(experiment, folder, 6, resources, "development")
    assert set(opened) == {"street/fog"}
    assert {row.role for row in on_development} == {"development"}
    rows += on_development
    assert {(row.role, row.domain) for row in rows} == {
        *(("source-validation", source) for source in experiment.sources),
        ("development", "street/fog"),
    }
    assert len(rows) == 4 * (1 + 2 + 1)  # t-BN, two orders of TN, IaBN
    plain = [row for row in rows if row.adaptation == "t-BN"]
    validated = folder.checkpoint_at(6).rows()
    assert [(r.role, r.domain, r.counts) for r in plain] == [(r.role, r.domain, r.counts) for r in validated]
    by_weight = [row for row in rows if row.adaptation == IaBN(0.3).label]
    assert [row.counts for row in by_weight] != [row.counts for row in plain]
    assert sum(map(sum, by_weight[0].counts)) == sum(map(sum, plain[0].counts))

    monkeypatch.setattr("raydg.cluster.evaluate._run", None)  # what has been scored is read
    assert selection_rows(experiment, folder, 6, resources, "development") == on_development
    with pytest.raises(ValueError, match="'target' choose nothing"):
        selection_rows(experiment, folder, 6, resources, "target")
    assert not folder.targets.exists()
    fold = replace(experiment, targets=())
    judge = Judge(criterion="development", adaptation=2, trains=False)
    expected = Confusion.from_json(by_weight[-1].counts).score("segmentation")
    assert judge.score(fold, on_development).percent == pytest.approx(expected)


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_a_sweep_of_an_adaptation_reuses_one_checkpoint(
    trained_in: tuple[Experiment, Resources, RunFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment, resources, folder = trained_in
    study = Study(name="adapts", experiments=(experiment,))
    space = tmp_path / "space.py"
    space.write_text("from ray import tune\nSPACE = {'IaBN.instance_weight': tune.choice([0.0, 1.0])}\n")
    before = sorted(path for path in Path(resources.runs).iterdir() if path.is_dir())
    search, said = Search(search="grid", criterion="development"), io.StringIO()
    best = sweep_study(study, resources, Console(file=said, width=200), search, [str(space)])
    after = {path.name for path in Path(resources.runs).iterdir() if path.is_dir()} - {path.name for path in before}
    assert after <= {"adapts", "artifacts"}  # nothing was trained
    (place,) = (Path(resources.runs) / "adapts").glob("sweep-*")
    found = json.loads((place / "trials.json").read_text())
    assert {trial["settings"]["IaBN.instance_weight"] for trial in found} == {0.0, 1.0}
    assert {trial["state"] for trial in found} == {"finished"}
    for trial in found:
        weight = trial["settings"]["IaBN.instance_weight"]
        only = replace(experiment, adaptations=(IaBN(weight),))
        step = 2 * int(np.argmax([_score(folder, experiment, s) for s in (2, 4, 6)])) + 2
        (row,) = selection_rows(only, folder, step, resources, "development")
        assert trial["score"] == pytest.approx(row.confusion.score("segmentation"))
    assert best.score == max(trial["score"] for trial in found)
    weight = dict(best.settings)["IaBN.instance_weight"]
    if weight != 0.3:
        assert reproduce(study, search, best) == ["--IaBN.instance-weight", str(weight)]
    assert "no target was read" in said.getvalue()

    def refuse(*args: object) -> None:
        raise AssertionError("it is done: nothing starts")

    monkeypatch.setattr(session, "start", refuse)
    assert sweep_study(study, resources, Console(file=said, width=200), search, [str(space)]) == best


def _score(folder: RunFolder, experiment: Experiment, step: int) -> float:
    rows = [row for row in folder.checkpoint_at(step).rows() if row.role == "source-validation"]
    return float(np.mean([row.confusion.score("segmentation") for row in rows]))


DRIVER = """
import sys
from dataclasses import replace
from rich.console import Console
from raydg.cluster.sweep import sweep_study
from raydg.experiment import Experiment, Study
from raydg.resources import Resources
from raydg.search import Search
from raydg.values import decode
import json, raydg.methods, raydg.models
experiment = decode(Experiment, json.load(open(sys.argv[1])))
study = Study(name="killed", experiments=(experiment,))
resources = Resources(workers=0, data=sys.argv[2], runs=sys.argv[3])
search = decode(Search, json.loads(sys.argv[5]))
sweep_study(study, resources, Console(width=160), search, [sys.argv[4]])
"""


@pytest.mark.slow
def test_what_a_killed_training_held_is_free_for_the_next(
    experiment: Experiment, prepared: str, tmp_path: Path, local_ray: None
) -> None:
    endless = replace(experiment, name="endless", stages=(replace(experiment.stages[0], steps=100_000),))
    resources = Resources(workers=2, data=prepared, runs=str(tmp_path)).resolved()
    folder, total = RunFolder.of(endless, tmp_path), ray.cluster_resources()["CPU"]

    def wait(until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 300
        while not until():
            assert time.monotonic() < deadline, ray.available_resources()
            time.sleep(0.2)

    worker = ray.remote(Worker).options(num_cpus=0).remote(resources)
    worker.call.remote("train", (endless,))
    try:
        wait(folder.metrics.exists)
    finally:
        ray.kill(worker)  # as Tune does with a trial that a scheduler stops
    wait(lambda: ray.available_resources().get("CPU") == total)


@pytest.mark.slow
def test_processes_know_whose_cluster_they_belong_to(local_ray: None) -> None:
    found = ray.get(ray.remote(lambda: dict(os.environ)).remote())
    assert found["RAY_ADDRESS"] == ray.get_runtime_context().gcs_address
    assert "RAY_API_SERVER_ADDRESS" not in found


@pytest.mark.slow
def test_a_sweep_whose_driver_was_killed_goes_on(
    experiment: Experiment, prepared: str, tmp_path: Path, local_ray: None
) -> None:
    killed = replace(experiment, name="killed")
    search = Search(trials=3, scheduler="asha", search_seed=1, concurrent=1)
    runs, space, described = tmp_path / "runs", tmp_path / "space.py", tmp_path / "experiment.json"
    space.write_text("from ray import tune\nSPACE = {'Optimizer.lr': tune.loguniform(1e-4, 1e-1)}\n")
    described.write_text(json.dumps(encode(killed)))
    given = [str(described), prepared, str(runs), str(space), json.dumps(encode(search))]
    command = [sys.executable, "-c", textwrap.dedent(DRIVER), *given]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}

    def ledger() -> list[Trial]:
        places = list((runs / "killed").glob("sweep-*"))
        return Ledger(places[0]).trials() if places else []

    with (tmp_path / "first.log").open("w") as log:
        driver = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and driver.poll() is None:
        if any(trial.state == "finished" for trial in ledger()) and len(ledger()) >= 2:
            break
        time.sleep(0.05)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    before = ledger()
    assert before and len(before) < 3, (tmp_path / "first.log").read_text()
    done = {t.settings: t for t in before if t.state == "finished"}
    stamps = {
        path: path.stat().st_mtime_ns for t in done.values() for path in Path(t.folders[0]).rglob("*.safetensors")
    }

    study, said = Study(name="killed", experiments=(killed,)), io.StringIO()
    resources = Resources(workers=0, data=prepared, runs=str(runs))
    sweep_study(study, resources, Console(file=said, width=160), search, [str(space)])
    (place,) = (runs / "killed").glob("sweep-*")
    found = json.loads((place / "trials.json").read_text())
    assert len(found) == 3 and {trial["state"] for trial in found} <= {"finished", "stopped"}
    assert any(trial["state"] == "finished" and trial["step"] == 6 for trial in found)
    after = {trial.settings: trial for trial in ledger()}
    for settings, trial in done.items():  # finished before the kill: not run again
        assert after[settings].reports == trial.reports
    assert stamps and all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    for trial in ledger():
        assert [step for step, _ in trial.reports] == [2, 4, 6][: len(trial.reports)]
    assert "--SGD.lr" in said.getvalue()
