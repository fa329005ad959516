"""A giraffe: upright or reaching forward; large or small patches."""

import numpy as np

from raydg.domains.object_world.shapes.gait import feet, leg
from raydg.domains.object_world.shapes.outlines import Layer, attach, box, disc, limb, polar


def draw(rng: np.random.Generator) -> list[Layer]:
    u = rng.uniform
    height, length = u(0.82, 0.98), u(0.26, 0.34)
    withers, croup = height + 0.22, height + 0.08
    body = limb([(-length, croup), (0.0, croup + 0.02), (length, withers)], [0.17, 0.2, 0.19])
    lean, reach = u(48, 82), u(0.85, 1.1)
    root = (length + 0.02, withers + 0.05)
    bend = polar(root, 0.5 * reach, lean - 4)
    head = polar(bend, 0.5 * reach, lean + u(0, 12))
    neck = limb([(length - 0.06, withers - 0.06), root, bend, head], [0.2, 0.155, 0.1, 0.075])
    near, far, hooves, far_hooves = [], [], [], []
    walk = feet(rng, 0.2, fore=(length, 0.06), hind=(-length, 0.06))
    for legs, ends, (fore, hind) in zip((near, far), (hooves, far_hooves), walk, strict=True):
        shoulder, hip = (length - 0.01, withers - 0.14), (-length - 0.02, croup - 0.04)
        legs += [
            leg(shoulder, fore, [(0.5, 0.0), (0.56, 0.0), (0.9, 0.0)], [0.13, 0.06, 0.055, 0.037, 0.042]),
            leg(hip, hind, [(0.3, 0.03), (0.55, -0.04), (0.9, 0.0)], [0.15, 0.09, 0.05, 0.036, 0.042]),
        ]
        ends += [box(x - 0.05, y - 0.06, x + 0.055, y + 0.02) for x, y in (fore, hind)]
    tail_end = (-length - 0.25 + u(-0.03, 0.08), croup - 0.42)
    tail = limb([(-length - 0.14, croup + 0.08), (-length - 0.22, croup - 0.12), tail_end], [0.03, 0.02, 0.016])
    tuft = disc((tail_end[0], tail_end[1] - 0.07), 0.035, 0.1)
    crest = np.array([(length - 0.16, withers + 0.15), np.add(bend, (-0.05, 0.01)), np.add(head, (-0.01, 0.0))])
    mane = limb(crest, [0.09, 0.1, 0.075])
    return [
        Layer("coat", far, far=True),
        Layer("hoof", far_hooves, far=True),
        Layer("tuft", [tuft]),
        Layer("mane", [mane]),
        Layer("coat", [tail, body, *near, neck]),
        Layer("patch", _patches(rng, height * 0.45, head[1]), within=True),
        Layer("hoof", hooves),
        *attach(_head(rng), head, u(-42, -12)),
    ]


def _patches(rng: np.random.Generator, bottom: float, top: float) -> list[np.ndarray]:
    """Irregular polygons on a jittered brick lattice, with light seams between them."""
    pitch, tight = rng.uniform(0.15, 0.21), rng.uniform(0.4, 0.47)
    rows, columns = np.mgrid[bottom : top : 0.87 * pitch, -0.6:1.3:pitch]
    columns = columns + pitch / 2 * (np.arange(len(rows)) % 2)[:, None]
    centres = np.stack([columns, rows], -1).reshape(-1, 1, 2) + rng.normal(0, 0.06 * pitch, (rows.size, 1, 2))
    turn = np.linspace(0, 2 * np.pi, 6, endpoint=False) + rng.uniform(0, 2, (rows.size, 1))
    radius = pitch * tight * rng.uniform(0.8, 1.2, (rows.size, 6, 1))
    return list(centres + radius * np.stack([np.cos(turn), np.sin(turn)], -1))


def _head(rng: np.random.Generator) -> list[Layer]:
    """Drawn with the middle of the skull at the origin and the muzzle to the right."""
    muzzle = rng.uniform(0.27, 0.33)
    skull = [disc((0, 0), 0.1, 0.095), limb([(0.0, 0.0), (0.6 * muzzle, -0.02), (muzzle, -0.03)], [0.09, 0.06, 0.055])]
    horns = [limb([(-0.03, 0.06), (-0.05, 0.2)], [0.022, 0.018]), limb([(0.04, 0.06), (0.035, 0.2)], [0.022, 0.018])]
    knobs = [disc((-0.05, 0.21), 0.032), disc((0.035, 0.21), 0.032)]
    ear = limb([(-0.07, 0.05), (-0.16, 0.1), (-0.23, 0.08)], [0.03, 0.045, 0.01])
    nostril, eye = disc((muzzle + 0.02, -0.005), 0.012), disc((0.045, 0.03), 0.025)
    mouth = limb([(muzzle + 0.03, -0.06), (0.65 * muzzle, -0.06)], [0.007, 0.006])
    return [
        Layer("coat", horns),
        Layer("tuft", knobs),
        Layer("coat", [*skull, ear]),
        Layer("light", [limb([(0.75 * muzzle, -0.03), (muzzle + 0.02, -0.03)], [0.06, 0.07])], within=True),
        Layer("ink", [eye, nostril, mouth]),
    ]
