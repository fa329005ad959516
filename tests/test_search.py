"""Search spaces against experiments: what does not fit fails before anything runs, and no way leads to a target."""

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray import tune

from raydg import search as searching
from raydg.adaptation import IaBN, SegTTT, TargetNorm, Tent, TrainBN, Views
from raydg.augmentation import Augmentation, Resize
from raydg.domains.labels import IDD_LEVEL1
from raydg.evaluation import Row
from raydg.experiment import Experiment, Stage, Study
from raydg.methods import ERM, MLDG
from raydg.models import DeepLabV3Plus, SmallNet
from raydg.optimization import SGD
from raydg.plan import Sampling
from raydg.search import Judge, Search, applied, check, flags, grid, joined, load, swept
from raydg.selection import Leak, SelectionScore, mean_score, selection_score
from raydg.settings import override
from raydg.values import decode

META = Experiment(
    name="MLDG",
    label_space=IDD_LEVEL1,
    sources=("camvid", "idd", "gtav"),
    targets=("kitti",),
    development="wilddash",
    model=DeepLabV3Plus(SmallNet()),
    stages=(Stage(method=MLDG(), optimizer=SGD(lr=0.1), steps=10),),
    sampling=Sampling(images_per_domain=2),
    augmentation=Augmentation((Resize(32, 32),)),
    adaptations=(TrainBN(), IaBN(0.3)),
    validate_every=5,
)
STUDY = Study(name="one", experiments=(META,))
LEARNING = {"MLDG.inner_lr": tune.loguniform(1e-4, 1e-1)}
INSTANCE = {"IaBN.instance_weight": tune.choice([0.0, 0.5, 1.0])}


def row(domain: str, right: int, role: str = "source-validation", step: int = 5, **changes: Any) -> Row:
    """A row whose IoU of the one class that occurs, and so whose mean IoU, is `right` percent."""
    counts = [[0] * 7 for _ in range(7)]
    counts[0][0], counts[0][1] = right, 0
    given: dict[str, Any] = {"inference": "plain", "adaptation": "t-BN", "order": 0, "split": "val", "num_images": 9}
    return Row(step=step, role=role, domain=domain, counts=tuple(map(tuple, counts)), **(given | changes))  # pyright: ignore[reportArgumentType]


def of_accuracy(domain: str, hits: int, role: str = "source-validation", **changes: Any) -> Row:
    """100 pixels of class 0, `hits` of them found and the others taken for it in truth of class 1: IoU by hand.

    Class 0: hits / 100. Class 1 is only predicted, 0 of 100 - hits. Mean IoU = hits / 2 percent.
    """
    counts = [[0] * 7 for _ in range(7)]
    counts[0][0], counts[0][1] = hits, 100 - hits
    return replace(row(domain, 1, role, **changes), counts=tuple(map(tuple, counts)))


SCORED = [of_accuracy("camvid", 80), of_accuracy("idd", 60), of_accuracy("gtav", 40)]


def test_a_score_is_the_mean_over_the_domains_of_its_role_by_hand() -> None:
    development = of_accuracy("wilddash", 90, "development")
    by_sources = selection_score(META, [*SCORED, development], "source-validation")
    by_development = selection_score(META, [*SCORED, development], "development")
    assert (by_sources.percent, by_sources.criterion) == (pytest.approx((40 + 30 + 20) / 3), "source-validation")
    assert (by_development.percent, by_development.criterion) == (pytest.approx(45), "development")
    other = selection_score(META, [of_accuracy(d, 20) for d in META.sources], "source-validation")
    assert mean_score([by_sources, other]).percent == pytest.approx((30 + 10) / 2)


GENUINE = selection_score(META, SCORED, "source-validation")


def forged() -> SelectionScore:
    score = object.__new__(SelectionScore)
    object.__setattr__(score, "_percent", 99.0)
    object.__setattr__(score, "_criterion", "source-validation")
    return score


def subclass() -> Any:
    class Better(SelectionScore):  # pyright: ignore[reportGeneralTypeIssues]
        percent = 99.0  # pyright: ignore[reportAssignmentType]

    return Better


TARGET = of_accuracy("kitti", 99, "target")
PLAIN = Judge(criterion="source-validation")
SELF_MADE = replace(META, targets=())  # the fold of a sweep, which no longer names its target

WAYS: dict[str, Callable[[], object]] = {
    "a number": lambda: SelectionScore(99.0),
    "a number by name": lambda: SelectionScore(percent=99.0),
    "a subclass": subclass,
    "around the constructor": lambda: forged().percent,
    "around the constructor, averaged": lambda: mean_score([forged()]),
    "a changed score": lambda: setattr(GENUINE, "_percent", 99.0),
    "a copy": lambda: copy.copy(GENUINE),
    "a deep copy": lambda: copy.deepcopy(GENUINE),
    "a pickle": lambda: pickle.dumps(GENUINE),
    "a pickle that calls the class": lambda: pickle.loads(b"craydg.selection\nSelectionScore\n(F99.0\ntR."),
    "a pickle that goes around it": lambda: pickle.loads(
        b"ccopyreg\n__newobj__\n(craydg.selection\nSelectionScore\ntR."
    ),
    "rows of the target": lambda: selection_score(META, [TARGET], "source-validation"),
    "rows of the target, in a fold": lambda: selection_score(SELF_MADE, [TARGET], "development"),
    "rows of the target among others": lambda: selection_score(META, [*SCORED, TARGET], "source-validation"),
    "in-domain rows": lambda: selection_score(META, [replace(r, role="in-domain") for r in SCORED], "development"),
    "analysis": lambda: selection_score(META, [replace(r, role="analysis") for r in SCORED], "source-validation"),
    "a target that claims to be a source": lambda: selection_score(
        META, [*SCORED, replace(TARGET, role="source-validation")], "source-validation"
    ),
    "a target that claims to be development": lambda: selection_score(
        SELF_MADE, [replace(TARGET, role="development")], "development"
    ),
    "a judge given rows of the target": lambda: PLAIN.score(SELF_MADE, [TARGET]),
    "a judge given a number": lambda: PLAIN.report(5, [99.0]),  # pyright: ignore[reportArgumentType]
    "a judge given a forged score": lambda: PLAIN.report(5, [forged()]),
    "a judge given another criterion": lambda: PLAIN.report(
        5, [selection_score(META, [of_accuracy("wilddash", 9, "development")], "development")]
    ),
    "a fold whose source is another's target": lambda: swept(
        Study(name="two", experiments=(META, replace(META, sources=("camvid", "kitti"), targets=("idd",)))),
        LEARNING,
        Search(),
    ),
    "a fold whose development domain is another's target": lambda: swept(
        Study(name="two", experiments=(META, replace(META, targets=("carla",), development="kitti"))),
        LEARNING,
        Search(),
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_way_leads_from_a_target_to_what_a_sweep_maximises(way: str) -> None:
    with pytest.raises(Leak):
        WAYS[way]()


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: replace(GENUINE, _percent=99.0), TypeError),
        (lambda: decode(SelectionScore, {"class": "SelectionScore", "percent": 99.0}), ValueError),  # pyright: ignore[reportArgumentType]
        (lambda: swept(STUDY, {"development": tune.choice(["kitti"])}, Search()), ValueError),
        (lambda: swept(STUDY, {"sources": tune.choice(['["kitti", "camvid"]'])}, Search()), ValueError),
        (lambda: swept(STUDY, {"targets": tune.choice(["[]"])}, Search()), ValueError),
        (lambda: swept(STUDY, {"selection": tune.choice(["last"])}, Search()), ValueError),
        (lambda: swept(STUDY, {"Experiment.seed": tune.choice([0, 1])}, Search()), ValueError),
        (lambda: Search(criterion="target"), ValueError),  # pyright: ignore[reportArgumentType]
        (lambda: Search(criterion="oracle"), ValueError),  # pyright: ignore[reportArgumentType]
        (lambda: PLAIN.score(META, []), ValueError),
    ],
)
def test_nor_do_replaced_values_json_or_settings(make: Callable[[], object], error: type[Exception]) -> None:
    with pytest.raises(error):
        make()


@pytest.mark.parametrize("criterion", ["source-validation", "development", "leave-one-out"])
def test_what_a_trial_runs_names_no_target(criterion: Any) -> None:
    sweep = swept(STUDY, LEARNING, Search(criterion=criterion))
    for fold in (*sweep.folds, *sweep.of({"MLDG.inner_lr": 0.5})):
        assert fold.targets == () and "kitti" not in (*fold.sources, fold.development)
    assert sweep.judge.role == ("source-validation" if criterion == "source-validation" else "development")


def test_leaving_one_out_trains_on_the_others_and_is_judged_by_it() -> None:
    sweep = swept(STUDY, LEARNING, Search(criterion="leave-one-out"))
    assert [(f.sources, f.development, f.selection) for f in sweep.folds] == [
        (("idd", "gtav"), "camvid", "development"),
        (("camvid", "gtav"), "idd", "development"),
        (("camvid", "idd"), "gtav", "development"),
    ]
    # Two sources are left to MLDG, which cannot then take two for meta-training.
    with pytest.raises(ValueError, match=r"'MLDG.num_meta_train' can give 2, which 'MLDG' refuses: .*1 to 1 with 2"):
        swept(STUDY, {"MLDG.num_meta_train": tune.choice([1, 2])}, Search(criterion="leave-one-out"))
    assert len(swept(STUDY, {"MLDG.num_meta_train": tune.choice([1, 2])}, Search()).folds) == 1


def test_folds_that_train_alike_are_one_and_seeds_are_several() -> None:
    on_targets = Study(name="two", experiments=(META, replace(META, targets=("carla",))))
    assert len(swept(on_targets, LEARNING, Search()).folds) == 1
    assert [fold.seed for fold in swept(STUDY.with_seeds([3, 4]), LEARNING, Search()).folds] == [3, 4]


def test_which_settings_train_and_which_only_score() -> None:
    assert swept(STUDY, LEARNING, Search()).judge == Judge(criterion="source-validation")
    only = swept(STUDY, INSTANCE, Search(criterion="development"))
    assert only.judge == Judge(criterion="development", adaptation=1, trains=False)
    assert (
        len({fold.training_fingerprint() for value in (0.0, 0.5) for fold in only.of({"IaBN.instance_weight": value})})
        == 1
    )
    both = swept(STUDY, LEARNING | INSTANCE, Search())
    assert (both.judge.adaptation, both.judge.trains) == (1, True)


def test_a_trial_is_worth_the_checkpoint_that_its_rule_selects_and_the_adaptation_s_score_of_it() -> None:
    fold = swept(STUDY, LEARNING, Search()).folds[0]
    better, worse = [of_accuracy(d, 80) for d in fold.sources], [of_accuracy(d, 50, step=10) for d in fold.sources]
    assert PLAIN.step(fold, [*better, *worse]) == 5
    assert PLAIN.step(replace(fold, selection="last"), [*better, *worse]) == 10
    adapted = Judge(criterion="source-validation", adaptation=1, trains=False)
    under = [replace(r, adaptation=IaBN(0.3).label) for r in worse]
    assert adapted.score(fold, under).percent == pytest.approx(25)
    assert adapted.report(10, [adapted.score(fold, under)]) == {"step": 10, "score": pytest.approx(25)}
    with pytest.raises(ValueError, match="no row to select"):
        adapted.score(fold, worse)  # plain rows say nothing of the adaptation


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"MLDG.iner_lr": tune.uniform(0, 1)}, r"'MLDG.iner_lr': .* has no setting .*MLDG.inner_lr"),
        ({"Value.lr": tune.uniform(0, 1)}, "no setting 'Value.lr'"),
        ({"Stage.steps": tune.uniform(1.5, 9.5)}, r"'Stage.steps' can give [\d.]+, .*\(float\): it must be int"),
        ({"IaBN.instance_weight": tune.uniform(0.0, 1.5)}, r"'IaBN.instance_weight' can give 1.\d*.* between 0 and 1"),
        ({"MLDG.inner_lr": tune.uniform(-1e-9, 1.0)}, r"'MLDG.inner_lr' can give -1e-09.* 0 or more"),
        ({"MLDG.num_meta_train": tune.randint(1, 4)}, "'MLDG.num_meta_train' can give 3"),
        ({"MLDG.second_order": tune.choice([0, 1])}, r"'MLDG.second_order' can give \d, .*it must be bool"),
        ({"MLDG.batchnorm": tune.choice(["pooled", "split"])}, "'MLDG.batchnorm' can give 'split'"),
        ({"Resize.height": tune.choice([(1, 2)])}, r"can give \(1, 2\) \(tuple\): write numbers.*JSON for tuples"),
        ({"MLDG.inner_lr": tune.choice([np.float64(0.1)])}, "can give .*float64.*write numbers"),
        ({"Stage.method": tune.choice(["IaBN()"])}, "'Stage.method' can give .*no known Method is called 'IaBN'"),
    ],
)
def test_what_does_not_fit_is_named_before_anything_runs(space: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(space, [META])


def test_the_ends_of_a_domain_are_tried_and_integers_leave_out_theirs() -> None:
    check({"MLDG.num_meta_train": tune.randint(1, 3)}, [META])  # 1 and 2
    check({"Stage.steps": tune.qrandint(4, 8, 2), "MLDG.inner_lr": tune.quniform(0.0, 1.0, 0.25)}, [META])
    with pytest.raises(ValueError, match=r"'IaBN.instance_weight' can give 1.0000001"):
        check({"IaBN.instance_weight": tune.uniform(0.0, 1.0000001)}, [META])


def test_settings_that_are_legal_only_together_are_applied_together() -> None:
    experiment = replace(META, adaptations=(SegTTT(),))
    given = {"SegTTT.drift": 0.1, "SegTTT.normalises_with": "image"}
    (adapted,) = applied(experiment, given).adaptations
    assert adapted == SegTTT(drift=0.1, normalises_with="image")
    check({"SegTTT.drift": tune.uniform(0.01, 0.1), "SegTTT.normalises_with": tune.choice(["image"])}, [experiment])
    with pytest.raises(ValueError, match=r"can give SegTTT|'SegTTT.drift' can give"):
        check({"SegTTT.drift": tune.uniform(0.01, 0.1), "SegTTT.normalises_with": tune.choice(["norm"])}, [experiment])


def test_structured_values_are_text() -> None:
    experiment = replace(META, adaptations=(SegTTT(),))
    given = {
        "SegTTT.views": "Views(scales=(1.0,), grey=False)",
        "SegTTT.layers": '["block3", "decoder"]',
        "SegTTT.norm": "TargetNorm(batch_size=1)",
    }
    (adapted,) = applied(experiment, given).adaptations
    assert adapted == SegTTT(
        views=Views((1.0,), grey=False), layers=("block3", "decoder"), norm=TargetNorm(batch_size=1)
    )
    with pytest.raises(ValueError, match=r"adaptations.0.views: .*no field 'scale'; perhaps you meant 'scales'"):
        override(experiment, "SegTTT.views", "Views(scale=(1.0,))")


@pytest.mark.parametrize(
    ("study", "space", "search", "message"),
    [
        (Study(name="two", experiments=(META, replace(META, name="B"))), LEARNING, Search(),
         "'MLDG', 'B': choose with --only"),
        (Study(name="two", experiments=(META, replace(META, targets=("carla",), validate_every=2))), LEARNING, Search(),
         "different steps"),
        (Study(name="one", experiments=(replace(META, adaptations=(TargetNorm(4), IaBN())),)),
         {"TargetNorm.batch_size": tune.choice([2]), **INSTANCE}, Search(), "several adaptations"),
        (STUDY, INSTANCE, Search(scheduler="asha"), "train nothing: take --scheduler none"),
        (Study(name="one", experiments=(replace(META, validate_every=None),)), LEARNING, Search(scheduler="median"),
         "set Experiment.validate_every"),
        (Study(name="one", experiments=(replace(META, development=None),)), LEARNING, Search(criterion="development"),
         "no development domain"),
        (Study(name="one", experiments=(replace(META, sources=("idd", "idd")),)), LEARNING,
         Search(criterion="leave-one-out"), "needs two source domains"),
        (STUDY, LEARNING, Search(adaptation="IaBN(0.1)"), r"--adaptation IaBN\(0.1\): no key of the space sets it"),
        (STUDY, INSTANCE, Search(steps=100), "--steps 100: nothing is trained here"),
    ],
)  # fmt: skip
def test_a_sweep_that_would_not_compare_is_refused(study: Study, space: Any, search: Search, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        swept(study, space, search)


def test_a_grid_is_every_point_of_choices_and_whole_numbers() -> None:
    space = {"a": tune.choice(["x", None]), "b": tune.randint(1, 3), "c": tune.qrandint(0, 4, 2)}
    points = grid(space)
    assert (
        len(points) == 2 * 2 * 3
        and points[0] == {"a": "x", "b": 1, "c": 0}
        and points[-1] == {"a": None, "b": 2, "c": 4}
    )
    with pytest.raises(ValueError, match=r"'d' is a number from 0.1 to 1.0, logarithmic: a grid needs a list"):
        grid({"d": tune.loguniform(0.1, 1.0)})


def test_a_space_is_a_file_and_several_join(tmp_path: Path) -> None:
    good, bad, empty = tmp_path / "good.py", tmp_path / "bad.py", tmp_path / "empty.py"
    good.write_text("from ray import tune\nSPACE = {'MLDG.inner_lr': tune.uniform(0, 1)}\n")
    bad.write_text("from ray import tune\nSPACE = {'MLDG.inner_lr': tune.grid_search([1, 2])}\n")
    empty.write_text("SPACE = {}\n")
    assert list(load(good)) == ["MLDG.inner_lr"]
    with pytest.raises(ValueError, match=r"grid_search.*must be a domain of ray.tune with ends.*--search grid"):
        load(bad)
    with pytest.raises(ValueError, match="has no SPACE"):
        load(empty)
    with pytest.raises(ValueError, match="is no file"):
        load(tmp_path / "missing.py")
    with pytest.raises(ValueError, match=r"'MLDG.inner_lr' stands in two files"):
        joined([load(good), load(good)])
    with pytest.raises(ValueError, match="nothing to search"):
        joined([])


def test_the_best_point_is_told_as_flags() -> None:
    after = applied(META, {"MLDG.inner_lr": 0.003, "MLDG.num_meta_train": 2, "IaBN.instance_weight": 0.5})
    said = flags(META, after)
    assert said == ["--MLDG.inner-lr", "0.003", "--MLDG.num-meta-train", "2", "--IaBN.instance-weight", "0.5"]
    two = replace(META, stages=META.stages * 2, adaptations=(Tent(),))
    said = flags(two, applied(two, {"stages.1.optimizer.lr": 0.01, "Tent.norm": "IaBN(0.1)"}))
    assert said == ["--stages.1.optimizer.lr", "0.01", "in the job file: adaptations.0.norm = IaBN()"]
    assert flags(META, META) == []


def test_the_first_checkpoint_that_can_be_judged() -> None:
    two = replace(META, stages=(replace(META.stages[0], method=ERM(), steps=7), *META.stages), validate_every=5)
    assert [searching.first_report(fold) for fold in (META, two, replace(META, validate_every=None))] == [5, 10, 10]
