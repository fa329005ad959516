"""The plan draws what it promises: every sample in turn, balanced as asked, and nothing that depends on who asks."""

from collections import Counter

import numpy as np
import pytest

from raydg.plan import Draw, Plan, Sampling

SIZES = (5, 13, 40)


def table(size: int, classes: int = 4) -> np.ndarray:
    """Sample i shows class i mod (classes - 1); the last class stands in sample 0 alone."""
    present = np.zeros((size, classes), bool)
    present[np.arange(size), np.arange(size) % (classes - 1)] = True
    present[0, -1] = True
    return present


def plan(sampling: Sampling, seed: int = 7) -> Plan:
    return Plan(seed, sampling, [table(size) for size in SIZES])


def all_draws(plan: Plan, steps: int) -> list[Draw]:
    episodes = plan.sampling.episodes_per_step
    return [draw for step in range(steps) for episode in range(episodes) for draw in plan.draws(step, episode)]


def test_equal_draws_every_sample_of_every_domain_once_per_turn() -> None:
    # 65 = 5 x 13 steps of 2 episodes of 4 images: 520 draws of each domain, a whole number of turns of each.
    drawn = Counter((draw.source, draw.position) for draw in all_draws(plan(Sampling(4, 2)), 65))
    for source, size in enumerate(SIZES):
        assert {position for s, position in drawn if s == source} == set(range(size))
        assert {count for (s, _), count in drawn.items() if s == source} == {520 // size}


def test_a_turn_is_complete_before_the_next_begins() -> None:
    for source, size in enumerate(SIZES):
        positions = [draw.position for draw in all_draws(plan(Sampling(1)), 3 * size) if draw.source == source]
        turns = [positions[i * size : (i + 1) * size] for i in range(3)]
        assert all(sorted(turn) == list(range(size)) for turn in turns)
        assert turns[0] != turns[1]


def test_proportional_draws_each_sample_of_the_pool_once_per_turn() -> None:
    # 58 samples in all, 3 x 2 draws a step: 29 steps are three turns.
    drawn = Counter((draw.source, draw.position) for draw in all_draws(plan(Sampling(2, balance="proportional")), 29))
    assert set(drawn.values()) == {3} and len(drawn) == sum(SIZES)


def test_class_uniform_draws_classes_equally_and_samples_that_show_them() -> None:
    drawn = all_draws(plan(Sampling(2, balance="class-uniform")), 120)
    for source, size in enumerate(SIZES):
        own = [draw for draw in drawn if draw.source == source]
        assert set(Counter(draw.focus for draw in own).values()) == {60}
        assert all(table(size)[draw.position, draw.focus] for draw in own)
        assert len({draw.position for draw in own}) == size


def test_an_episode_is_a_function_of_its_numbers_alone() -> None:
    sampling = Sampling(3, 4)
    forward = {(s, e): plan(sampling).draws(s, e) for s in range(20) for e in range(4)}
    fresh = plan(sampling)
    for s, e in reversed(forward):
        assert fresh.draws(s, e) == forward[s, e]
    seeds = [draw.seed for draws in forward.values() for draw in draws]
    assert len(set(seeds)) == len(seeds)
    assert plan(sampling, seed=8).draws(0, 0) != forward[0, 0]


@pytest.mark.parametrize("balance", ["equal", "proportional", "class-uniform"])
def test_draws_come_sorted_by_source(balance: str) -> None:
    for step in range(10):
        draws = plan(Sampling(3, balance=balance)).draws(step, 0)
        assert len(draws) == 9
        assert [draw.source for draw in draws] == sorted(draw.source for draw in draws)


def test_pseudo_domains_of_one_dataset_draw_different_samples() -> None:
    twice = Plan(0, Sampling(4), [table(40), table(40)])
    first, second = ([d.position for d in all_draws(twice, 5) if d.source == source] for source in (0, 1))
    assert first != second


def test_an_empty_source_is_refused() -> None:
    with pytest.raises(ValueError, match="source number 1 has no training samples"):
        Plan(0, Sampling(1), [table(3), np.zeros((0, 4), bool)])


def test_numbers_must_be_positive() -> None:
    with pytest.raises(ValueError, match="images_per_domain is 0"):
        Sampling(0)
    with pytest.raises(
        ValueError, match="balance is 'uniform': it must be one of 'equal', 'proportional', 'class-uniform'"
    ):
        Sampling(1, balance="uniform")
