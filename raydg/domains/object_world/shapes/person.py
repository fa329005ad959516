"""A person seen from the front, arms in any of several poses, hair and clothes of several cuts."""

import numpy as np

from raydg.domains.object_world.shapes.outlines import Layer, Point, attach, box, disc, limb, mirrored, polar, smooth

ARMS = (  # degrees of upper arm and forearm, counted from straight down, outwards positive
    (12, 6),  # hanging
    (42, -62),  # hand on the hip
    (95, 172),  # waving
    (85, 95),  # held out
    (150, 170),  # raised
)


def draw(rng: np.random.Generator) -> list[Layer]:
    u = rng.uniform
    wide, hips, legs = u(0.19, 0.25), u(0.14, 0.18), u(0.72, 0.86)
    waist, neck = legs + 0.05, legs + u(0.5, 0.58)
    back = [(0, neck + 0.01), (0.6 * wide, neck - 0.005), (wide, neck - 0.06), (0.86 * wide, neck - 0.25)]
    torso = smooth(mirrored([*back, (0.95 * hips, waist + 0.06), (hips, legs - 0.05), (0, legs - 0.08)]), closed=True)
    arms = [_arm(rng, side, (side * (wide - 0.03), neck - 0.07)) for side in (-1, 1)]
    uppers, forearms, hands = (list(parts) for parts in zip(*arms, strict=True))
    bare, sleeves = (hands, uppers + forearms) if rng.random() < 0.6 else (hands + forearms, uppers)
    long_hair = rng.random() < 0.45
    behind, face = _head(rng, long_hair)
    at, scale = (0.0, neck + 0.26), u(1.15, 1.3)
    return [
        *(attach(behind, at, scale=scale) if behind else []),
        *_legs(rng, hips, legs, skirt=long_hair and rng.random() < 0.6),
        Layer("skin", [limb([(0, neck - 0.04), (0, neck + 0.12)], [0.065, 0.06])]),
        Layer("skin", bare),
        Layer("shirt", [torso, *sleeves]),
        *_front(rng, neck, waist),
        *attach(face, at, scale=scale),
    ]


def _arm(rng: np.random.Generator, side: int, shoulder: Point) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    upper, lower = np.array(ARMS[rng.choice(len(ARMS), p=[0.4, 0.2, 0.15, 0.1, 0.15])]) + rng.uniform(-8, 8, 2)
    elbow = polar(shoulder, 0.25, -90 + side * upper)
    wrist = polar(elbow, 0.23, -90 + side * lower)
    return (
        limb([shoulder, elbow], [0.07, 0.056]),
        limb([elbow, wrist], [0.054, 0.04]),
        disc(polar(wrist, 0.035, -90 + side * lower), 0.05),
    )


def _legs(rng: np.random.Generator, hips: float, legs: float, skirt: bool) -> list[Layer]:
    spread = rng.uniform(0.0, 0.16)
    raised = rng.uniform(0.05, 0.12) if rng.random() < 0.3 else 0.0
    limbs, shoes = [], []
    for side, lift in ((-1, 0.0), (1, raised)):
        x, y = side * (0.5 * hips + spread), 0.06 + lift
        knee = (side * (0.5 * hips + 0.5 * spread + 0.02 + 0.4 * lift), 0.5 * (legs + y) + 0.2 * lift)
        limbs.append(limb([(side * 0.5 * hips, legs - 0.02), knee, (x, y)], [0.095, 0.07, 0.05]))
        shoes.append(limb([(x - side * 0.01, y - 0.025), (x + side * 0.075, y - 0.03)], [0.05, 0.04]))
    if not skirt:
        return [Layer("shoe", shoes), Layer("trousers", [*limbs, box(-hips, legs - 0.1, hips, legs + 0.08)])]
    hem, flare = legs * rng.uniform(0.4, 0.65), rng.uniform(0.2, 0.3)
    right = [
        (0.0, legs + 0.08),
        (0.9 * hips, legs + 0.08),
        (flare, hem),
        (0.4 * flare, hem - 0.025),
        (0.0, hem - 0.025),
    ]
    cloth = mirrored(right)
    return [Layer("shoe", shoes), Layer("skin", limbs), Layer("trousers", [cloth])]


def _front(rng: np.random.Generator, neck: float, waist: float) -> list[Layer]:
    """What tells one shirt from another: stripes, buttons, a belt, or nothing."""
    match rng.integers(4):
        case 0:
            return [Layer("trim", [box(-1, y, 1, y + 0.045) for y in np.arange(waist, neck - 0.05, 0.11)], within=True)]
        case 1:
            return [
                Layer("trim", [np.array([(-0.07, neck + 0.01), (0.07, neck + 0.01), (0.0, neck - 0.1)])]),
                Layer("ink", [disc((0, y), 0.014) for y in np.arange(waist + 0.05, neck - 0.12, 0.09)]),
            ]
        case 2:
            return [Layer("shoe", [box(-0.4, waist - 0.1, 0.4, waist - 0.055)], within=True)]
        case _:
            return []


def _head(rng: np.random.Generator, long_hair: bool) -> tuple[list[Layer], list[Layer]]:
    """Hair behind the shoulders, then what lies before them. Drawn with the centre of the face at the origin."""
    u = rng.uniform
    wide, tall = u(0.12, 0.135), u(0.145, 0.165)
    gaze = u(-0.03, 0.03)
    sides = np.array([-1, 1])
    ears = [disc((x, -0.01), 0.025, 0.04) for x in sides * wide]
    whites = [disc((x + gaze, 0.005), 0.026, 0.021) for x in sides * 0.05]
    pupils = [disc((x + 1.25 * gaze, 0.005), 0.015) for x in sides * 0.05]
    brows = [limb([(0.56 * x + gaze, 0.045), (1.5 * x + gaze, 0.043)], [0.008, 0.006]) for x in sides * 0.05]
    smile = u(-0.005, 0.02)
    mouth = limb([(gaze - 0.045, -0.075), (gaze, -0.075 - smile), (gaze + 0.045, -0.075)], [0.008, 0.011, 0.008])
    nose = limb([(gaze + 0.004, 0), (gaze + 0.014, -0.035), (gaze - 0.004, -0.037)], [0.004, 0.006, 0.004])
    crown = tall + 0.02
    fringe = [(-1.08, 0.0), (-1.1, 0.09), (-0.5, crown), (0.5, crown), (1.1, 0.09), (1.08, 0.0), (0.8, 0.075)]
    fringe += [(u(-0.6, 0.6), 0.095), (-0.8, 0.075)]
    face = [Layer("skin", [disc((0, 0), wide, tall), *ears])]
    if not long_hair and rng.random() < 0.25:
        beard = [(-0.95, -0.03), (0, -0.05), (0.95, -0.03), (0.7, -0.9 * tall), (0, -1.15 * tall), (-0.7, -0.9 * tall)]
        face.append(Layer("hair", [smooth(beard, closed=True) * (wide, 1)]))
    face += [Layer("white", whites), Layer("mouth", [mouth]), Layer("ink", [*pupils, *brows, nose])]
    face.append(Layer("hair", [smooth(fringe, closed=True) * (wide, 1)]))
    if rng.random() < 0.25:
        top = [(-1.0, 0.07), (-0.9, tall + 0.05), (0, tall + 0.07), (0.9, tall + 0.05), (1.0, 0.07)]
        brim = limb([(-1.6 * wide, 0.07), (1.6 * wide, 0.07)], [0.025, 0.025])
        face.append(Layer("hat", [brim, smooth(top, closed=True) * (wide, 1)]))
    fall = -tall - u(0.02, 0.17)
    right = [(0, crown), (1.15, 0.08), (1.35, -0.1), (1.4, fall), (0, fall - 0.02)]
    behind = [Layer("hair", [smooth(mirrored(right), closed=True) * (wide, 1)])] if long_hair else []
    return behind, face
