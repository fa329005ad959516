"""The seven domains of the street world: what each looks like, and how its streets differ."""

from dataclasses import replace

from raydg.domains.street_world.style import Camera, Light, Palette, Streets, Style, Weather

TOWN = Palette(
    road=("#6f6f72", "#77767a", "#68696d"),
    marks="#e6e4dc",
    sidewalk=("#a8a39b", "#b3ada4", "#9d9a94"),
    kerb="#c9c5bc",
    terrain=("#6f9a3c", "#7da046", "#648c3a"),
    facades=("#d9c8a5", "#c98f6b", "#e3dccb", "#b8644a", "#cdb795", "#a9a49a", "#e0bd84"),
    trim="#efe9dc",
    roofs=("#9c4a35", "#7d4236", "#5b5e66"),
    shops=("#2f6d8c", "#a3342c", "#3d6b46", "#c98a2b", "#4a3f6b"),
    glass="#2b3a47",
    walls=("#8f7f70", "#9a9187", "#7d6a5c"),
    fences=("#8a6a48", "#6f5a45", "#a08560"),
    leaves=("#3f7a2c", "#4d8a34", "#35692e", "#5b8f3a"),
    bark="#5a4635",
    metal="#5d646b",
    paints=("#b3202a", "#23477f", "#e9e9e7", "#2a2c30", "#8d949b", "#d8b431", "#3b6e57", "#c4c9cd"),
    cargo=("#e8e6df", "#3f6fa8", "#d9822b", "#cfd3d6"),
    buses=("#d8a51d", "#c2352b", "#2d72b8"),
    trams=("#f1efe8", "#c9202b", "#3d8f5a"),
    clothes=("#31415c", "#8c2f33", "#3b3b3f", "#c9b28a", "#50663f", "#c05d2e", "#e2e0da", "#6a4d7a"),
)

NOON = Style(
    palette=TOWN,
    light=Light(
        zenith="#4a8fd9",
        horizon="#bcd9ef",
        clouds="#ffffff",
        cloudiness=0.42,
        sun="#fff4dd",
        sun_strength=0.62,
        sun_elevation=(42, 62),
        sun_azimuth=(60, 150),
        ambient="#dfe8f5",
        ambient_strength=0.72,
        shadow=0.45,
        softness=0.4,
    ),
    weather=Weather(haze="#c5d6e6", visibility_m=420.0),
    camera=Camera(noise=2.5, vignette=0.1, jpeg_quality=92),
    streets=Streets(),
)
"""A European town on a clear day."""

DUSK = Style(
    palette=replace(
        TOWN,
        road=("#75696a", "#6c6264"),
        terrain=("#8f9450", "#a09a55", "#7f8a48"),
        facades=("#e6cdb0", "#f0e3d2", "#c9a184", "#d8b7a0", "#a98a7d"),
        roofs=("#8a5a4a", "#6e4a46", "#4f4a58"),
        leaves=("#6a7a30", "#86782e", "#a0662a", "#55692e"),
        fences=("#e8e0d4", "#b59a78", "#8b7355"),
    ),
    light=Light(
        zenith="#5a5f9e",
        horizon="#ffb27a",
        clouds="#f29a86",
        cloudiness=0.5,
        sun="#ffb066",
        sun_strength=0.85,
        sun_elevation=(16, 26),
        sun_azimuth=(10, 60),
        ambient="#c4aec9",
        ambient_strength=0.8,
        shadow=0.5,
        softness=0.7,
        halo=0.55,
        lamps=0.35,
        lit_windows=0.25,
    ),
    weather=Weather(haze="#f3b48c", visibility_m=230.0),
    camera=Camera(
        height_m=(1.2, 1.35), horizon=(0.46, 0.52), view_degrees=(56, 62), bonnet=True,
        saturation=1.1, tint="#fff2e6", noise=3.5, vignette=0.25, jpeg_quality=88,
    ),
    streets=Streets(
        lanes=(1, 1), sidewalk_m=(1.8, 2.8), verge=0.7, bend=0.0028, built=0.7, gardens=0.7, storeys=(1, 2),
        pitched=0.9, offices=0.0, walled=0.3, fenced=0.6, trees=12, conifers=0.1, parked=0.3, crossing=0.5, people=7.0,
    ),
)  # fmt: skip
"""A suburb under a low sun: small houses with gardens, long shadows, first lamps."""

RAIN = Style(
    palette=replace(
        TOWN,
        road=("#4a4d52", "#53565a"),
        sidewalk=("#7f8285", "#8b8c8d"),
        kerb="#9d9fa0",
        terrain=("#587a4a", "#4f6f45"),
        facades=("#8f9aa3", "#a39a8f", "#7c8791", "#b3a896", "#93877f", "#6f7d8a"),
        trim="#b9bec2",
        leaves=("#35603a", "#2f5836", "#436e41"),
        glass="#33414d",
    ),
    light=Light(
        zenith="#868f99",
        horizon="#b3bac0",
        clouds="#737c87",
        cloudiness=0.6,
        sun="#ffffff",
        sun_strength=0.08,
        sun_elevation=(75, 85),
        sun_azimuth=(0, 180),
        ambient="#d3dce6",
        ambient_strength=0.78,
        shadow=0.3,
        softness=1.5,
        lamps=0.45,
        lit_windows=0.35,
    ),
    weather=Weather(haze="#a9b1b9", visibility_m=160.0, rain=5.0, wet=0.75),
    camera=Camera(
        height_m=(1.5, 1.8), horizon=(0.40, 0.46), saturation=0.85, tint="#f2f8ff",
        blur=0.2, noise=4.0, vignette=0.2, jpeg_quality=80,
    ),
    streets=Streets(
        lanes=(2, 3), sidewalk_m=(3.5, 6.0), verge=0.25, bend=0.0004, built=0.75, gardens=0.1, storeys=(5, 12),
        pitched=0.0, offices=0.6, trees=7, conifers=0.0, parked=0.25, crossing=0.75, cars=4.5, buses=0.5, people=13.0,
    ),
)  # fmt: skip
"""Downtown in the rain: towers, a wide mirroring road, umbrellas."""

FOG = Style(
    palette=replace(
        TOWN,
        road=("#66686a", "#5e6062"),
        terrain=("#7a8a55", "#86905c", "#6f7f4e"),
        facades=("#b5a18c", "#c7bfae", "#9d7f6c", "#a6a39b"),
        walls=("#85827a", "#77756c", "#938b7c"),
        fences=("#7a6a58", "#5f564c"),
        leaves=("#4f6f3f", "#5c7843", "#466339"),
    ),
    light=Light(
        zenith="#d3d8da",
        horizon="#dcdfe0",
        clouds="#e6e8e8",
        cloudiness=0.0,
        sun="#ffffff",
        sun_strength=0.06,
        sun_elevation=(70, 85),
        sun_azimuth=(0, 180),
        ambient="#eef1f2",
        ambient_strength=0.85,
        shadow=0.25,
        softness=1.8,
        lamps=0.4,
        lit_windows=0.1,
    ),
    weather=Weather(haze="#d9dddf", visibility_m=30.0, wet=0.15),
    camera=Camera(
        height_m=(1.2, 1.5), horizon=(0.44, 0.50), view_degrees=(48, 54),
        saturation=0.75, blur=0.45, noise=3.0, jpeg_quality=85,
    ),
    streets=Streets(
        lanes=(1, 1), sidewalk_m=(1.6, 2.4), verge=0.6, bend=0.002, built=0.45, gardens=0.4, storeys=(1, 3),
        pitched=0.8, offices=0.0, walled=0.5, fenced=0.35, trees=13, conifers=0.4, parked=0.2, crossing=0.55,
        signs=4.0, people=8.0,
    ),
)  # fmt: skip
"""A village road in thick fog: few houses, many walls and trees, colours that fade within fifty metres."""

SNOW = Style(
    palette=replace(
        TOWN,
        road=("#6d7074", "#75787c"),
        facades=("#b5543f", "#d8c49a", "#6f8a9c", "#8f5a48", "#e0d6c2", "#4f6b57"),
        roofs=("#5a5d66", "#6b4a44"),
        leaves=("#3f5f4a", "#4a6a50", "#34523f"),
        terrain=("#8a9a78", "#7d8f70"),
        bark="#4a3d34",
    ),
    light=Light(
        zenith="#b9c6d6",
        horizon="#dfe6ee",
        clouds="#eef2f6",
        cloudiness=0.5,
        sun="#ffffff",
        sun_strength=0.14,
        sun_elevation=(40, 60),
        sun_azimuth=(30, 150),
        ambient="#e2ebf7",
        ambient_strength=0.84,
        shadow=0.2,
        softness=1.5,
        lamps=0.2,
        lit_windows=0.15,
    ),
    weather=Weather(haze="#dde4ec", visibility_m=110.0, snow=6.0, snow_cover=0.92),
    camera=Camera(
        height_m=(1.3, 1.5), horizon=(0.42, 0.48), view_degrees=(52, 58), bonnet=True,
        saturation=0.9, tint="#f0f6ff", blur=0.2, noise=3.0, vignette=0.1, jpeg_quality=88,
    ),
    streets=Streets(
        lanes=(1, 2), sidewalk_m=(2.0, 3.2), verge=0.5, bend=0.0016, built=0.6, gardens=0.4, storeys=(2, 4),
        pitched=0.85, offices=0.05, conifers=0.6, parked=0.4, people=8.0,
    ),
)  # fmt: skip
"""A northern town in falling snow: white roofs and verges, tracks on a grey road, conifers."""

NIGHT = Style(
    palette=replace(
        TOWN,
        road=("#5c5d63", "#64656b"),
        facades=("#b39c86", "#8f8a86", "#9c6f5a", "#7f8594", "#a8a099"),
        paints=("#8f2028", "#23406f", "#c9c9c9", "#26282c", "#70767c", "#b8993a"),
    ),
    light=Light(
        zenith="#10173a",
        horizon="#3d4468",
        clouds="#4a4d6b",
        cloudiness=0.4,
        sun="#8fa4d8",
        sun_strength=0.06,
        sun_elevation=(50, 70),
        sun_azimuth=(30, 150),
        ambient="#7d8cc0",
        ambient_strength=0.46,
        shadow=0.3,
        softness=1.5,
        lamps=1.0,
        lit_windows=0.45,
    ),
    weather=Weather(haze="#2c3150", visibility_m=180.0, wet=0.25),
    camera=Camera(
        height_m=(1.3, 1.5), horizon=(0.42, 0.48), view_degrees=(52, 58),
        exposure=1.2, saturation=1.05, tint="#fff3e0", blur=0.25, noise=6.0, vignette=0.3, jpeg_quality=82,
    ),
    streets=Streets(
        lanes=(1, 2), built=0.7, gardens=0.2, storeys=(3, 7), pitched=0.2, offices=0.35, trees=8, lamps_m=18.0,
        people=11.0,
    ),
)  # fmt: skip
"""A city at night: lit windows and shops, headlights, pools of lamplight, sensor noise."""

GAME = Style(
    palette=Palette(
        road=("#5b6270",),
        marks="#ffffff",
        sidewalk=("#c9b8a0", "#d4c4aa"),
        kerb="#f2ead8",
        terrain=("#5fc23a", "#52b848"),
        facades=("#ff8a5c", "#ffd166", "#6fd0c8", "#f7f1e1", "#e8657a", "#8fa8ff"),
        trim="#fff8e7",
        roofs=("#d8432f", "#3f5fbf"),
        shops=("#e63946", "#2a9d8f", "#6a4cff", "#ff9f1c"),
        glass="#3a6ea5",
        walls=("#b58463", "#c79a78"),
        fences=("#f4f1de", "#9c6b3f"),
        leaves=("#2fa84f", "#43bf4d", "#1f8f4a"),
        bark="#8a5a33",
        metal="#6c7a89",
        paints=("#ff2e3f", "#2667ff", "#ffffff", "#22252b", "#ffc914", "#17c3b2", "#ff7b00"),
        cargo=("#ffffff", "#ff7b00", "#2ec4b6"),
        buses=("#ffb400", "#e4002b", "#0077ff"),
        trams=("#ffffff", "#d7263d", "#00a878"),
        clothes=("#ff206e", "#2d3a8c", "#fbff12", "#00c2a8", "#333333", "#ff8c42", "#9b5de5"),
        jitter=0.02,
    ),
    light=Light(
        zenith="#2f8bff",
        horizon="#a8e0ff",
        clouds="#ffffff",
        cloudiness=0.3,
        sun="#fff6d8",
        sun_strength=0.5,
        sun_elevation=(40, 60),
        sun_azimuth=(100, 160),
        ambient="#e8f0ff",
        ambient_strength=0.72,
        shadow=0.35,
        softness=0.0,
    ),
    weather=Weather(haze="#a8d8f8", visibility_m=600.0),
    camera=Camera(
        height_m=(1.6, 2.2), horizon=(0.36, 0.44), view_degrees=(60, 70), saturation=1.15, contrast=1.05, grain=0.0,
    ),
    streets=Streets(
        lanes=(2, 3), lane_m=3.5, sidewalk_m=(3.0, 5.0), verge=0.3, bend=0.0006, built=0.7, gardens=0.2, storeys=(2, 9),
        pitched=0.3, offices=0.4, parked=0.3, crossing=0.7, cars=3.5, people=10.0,
    ),
)  # fmt: skip
"""A video game: flat saturated colours, hard shadows, a perfect camera that rides high."""

STYLES: dict[str, Style] = {
    "noon": NOON, "dusk": DUSK, "rain": RAIN, "fog": FOG, "snow": SNOW, "night": NIGHT, "game": GAME,
}  # fmt: skip
DOMAINS: tuple[str, ...] = tuple(STYLES)
