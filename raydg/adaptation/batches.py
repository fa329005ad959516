"""Which images share a forward when an adaptation meets a domain."""

from collections.abc import Sequence

from raydg.adaptation.adaptation import Adaptation
from raydg.seeds import generator


def batches(
    sizes: Sequence[tuple[int, int]], adaptation: Adaptation, seed: int, order: int | None, at_once: int = 1
) -> list[tuple[int, ...]]:
    """Positions of the images of each batch; every position of `sizes`, (height, width) in px, stands exactly once.

    Images are taken in a random order, number `order` of `seed`, if the adaptation sees a batch or keeps its state,
    else as they stand. A stream is in a drawn order, for data in their own order would be sorted by class. With None
    for `order` they are as they stand, too: what is fitted sees all before it predicts any. Each waits for others of
    its size; full batches leave at once, the rest at the end as smaller ones, by their first image. Full is
    `adaptation.batch_size`, or `at_once` where the adaptation sees one image and batches decide nothing.

    Raises:
        ValueError: `order` is not below `adaptation.num_orders`, or `at_once` is below 1.
    """
    if order is not None and not 0 <= order < adaptation.num_orders:
        raise ValueError(f"order is {order}: {adaptation.label} has the orders 0 to {adaptation.num_orders - 1}.")
    if at_once < 1:
        raise ValueError(f"at_once is {at_once}: a batch must have at least 1 image.")
    full = at_once if adaptation.sees == "one image" else adaptation.batch_size
    positions = list(range(len(sizes)))
    if order is not None and (adaptation.sees == "a batch" or adaptation.keeps_state):
        positions = generator(seed, "batches", order).permutation(len(sizes)).tolist()
    waiting: dict[tuple[int, int], list[int]] = {}
    formed = []
    for position in positions:
        batch = waiting.setdefault(sizes[position], [])
        batch.append(position)
        if len(batch) == full:
            formed.append(tuple(waiting.pop(sizes[position])))
    return formed + [tuple(batch) for batch in waiting.values()]
