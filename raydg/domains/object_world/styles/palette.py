"""Which colours the things have in nature, and how a colour is bent: red, green, blue in 0..1."""

import colorsys
from collections.abc import Mapping

import numpy as np

Colour = np.ndarray
Palette = dict[str, Colour]


def _rgb(*codes: str) -> tuple[np.ndarray, ...]:
    return tuple(np.array([int(code[i : i + 2], 16) for i in (0, 2, 4)]) / 255 for code in codes)


COMMON = {
    "ink": _rgb("1c1613"),
    "nose": _rgb("231a1a"),
    "tongue": _rgb("d9717c"),
    "ivory": _rgb("efe6cf"),
    "hoof": _rgb("3a3029", "55473a"),
    "tuft": _rgb("33231a"),
    "white": _rgb("f5f3ee"),
    "metal": _rgb("c4c3c0", "8e8d8a", "c9a85a"),
    "hole": _rgb("1d1612"),
    "shoe": _rgb("2a2421", "5a3a24", "7d7a78", "d9d5cc"),
}
"""What looks alike whatever it belongs to; one of the alternatives is drawn."""

NATURE: Mapping[str, Mapping[str, tuple[np.ndarray, ...]]] = {
    "dog": {"coat": _rgb("c99c5e", "7d4f2d", "3b3431", "ddd2c2", "8f8a84", "b67a41")},
    "elephant": {"coat": _rgb("8b8784", "77726f", "9a8d80", "6b6a70")},
    "giraffe": {
        "coat": _rgb("e3bf7a", "d8aa62", "ead09a"),
        "patch": _rgb("8a4d22", "a05e2a", "6b3a1c"),
        "mane": _rgb("6b3f20"),
    },
    "horse": {
        "coat": _rgb("7a4526", "93562c", "3c302a", "d8d1c6", "a08f80", "b9803f"),
        "mane": _rgb("241c18", "3b2a1f", "e3cf9d", "ddd8d0"),
        "muzzle": _rgb("4a3a34", "6b554b"),
        "saddle": _rgb("5a2f18", "222222", "8f1f24"),
    },
    "guitar": {
        "wood": _rgb("c98d4b", "e2b674", "b5652b", "8a4521"),
        "body": _rgb("b3221f", "1f1d1e", "2b5f93", "e5ddca", "c9741d", "2c6b4f"),
        "guard": _rgb("efece4", "26211f", "7a2f22"),
        "neck": _rgb("40291b", "57361f"),
        "head": _rgb("5b3620", "c08a4c", "221b18"),
        "bridge": _rgb("3a2519"),
        "string": _rgb("d6d2c6"),
        "fret": _rgb("b9b4a4"),
    },
    "house": {
        "wall": _rgb("e6e0d2", "d9c49a", "a5523d", "a9b7bd", "c7cfae", "d8a07c"),
        "roof": _rgb("8b3f2c", "4d4b50", "6b4d38", "395062"),
        "door": _rgb("7d2b22", "2f5a4a", "31496b", "5a3a24"),
        "glass": _rgb("7f9fb3", "4c6577", "b9cfd8"),
        "trim": _rgb("f1eee6", "d8d2c4"),
        "chimney": _rgb("8f4a37", "7d7772"),
        "step": _rgb("9a958d"),
        "smoke": _rgb("d5d3d0"),
    },
    "person": {
        "skin": _rgb("f0c7a4", "dba47a", "b97d52", "8a5636", "5d3923"),
        "hair": _rgb("221a17", "4d3020", "8a5a2e", "c9a05a", "96938f", "7d3018"),
        "shirt": _rgb("b23a35", "35648f", "e5e1d8", "3f7a56", "d9a33b", "57486e", "2b2c30"),
        "trousers": _rgb("2f3f5c", "3b3836", "7a6a52", "6b2f3a", "51604a"),
        "trim": _rgb("f0ece2", "2a2a33", "d8b04a"),
        "hat": _rgb("5a4632", "2d2b2c", "a3342d"),
        "mouth": _rgb("a8484a"),
    },
}


def natural(class_name: str, rng: np.random.Generator) -> Palette:
    """The colours of one individual, a key for every paint of its class."""
    alternatives = {**COMMON, **NATURE[class_name]}
    colours = {paint: some[rng.integers(len(some))] * rng.uniform(0.9, 1.08) for paint, some in alternatives.items()}
    dark = rng.uniform(0.6, 0.92)
    if "coat" in colours:
        coat = colours["coat"]
        colours |= {"ear": coat * dark, "crease": coat * 0.66, "light": 0.4 * coat + 0.56}
        colours.setdefault("patch", coat * 0.45 if coat.mean() > 0.35 else 0.45 * coat + 0.5)
        colours["collar"] = hue(rng.random(), 0.75, 0.7)
    if "wood" in colours:
        colours["side"] = colours["wood"] * 0.5
    if "wall" in colours:
        colours |= {"seam": colours["wall"] * 0.82, "tile": colours["roof"] * 0.72}
    return {paint: np.clip(colour, 0, 1) for paint, colour in colours.items()}


def hue(angle: float, saturation: float, value: float) -> Colour:
    return np.array(colorsys.hsv_to_rgb(angle % 1, min(max(saturation, 0), 1), min(max(value, 0), 1)))


def bend(colour: Colour, turn: float = 0.0, saturation: float = 1.0, value: float = 1.0) -> Colour:
    """Turn the hue by a fraction of the circle and scale saturation and value."""
    h, s, v = colorsys.rgb_to_hsv(*colour)
    return hue(h + turn, s * saturation, v * value)
