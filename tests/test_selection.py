import math
import random
from dataclasses import replace

import pytest

from raydg.evaluation import Row
from raydg.selection import Leak, choose, mean_and_standard_error, select, select_oracle
from raydg.values import decode, encode


def row(step: int, domain: str, right: int, role: str = "source-validation", **changes) -> Row:
    """A row whose accuracy is `right` percent and whose mean IoU is a known function of it (`iou`)."""
    counts = ((right, 100 - right), (0, 0))
    given = {"step": step, "role": role, "domain": domain, "split": "val"}
    given |= {"inference": "plain", "adaptation": "t-BN", "order": 0}
    return Row(**given | {"num_images": 100, "counts": counts} | changes)


def iou(right: int) -> float:
    """Mean IoU, in percent, of `row`: class 0 has right / 100, class 1 is only predicted, so 0, or nowhere."""
    return right / 2 if right < 100 else 100


VALIDATION = [
    *(row(10, "sun", 60), row(10, "snow", 50)),
    *(row(20, "sun", 90), row(20, "snow", 40)),
    *(row(30, "sun", 70), row(30, "snow", 60)),
]
DEVELOPMENT = [row(s, "dev", r, role="development") for s, r in ((10, 30), (20, 35), (30, 20))]


def test_source_validation_takes_the_best_mean_and_the_earliest_of_equals():
    # Means 55, 65, 65: steps 20 and 30 are equal.
    for rows in (VALIDATION, VALIDATION[::-1], [*VALIDATION, *DEVELOPMENT]):
        chosen = select(rows, "source-validation", "classification")
        assert (chosen.step, chosen.rule, chosen.score) == (20, "source-validation", 65)


def test_the_headline_score_of_the_task_decides():
    rows = [row(10, "sun", 100), row(10, "snow", 30), row(20, "sun", 70), row(20, "snow", 70)]
    assert select(rows, "source-validation", "classification").step == 20
    chosen = select(rows, "source-validation", "segmentation")
    assert (chosen.step, chosen.score) == (10, pytest.approx((iou(100) + iou(30)) / 2))


def test_only_the_classes_that_are_scored_decide():
    good_at_0 = replace(row(10, "sun", 0), counts=((90, 10), (100, 0)))
    good_at_1 = replace(row(20, "sun", 0), counts=((0, 100), (0, 100)))
    for classes, step in (((0,), 10), ((1,), 20)):
        chosen = select([good_at_0, good_at_1], "source-validation", "segmentation", classes=classes)
        assert chosen.step == step and chosen.score == pytest.approx({10: 90, 20: 100}[step])
        oracle = [replace(each, role="target") for each in (good_at_0, good_at_1)]
        assert select_oracle(oracle, "segmentation", classes=classes).step == step


def test_the_order_of_the_rows_decides_nothing():
    rows = [
        row(s, d, r)
        for s, rs in ((1, (33, 71, 52, 11)), (2, (11, 52, 71, 33)))
        for d, r in zip("abcd", rs, strict=True)
    ]
    for seed in range(20):
        shuffled = random.Random(seed).sample(rows, len(rows))
        assert select(shuffled, "source-validation", "segmentation").step == 1


def test_domains_count_alike_however_many_orders_they_were_run_in():
    orders = [row(10, "sun", r, order=o, adaptation="TN") for o, r in enumerate((90, 80, 70))]
    rows = [*orders, row(10, "snow", 40, adaptation="TN")]
    assert select(rows, "source-validation", "classification", adaptation="TN").score == pytest.approx((80 + 40) / 2)


def test_development_takes_the_best_of_its_domain():
    chosen = select([*VALIDATION, *DEVELOPMENT], "development", "classification")
    assert (chosen.step, chosen.rule, chosen.score) == (20, "development", 35)


def test_last_takes_the_largest_step_and_looks_at_no_score():
    rows = [*VALIDATION, row(40, "sun", 1), row(35, "dev", 99, role="development")]
    chosen = select(rows, "last", "classification")
    assert (chosen.step, chosen.rule, chosen.score) == (40, "last", None)


def test_the_oracle_takes_targets_only_and_says_so():
    rows = [
        row(s, d, r, role="target") for s, d, r in ((10, "fog", 9), (10, "night", 5), (20, "fog", 6), (20, "night", 7))
    ]
    chosen = select_oracle(rows, "classification")
    assert (chosen.step, chosen.rule, chosen.score) == (10, "oracle", 7)
    with pytest.raises(
        ValueError, match=r"'sun' at step 10 has the role 'source-validation': an oracle takes target rows"
    ):
        select_oracle([*rows, *VALIDATION], "classification")
    with pytest.raises(ValueError, match="no target row"):
        select_oracle([], "classification")


def test_a_selection_travels_as_json():
    chosen = select(VALIDATION, "last", "segmentation")
    assert decode(type(chosen), encode(chosen)) == chosen


@pytest.mark.parametrize("rule", ["source-validation", "development", "last"])
@pytest.mark.parametrize("role", ["target", "in-domain", "analysis"])
def test_no_rule_takes_rows_that_know_about_targets(rule, role):
    with pytest.raises(Leak, match=f"'fog' at step 20 has the role '{role}'"):
        select([*VALIDATION, *DEVELOPMENT, row(20, "fog", 99, role=role)], rule, "classification")


@pytest.mark.parametrize(
    ("rows", "rule", "message"),
    [
        ([], "source-validation", "no row to select by 'source-validation'"),
        ([], "last", "no row to select by 'last'"),
        (VALIDATION, "development", "no row to select by 'development'"),
        (VALIDATION, "best", "rule is 'best': it must be one of 'source-validation', 'development', 'last'"),
        (VALIDATION, "oracle", "rule is 'oracle'"),
        (VALIDATION[:-1], "source-validation", r"Step 30 has no row of 'snow' \(val, order 0\)"),
        ([*VALIDATION, row(5, "hail", 1)], "source-validation", r"Step 5 has no row of 'snow' .*'sun'"),
        ([*VALIDATION, row(30, "sun", 1)], "source-validation", r"two rows of 'sun' \(val, order 0\) at step 30"),
        ([row(1, "sun", 50, counts=((0, 0), (0, 0)))], "source-validation", "score of 'sun' .* at step 1 is NaN"),
        ([*DEVELOPMENT, row(10, "dev2", 1, "development")], "development", "Development rows are of dev, dev2"),
        ([*VALIDATION, row(40, "sun", 1, adaptation="IaBN")], "source-validation", "Rows of IaBN stand .* by t-BN"),
        ([*VALIDATION, row(40, "sun", 1, inference="Pred-Ens")], "last", "inferences Pred-Ens, plain stand in one"),
        ([row(1, "sun", 1, adaptation="IaBN")], "last", "Rows of IaBN stand in a selection by t-BN"),
    ],
)  # fmt: skip
def test_rows_that_do_not_decide_are_refused(rows, rule, message):
    with pytest.raises(ValueError, match=message):
        select(rows, rule, "classification")


def test_rows_of_another_adaptation_select_under_its_name():
    rows = [row(1, "sun", 20, adaptation="IaBN"), row(2, "sun", 30, adaptation="IaBN")]
    assert select(rows, "source-validation", "classification", adaptation="IaBN").step == 2
    with pytest.raises(ValueError, match="Rows of t-BN stand in a selection by IaBN"):
        select([*rows, row(3, "sun", 1)], "source-validation", "classification", adaptation="IaBN")


CANDIDATES = ("IaBN(0)", "IaBN(0.5)", "IaBN(1)")
COMPETING = {
    (step, label): right
    for step, of_step in ((10, (60, 61, 30)), (20, (50, 62, 64)), (30, (64, 40, 20)))
    for label, right in zip(CANDIDATES, of_step, strict=True)
}


def competing(role: str, *steps: int) -> list[Row]:
    """Two domains, or one of development, whose mean is that of `COMPETING`."""
    names = {"development": {"dev": 0}, "source-validation": {"sun": 7, "snow": -7}}[role]
    return [
        row(step, domain, right + shift, role, adaptation=label)
        for (step, label), right in COMPETING.items()
        for domain, shift in names.items()
        if step in steps
    ]


@pytest.mark.parametrize("role", ["development", "source-validation"])
@pytest.mark.parametrize(
    # Of the two pairs with 64 the one of the first candidate wins, though the other's checkpoint is earlier.
    ("steps", "adaptation", "step", "score"),
    [((10,), "IaBN(0.5)", 10, 61), ((20,), "IaBN(1)", 20, 64), ((10, 20, 30), "IaBN(0)", 30, 64)],
)
def test_the_best_candidate_is_chosen_alone_or_with_its_checkpoint(role, steps, adaptation, step, score):
    rows = competing(role, *steps)
    brute = max((COMPETING[at, label], -CANDIDATES.index(label), -at) for at in steps for label in CANDIDATES)
    assert brute == (score, -CANDIDATES.index(adaptation), -step)
    for given in (rows, rows[::-1]):
        chosen = choose(given, CANDIDATES, role, "classification")
        assert (chosen.adaptation, chosen.step, chosen.rule, chosen.score) == (adaptation, step, role, score)


def test_a_candidate_is_scored_by_the_headline_score_of_its_classes():
    rows = [
        replace(row(10, "dev", 0, "development", adaptation=label), counts=counts)
        for label, counts in (("a", ((90, 10), (100, 0))), ("b", ((0, 100), (0, 100))))
    ]
    for classes, winner in (((0,), "a"), ((1,), "b")):
        assert choose(rows, ("a", "b"), "development", "segmentation", classes).adaptation == winner


@pytest.mark.parametrize("role", ["target", "in-domain", "analysis"])
def test_no_choice_takes_rows_that_know_about_targets(role):
    for rule in ("development", "source-validation"):
        leaking = [*competing(rule, 10), row(10, "fog", 99, role, adaptation=CANDIDATES[0])]
        with pytest.raises(Leak, match=f"'fog' at step 10 has the role '{role}'"):
            choose(leaking, CANDIDATES, rule, "classification")


@pytest.mark.parametrize(
    ("rows", "rule", "message"),
    [
        ([], "development", "no row to select by 'development'"),
        (competing("development", 10), "source-validation", "no row to select by 'source-validation'"),
        (competing("development", 10), "last", "rule is 'last': it must be one of 'source-validation', 'development'"),
        (competing("development", 10)[:2], "development", r"IaBN\(1\) has no score of 'dev' \(val\) at step 10"),
        (competing("source-validation", 10, 20)[:-1], "source-validation", r"IaBN\(1\) has no .* 'snow'.*step 20"),
        ([*competing("development", 10), row(10, "dev", 9, "development")], "development", "Rows of t-BN stand in a"),
        (competing("development", 10) * 2, "development", r"two rows of 'dev' \(val, order 0\) at step 10"),
    ],
)  # fmt: skip
def test_candidates_that_do_not_compare_are_refused(rows, rule, message):
    with pytest.raises(ValueError, match=message):
        choose(rows, CANDIDATES, rule, "classification")


def test_mean_and_standard_error_by_hand():
    # Deviations -2, 0, 2: variance 8 / 2 = 4, standard deviation 2, error 2 / sqrt(3).
    estimate = mean_and_standard_error([58, 60, 62])
    assert (estimate.mean, estimate.num_values) == (60, 3)
    assert estimate.standard_error == pytest.approx(2 / math.sqrt(3))
    assert str(estimate) == "60.00 ± 1.15 (n = 3)"


def test_a_single_run_has_no_error_and_says_so():
    estimate = mean_and_standard_error([61.5])
    assert (estimate.mean, estimate.standard_error) == (61.5, None)
    assert str(estimate) == "61.50 ± n/a (n = 1)"


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
def test_values_without_a_mean_are_refused(values):
    with pytest.raises(ValueError, match="at least one, and all must be finite"):
        mean_and_standard_error(values)
