"""A dog: standing, walking or sitting; long or short muzzle, hanging or pricked ears."""

import numpy as np

from raydg.domains.object_world.shapes.gait import feet, leg
from raydg.domains.object_world.shapes.outlines import Layer, Point, attach, disc, limb, polar, smooth


def draw(rng: np.random.Generator) -> list[Layer]:
    return _sitting(rng) if rng.random() < 0.35 else _standing(rng)


def _standing(rng: np.random.Generator) -> list[Layer]:
    u = rng.uniform
    height, bulk, lean = u(0.42, 0.62), u(0.85, 1.1), u(-0.02, 0.03)
    back, front = height + 0.1 - lean, height + 0.12 + lean
    body = limb(
        [(-0.42, back), (-0.2, back - 0.01), (0.1, front - 0.03), (0.36, front)],
        [0.15 * bulk, 0.16 * bulk, 0.18 * bulk, 0.19 * bulk],
    )
    near, far = [], []
    walk = feet(rng, 0.44 * height, fore=(0.36, 0.05), hind=(-0.46, 0.05))
    for legs, (fore, hind) in zip((near, far), walk, strict=True):
        legs += [
            leg((0.34, front - 0.04), fore, [(0.55, -0.02), (0.85, 0.0)], [0.13, 0.075, 0.055, 0.055]),
            leg((-0.42, back - 0.02), hind, [(0.4, 0.05), (0.7, -0.05)], [0.16, 0.11, 0.06, 0.055]),
            *(disc((x + 0.035, y - 0.01), 0.085, 0.055) for x, y in (fore, hind)),
        ]
    chest, head = (0.36, front), (0.62 + u(-0.04, 0.04), front + u(0.26, 0.42))
    neck = limb([chest, head], [0.17 * bulk, 0.12])
    tail = _tail(rng, (-0.5, back + 0.07), u(60, 150))
    return [
        Layer("coat", far, far=True),
        Layer("coat", [tail, body, *near, neck]),
        *_spots(rng, (0.0, back)),
        *_collar(rng, chest, head),
        *attach(_head(rng), head, u(-25, 8)),
    ]


def _sitting(rng: np.random.Generator) -> list[Layer]:
    u = rng.uniform
    lean, bulk = u(-0.05, 0.1), u(0.9, 1.15)
    chest, shoulder, head = (0.2 + lean, 0.55), (0.22 + lean, 0.63), (0.32 + lean, u(0.92, 1.01))
    body = limb(
        [(-0.22, 0.2), (-0.08, 0.34), chest, (0.24 + lean, 0.68)],
        [0.2 * bulk, 0.2 * bulk, 0.19 * bulk, 0.15 * bulk],
    )
    neck = limb([shoulder, head], [0.17 * bulk, 0.13])
    foot = np.array([0.3 + lean, 0.05])
    fore = leg((0.24 + lean, 0.5), foot, [(0.5, -0.01)], [0.11, 0.07, 0.06])
    paw = disc((0.35 + lean, 0.04), 0.09, 0.05)
    haunch, hind = disc((-0.18, 0.2), 0.22, 0.19, 20), limb([(-0.15, 0.06), (0.1, 0.05)], [0.065, 0.055])
    return [
        *attach([Layer("coat", [fore, paw], far=True)], (0.1, 0.01)),
        Layer("coat", [_tail(rng, (-0.36, 0.1), u(130, 190)), body, fore, paw, haunch, hind, neck]),
        *_spots(rng, (-0.1, 0.35)),
        *_collar(rng, shoulder, head),
        *attach(_head(rng), head, u(-20, 8)),
    ]


def _tail(rng: np.random.Generator, root: Point, degrees: float) -> np.ndarray:
    curl, length = rng.uniform(-35, 60), rng.uniform(0.13, 0.19)
    middle = polar(root, length, degrees)
    return limb([root, middle, polar(middle, length, degrees - curl)], [0.06, 0.05, 0.025])


def _spots(rng: np.random.Generator, centre: Point) -> list[Layer]:
    if rng.random() < 0.6:
        return []
    middles = centre + rng.uniform((-0.45, -0.1), (0.45, 0.2), (rng.integers(2, 5), 2))
    return [Layer("patch", [disc((x, y), *rng.uniform(0.06, 0.17, 2)) for x, y in middles], within=True)]


def _collar(rng: np.random.Generator, chest: Point, head: Point) -> list[Layer]:
    if rng.random() < 0.4:
        return []
    along = np.subtract(head, chest)
    across = np.array([-along[1], along[0]]) / np.linalg.norm(along)
    middle = np.add(chest, 0.5 * along)
    return [Layer("collar", [limb([middle - 0.135 * across, middle, middle + 0.135 * across], [0.03] * 3)])]


def _head(rng: np.random.Generator) -> list[Layer]:
    """Drawn with the middle of the skull at the origin and the muzzle to the right."""
    u = rng.uniform
    muzzle, brow = u(0.22, 0.34), u(0.145, 0.17)
    skull = disc((0, 0), brow, brow * 0.92)
    snout = limb([(0.04, -0.03), (muzzle * 0.6, -0.05), (muzzle, -0.055)], [0.11, 0.085, 0.065])
    jaw = limb([(0.06, -0.09), (muzzle * 0.93, -0.115)], [0.06, 0.035])
    mouth = limb([(muzzle + 0.03, -0.09), (muzzle * 0.7, -0.115), (muzzle * 0.42, -0.09)], [0.009, 0.009, 0.007])
    layers = []
    if rng.random() < 0.4:
        tongue = limb([(muzzle * 0.75, -0.13), (muzzle * 0.78, u(-0.24, -0.2))], [0.035, 0.03])
        layers.append(Layer("tongue", [tongue]))
    layers.append(Layer("coat", [skull, snout, jaw]))
    if rng.random() < 0.4:
        layers.append(Layer("light", [limb([(muzzle * 0.62, -0.07), (muzzle, -0.07)], [0.075, 0.06])], within=True))
    layers.append(Layer("ink", [mouth, disc((0.065, 0.045), 0.026)]))
    layers.append(Layer("nose", [disc((muzzle + 0.035, -0.015), 0.045, 0.037)]))
    if rng.random() < 0.35:
        pricked = np.array([(-0.14, 0.04), (-0.1, u(0.24, 0.32)), (0.02, 0.11)])
        behind = attach([Layer("ear", [pricked], far=True)], (0.1, -0.01))
        return [*behind, *layers, Layer("ear", [pricked])]
    drop = u(0.2, 0.32)
    hanging = [(-0.1, 0.12), (0.0, 0.1), (0.0, -0.3 * drop), (-0.05, 0.08 - drop), (-0.13, 0.06 - drop)]
    return [*layers, Layer("ear", [smooth([*hanging, (-0.17, -0.3 * drop)], closed=True)])]
