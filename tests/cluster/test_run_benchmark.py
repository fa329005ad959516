"""One command from a study to its tables: what each rule chose, by hand; stopped and started; failures at the end."""

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar

import pytest
import torch
from rich.console import Console

from raydg import loop, report
from raydg.adaptation import Choice, IaBN
from raydg.augmentation import Augmentation, Resize
from raydg.benchmark import Options, without
from raydg.checkpoint import RunFolder
from raydg.cluster import benchmark
from raydg.cluster.benchmark import every_checkpoint, run_benchmark
from raydg.cluster.evaluate import evaluate, evaluate_ensemble
from raydg.cluster.graph import Failed, Part
from raydg.domains import catalogue, object_world
from raydg.domains.labels import PACS_7
from raydg.errors import MENDABLE
from raydg.evaluation import Row
from raydg.experiment import Ensemble, Experiment, Stage, Study
from raydg.methods import ERM
from raydg.models import Classifier, SmallNet
from raydg.optimization import SGD
from raydg.plan import Sampling
from raydg.resources import Resources
from raydg.selection import select
from raydg.shards import prepare_domains

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

DOMAINS = ("objects/photo", "objects/cartoon", "objects/sketch")
RULES = ("source-validation", "oracle", "last", "leave-one-out")


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of three prepared domains with 7 training and 14 validation images each."""
    raw, out = tmp_path_factory.mktemp("raw") / "objects", tmp_path_factory.mktemp("data")
    names = [domain.removeprefix("objects/") for domain in DOMAINS]
    object_world.write(raw, domains=names, train_per_class=1, val_per_class=2, size=32)
    prepare_domains(catalogue.dataset("objects"), DOMAINS, raw, out, PACS_7)
    return str(out)


def experiment(name: str, target: str, lr: float) -> Experiment:
    return Experiment(
        name=name,
        label_space=PACS_7,
        sources=tuple(domain for domain in DOMAINS if domain != target),
        targets=(target,),
        model=Classifier(SmallNet(8)),
        stages=(Stage(method=ERM(), optimizer=SGD(lr), steps=2),),
        sampling=Sampling(images_per_domain=4),
        augmentation=Augmentation((Resize(32, 32),)),
        evaluation_size=(32, 32),
        validate_every=1,
    )


STUDY = Study(
    name="tiny",
    experiments=tuple(experiment(name, t, lr) for name, lr in (("ERM", 0.05), ("fast", 0.3)) for t in DOMAINS[1:]),
)


@pytest.fixture(autouse=True)
def without_ray(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Parts run one after another in this process; the names of those that ran."""
    ran: list[str] = []

    def in_process(
        parts: Sequence[Part], resources: Resources, ended: Callable[[Part, Any], None], concurrent: int | None = None
    ) -> dict[str, Failed]:
        waiting, failed = list(parts), {}
        while waiting:
            ready = next(p for p in waiting if not (p.after | p.needs) & {other.name for other in waiting})
            waiting.remove(ready)
            if lost := ready.needs & failed.keys():
                failed[ready.name] = Failed(f"needs {lost}")
                continue
            ran.append(ready.name)
            try:
                ended(ready, ready.run())
            except MENDABLE as error:
                failed[ready.name] = Failed(str(error))
        return failed

    monkeypatch.setattr(benchmark, "run_parts", in_process)
    monkeypatch.setattr(benchmark, "Tracker", Sent)
    Sent.everything.clear()
    torch.set_num_threads(1)
    return ran


class Sent:
    """Stands in for MLflow: what was sent."""

    everything: ClassVar[list[tuple[str, ...]]] = []

    def __init__(self, study: Study, uri: str, runs: str) -> None:
        assert uri and Path(runs).is_absolute()

    @contextmanager
    def following(self, experiment: Experiment, folder: RunFolder) -> Iterator[None]:
        yield
        self.everything.append(("training", folder.path.name))

    def log_targets(self, experiment: Experiment, folder: RunFolder, rows: Sequence[Row]) -> None:
        assert {row.role for row in rows} == {"target"}
        self.everything.append(("scores", folder.path.name))

    def log_ensemble(self, experiment: Experiment, seeds: Sequence[int], rows: Sequence[Row]) -> None:
        self.everything.append(("ensemble", experiment.name, " ".join(map(str, seeds))))

    def log_file(self, experiment: None, path: Path) -> None:
        self.everything.append(("file", path.name))

    def finish(self, status: str) -> None:
        self.everything.append(("finish", status))


@pytest.fixture(scope="module")
def resources(objects: str, tmp_path_factory: pytest.TempPathFactory) -> Resources:
    return Resources(data=objects, runs=str(tmp_path_factory.mktemp("runs")), workers=0).resolved()


def run(study: Study, resources: Resources, options: Options, baseline: str | None = None) -> str:
    """What is printed."""
    console = Console(width=200, record=True, file=io.StringIO())
    run_benchmark(study, resources, console, options, report.Options(baseline=baseline))
    return console.export_text()


def lines(study: Study, resources: Resources) -> list[dict[str, str]]:
    path = Path(resources.runs) / study.name / "benchmark.csv"
    return list(csv.DictReader(io.StringIO(path.read_text())))


@cache
def accuracies(experiment: Experiment, resources: Resources) -> dict[int, float]:
    """Percent on the only target, by step."""
    rows = every_checkpoint(experiment, resources, "oracle")
    return {row.step: row.confusion.score("classification") for row in rows}


def by_hand(fold: Experiment, rule: Any, resources: Resources) -> float:
    """A fold's score under a rule, percent: every checkpoint, and a maximum, of equals the earliest."""
    on_target = accuracies(fold, resources)
    if rule == "oracle":
        return max(on_target.values())
    if rule == "leave-one-out":
        of_source = [accuracies(without(fold, source), resources) for source in fold.sources]
        worth = {step: fmean(of[step] for of in of_source) for step in on_target}
        return on_target[max(sorted(worth), key=worth.__getitem__)]
    rows = RunFolder.of(fold, resources.runs).validation_rows(fold)
    return on_target[select(rows, rule, "classification").step]


def test_every_rule_has_its_table_from_the_same_trainings(resources, without_ray, monkeypatch) -> None:
    shown = run(STUDY, resources, Options(rules=RULES), "ERM")
    assert "4 experiments and seeds, 4 trainings and 6 with a further domain held out, 20 steps; 0" in shown
    trained = [name for name in without_ray if name.startswith("training")]
    assert len(trained) == len(set(trained)) == 4 + 2 * 3  # two methods: pairs of three domains
    kinds = Counter(kind for kind, *_ in Sent.everything)  # the scores of the experiments' own rule, once
    assert kinds == {"training": 10, "scores": 4, "file": 3, "finish": 1}
    assert Sent.everything[-1] == ("finish", "FINISHED")
    found = lines(STUDY, resources)
    for rule in RULES:
        start = "ORACLE" if rule == "oracle" else rule
        for fold in STUDY.experiments:
            (cell,) = [
                cell
                for cell in found
                if cell["rule"].startswith(start) and (cell["method"], cell["column"]) == (fold.name, fold.targets[0])
            ]
            assert float(cell["mean"]) == pytest.approx(by_hand(fold, rule, resources)), (rule, fold.name)
            assert (cell["verdict"] != "") == (fold.name == "fast")
    text = (Path(resources.runs) / "tiny" / "benchmark.md").read_text()
    assert [line for line in text.splitlines() if line.startswith("###")] == [f"### tiny, {rule}" for rule in RULES]
    assert "vs ERM" in text and "an upper bound, no result" in text

    # Again: nothing is trained, nothing is scored, the tables are the same.
    monkeypatch.setattr(loop, "train", lambda *_, **__: pytest.fail("trained again"))
    monkeypatch.setattr("raydg.cluster.evaluate._run", lambda *_: pytest.fail("scored again"))
    again = run(STUDY, resources, Options(rules=RULES), "ERM")
    assert "10 trainings are done" in again
    assert (Path(resources.runs) / "tiny" / "benchmark.md").read_text() == text


def test_a_dry_run_says_what_there_is_to_do_and_does_nothing(objects, tmp_path, without_ray) -> None:
    untouched = Resources(data=objects, runs=str(tmp_path / "runs"), workers=0)
    shown = run(STUDY, untouched, Options(rules=("last", "leave-one-out"), dry_run=True))
    assert shown.count("\n- training") == 10 and "fast → objects/sketch, seed 0: leave-one-out" in shown
    assert not without_ray and not (tmp_path / "runs").exists()


CHOICE = Choice(candidates=(IaBN(0.0), IaBN(1.0)), on="source-validation")


def test_what_a_benchmark_leaves_out_is_said(objects, tmp_path, without_ray) -> None:
    resources = Resources(data=objects, runs=str(tmp_path / "runs"), workers=0)
    fold = replace(STUDY.experiments[0], choices=(CHOICE,))
    study = Study(name="some", experiments=(fold,), ensembles=(Ensemble(size=2),))
    assert "no choices" not in run(study, resources, Options(dry_run=True))
    shown = run(study, resources, Options(rules=("oracle",), dry_run=True))
    assert "no choices and ensembles of ERM, whose own rule is not among --rules" in shown


def test_an_experiment_without_target_is_trained(objects, tmp_path, without_ray) -> None:
    resources = Resources(data=objects, runs=str(tmp_path / "runs"), workers=0).resolved()
    blind = replace(STUDY.experiments[0], name="blind", targets=())
    study = replace(STUDY, name="blind too", experiments=(blind, STUDY.experiments[1]))
    assert "trained and not scored, for there is no target: blind" in run(study, resources, Options(rules=("oracle",)))
    assert RunFolder.of(blind, resources.runs).is_complete(blind)
    assert {cell["method"] for cell in lines(study, resources)} == {"ERM"}
    assert not any("blind" in name for name in without_ray if not name.startswith("training"))


def test_what_fails_is_said_at_the_end_and_the_rest_is_done(objects, tmp_path, without_ray) -> None:
    resources = Resources(data=objects, runs=str(tmp_path / "runs"), workers=0)
    wild = experiment("wild", DOMAINS[2], lr=1e30)
    study = Study(name="some fail", experiments=(STUDY.experiments[1], wild))
    with pytest.raises(ValueError, match=r"(?s)2 parts of 'some fail' did not end well.*- training wild.*diverged"):
        run(study, resources, Options())
    assert {cell["method"] for cell in lines(study, resources)} == {"ERM"}
    assert Sent.everything[-1] == ("finish", "FAILED")


def test_a_setting_that_diverges_is_left_out_of_a_random_search(objects, tmp_path, without_ray) -> None:
    """The space holds one rate that trains and one that does not; the experiment's own is the third."""
    space = tmp_path / "space.py"
    space.write_text("from ray import tune\nSPACE = {'SGD.lr': tune.choice([0.2, 1e30])}\n")
    resources = Resources(data=objects, runs=str(tmp_path / "runs"), workers=0).resolved()
    study = replace(STUDY, name="search", experiments=STUDY.experiments[1:2])
    options = Options(random_settings=6, search_space=(str(space),))
    with pytest.raises(ValueError, match=r"(?s)1 parts of 'search'.*setting \d: training diverged"):
        run(study, resources, options)
    (fold,) = study.experiments
    settings = [replace(fold, stages=(replace(fold.stages[0], optimizer=SGD(lr)),)) for lr in (0.05, 0.2)]
    chosen = {}
    for setting in settings:
        rows = RunFolder.of(setting, resources.runs).validation_rows(setting)
        chosen[setting] = select(rows, "source-validation", "classification").score or 0.0
    best = max(settings, key=chosen.__getitem__)  # the first of equals
    (cell,) = [cell for cell in lines(study, resources) if cell["role"] == "target"]
    assert float(cell["mean"]) == pytest.approx(by_hand(best, "source-validation", resources))
    assert without_ray.count("ERM → objects/sketch, seed 0: source-validation") == 1


def test_further_seeds_are_spent_where_intervals_overlap(objects, resources, without_ray) -> None:
    study = replace(STUDY, name="seeds")
    shown = run(study, resources, Options(extra_seeds=1))  # a single seed tells nothing
    assert "extra seeds, round 1: ERM → objects/cartoon, seed 1" in shown
    cells = [cell for cell in lines(study, resources) if cell["role"] == "target"]
    assert {(cell["method"], cell["column"]): cell["seeds"] for cell in cells} == {
        (fold.name, fold.targets[0]): "0 1" for fold in study.experiments
    }
    assert "further seeds were run where intervals of scores on targets overlapped" in shown


def test_choices_and_ensembles_go_with_the_experiments_own_rule(resources, without_ray) -> None:
    fold = replace(STUDY.experiments[1], choices=(CHOICE,))
    study = Study(name="all", experiments=(fold,), ensembles=(Ensemble(size=2),)).with_seeds([0, 1])
    shown = run(study, resources, Options(rules=("last", "source-validation")), "ERM")
    assert "choices and ensembles" not in shown
    assert "ERM, ensemble of 2 → objects/sketch, seeds 0 1" in without_ray

    # The same as `evaluate` makes of it.
    expected = {
        name: evaluate(e, RunFolder.of(e, resources.runs), resources) for name, e in enumerate(study.experiments)
    }
    together = evaluate_ensemble(study.experiments, resources)
    found = {
        (cell["rule"].split(":")[0].split(",")[0], cell["method"], cell["adaptation"]): float(cell["mean"])
        for cell in lines(study, resources)
        if cell["role"] == "target"
    }
    own, label = "source-validation", CHOICE.label
    for way in ("t-BN", label):
        of_seeds = [
            row.confusion.score("classification") for rows in expected.values() for row in rows if row.adaptation == way
        ]
        (joint,) = [row.confusion.score("classification") for row in together if row.adaptation == way]
        assert found[own, "ERM", way] == pytest.approx(fmean(of_seeds))
        assert found[own, "ERM, ensemble of 2", way] == pytest.approx(joint)
    assert {key for key in found if key[0] == "last"} == {("last", "ERM", "t-BN")}
    text = (Path(resources.runs) / "all" / "benchmark.md").read_text()
    assert text.count("ERM, seed 0: ") == 1 and "mean of the probabilities of 2 seeds" in text
    assert ("ensemble", "ERM, ensemble of 2", "0 1") in Sent.everything
