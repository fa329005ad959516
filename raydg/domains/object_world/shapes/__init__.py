"""What the objects are: parametric figures of the seven classes, and how one is placed in a picture."""

from collections.abc import Callable

import numpy as np

from raydg.domains.object_world.shapes import dog, elephant, giraffe, guitar, horse, house, person
from raydg.domains.object_world.shapes.outlines import Layer, bounds, move, rotate

FIGURES: dict[str, Callable[[np.random.Generator], list[Layer]]] = {
    "dog": dog.draw,
    "elephant": elephant.draw,
    "giraffe": giraffe.draw,
    "guitar": guitar.draw,
    "horse": horse.draw,
    "house": house.draw,
    "person": person.draw,
}


def place(layers: list[Layer], rng: np.random.Generator, tilt: float) -> list[Layer]:
    """Flip, turn, foreshorten, scale and shift a figure into the unit square, x to the right and y down.

    tilt: the largest turn to either side, in degrees.
    """
    mirror = np.array([rng.choice([-1, 1]) * rng.uniform(0.85, 1.0), 1.0])
    degrees = rng.uniform(-tilt, tilt)
    turned = move(layers, lambda points: rotate(points * mirror, degrees) * (1, -1))
    low, high = bounds(turned)
    scale = rng.uniform(0.7, 0.94) / (high - low).max()
    corner = (1 - scale * (high - low)) * rng.uniform(0.15, 0.85, 2)
    return move(turned, lambda points: scale * (points - low) + corner)
