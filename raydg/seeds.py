"""Randomness as a function of named integers: one experiment's seed folded with what a number is drawn for."""

import hashlib

import numpy as np


def fold(seed: int, *parts: int | str) -> int:
    """A 64-bit seed that depends on every part and their order, equal in every process and on every machine.

    `fold(seed, "augment", step, episode)` never collides in practice with another purpose's seed, so streams are
    independent.
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in (seed, *parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def generator(seed: int, *parts: int | str) -> np.random.Generator:
    """A numpy generator seeded with `fold(seed, *parts)`."""
    return np.random.default_rng(fold(seed, *parts))
