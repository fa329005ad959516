"""Single random draws. A numpy generator takes several microseconds over each of its own; a scene needs hundreds."""

from collections.abc import Sequence
from math import exp
from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Dice:
    """Throws with the numbers of a generator; `rng` itself is for arrays."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.rng.random()

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def below(self, n: int) -> int:
        """A whole number from 0 to n - 1."""
        return int(n * self.rng.random())

    def one_of(self, things: Sequence[T]) -> T:
        return things[self.below(len(things))]

    def count(self, rate: float) -> int:
        """How often something happens that is expected `rate` times (Poisson)."""
        n, product, limit = 0, self.rng.random(), exp(-rate)
        while product > limit:
            n, product = n + 1, product * self.rng.random()
        return n
