"""Which trainings a benchmark needs, which answers what, and what the rules choose: against brute force and numbers by
hand."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray import tune

from raydg.adaptation import TTA, Choice, IaBN, TrainBN
from raydg.augmentation import Augmentation, Resize
from raydg.benchmark import (
    HeldOut,
    Options,
    Plan,
    Trial,
    check,
    choose,
    headline,
    more_seeds,
    overlapping,
    trials,
    without,
)
from raydg.domains.labels import PACS_7
from raydg.evaluation import Row
from raydg.experiment import Experiment, Stage, Study
from raydg.methods import DMG, ERM, MLDG, MaskEns, PredEns
from raydg.models import Classifier, SmallNet
from raydg.optimization import SGD
from raydg.plan import Sampling
from raydg.protocol import Resized, Square
from raydg.selection import Estimate, Leak, select_leave_one_out

DOMAINS = ("art", "cartoon", "photo", "sketch")


def experiment(target: str, name: str = "ERM", seed: int = 0, method: Any = None) -> Experiment:
    return Experiment(
        name=name,
        label_space=PACS_7,
        sources=tuple(domain for domain in DOMAINS if domain != target),
        targets=(target,),
        model=Classifier(SmallNet()),
        stages=(Stage(method=method or ERM(), optimizer=SGD(lr=0.1), steps=20),),
        sampling=Sampling(images_per_domain=2),
        augmentation=Augmentation((Resize(32, 32),)),
        evaluation_size=(32, 32),
        validate_every=10,
        seed=seed,
    )


FOLDS = [experiment(target) for target in DOMAINS]


def row(step: int, domain: str, right: int, role: Any = "source-validation", **changes: Any) -> Row:
    counts = np.zeros((7, 7), int)
    counts[0, :2] = right, 100 - right
    given = {"split": "val", "inference": "plain", "adaptation": "t-BN", "order": 0, "num_images": 100}
    return Row(step=step, role=role, domain=domain, counts=tuple(map(tuple, counts.tolist())), **given | changes)


def test_every_pair_of_domains_is_trained_once_and_answers_for_both_folds() -> None:
    grid = [
        experiment(target, name, seed, method)
        for name, method in (("ERM", ERM()), ("MLDG", MLDG()))
        for seed in (0, 1, 2)
        for target in DOMAINS
    ]
    found = HeldOut.of(grid)
    assert len(found.runs) == 2 * 3 * 6  # pairs of four domains
    for method in (ERM(), MLDG()):
        for seed in range(3):
            runs = [run for run in found.runs if run.stages[0].method == method and run.seed == seed]
            pairs = {frozenset(DOMAINS) - set(run.sources): run for run in runs}
            assert pairs.keys() == set(map(frozenset, combinations(DOMAINS, 2)))
            assert all(set(run.targets) == pair for pair, run in pairs.items())
    for fold in grid:
        judges = found.of_experiment(fold)
        assert list(judges) == list(fold.sources)
        for source, run in judges.items():
            assert set(run.sources) == set(fold.sources) - {source} and source in run.targets
            assert fold.targets[0] not in run.sources
            assert (run.seed, run.stages) == (fold.seed, fold.stages)


def test_without_the_other_fold_a_training_answers_for_one() -> None:
    found = HeldOut.of(FOLDS[:1])
    assert [run.targets for run in found.runs] == [("cartoon",), ("photo",), ("sketch",)]
    assert HeldOut.of([]).runs == ()


def test_the_order_of_sources_and_what_judges_them_ask_for_no_other_training() -> None:
    other = replace(
        FOLDS[1], sources=tuple(reversed(FOLDS[1].sources)), adaptations=(TrainBN(), TTA()), selection="last"
    )
    found = HeldOut.of([FOLDS[0], other])
    assert len(found.runs) == 5
    run = found.of_experiment(other)["art"]
    assert found.of_experiment(FOLDS[0])["cartoon"] == run and run.targets == ("art", "cartoon")
    assert run.sources == ("photo", "sketch") and run.adaptations == (TrainBN(),)


def test_a_source_that_is_listed_twice_leaves_whole() -> None:
    twice = replace(FOLDS[0], sources=("photo", "sketch", "photo"), inferences=None)
    assert without(twice, "photo").sources == ("sketch",)
    assert set(HeldOut.of([twice]).of_experiment(twice)) == {"photo", "sketch"}


def test_ways_to_predict_that_name_a_source_are_left_out() -> None:
    dmg = replace(experiment("art", method=DMG()), inferences=(PredEns(), MaskEns()), in_domain_splits=("val",))
    run = without(dmg, "photo")
    assert run.inferences is None and run.in_domain_splits is None


def test_what_only_the_targets_have_is_not_asked_of_a_source() -> None:
    judged = replace(
        experiment("art"),
        target_splits=("val_first500",),
        protocol=Square(16),
        choices=(Choice(candidates=(TTA(), TrainBN()), on="source-validation"),),
    )
    for run in HeldOut.of([judged]).runs:
        assert run.target_splits is None and run.scored_protocol == Resized(32, 32) and not run.choices


def test_too_few_sources_are_refused_before_anything_runs() -> None:
    two = replace(experiment("art", "MLDG", method=MLDG()), sources=("photo", "sketch"))
    with pytest.raises(ValueError, match=r"leave-one-out of 'MLDG' trains on sketch, without photo: .*MLDG"):
        HeldOut.of([two])


HELD = {
    0: [(10, 60, 50, 40), (20, 70, 60, 20)],  # means 50, 50: the earlier
    1: [(10, 10, 90, 20), (20, 90, 40, 50)],  # means 40, 60
}
"""By setting, step and scores on cartoon, photo and sketch, each of the training without it."""


def held_out(setting: int) -> list[Row]:
    return [
        row(step, source, right, role="target")
        for step, *scores in HELD[setting]
        for source, right in zip(FOLDS[0].sources, scores, strict=True)
    ]


def test_leave_one_out_takes_the_best_mean_over_the_sources() -> None:
    chosen = select_leave_one_out(held_out(0), FOLDS[0].sources, ("art",), "classification")
    assert (chosen.step, chosen.rule, chosen.score) == (10, "leave-one-out", pytest.approx(50))
    found = choose("leave-one-out", FOLDS[0], {0: held_out(0), 1: held_out(1)})
    assert (found.setting, found.selected.step, found.selected.score) == (1, 20, pytest.approx(60))
    assert choose("leave-one-out", FOLDS[0], {0: held_out(0)}).setting == 0


def test_leave_one_out_refuses_the_target_and_what_is_missing() -> None:
    sources, leaked = FOLDS[0].sources, row(10, "art", 99, role="target")
    with pytest.raises(Leak, match="'art' at step 10 is of no source"):
        select_leave_one_out([*held_out(0), leaked], sources, ("art",), "classification")
    with pytest.raises(Leak):
        select_leave_one_out([*held_out(0), replace(leaked, domain="moon")], sources, ("art",), "classification")
    some = [each for each in held_out(0) if each.domain != "photo"]
    with pytest.raises(ValueError, match="No training without photo was scored on it"):
        select_leave_one_out(some, sources, ("art",), "classification")
    short = held_out(0)[:-1]
    with pytest.raises(ValueError, match="Step 20 has no row of 'sketch'"):
        select_leave_one_out(short, sources, ("art",), "classification")


VALIDATION = {0: [row(10, "photo", 50), row(20, "photo", 40)], 1: [row(10, "photo", 20), row(20, "photo", 45)]}


def test_each_rule_chooses_setting_and_step_by_its_own_rows() -> None:
    found = choose("source-validation", FOLDS[0], VALIDATION)
    assert (found.setting, found.selected.step, found.selected.score) == (0, 10, 50)
    # The last checkpoints have 40 and 45; the step is the last whatever an earlier one was worth.
    found = choose("last", FOLDS[0], VALIDATION)
    assert (found.setting, found.selected.step, found.selected.rule) == (1, 20, "last")
    on_target = {s: [row(step, "art", r, role="target") for step, r in ((10, 30 + s), (20, 31 - s))] for s in (0, 1)}
    found = choose("oracle", FOLDS[0], on_target)
    assert (found.setting, found.selected.step) == (0, 20)  # 31 in both: the first setting, its own best step
    with pytest.raises(Leak):
        choose("source-validation", FOLDS[0], on_target)
    with pytest.raises(ValueError, match="None of the settings of ERM → art, seed 0 can be chosen"):
        choose("oracle", FOLDS[0], {})


def test_settings_are_drawn_for_a_seed_and_shared_by_folds_and_methods() -> None:
    mldg = [replace(fold, name="MLDG", stages=(replace(fold.stages[0], method=MLDG()),)) for fold in FOLDS]
    grid = [*FOLDS, *mldg, *(replace(fold, seed=1) for fold in FOLDS)]
    space = {"SGD.lr": tune.uniform(0.01, 1.0), "MLDG.inner_lr": tune.uniform(0.1, 0.2)}
    found = trials(grid, space, 3)
    assert [trial.experiment for trial in found] == grid and {len(trial.settings) for trial in found} == {4}
    rates = [[setting.stages[0].optimizer.lr for setting in trial.settings] for trial in found]
    assert rates[0][0] == 0.1 and len(set(rates[0])) == 4 and all(0.01 <= rate <= 1 for rate in rates[0])
    assert all(of == rates[0] for of in rates[:8]) and rates[8] != rates[0]
    inner = [setting.stages[0].method.inner_lr for setting in found[4].settings]
    assert inner[0] == MLDG().inner_lr and all(0.1 <= each <= 0.2 for each in inner[1:])
    assert trials(grid, space, 3) == found
    # So a pair of domains is trained once for both folds in every setting.
    assert len(HeldOut.of(s for trial in found[:4] for s in trial.settings).runs) == 6 * 4


def test_an_experiment_without_the_settings_of_a_space_has_its_own_alone() -> None:
    mldg = replace(FOLDS[0], name="MLDG", stages=(replace(FOLDS[0].stages[0], method=MLDG()),))
    plain, searched = trials([FOLDS[0], mldg], {"MLDG.inner_lr": tune.uniform(0.1, 0.2)}, 2)
    assert plain == Trial((FOLDS[0],)) and len(searched.settings) == 3


def test_equal_draws_are_trained_once() -> None:
    (trial,) = trials(FOLDS[:1], {"SGD.lr": tune.choice([0.5])}, 5)
    assert [setting.stages[0].optimizer.lr for setting in trial.settings] == [0.1, 0.5]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"SGD.rate": tune.uniform(0, 1)}, "no setting 'SGD.rate'"),
        ({"Sampling.images_per_domain": tune.uniform(1.1, 1.9)}, "'Sampling.images_per_domain' can give .*must be int"),
        ({"SGD.lr": tune.uniform(-1.0, 1.0)}, "'SGD.lr' can give -"),
        ({"TTA.flip": tune.choice([True])}, "no setting 'TTA.flip'"),
        ({"Experiment.selection": tune.choice(["last"])}, "'selection' says what a trial is judged on or how"),
    ],
)
def test_a_space_that_does_not_fit_is_refused(space: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trials(FOLDS, space, 1)


def test_a_setting_that_is_not_trained_is_refused() -> None:
    adapted = replace(FOLDS[0], adaptations=(IaBN(0.3),))
    with pytest.raises(ValueError, match=r"IaBN.instance_weight of 'ERM', which decide nothing of its training"):
        trials([adapted], {"IaBN.instance_weight": tune.uniform(0.0, 1.0)}, 1)


def test_a_plan_is_the_rules_and_trials_of_a_studys_options(tmp_path: Path) -> None:
    space = tmp_path / "space.py"
    space.write_text("from ray import tune\nSPACE = {'SGD.lr': tune.uniform(0.01, 1.0)}\n")
    study = Study(name="two", experiments=tuple(FOLDS[:2]))
    plan = Plan.of(study, Options(random_settings=2, search_space=(str(space),)))
    assert plan.rules == ("source-validation",) and plan.trials == trials(FOLDS[:2], plan.space, 2)
    with pytest.raises(ValueError, match=r"'SGD.lr' stands in two files"):
        Plan.of(study, Options(random_settings=2, search_space=(str(space), str(space))))
    with pytest.raises(ValueError, match="no development domain"):
        Plan.of(study, Options(rules=("development",)))


@pytest.mark.parametrize(
    ("changes", "rules", "message"),
    [
        ({}, ("development",), "'ERM' has no development domain"),
        ({"keep_checkpoints": 1}, ("oracle",), "keep_checkpoints of 'ERM' is 1: it must be None for 'oracle'"),
        ({"keep_checkpoints": 1}, ("last", "leave-one-out"), "None for 'leave-one-out'"),
    ],
)
def test_rules_are_checked_before_anything_runs(changes: dict, rules: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check([Trial((replace(FOLDS[0], **changes),))], rules)
    check([Trial((replace(FOLDS[0], keep_checkpoints=1),))], ("last", "source-validation"))
    # What has no target is trained, and no rule chooses of it.
    (blind,) = trials([replace(FOLDS[0], targets=(), keep_checkpoints=1)], {"SGD.lr": tune.choice([0.5])}, 3)
    assert len(blind.settings) == 1 and not blind.judged
    check([blind], ("oracle", "development"))


def estimate(mean: float, error: float | None) -> Estimate:
    return Estimate(mean, error, 3)


def test_intervals_overlap_where_they_share_a_point() -> None:
    ends = {"a": (10, 1), "b": (12, 1), "c": (20, 2), "d": (13.5, 0.25), "e": (40, 30)}
    found = overlapping({name: estimate(*each) for name, each in ends.items()})
    pairs = {
        name
        for one, other in combinations(ends, 2)
        if abs(ends[one][0] - ends[other][0]) <= ends[one][1] + ends[other][1]
        for name in (one, other)
    }
    assert found == pairs == {"a", "b", "c", "d", "e"}
    del ends["e"]
    assert overlapping({name: estimate(*each) for name, each in ends.items()}) == {"a", "b"}
    assert overlapping({"a": estimate(1, None), "b": estimate(90, 1), "c": estimate(40, 1)}) == {"a", "b", "c"}
    assert overlapping({"a": estimate(1, None)}) == set()


def test_another_seed_goes_where_methods_cannot_be_told_apart() -> None:
    def runs(target: str, name: str, *scores: float) -> dict[Experiment, float]:
        return {experiment(target, name, seed): score for seed, score in enumerate(scores)}

    scores = runs("art", "ERM", 60, 62) | runs("art", "MLDG", 61, 63) | runs("art", "DMG", 80, 82)
    scores |= runs("photo", "ERM", 60, 62) | runs("photo", "MLDG", 70, 72)
    new = more_seeds(scores)
    assert [(e.name, e.targets, e.seed) for e in new] == [("ERM", ("art",), 2), ("MLDG", ("art",), 2)]
    assert more_seeds(runs("photo", "ERM", 60, 62)) == ()


def test_a_trial_in_one_number_is_its_first_way_on_all_targets() -> None:
    two = replace(FOLDS[0], sources=("photo", "sketch"), targets=("art", "cartoon"), adaptations=(TrainBN(), TTA()))
    rows = [row(20, "art", 60, "target"), row(20, "cartoon", 30, "target", order=0), row(20, "photo", 99)]
    rows += [row(20, "cartoon", 50, "target", order=1), row(20, "art", 1, "target", adaptation=TTA().label)]
    assert headline(two, rows) == pytest.approx((60 + (30 + 50) / 2) / 2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rules": ("best",)}, r"Options.rules\[0\] is 'best': it must be one of 'source-validation'"),
        ({"rules": ("last", "last")}, "rules that differ"),
        ({"extra_seeds": -1}, "extra_seeds is -1"),
        ({"concurrent": 0}, "concurrent is 0"),
        ({"random_settings": 3}, "a random search needs both"),
        ({"search_space": ("x.py",)}, "a random search needs both"),
    ],
)
def test_options_that_do_not_fit_are_refused(given: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Options(**given)
