import random

import pytest

from raydg.adaptation import ETA, T3A, AdaBN, CoTTA, IaBN, TargetNorm, Tent, TrainBN, batches

WIDE, TALL, SMALL = (480, 640), (640, 480), (240, 320)
MIXED = [WIDE] * 7 + [TALL] * 3 + [WIDE] * 4 + [SMALL]


@pytest.mark.parametrize(
    "adaptation", [TrainBN(), IaBN(), TargetNorm(1), TargetNorm(2), TargetNorm(4), TargetNorm(100)]
)
@pytest.mark.parametrize("at_once", [1, 3, 50])
def test_every_position_once_and_one_size_per_batch(adaptation, at_once):
    sizes = random.Random(0).sample(MIXED, len(MIXED))
    full = adaptation.batch_size if adaptation.sees == "a batch" else at_once
    for order in range(adaptation.num_orders):
        formed = batches(sizes, adaptation, seed=7, order=order, at_once=at_once)
        assert sorted(p for batch in formed for p in batch) == list(range(len(sizes)))
        assert all(len({sizes[p] for p in batch}) == 1 for batch in formed)
        # No more batches than the sizes force: one partial batch a size at most.
        assert len(formed) == sum(-(-sizes.count(size) // full) for size in set(sizes))
        assert all(len(batch) <= full for batch in formed)


def test_images_seen_one_by_one_come_as_they_stand():
    assert batches(MIXED, TrainBN(), seed=1, order=0) == [(p,) for p in range(len(MIXED))]
    assert batches([WIDE] * 5, IaBN(), seed=1, order=0, at_once=2) == [(0, 1), (2, 3), (4,)]


def test_a_full_batch_leaves_at_once_and_the_rest_by_first_image():
    sizes = [WIDE, TALL, WIDE, SMALL, TALL, WIDE, TALL]
    assert batches(sizes, TrainBN(), seed=0, order=0, at_once=2) == [(0, 2), (1, 4), (3,), (5,), (6,)]


def test_orders_differ_repeat_and_follow_the_seed():
    sizes, adaptation = [WIDE] * 40, TargetNorm(batch_size=8)
    formed = [batches(sizes, adaptation, seed=3, order=order) for order in range(5)]
    assert formed == [batches(sizes, adaptation, seed=3, order=order) for order in range(5)]
    memberships = {frozenset(frozenset(batch) for batch in batches_of_order) for batches_of_order in formed}
    assert len(memberships) == 5
    assert formed[0] != batches(sizes, adaptation, seed=4, order=0)


STREAMS = [T3A(), T3A(AdaBN()), ETA(TargetNorm(8)), CoTTA(), Tent(mode="online")]


@pytest.mark.parametrize("adaptation", STREAMS, ids=lambda adaptation: adaptation.label)
def test_a_stream_of_data_sorted_by_class_is_mixed(adaptation):
    sizes = [WIDE] * 40  # of which the first 20 are of one class, say
    stream = [p for batch in batches(sizes, adaptation, seed=3, order=0) for p in batch]
    assert sorted(stream) == list(range(40)) and stream != sorted(stream)
    assert 3 <= sum(p < 20 for p in stream[:20]) <= 17  # 10, were they mixed evenly
    assert stream == [p for batch in batches(sizes, adaptation, seed=3, order=0) for p in batch]
    assert stream != [p for batch in batches(sizes, adaptation, seed=4, order=0) for p in batch]
    with pytest.raises(ValueError, match="has the orders 0 to 0"):
        batches(sizes, adaptation, seed=3, order=1)


@pytest.mark.parametrize("adaptation", [T3A(AdaBN()), TargetNorm(4)], ids=lambda adaptation: adaptation.label)
def test_what_is_fitted_comes_as_it_stands(adaptation):
    formed = batches([WIDE] * 9, adaptation, seed=3, order=None)
    assert [p for batch in formed for p in batch] == list(range(9))


def test_company_is_drawn_evenly():
    """Any two images share one of two batches of 4 out of 8 with probability 3 / 7."""
    adaptation = TargetNorm(batch_size=4, orders=2000)
    together = sum(
        any({0, 7} <= set(batch) for batch in batches([WIDE] * 8, adaptation, seed=0, order=order))
        for order in range(2000)
    )
    # Five standard deviations of a binomial count.
    assert abs(together - 2000 * 3 / 7) < 5 * (2000 * 3 / 7 * 4 / 7) ** 0.5


def test_orders_are_averaged_only_where_they_matter():
    assert TargetNorm().batch_size == 16 and TargetNorm().num_orders == 5
    assert TargetNorm(batch_size=1).num_orders == TrainBN().num_orders == IaBN().num_orders == 1


def test_no_image_makes_no_batch():
    assert batches([], TargetNorm(), seed=0, order=0) == []


@pytest.mark.parametrize(("adaptation", "order"), [(TargetNorm(), 5), (TargetNorm(), -1), (TrainBN(), 1)])
def test_orders_that_are_none_are_refused(adaptation, order):
    with pytest.raises(ValueError, match=f"order is {order}: .* has the orders 0 to {adaptation.num_orders - 1}"):
        batches([WIDE], adaptation, seed=0, order=order)


def test_batches_of_nothing_are_refused():
    with pytest.raises(ValueError, match="at_once is 0"):
        batches([WIDE], TrainBN(), seed=0, order=0, at_once=0)
