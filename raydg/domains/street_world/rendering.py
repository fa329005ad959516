"""From a domain and a seed to an image and its labels."""

import numpy as np
from PIL import Image

from raydg.domains.street_world.dice import Dice
from raydg.domains.street_world.domains import STYLES
from raydg.domains.street_world.faces import Label
from raydg.domains.street_world.lens import exposed, glare, mirrored_in_road, precipitation, rough
from raydg.domains.street_world.light import IS_GROUND, light_on_ground, lit, sky, sun_direction
from raydg.domains.street_world.planes import planes
from raydg.domains.street_world.scene import draw_scene
from raydg.domains.street_world.view import SUPERSAMPLE, View
from raydg.seeds import generator

SMALLEST = 16
"""Fewest pixels along an image's edge."""


def render(domain: str, seed: int, height: int = 128, width: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """One street scene: the image (height, width, 3) and its Cityscapes label ids (height, width), both uint8.

    The same arguments give the same bytes, with the same versions of numpy and Pillow. Image and labels are read from
    one raster of face numbers, hence agree: a label is that of the face in the middle of its pixel, a colour the mean
    over `SUPERSAMPLE`² samples.

    Raises:
        ValueError: an unknown domain, or an image that is too small.
    """
    if domain not in STYLES:
        raise ValueError(f"domain {domain!r} is not part of the street world; choose one of {', '.join(STYLES)}")
    if min(height, width) < SMALLEST:
        raise ValueError(f"a scene of {height} x {width} pixels is too small; height and width start at {SMALLEST}")
    style, rng = STYLES[domain], generator(seed, "street_world", domain)
    dice, light, camera = Dice(rng), STYLES[domain].light, STYLES[domain].camera
    scene = draw_scene(style, rng)
    view = View(scene, height, width, height * dice.between(*camera.horizon), dice.between(*camera.view_degrees))
    sun = sun_direction(light, dice)
    faces = scene.faces
    numbers = np.asarray(view.painted(faces["xyz"], faces["corners"], np.arange(1, len(faces) + 1), "I"))

    labels = np.append(np.uint8(Label.SKY), faces["label"])  # face number 0 is the sky
    colours = np.zeros((len(labels), 4), np.float32)
    colours[0, 3] = 1
    colours[1:, :3] = lit(faces, style, sun, scene.eye)
    *image, above = averaged(numbers, colours)
    middle = numbers[SUPERSAMPLE // 2 :: SUPERSAMPLE, SUPERSAMPLE // 2 :: SUPERSAMPLE]
    ids = labels[middle]
    ground = IS_GROUND[ids].astype(np.float32)

    image = light_on_ground(np.stack(image), ground, view, style, sun)
    heaven = sky(view, light, sun, rng)
    image[:, : heaven.shape[1]] += above[: heaven.shape[1]] * heaven
    if camera.grain:
        image = rough(image, camera.grain * np.append(np.float32(0), faces["grain"])[middle], rng)
    if style.weather.wet:
        image = mirrored_in_road(image, ground, view.horizon, style.weather.wet)
    if light.lamps:
        image = glare(image, light.lamps * np.append(np.float32(0), faces["glow"])[middle])
    return exposed(precipitation(image, style.weather, rng), camera, rng), ids


def averaged(numbers: np.ndarray, facts: np.ndarray) -> np.ndarray:
    """What four values (n, 4) of 0 to 1, looked up by face numbers (S h, S w), come to in each pixel: (4, h, w)."""
    packed = np.round(facts * 255).astype(np.uint8).view(np.uint32)[:, 0]
    h, w = numbers.shape
    samples = Image.frombuffer("RGBX", (w, h), np.take(packed, numbers), "raw", "RGBX", 0, 1)
    return planes(samples.reduce(SUPERSAMPLE))
