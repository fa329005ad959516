"""The command line of a job: every setting a flag, every mistake one clear message."""

import sys
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from raydg.augmentation import Augmentation, Resize
from raydg.domains.labels import IDD_LEVEL1
from raydg.experiment import Experiment, Stage, Study
from raydg.job import field_docstrings, main
from raydg.methods import ERM, MLDG
from raydg.models import DeepLabV3Plus, ResNet, SmallNet
from raydg.optimization import SGD
from raydg.overview import code
from raydg.plan import Sampling
from raydg.resources import Resources
from raydg.search import Search
from raydg.settings import override

PLAIN = Experiment(
    name="ERM",
    label_space=IDD_LEVEL1,
    sources=("camvid", "idd"),
    targets=("kitti",),
    model=DeepLabV3Plus(SmallNet()),
    stages=(Stage(method=ERM(), optimizer=SGD(lr=0.1), steps=10),),
    sampling=Sampling(images_per_domain=2),
    augmentation=Augmentation((Resize(32, 32),)),
)
META = replace(PLAIN, name="MLDG", stages=(replace(PLAIN.stages[0], method=MLDG()),))
STUDY = Study(name="both", experiments=(PLAIN, META))
TWO_STAGES = replace(PLAIN, name="two stages", stages=PLAIN.stages * 2)

Runs = list[tuple[str, Study, Resources]]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    """What the commands were asked to run; the module that would run it, with Ray, is not imported."""
    seen: Runs = []
    stand_in: Any = ModuleType("raydg.cluster.study")
    stand_in.train_study = lambda study, resources, console: seen.append(("train", study, resources))
    stand_in.evaluate_study = lambda study, resources, console: seen.append(("evaluate", study, resources))
    monkeypatch.setitem(sys.modules, "raydg.cluster.study", stand_in)
    monkeypatch.setattr(
        "raydg.judging.show.show_table",
        lambda study, resources, console, options: seen.append(("table", study, resources)),
    )
    return seen


@pytest.mark.parametrize("command", ["train", "evaluate", "table"])
def test_a_command_without_flags_runs_the_job_as_it_is(runs: Runs, command: str) -> None:
    main(STUDY, Resources(workers=2), [command])
    assert runs == [(command, STUDY, Resources(workers=2))]


def test_a_single_experiment_is_a_study_of_one(runs: Runs) -> None:
    main(PLAIN, args=["train"])
    assert runs == [("train", Study(name="ERM", experiments=(PLAIN,)), Resources())]


def test_flags_set_a_field_in_every_experiment_that_has_it(runs: Runs) -> None:
    main(STUDY, args=["train", "--SGD.lr", "0.5", "--MLDG.inner-lr", ".2", "--Experiment.evaluation-size", "[64, 128]"])
    ((_, study, _),) = runs
    plain, meta = (override(override(e, "SGD.lr", 0.5), "evaluation_size", (64, 128)) for e in (PLAIN, META))
    assert study.experiments == (plain, override(meta, "MLDG.inner_lr", 0.2))


def test_flags_of_resources_change_how_it_runs_and_keep_the_jobs_other_defaults(runs: Runs) -> None:
    main(STUDY, Resources(workers=2, runs="elsewhere"), ["train", "--workers", "3", "--accelerator-type", "H100"])
    assert runs == [("train", STUDY, Resources(workers=3, runs="elsewhere", accelerator_type="H100"))]


def test_seeds_multiply_the_experiments(runs: Runs) -> None:
    main(STUDY, args=["train", "--seeds", "4", "5", "--Stage.steps", "7"])
    ((_, study, _),) = runs
    found = [(e.name, e.seed, e.steps) for e in study.experiments]
    assert found == [("ERM", 4, 7), ("ERM", 5, 7), ("MLDG", 4, 7), ("MLDG", 5, 7)]


def test_where_an_experiment_holds_a_class_twice_flags_go_by_path(runs: Runs) -> None:
    main(TWO_STAGES, args=["train", "--stages.1.optimizer.lr", "0.5", "--stages.0.steps", "3"])
    ((_, study, _),) = runs
    (experiment,) = study.experiments
    assert [(stage.steps, stage.optimizer.lr) for stage in experiment.stages] == [(3, 0.1), (10, 0.5)]


def test_help_explains_every_flag_with_its_docstring_and_legal_values(
    runs: Runs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "1500")  # no line is broken
    with pytest.raises(SystemExit) as ended:
        main(STUDY, args=["train", "--help"])
    assert ended.value.code == 0 and not runs
    shown = capsys.readouterr().out
    for text in (
        "--MLDG.inner-lr float",
        "Step of the look-ahead (the paper's η, 1e-3). (in this job: 0.001)",
        "--MLDG.batchnorm one of 'pooled', 'per-domain'",
        "--SGD.lr float",
        "Learning rate of the encoder, before the schedule. (in this job: 0.1)",  # a base class's docstring
        "--Experiment.seed int",
        "Everything random follows from it. (in this job: 0)",
        "What tables and the tracker call it; experiments that differ only in seed share it. (in this job: ERM, MLDG)",
        "--workers INT",
        "Training workers; 0 trains in this process, without Ray.",
    ):
        assert text in shown, text


def test_a_docstring_is_the_nearest_class_s() -> None:
    found = field_docstrings(SGD)
    assert found["weight_decay"] == "Weight decay of every parameter."
    assert found["decoder_lr_factor"] == "The decoder's learning rate as a multiple of the encoder's."
    assert found["momentum"] == "Share of the velocity that stays from step to step."
    assert list(found).count("lr") == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--MLDG.inner-lr", "fast"], "error: stages.0.method.inner_lr is 'fast' (str): it must be float.\n"),
        (
            ["--MLDG.num-meta-train", "2"],
            "error: MLDG.num_meta_train is 2: it must be None or 1 to 1 with 2 source domains.\n",
        ),
        (["--seeds", "1", "1"], "error: Study 'both' holds 'ERM' with seed 1 twice.\n"),
    ],
)
def test_a_bad_value_ends_with_one_message(
    runs: Runs, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(STUDY, args=["train", *flags])
    assert ended.value.code == 1 and not runs
    assert capsys.readouterr() == ("", message)


def test_an_error_of_the_run_that_a_user_can_mend_is_shown_alike(
    runs: Runs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def train_study(*_: object) -> None:
        raise ValueError("domain 'kitti' is not prepared")

    monkeypatch.setattr(sys.modules["raydg.cluster.study"], "train_study", train_study)
    with pytest.raises(SystemExit) as ended:
        main(STUDY, args=["train"])
    assert ended.value.code == 1
    assert capsys.readouterr().err == "error: domain 'kitti' is not prepared\n"


def test_a_defect_keeps_its_traceback(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    def train_study(*_: object) -> None:
        raise TypeError("a defect")

    monkeypatch.setattr(sys.modules["raydg.cluster.study"], "train_study", train_study)
    with pytest.raises(TypeError, match="a defect"):
        main(STUDY, args=["train"])


@pytest.mark.parametrize(
    ("flag", "near"), [("--MLDG.iner-lr", "--MLDG.inner-lr"), ("--worker", "--workers"), ("--SGD.lrs", "--SGD.lr")]
)
def test_an_unknown_flag_is_refused_with_a_near_one(
    runs: Runs, capsys: pytest.CaptureFixture[str], flag: str, near: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(STUDY, args=["train", flag, "3"])
    assert ended.value.code == 2 and not runs
    shown = capsys.readouterr().err
    assert flag in shown and near in shown.split("Perhaps you meant", 1)[1]


def test_only_and_targets_choose_among_the_experiments(runs: Runs) -> None:
    wide = replace(PLAIN, name="ERM wide", targets=("kitti", "carla"))
    study = Study(name="three", experiments=(PLAIN, META, wide))
    main(study, args=["train", "--only", "ERM*"])
    main(study, args=["evaluate", "--targets", "car*"])
    main(study, args=["table", "--only", "MLDG", "ERM wide", "--targets", "kitti"])
    assert [s.experiments for _, s, _ in runs] == [
        (PLAIN, wide),
        (replace(wide, targets=("carla",)),),
        (META, replace(wide, targets=("kitti",))),
    ]


def test_what_is_chosen_is_then_multiplied_and_overridden(runs: Runs) -> None:
    main(STUDY, args=["train", "--only", "MLDG", "--seeds", "1", "2", "--Stage.steps", "7"])
    ((_, study, _),) = runs
    assert [(e.name, e.seed, e.steps) for e in study.experiments] == [("MLDG", 1, 7), ("MLDG", 2, 7)]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--only", "ERM", "MLGD*"], "error: --only 'MLGD*' fits nothing; there are 'ERM', 'MLDG', 'bound'.\n"),
        (["--targets", "gtav"], "error: --targets 'gtav' fits nothing; there are 'kitti'.\n"),
        (
            ["--only", "bound", "--targets", "kitti"],
            "error: no experiment of --only bound has a target of --targets kitti.\n",
        ),
    ],
)
def test_a_choice_of_nothing_is_refused(
    runs: Runs, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    study = replace(STUDY, experiments=(*STUDY.experiments, replace(PLAIN, name="bound", targets=())))
    with pytest.raises(SystemExit) as ended:
        main(study, args=["train", *flags])
    assert ended.value.code == 1 and not runs
    assert capsys.readouterr() == ("", message)


def test_list_prints_a_line_for_every_experiment_and_runs_nothing(
    runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    warmed = replace(TWO_STAGES, targets=(), sources=("camvid", "camvid"))
    main(Study(name="both", experiments=(META, warmed)), args=["list", "--seeds", "3", "5", "--MLDG.inner-lr", "0.5"])
    lines = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if "│" in line]
    assert [[cell.strip() for cell in line] for line in lines] == [
        ["MLDG", "MLDG(inner_lr=0.5)", "DeepLabV3Plus SmallNet()", "camvid, idd -> kitti", "10", "4", "3 5"],
        [
            "two stages",
            "ERM(), then ERM()",
            "DeepLabV3Plus SmallNet()",
            "camvid, camvid:2 -> none",
            "10 + 10",
            "4",
            "3 5",
        ],
    ]
    assert not runs


def test_a_value_as_code_says_what_differs_from_its_defaults() -> None:
    assert code(ResNet(50)) == "ResNet(50)"
    assert code(ResNet(50, stem="3x3", weights="own.pth"), hidden=("weights",)) == "ResNet(50, stem='3x3')"
    assert code(DeepLabV3Plus(SmallNet(8), 8)) == "DeepLabV3Plus(SmallNet(width=8), output_stride=8)"
    assert code(ERM(trains="decoder")) == "ERM(trains='decoder')"


def test_sweep_takes_files_and_how_to_search_beside_what_every_command_takes(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Any, ...]] = []
    stand_in: Any = ModuleType("raydg.cluster.sweep")
    stand_in.sweep_study = lambda study, resources, console, search, files: seen.append((study, search, files))
    monkeypatch.setitem(sys.modules, "raydg.cluster.sweep", stand_in)
    flags = [
        "--only",
        "MLDG",
        "--trials",
        "7",
        "--scheduler",
        "asha",
        "--Stage.steps",
        "9",
        "--criterion",
        "development",
    ]
    main(STUDY, args=["sweep", "a.py", "b.py", *flags])
    ((study, search, files),) = seen
    assert [(e.name, e.steps) for e in study.experiments] == [("MLDG", 9)] and files == ("a.py", "b.py")
    assert search == Search(trials=7, scheduler="asha", criterion="development")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--trials", "0"], "error: Search.trials is 0: it must be None or 1 or more.\n"),
        (["--hours", "-1"], "error: Search.hours is -1.0: it must be None or above 0.\n"),
    ],
)
def test_a_bad_budget_ends_with_one_message(
    runs: Runs, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(STUDY, args=["sweep", "a.py", *flags])
    assert ended.value.code == 1
    assert capsys.readouterr().err == message


def test_a_target_that_is_left_out_cannot_choose_or_train(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    study = Study(name="one", experiments=(replace(PLAIN, targets=("kitti", "carla")),))
    for flags, role in ((("--Experiment.development", "carla"), "development domain"), (SOURCES_OF_CARLA, "source")):
        with pytest.raises(SystemExit):
            main(study, args=["train", "--targets", "kitti", *flags])
        assert role in capsys.readouterr().err
    assert not runs


SOURCES_OF_CARLA = ("--Experiment.sources", '["carla", "camvid"]')
