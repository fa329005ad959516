"""Which samples an episode is made of: a pure function of (seed, step, episode), and of nothing else.

No epochs and no generator state: draw number n of a domain is found by arithmetic, so a resumed run asks for step
12,345 and has it, and every number of workers sees the same episodes. A domain's draws are its samples in random
permutations laid end to end: each sample is drawn once before any is drawn again.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from raydg.seeds import fold, generator
from raydg.values import Value


@dataclass(frozen=True)
class Sampling(Value):
    """How many images a step draws from which domain."""

    images_per_domain: int
    """Images of every source domain in one episode (on average, with "proportional")."""
    episodes_per_step: int = 1
    """Episodes whose mean gradient makes one step; the most workers that can share it. Times images per domain times
    domains, it is the papers' batch size."""
    balance: Literal["equal", "proportional", "class-uniform"] = "equal"
    """"equal": as many images of every domain. "proportional": all domains are one shuffled pool, so a domain comes up
    as often as it has samples. "class-uniform": as many of every domain, and each draw first draws a class, then an
    image that shows it, whose crop will contain it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.images_per_domain >= 1, "images_per_domain", "1 or more")
        self.require(self.episodes_per_step >= 1, "episodes_per_step", "1 or more")


@dataclass(frozen=True)
class Draw:
    """One image of an episode: `position` in the training split of source number `source`, augmented with `seed`."""

    source: int
    position: int
    seed: int
    focus: int | None = None
    """Class that class-uniform sampling drew this image for."""


class Plan:
    """The draws of every episode of an experiment.

    Args:
        seed: the experiment's.
        sampling: how many, and how balanced.
        present: of every source domain, whether sample i shows class c: bool (samples, k), k the number of classes.

    Raises:
        ValueError: a source without samples.
    """

    def __init__(self, seed: int, sampling: Sampling, present: Sequence[np.ndarray]) -> None:
        for source, table in enumerate(present):
            if not len(table):
                raise ValueError(f"source number {source} has no training samples: nothing can be drawn from it.")
        self.seed, self.sampling = seed, sampling
        self.sizes = [len(table) for table in present]
        self._with_class = [[np.flatnonzero(column) for column in table.T] for table in present]
        self._classes = [[c for c, rows in enumerate(columns) if len(rows)] for columns in self._with_class]
        # A sequence of draws is walked front to back, so the permutation in use is asked for again and again.
        self._permutation = lru_cache(maxsize=64)(self._make_permutation)

    def draws(self, step: int, episode: int) -> list[Draw]:
        """The images of an episode, sorted by source domain."""
        number = step * self.sampling.episodes_per_step + episode  # of the episode since the start
        count = self.sampling.images_per_domain
        if self.sampling.balance == "proportional":
            per_episode = count * len(self.sizes)
            pool = sorted(self._from_pool(number * per_episode + slot) for slot in range(per_episode))
            chosen = [(source, position, None) for source, position in pool]
        else:
            pick = self._from_domain if self.sampling.balance == "equal" else self._from_class
            chosen = [pick(s, number * count + slot) for s in range(len(self.sizes)) for slot in range(count)]
        return [
            Draw(source, position, fold(self.seed, "augment", step, episode, slot), focus)
            for slot, (source, position, focus) in enumerate(chosen)
        ]

    @property
    def steps_of_a_pass(self) -> int:
        """Steps after which every training image has been drawn at least once, unless draws follow the classes."""
        pooled = self.sampling.balance == "proportional"
        largest = sum(self.sizes) / len(self.sizes) if pooled else max(self.sizes)
        return math.ceil(largest / (self.sampling.images_per_domain * self.sampling.episodes_per_step))

    def _from_domain(self, source: int, number: int) -> tuple[int, int, int | None]:
        return source, self._nth(number, self.sizes[source], f"domain {source}"), None

    def _from_pool(self, number: int) -> tuple[int, int]:
        bounds = np.cumsum(self.sizes)
        row = self._nth(number, int(bounds[-1]), "pool")
        source = int(np.searchsorted(bounds, row, side="right"))
        return source, row - int(bounds[source] - self.sizes[source])

    def _from_class(self, source: int, number: int) -> tuple[int, int, int | None]:
        classes = self._classes[source]
        focus = classes[self._nth(number, len(classes), f"classes {source}")]
        rows = self._with_class[source][focus]
        # Every class is drawn once in len(classes) draws, so this is the draw's number among those of its class.
        position = self._nth(number // len(classes), len(rows), f"class {source} {focus}")
        return source, int(rows[position]), focus

    def _nth(self, number: int, size: int, purpose: str) -> int:
        """Element `number` of endless random permutations of range(size), laid end to end."""
        return int(self._permutation(size, purpose, number // size)[number % size])

    def _make_permutation(self, size: int, purpose: str, turn: int) -> np.ndarray:
        return generator(self.seed, "order", purpose, turn).permutation(size)
