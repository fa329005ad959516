"""How faces take light: sun, sky, lamps and haze; the sky itself; shadows and pools of light on the ground."""

import numpy as np
from PIL import ImageFilter

from raydg.domains.street_world.dice import Dice
from raydg.domains.street_world.faces import CORNERS, Label, rgb
from raydg.domains.street_world.planes import clouds, tint
from raydg.domains.street_world.style import Light, Style
from raydg.domains.street_world.view import SUPERSAMPLE, View

SNOW = rgb("#edf2fa")
SWEPT = {Label.ROAD: 0.35, Label.SIDEWALK: 0.8}
"""Share of fallen snow that stays where people drive and walk; everywhere else it all stays."""
IS_GROUND = np.isin(np.arange(256), (Label.ROAD, Label.SIDEWALK, Label.TERRAIN))
"""Which labels lie flat, by id."""
HEADLIGHT, LAMPLIGHT = "#fff2d1", "#ffd9a0"
SHADOWS_UNTIL_M = 60.0
LOWEST_SUN = 0.2
"""Shadows are no longer than five times what throws them."""


def sun_direction(light: Light, dice: Dice) -> np.ndarray:
    """The unit vector (x, y, z) towards the sun of one scene."""
    elevation, azimuth = np.radians([dice.between(*light.sun_elevation), dice.between(*light.sun_azimuth)])
    side = dice.one_of((-1, 1))
    flat = np.cos(elevation)
    return np.array([side * flat * np.sin(azimuth), np.sin(elevation), flat * np.cos(azimuth)], np.float32)


def snowed(faces: np.ndarray, cover: float) -> np.ndarray:
    """The faces' own colours (n, 3), white where snow lies on them."""
    if not cover:
        return faces["albedo"]
    stays = np.ones(256, np.float32)
    stays[list(SWEPT)] = list(SWEPT.values())
    white = cover * stays[faces["label"]] * np.clip(1.6 * faces["normal"][:, 1] - 0.3, 0, 1)
    return faces["albedo"] + white[:, None] * (SNOW - faces["albedo"])


def headlights(light: Light, aside: np.ndarray, ahead: np.ndarray) -> np.ndarray:
    """How brightly the camera's own car lights up what is so many metres off its middle and ahead."""
    return 0.9 * light.lamps * np.exp(-ahead / 14 - (np.maximum(np.abs(aside) - 1.5, 0) / 5) ** 2)


def lit(faces: np.ndarray, style: Style, sun: np.ndarray, eye: tuple[float, float]) -> np.ndarray:
    """The colour (n, 3) of each upright face as the camera sees it, 0 to 1, and the bare colour of the ground."""
    light = style.light
    own = snowed(faces, style.weather.snow_cover)
    middle = (faces["xyz"][:, 0] + faces["xyz"][:, 2]) / 2
    aside, ahead = middle[:, 0] - eye[0], middle[:, 2]
    arriving = (
        np.outer(light.ambient_strength * (0.85 + 0.15 * faces["normal"][:, 1]), rgb(light.ambient))
        + np.outer(light.sun_strength * np.maximum(faces["normal"] @ sun, 0), rgb(light.sun))
        + np.outer(headlights(light, aside, ahead), rgb(HEADLIGHT))
    )
    burning = (light.lamps * faces["glow"])[:, None]
    seen = own * ((1 - burning) * arriving + burning)
    clear = np.exp(-np.hypot(aside, ahead) / style.weather.visibility_m)[:, None]
    seen = np.clip(seen * clear + rgb(style.weather.haze) * (1 - clear), 0, 1)
    return np.where(IS_GROUND[faces["label"], None], own, seen)


def light_on_ground(image: np.ndarray, ground: np.ndarray, view: View, style: Style, sun: np.ndarray) -> np.ndarray:
    """The image (3, h, w) with its ground, given as a share (h, w) of each pixel, lit and seen through the haze.

    What the ground lacks in corners it has in extent: its light and haze are worked out pixel by pixel.
    """
    light = style.light
    first = int(view.horizon)
    rows, columns = np.arange(first, view.height, dtype=np.float32) + 0.5, np.arange(view.width, dtype=np.float32) + 0.5
    ahead = (view.focal_px * view.scene.eye[1] / np.maximum(rows - view.horizon, 0.1))[:, None]
    aside = (columns - view.width / 2) * ahead / view.focal_px
    bare = np.float32(1) if not light.shadow else 1 - light.shadow * shadows(view, light, sun)[first:]
    arriving = tint(bare, light.ambient_strength * rgb(light.ambient) + light.sun_strength * sun[1] * rgb(light.sun))
    if light.lamps:
        pooled = 0.9 * light.lamps * pools(view)[first:]
        arriving = arriving + tint(headlights(light, aside, ahead), rgb(HEADLIGHT)) + tint(pooled, rgb(LAMPLIGHT))
    share = ground[first:]
    clear = np.exp(-np.hypot(aside, ahead) / style.weather.visibility_m)
    image[:, first:] *= 1 + share * (arriving * clear - 1)
    image[:, first:] += tint(share * (1 - clear), rgb(style.weather.haze))
    return image


def sky(view: View, light: Light, sun: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The sky (3, rows, width), 0 to 1, down to just below the horizon: a gradient, clouds, the sun's glare."""
    h, w = int(np.ceil(view.horizon)) + 2, view.width
    up = np.clip((view.horizon - np.arange(h)) / view.horizon, 0, 1).astype(np.float32)
    zenith, horizon = rgb(light.zenith)[:, None], rgb(light.horizon)[:, None]
    colour = np.repeat((horizon + (zenith - horizon) * up**0.7)[..., None], w, 2)
    if light.cloudiness:
        field = clouds(rng, h, w, 4, 2.8) + 0.6 * clouds(rng, h, w, 8, 2.8) + 0.3 * clouds(rng, h, w, 16, 2.8)
        cover = 0.85 * np.clip(1.1 * field + 3.2 * light.cloudiness - 1.6, 0, 1) * np.minimum(1, 3 * up)[:, None]
        colour += cover * (rgb(light.clouds)[:, None, None] - colour)
    if light.halo and sun[2] > 0.1:
        x = w / 2 + view.focal_px * sun[0] / sun[2]
        y = view.horizon - view.focal_px * sun[1] / sun[2]
        far = np.hypot(np.arange(w) - x, (np.arange(h) - y)[:, None]).astype(np.float32) / w
        colour += tint(light.halo * (np.exp(-far / 0.16) + 1.5 * np.exp(-((far / 0.035) ** 2))), rgb(light.sun))
    return np.clip(colour, 0, 1)


def on_ground(view: View, xyz: np.ndarray, corners: np.ndarray, blur: float, backs: bool = False) -> np.ndarray:
    """How much of each pixel (h, w) polygons on the ground cover, blurred by hundredths of the height."""
    mask = view.painted(xyz, corners, np.full(len(xyz), 255), "L", backs).reduce(SUPERSAMPLE)
    if blur:
        mask = mask.filter(ImageFilter.GaussianBlur(blur * view.height / 100))
    return np.asarray(mask, np.float32) / 255


def shadows(view: View, light: Light, sun: np.ndarray) -> np.ndarray:
    """What the sun does not reach on the ground, (h, w), 0 to 1."""
    faces = view.scene.faces
    casters = faces[faces["casts"] & (faces["anchor"][:, 1] < SHADOWS_UNTIL_M)]
    thrown = casters["xyz"]
    fall = thrown[..., 1] / max(sun[1], LOWEST_SUN)
    thrown[..., 0] -= fall * sun[0]
    thrown[..., 1] = 0
    thrown[..., 2] -= fall * sun[2]
    # One half of a closed solid's faces throws all of its shadow. Flat things face the camera: with the sun ahead it is
    # their back that the sun sees, and their shadow comes out the other way round.
    return on_ground(view, thrown, casters["corners"], light.softness, backs=bool(sun[2] > 0))


def pools(view: View) -> np.ndarray:
    """The light (h, w) that street lamps throw on the ground, 0 to 1."""
    faces = view.scene.faces
    lamps = faces[(faces["label"] == Label.POLE) & (faces["glow"] > 0)]["xyz"][:, :4].mean(1)
    turn = np.arange(CORNERS) * (2 * np.pi / CORNERS)
    ring = np.stack([4.5 * np.cos(turn), np.zeros(CORNERS), 5.5 * np.sin(turn)], -1).astype(np.float32)
    return on_ground(view, lamps[:, None] * np.array((1, 0, 1), np.float32) + ring, np.full(len(lamps), CORNERS), 4.0)
