"""An elephant: trunk hanging, reaching out or raised; large or small ears and tusks."""

import numpy as np

from raydg.domains.object_world.shapes.gait import feet, leg
from raydg.domains.object_world.shapes.outlines import STEPS, Layer, attach, disc, limb, smooth

TRUNKS = (  # from the face outwards, relative to the head
    ((0.15, -0.06), (0.31, -0.28), (0.33, -0.59), (0.31, -0.84), (0.43, -0.93)),  # hanging, its tip turned outwards
    ((0.15, -0.06), (0.32, -0.27), (0.32, -0.57), (0.21, -0.8), (0.06, -0.82)),  # curled towards the mouth
    ((0.15, -0.06), (0.4, -0.23), (0.63, -0.15), (0.7, 0.13), (0.61, 0.34)),  # raised
    ((0.15, -0.06), (0.34, -0.3), (0.55, -0.48), (0.78, -0.48), (0.91, -0.34)),  # reaching out
)


def draw(rng: np.random.Generator) -> list[Layer]:
    u = rng.uniform
    spine, bulk = u(0.72, 0.82), u(0.92, 1.06)
    body = limb(
        [(-0.4, spine), (-0.1, spine - 0.02), (0.22, spine), (0.4, spine + 0.06)],
        [0.29 * bulk, 0.34 * bulk, 0.32 * bulk, 0.24 * bulk],
    )
    near, far = [], []
    walk = feet(rng, 0.16, fore=(0.3, 0.09), hind=(-0.44, 0.09))
    for legs, pair in zip((near, far), walk, strict=True):
        for hip, foot in zip((0.3, -0.44), pair, strict=True):
            legs.append(leg((hip, spine - 0.1), foot, [(0.6, 0.01)], [0.19 * bulk, 0.125, 0.115]))
            legs.append(foot + np.array([(-0.115, 0.0), (0.115, 0.0), (0.13, -0.09), (-0.13, -0.09)]))
    nails = [disc((x + shift, y - 0.085), 0.03, 0.035) for x, y in walk[0] for shift in (-0.03, 0.04, 0.105)]
    at = (0.64, spine + u(0.1, 0.22))
    neck = limb([(0.4, spine + 0.08), at], [0.25, 0.2])
    return [
        Layer("coat", far, far=True),
        *_tail(rng, spine),
        Layer("coat", [body, *near, neck]),
        Layer("ivory", nails, within=True),
        *attach(_head(rng), at),
    ]


def _tail(rng: np.random.Generator, spine: float) -> list[Layer]:
    x, y = -0.76 + rng.uniform(-0.08, 0.06), spine - rng.uniform(0.28, 0.42)
    tail = limb([(-0.66, spine + 0.1), (-0.74, spine - 0.08), (x, y)], [0.035, 0.024, 0.018])
    return [Layer("tuft", [disc((x, y - 0.04), 0.028, 0.065)]), Layer("coat", [tail])]


def _head(rng: np.random.Generator) -> list[Layer]:
    """Drawn with the middle of the skull at the origin and the trunk to the right."""
    u = rng.uniform
    sway = np.outer([0, 0, 0.5, 1, 1], u(-0.07, 0.07, 2))
    line = smooth(TRUNKS[rng.integers(len(TRUNKS))] + sway)
    trunk = limb(line[::STEPS], [0.14, 0.095, 0.075, 0.06, 0.045])
    skull = disc((0, 0), 0.22, 0.25, -20)
    jaw = limb([(-0.02, -0.12), (0.15, -0.24)], [0.1, 0.06])
    reach = u(0.16, 0.36)
    tusk = limb(
        [(0.13, -0.17), (0.2 + 0.5 * reach, -0.26), (0.2 + reach, u(-0.24, -0.15))],
        [0.036, 0.03, 0.01],
    )
    wide, drop = u(0.26, 0.4), u(0.34, 0.52)
    fan = [(0.06, 0.06), (-0.1, 0.17), (-0.75 * wide, 0.15), (-wide, -0.05), (-0.8 * wide, -0.6 * drop)]
    fan += [(-0.35 * wide, -drop), (-0.05, -0.7 * drop), (0.05, -0.25)]
    return [
        Layer("coat", [skull, jaw, trunk]),
        Layer("crease", _creases(line), within=True),
        Layer("ivory", [tusk]),
        *attach([Layer("ear", [smooth(fan, closed=True)])], (-0.1, 0.06)),
        Layer("ink", [disc((0.12, 0.05), 0.022)]),
    ]


def _creases(line: np.ndarray) -> list[np.ndarray]:
    """Bars across the trunk's middle line, farther than it is wide."""
    along = np.gradient(line, axis=0)[10:-3:4]
    across = 0.15 * along[:, ::-1] * (-1, 1) / np.linalg.norm(along, axis=1, keepdims=True)
    return [
        limb([point - half, point + half], [0.007, 0.007]) for point, half in zip(line[10:-3:4], across, strict=True)
    ]
