"""A guitar, drawn upright with its neck up: acoustic, or electric with horns and pickups."""

import numpy as np

from raydg.domains.object_world.shapes.outlines import Layer, box, disc, mirrored, smooth


def draw(rng: np.random.Generator) -> list[Layer]:
    return _electric(rng) if rng.random() < 0.45 else _acoustic(rng)


def _acoustic(rng: np.random.Generator) -> list[Layer]:
    u = rng.uniform
    lower, upper, waist, length = u(0.36, 0.44), u(0.26, 0.32), u(0.2, 0.26), u(0.88, 1.0)
    bout = [(0.0, 0.0), (0.6 * lower, 0.03), (lower, 0.22 * length), (0.9 * lower, 0.38 * length)]
    right = [*bout, (waist, 0.58 * length), (upper, 0.8 * length), (0.62 * upper, 0.97 * length), (0.0, length)]
    body = smooth(mirrored(right), closed=True)
    if rng.random() < 0.3:  # a cutaway beside the neck
        body[:, 0] = np.where(body[:, 1] > 0.72 * length, np.minimum(body[:, 0], 0.14), body[:, 0])
    hole, bridge = 0.62 * length, 0.27 * length
    layers = [
        Layer("side", [body]),
        Layer("wood", [body * (0.93, 0.94) + np.array((0.0, 0.025))]),
        Layer("side", [disc((0, hole), 0.145)]),
        Layer("hole", [disc((0, hole), 0.12)]),
    ]
    if rng.random() < 0.5:
        guard = np.array([(0.06, -0.13), (0.16, 0.0), (0.21, -0.1), (0.2, -0.22), (0.1, -0.22)]) + np.array((0, hole))
        layers.append(Layer("hole", [smooth(guard, closed=True)]))
    layers.append(Layer("bridge", [box(-0.16, bridge - 0.03, 0.16, bridge + 0.03)]))
    return layers + _neck(rng, 0.8 * length, length + u(0.62, 0.78), bridge, 0.055)


def _electric(rng: np.random.Generator) -> list[Layer]:
    u = rng.uniform
    lower, waist, length = u(0.32, 0.38), u(0.21, 0.26), u(0.76, 0.86)
    horn, short = length + u(0.02, 0.16), length - u(0.04, 0.14)
    outline = [(0.0, 0.03), (0.55 * lower, 0.01), (lower, 0.2), (0.92 * lower, 0.36), (waist, 0.5), (0.3, 0.66)]
    outline += [(0.27, short), (0.13, 0.66), (0.0, 0.64), (-0.12, 0.66), (-0.22, horn - 0.03), (-0.33, horn - 0.02)]
    outline += [(-0.3, 0.66), (-waist, 0.48), (-lower, 0.36), (-1.06 * lower, 0.18), (-0.6 * lower, 0.0)]
    layers = [Layer("body", [smooth(outline, closed=True)])]
    if rng.random() < 0.7:
        guard = [(-0.16, 0.62), (0.16, 0.62), (0.2, 0.5), (0.16, 0.36), (0.25, 0.18), (0.12, 0.12), (0.02, 0.28)]
        layers.append(Layer("guard", [smooth([*guard, (-0.13, 0.36)], closed=True)]))
    pickups = [box(-0.1, y - 0.03, 0.1, y + 0.03) for y in (0.34, 0.45, 0.55)[: rng.integers(2, 4)]]
    knobs = [disc((0.19, 0.27), 0.03), disc((0.15, 0.195), 0.03)]
    layers += [Layer("hole", pickups), Layer("metal", [*knobs, box(-0.1, 0.19, 0.1, 0.24)])]
    return layers + _neck(rng, 0.6, length + u(0.66, 0.8), 0.215, 0.05)


def _neck(rng: np.random.Generator, bottom: float, top: float, bridge: float, width: float) -> list[Layer]:
    """Headstock, fingerboard, frets, and strings down to the bridge."""
    heights = bridge + (top - bridge) * 2.0 ** (-np.arange(1, 13) / 12)  # a fret is a semitone
    frets = [box(-width, y - 0.006, width, y + 0.006) for y in heights if y > bottom]
    strings = [box(x - 0.004, bridge, x + 0.004, top + 0.12) for x in np.linspace(-0.7, 0.7, 4) * width]
    return [
        *_headstock(rng, top, width),
        Layer("neck", [box(-width, bottom, width, top + 0.01)]),
        Layer("fret", frets, within=True),
        Layer("string", strings),
    ]


def _headstock(rng: np.random.Generator, top: float, width: float) -> list[Layer]:
    """With three tuning pegs on either side, or five on one."""
    flare, long = rng.uniform(1.5, 2.0) * width, rng.uniform(0.24, 0.3)
    if rng.random() < 0.5:
        head = mirrored([(0.0, 0.0), (width, 0.0), (flare, 0.06), (0.85 * flare, long), (0.0, long)])
        pegs = [(x, y) for x in (-1.12 * flare, 1.12 * flare) for y in np.linspace(0.35, 0.85, 3) * long]
    else:
        left = [(width, 0.0), (-width, 0.0), (-1.2 * width, 0.07), (-1.3 * width, long)]
        head = smooth([*left, (0.2 * width, 1.12 * long), (flare, 0.8 * long)], closed=True)
        pegs = [(-1.45 * width, y) for y in np.linspace(0.35, 0.85, 5) * long]
    head = head + np.array((0.0, top))
    return [Layer("metal", [disc((x, top + y), 0.035, 0.026) for x, y in pegs]), Layer("head", [head])]
