"""What makes a domain: its colours, light, weather, camera and the habits of its streets. Colours are "#rrggbb"."""

from dataclasses import dataclass

Range = tuple[float, float]
"""Bounds between which a scene draws, uniformly."""


@dataclass(frozen=True)
class Palette:
    """What things are painted with; of several colours, each thing draws one."""

    road: tuple[str, ...]
    marks: str
    sidewalk: tuple[str, ...]
    kerb: str
    terrain: tuple[str, ...]
    facades: tuple[str, ...]
    trim: str
    """Cornices and window frames."""
    roofs: tuple[str, ...]
    shops: tuple[str, ...]
    glass: str
    walls: tuple[str, ...]
    fences: tuple[str, ...]
    leaves: tuple[str, ...]
    bark: str
    metal: str
    """Poles."""
    paints: tuple[str, ...]
    """Cars and motorcycles."""
    cargo: tuple[str, ...]
    buses: tuple[str, ...]
    trams: tuple[str, ...]
    clothes: tuple[str, ...]
    jitter: float = 0.06
    """How far, relatively, a thing's brightness strays from its colour."""


@dataclass(frozen=True)
class Light:
    """Where light comes from, and how much."""

    zenith: str
    horizon: str
    clouds: str
    cloudiness: float
    """Share of the sky that is covered, 0 to 1."""
    sun: str
    sun_strength: float
    sun_elevation: Range
    """Degrees above the horizon."""
    sun_azimuth: Range
    """Degrees off straight ahead, to either side: 0 shines into the camera, 180 from behind it."""
    ambient: str
    ambient_strength: float
    shadow: float
    """How dark a shadow is on the ground, 0 to 1."""
    softness: float
    """Blur of shadows, in hundredths of the image's height."""
    halo: float = 0.0
    """Strength of the glare around the sun in the sky."""
    lamps: float = 0.0
    """How brightly lamps burn, 0 to 1; the camera's own car switches on its headlights with them."""
    lit_windows: float = 0.0
    """Share of windows with a light behind them."""


@dataclass(frozen=True)
class Weather:
    """What lies between the camera and the street, and on it."""

    haze: str
    visibility_m: float
    """Distance at which 1/e of a thing's colour is left."""
    rain: float = 0.0
    """Streaks per thousand pixels."""
    snow: float = 0.0
    """Flakes per thousand pixels."""
    wet: float = 0.0
    """How much the road mirrors, 0 to 1."""
    snow_cover: float = 0.0
    """How white whatever looks upwards is, 0 to 1."""


@dataclass(frozen=True)
class Camera:
    """How a scene is looked at and what becomes of the picture in the camera."""

    height_m: Range = (1.3, 1.5)
    horizon: Range = (0.42, 0.48)
    """Where the horizon lies, as a share of the image's height from the top: the pitch."""
    view_degrees: Range = (50.0, 56.0)
    """Horizontal field of view."""
    bonnet: bool = False
    """The camera's own car shows at the bottom."""
    exposure: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    tint: str = "#ffffff"
    blur: float = 0.0
    """Radius in hundredths of the image's height."""
    noise: float = 0.0
    """Standard deviation in grey levels of 255."""
    grain: float = 1.0
    """How much of the surfaces' roughness shows."""
    vignette: float = 0.0
    """Darkening of the corners, 0 to 1."""
    jpeg_quality: int | None = None


@dataclass(frozen=True)
class Streets:
    """How a domain's streets are built and who is about. A rate is the expected number in one scene."""

    lanes: tuple[int, int] = (1, 2)
    """Fewest and most lanes in each direction."""
    lane_m: float = 3.3
    sidewalk_m: Range = (2.2, 4.0)
    verge: float = 0.3
    """Chance of a grass strip between road and sidewalk."""
    bend: float = 0.0012
    """Largest curvature, per metre."""
    built: float = 0.65
    """Share of the lots that carry a building; the others are green."""
    gardens: float = 0.3
    """Share of the buildings that stand back behind a garden."""
    storeys: tuple[int, int] = (2, 5)
    pitched: float = 0.4
    """Share of the buildings with a pitched roof."""
    offices: float = 0.2
    """Share of the buildings with bands of glass for windows."""
    walled: float = 0.45
    """Share of the greens and gardens behind a wall."""
    fenced: float = 0.45
    """Share of the greens and gardens behind a fence."""
    trees: float = 10.0
    conifers: float = 0.15
    """Share of the trees that are conifers."""
    parked: float = 0.35
    """Chance that a place to park along the kerb is taken."""
    crossing: float = 0.6
    """Chance of a crossing with traffic lights."""
    signs: float = 3.0
    lamps_m: float = 24.0
    """Distance between two lamp posts."""
    cars: float = 2.6
    trucks: float = 0.4
    buses: float = 0.35
    trams: float = 0.3
    """A tram brings its rails."""
    motorcycles: float = 1.2
    bicycles: float = 2.4
    people: float = 9.0


@dataclass(frozen=True)
class Style:
    """One domain of the street world."""

    palette: Palette
    light: Light
    weather: Weather
    camera: Camera
    streets: Streets
