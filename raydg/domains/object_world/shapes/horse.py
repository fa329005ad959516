"""A horse: standing, trotting or grazing, with a mane and a long tail; sometimes saddled."""

import numpy as np

from raydg.domains.object_world.shapes.gait import feet, leg
from raydg.domains.object_world.shapes.outlines import Layer, Point, attach, disc, limb, polar, smooth

HOOF = ((-0.045, 0.02), (0.05, 0.02), (0.075, -0.06), (-0.06, -0.06))


def draw(rng: np.random.Generator) -> list[Layer]:
    u = rng.uniform
    height, bulk = u(0.68, 0.8), u(0.9, 1.08)
    back = height + 0.18
    body = limb(
        [(-0.4, back + 0.02), (-0.12, back - 0.03), (0.14, back - 0.03), (0.38, back + 0.01)],
        [0.2 * bulk, 0.185 * bulk, 0.19 * bulk, 0.2 * bulk],
    )
    lean = u(-25, 5) if rng.random() < 0.2 else u(38, 66)
    root = (0.4, back + 0.06)
    bend = polar(root, 0.3, lean + 6)
    poll = polar(bend, 0.28, lean - 6)
    neck = limb([(0.32, back - 0.02), root, bend, poll], [0.2, 0.175, 0.125, 0.09])
    near, far, hooves, far_hooves = [], [], [], []
    walk = feet(rng, u(0.16, 0.36), fore=(0.4, 0.06), hind=(-0.5, 0.06))
    for legs, ends, (fore, hind) in zip((near, far), (hooves, far_hooves), walk, strict=True):
        knee = 0.9 * fore[1] - 0.03  # a lifted foot bends it
        legs += [
            leg((0.36, back - 0.08), fore, [(0.5, knee), (0.58, knee), (0.9, 0.0)], [0.14, 0.06, 0.055, 0.036, 0.042]),
            leg((-0.42, back), hind, [(0.33, 0.05), (0.58, -0.06), (0.9, 0.0)], [0.18, 0.11, 0.055, 0.037, 0.042]),
        ]
        ends += [foot + np.array(HOOF) for foot in (fore, hind)]
    return [
        Layer("coat", far, far=True),
        Layer("hoof", far_hooves, far=True),
        Layer("mane", [_tail(rng, (-0.58, back + 0.12))]),
        Layer("coat", [body, *near, neck]),
        Layer("hoof", hooves),
        *_saddle(rng, back, bulk),
        *attach(_head(rng), poll, u(-62, -40) + 0.35 * (lean - 50)),
        Layer("mane", [_mane(rng, root, bend, poll)]),
    ]


def _tail(rng: np.random.Generator, root: Point) -> np.ndarray:
    out, drop = rng.uniform(0.1, 0.3), rng.uniform(0.45, 0.62)
    x, y = root
    return limb(
        [(x + 0.05, y), (x - 0.6 * out, y - 0.06), (x - out, y - 0.55 * drop), (x - 0.8 * out, y - drop)],
        [0.045, 0.06, 0.085, 0.015],
    )


def _mane(rng: np.random.Generator, root: Point, bend: Point, poll: Point) -> np.ndarray:
    """Locks along the crest of the neck, each falling back from it."""
    line = np.array([root, bend, poll])
    crest = smooth(line + np.array([(-0.14, 0.09), (-0.09, 0.09), (-0.03, 0.09)]))
    neck = smooth(line + np.array([(0.02, -0.02), (0.0, 0.0), (0.0, 0.0)]))
    hang = rng.uniform(0.45, 0.95)
    ragged = hang * np.where(np.arange(len(neck)) % 2, 1.0, 0.55)[:, None]
    return np.concatenate([crest, (crest + ragged * (neck - crest))[::-1]])


def _saddle(rng: np.random.Generator, back: float, bulk: float) -> list[Layer]:
    if rng.random() < 0.75:
        return []
    seat = [(-0.2, 0.06), (-0.06, 0.0), (0.12, 0.05), (0.13, -0.12), (-0.02, -0.2), (-0.18, -0.12)]
    return attach([Layer("saddle", [smooth(seat, closed=True)])], (0.0, back + 0.17 * bulk))


def _head(rng: np.random.Generator) -> list[Layer]:
    """Drawn with the forehead at the origin and the muzzle to the right."""
    muzzle = rng.uniform(0.36, 0.42)
    skull = limb([(-0.02, 0.0), (0.12, -0.02), (0.7 * muzzle, -0.02), (muzzle, -0.03)], [0.1, 0.11, 0.065, 0.065])
    ear = np.array([(-0.08, 0.06), (-0.09, 0.23), (-0.005, 0.08)])
    blaze = Layer("light", [limb([(0.08, 0.07), (muzzle, 0.04)], [0.022, 0.025])], within=True)
    mouth = limb([(muzzle + 0.04, -0.06), (0.75 * muzzle, -0.06)], [0.007, 0.005])
    return [
        *attach([Layer("coat", [ear], far=True)], (0.06, -0.005)),
        Layer("coat", [skull, ear]),
        *([blaze] if rng.random() < 0.35 else []),
        Layer("muzzle", [limb([(0.92 * muzzle, -0.03), (muzzle + 0.03, -0.03)], [0.075, 0.075])], within=True),
        Layer("ink", [disc((0.11, 0.03), 0.022), disc((muzzle + 0.03, -0.005), 0.014), mouth]),
    ]
