"""One picture: what (domain, class, seed) shows."""

import hashlib

import numpy as np

from raydg.domains.object_world.shapes import FIGURES, place
from raydg.domains.object_world.shapes.outlines import Layer
from raydg.domains.object_world.styles import STYLES
from raydg.domains.object_world.styles.palette import Palette, natural

CLASSES = tuple(FIGURES)
DOMAINS = tuple(STYLES)

TILT = {"guitar": 70.0}
"""The largest turn in the plane of the picture, in degrees: things that stand on the ground hardly turn."""


def render(domain: str, class_name: str, seed: int, size: int = 96) -> np.ndarray:
    """One object of the class in the style of the domain, as (size, size, 3) uint8.

    A pure function of its arguments (and of the versions of numpy and Pillow). The figure, its pose and its natural
    colours follow from class and seed alone, so that one seed shows one individual in all four styles; what the style
    adds follows from domain, class and seed.

    Raises:
        ValueError: for an unknown domain or class, or a size below 16.
    """
    if domain not in STYLES:
        raise ValueError(f"domain {domain!r} is not in the object world; choose one of {', '.join(DOMAINS)}")
    if class_name not in FIGURES:
        raise ValueError(f"class {class_name!r} is not in the object world; choose one of {', '.join(CLASSES)}")
    if size < 16:
        raise ValueError(f"size {size} is too small to draw an object in; ask for 16 pixels or more")
    layers, palette = individual(class_name, seed)
    return STYLES[domain](layers, palette, np.random.default_rng(folded("style", domain, class_name, seed)), size)


def individual(class_name: str, seed: int) -> tuple[list[Layer], Palette]:
    """What is to be painted, whatever the style: a figure in the unit square and the colours nature gave it."""
    rng = np.random.default_rng(folded("individual", class_name, seed))
    return place(FIGURES[class_name](rng), rng, TILT.get(class_name, 5.0)), natural(class_name, rng)


def folded(*parts: str | int) -> int:
    """64 bits that depend on every part and on their order."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "big")
