"""What stands at the kerb: lamp posts, traffic lights and signs. Models face the camera, their foot at the origin."""

from functools import cache

import numpy as np

from raydg.domains.street_world.boxes import Boxes
from raydg.domains.street_world.faces import CORNERS, MAIN, Label, disc, joined, polygons, rectangle

RED, YELLOW, GREEN, OFF = "#ff3b30", "#ffc02e", "#2ee66b", "#202020"
WHITE = "#f7f5f0"


def post(width: float, height: float) -> np.ndarray:
    half = width / 2
    return Boxes((-half, half), (0, height), (-half, half)).faces(Label.POLE, MAIN)


@cache
def lamp_post(inwards: int) -> np.ndarray:
    """A post with an arm and a lamp over the road, which lies towards `inwards`: -1 left, 1 right."""
    height = 7.0
    beam = rectangle(0.0, 1.7 * inwards, height - 0.12, height)
    head = rectangle(0.9 * inwards, 1.8 * inwards, height - 0.32, height - 0.08)
    return joined(
        [
            post(0.26, height),
            polygons(beam, Label.POLE, MAIN, anchor=(0, 0)),
            polygons(head, Label.POLE, "#fff1c9", glow=1.0, anchor=(0, 0)),
        ]
    )


def signal(x: float, y: float, phase: int) -> np.ndarray:
    """A traffic light's head above height y: green, yellow or red burns."""
    parts = [polygons(rectangle(x - 0.3, x + 0.3, y, y + 1.5, -0.1), Label.LIGHT, "#15181a", anchor=(0, 0), grain=0.0)]
    for place, colour in enumerate((GREEN, YELLOW, RED)):
        burns = place == phase
        lens = disc(x, y + 0.28 + 0.47 * place, 0.22, -0.11)
        parts.append(polygons(lens, Label.LIGHT, colour if burns else OFF, glow=float(burns), anchor=(0, 0), grain=0.0))
    return joined(parts)


@cache
def traffic_light(phase: int, arm: float) -> np.ndarray:
    """A post with a signal, and a second one at the end of an arm of `arm` metres to the right (or left)."""
    parts = [post(0.22, 5.6 if arm else 3.5), signal(0.0, 2.3, phase)]
    if arm:
        beam = rectangle(0.0, arm, 5.44, 5.6)
        parts += [polygons(beam, Label.POLE, MAIN, anchor=(0, 0)), signal(arm, 4.0, phase)]
    return joined(parts)


SIGNS = ("ban", "warning", "stop", "command", "place", "motorway", "priority")


@cache
def sign(kind: str) -> np.ndarray:
    """A post with one of the signs of `SIGNS`."""
    middle, plate = 2.65, -0.1

    def ngon(size: float, corners: int, turned: float) -> np.ndarray:
        turn = 2 * np.pi * (np.arange(corners) + turned) / corners
        return np.stack([size * np.cos(turn), middle + size * np.sin(turn), np.full(corners, plate)], 1)

    def board(wide: float, low: float, high: float) -> np.ndarray:
        return rectangle(-wide, wide, middle + low, middle + high, plate)

    layers = {
        "ban": ((ngon(0.6, CORNERS, 0.5), "#d4171e"), (ngon(0.4, CORNERS, 0.5), WHITE)),
        "warning": ((ngon(0.74, 3, 0.75), "#d4171e"), (ngon(0.42, 3, 0.75), WHITE)),
        "stop": ((ngon(0.6, CORNERS, 0.5), "#c8141c"), (board(0.4, -0.12, 0.12), WHITE)),
        "command": ((ngon(0.6, CORNERS, 0.5), "#1558b8"), (board(0.1, -0.34, 0.34), WHITE)),
        "place": ((board(0.8, -0.4, 0.45), "#f2c200"), (board(0.6, -0.05, 0.12), "#33322c")),
        "motorway": ((board(0.8, -0.4, 0.45), "#1558b8"), (board(0.6, -0.05, 0.12), WHITE)),
        "priority": ((ngon(0.65, 4, 0.0), WHITE), (ngon(0.5, 4, 0.0), "#f2b600")),
    }[kind]
    plates = [polygons(points, Label.SIGN, colour, anchor=(0, 0), grain=0.0) for points, colour in layers]
    return joined([post(0.14, 2.9), *plates])
