"""The street world: what its scenes promise, the geometry behind them, and the files it writes."""

import hashlib
import os
import subprocess
import sys
from functools import cache
from itertools import combinations, pairwise, product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raydg.domains.street_world import DOMAINS, STYLES, render, write
from raydg.domains.street_world.boxes import ALL_ROUND, FRONT, LEFT, REAR, RIGHT, TOP, Boxes
from raydg.domains.street_world.dice import Dice
from raydg.domains.street_world.faces import MAIN, Label, polygons, rectangle, rgb
from raydg.domains.street_world.light import shadows, sun_direction
from raydg.domains.street_world.placing import Placed, assembled
from raydg.domains.street_world.plan import SIDES, draw_lots, draw_plan
from raydg.domains.street_world.planes import static
from raydg.domains.street_world.rendering import averaged
from raydg.domains.street_world.rows import repeated
from raydg.domains.street_world.scene import Scene
from raydg.domains.street_world.traffic import driving
from raydg.domains.street_world.view import SUPERSAMPLE, View

TRAINED = {7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33}
"""The Cityscapes label ids that have a trainId, after cityscapesScripts, helpers/labels.py."""
EGO_VEHICLE = 1
SCENES = 16
HEIGHT, WIDTH = 96, 192


@cache
def scene(domain: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    return render(domain, seed, HEIGHT, WIDTH)


def scenes(domain: str, n: int = SCENES) -> list[tuple[np.ndarray, np.ndarray]]:
    return [scene(domain, seed) for seed in range(n)]


def rows(labels: np.ndarray, label: int) -> np.ndarray:
    """The rows of all pixels with a label."""
    return np.nonzero(labels == label)[0]


# Scenes


@pytest.mark.parametrize("domain", DOMAINS)
def test_images_and_labels_have_the_size_asked_for_and_legal_ids(domain):
    for image, labels in [*scenes(domain, 4), render(domain, 5, 33, 50)]:
        assert image.shape == (*labels.shape, 3) and image.dtype == labels.dtype == np.uint8
        assert set(np.unique(labels)) <= TRAINED | {EGO_VEHICLE}
    assert labels.shape == (33, 50)


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_class_occurs(domain):
    held = [set(np.unique(labels)) for _, labels in scenes(domain)]
    missing = TRAINED - set.union(*held)
    assert not missing, f"classes {missing} are in none of {SCENES} scenes"


def test_the_same_arguments_draw_the_same_bytes_in_another_process_without_torch():
    """String hashes differ from process to process: a scene that leant on one would too."""
    code = (
        "import hashlib, sys; from raydg.domains.street_world import DOMAINS, render\n"
        "print([hashlib.sha256(b''.join(a.tobytes() for a in render(d, 3, 64, 128))).hexdigest() for d in DOMAINS])\n"
        "print({'torch', 'ray'} & set(sys.modules))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    here = [hashlib.sha256(b"".join(a.tobytes() for a in render(d, 3, 64, 128))).hexdigest() for d in DOMAINS]
    assert run.stdout.splitlines() == [str(here), "set()"]


def test_no_two_scenes_have_the_same_layout():
    for (_, one), (_, other) in combinations([scene(domain, seed) for domain in DOMAINS for seed in range(3)], 2):
        assert np.mean(one != other) > 0.05


@pytest.mark.parametrize("domain", ("noon", "dusk", "rain", "game"))
def test_labels_lie_where_the_image_has_their_things(domain):
    """Pixels of one label look alike: shift the labels, by one pixel in any way, and they look less alike."""
    shifts = list(product((-1, 0, 1), repeat=2))
    spread = np.zeros(len(shifts))
    for image, labels in scenes(domain, 4):
        inner = image[1:-1, 1:-1].reshape(-1, 3).astype(float)
        for place, (down, across) in enumerate(shifts):
            shifted = labels[1 + down : HEIGHT - 1 + down, 1 + across : WIDTH - 1 + across].ravel()
            pixels = np.maximum(np.bincount(shifted), 1)
            for colour in inner.T:
                spread[place] += (colour**2).sum() - (np.bincount(shifted, colour) ** 2 / pixels).sum()
    assert shifts[int(spread.argmin())] == (0, 0)


def test_the_flat_domain_shows_each_class_in_its_palettes_colours():
    """`game` has no noise, blur or compression: what is not mixed at an edge, in shadow or in haze has a known hue."""
    blueness, greenness = {}, {}
    for image, labels in scenes("game", 8):
        red, green, blue = np.moveaxis(image.astype(int), -1, 0)
        for label in (Label.ROAD, Label.SKY, Label.TERRAIN, Label.VEGETATION, Label.SIDEWALK):
            blueness.setdefault(label, []).append((blue - red)[labels == label])
            greenness.setdefault(label, []).append((2 * green - red - blue)[labels == label])
    blue, green = ({k: np.median(np.concatenate(v)) for k, v in table.items()} for table in (blueness, greenness))
    assert blue[Label.SKY] > blue[Label.ROAD] + 60 > blue[Label.SIDEWALK] + 60
    assert min(green[Label.TERRAIN], green[Label.VEGETATION]) > max(green[Label.ROAD], green[Label.SIDEWALK]) + 60


@pytest.mark.parametrize("domain", DOMAINS)
def test_sky_is_above_the_ground(domain):
    for _, labels in scenes(domain):
        for ground in (Label.ROAD, Label.SIDEWALK, Label.TERRAIN):
            if (labels == ground).any() and (labels == Label.SKY).any():
                assert rows(labels, Label.SKY).max() < rows(labels, ground).min()


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_road_narrows_towards_the_horizon(domain):
    """Across scenes: what stands on it hides the road of any one of them here and there."""
    width = np.mean([(labels == Label.ROAD).sum(1) for _, labels in scenes(domain)], 0)
    top = int(np.median([rows(labels, Label.ROAD).min() for _, labels in scenes(domain)]))
    bands = [band.mean() for band in np.array_split(width[top : HEIGHT - 12], 4)]
    assert bands == sorted(bands) and bands[-1] > 2 * bands[0]


def test_domains_look_as_they_are_called():
    def over(domain: str, measure) -> float:
        return float(np.nanmean([measure(image / 255, labels) for image, labels in scenes(domain, 8)]))

    def heaven(image, labels):
        return image[labels == Label.SKY].mean() if (labels == Label.SKY).any() else np.nan

    def terrain(image, labels):
        return image[labels == Label.TERRAIN].mean() if (labels == Label.TERRAIN).any() else np.nan

    def contrast(image, labels):
        return image[labels == Label.BUILDING].std() if (labels == Label.BUILDING).any() else np.nan

    def warmth(image, labels):
        return image[..., 0].mean() - image[..., 2].mean()

    def colourfulness(image, labels):
        return np.ptp(image, axis=-1).mean()

    others = [domain for domain in DOMAINS if domain != "night"]
    assert over("night", heaven) < 0.6 * min(over(domain, heaven) for domain in others)
    assert over("snow", terrain) > 1.3 * over("noon", terrain)
    assert over("fog", contrast) < 0.7 * over("noon", contrast)
    assert over("dusk", warmth) > 0.05 + over("noon", warmth)
    assert over("game", colourfulness) > 1.2 * over("noon", colourfulness) > 1.2 * over("rain", colourfulness)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"'mars' .* noon, dusk"):
        render("mars", 0)
    with pytest.raises(ValueError, match="8 x 256 pixels"):
        render("noon", 0, 8, 256)


# Geometry


def view(faces: np.ndarray | None = None, eye=(1.5, 1.4), slope=0.0, bend=0.0) -> View:
    faces = polygons(np.zeros((0, 4, 3)), Label.ROAD, rgb("#000000")) if faces is None else faces
    return View(Scene(faces, eye, slope, bend), height=120, width=200, horizon=50.0, view_degrees=90.0)


def test_projection_is_that_of_a_pinhole():
    """At 90 degrees the focal length is half the image's width."""
    x, y, z = np.array([(1.5, 1.4, 7.0), (1.5, 0.0, 7.0), (3.5, 1.4, 4.0), (1.5, 0.0, 1e6)], np.float32).T
    column, row = view().screen(x, y, z)
    assert column == pytest.approx([100, 100, 100 + 100 * 2 / 4, 100])
    assert row == pytest.approx([50, 50 + 100 * 1.4 / 7, 50, 50], abs=1e-3)


def test_a_bent_street_is_a_parabola():
    z = np.linspace(1, 60, 20, dtype=np.float32)
    flat, bent = view(), view(slope=0.1, bend=0.002)
    straight, _ = flat.screen(np.zeros_like(z), np.zeros_like(z), z)
    column, _ = bent.screen(np.zeros_like(z), np.zeros_like(z), z)
    assert (column - straight) * z / 100 == pytest.approx(0.1 * z + 0.001 * z**2, rel=1e-3)


def test_faces_show_their_front_only_and_the_last_one_painted_wins():
    near, far = rectangle(0, 3, 0.4, 2.4, 5.0), rectangle(0, 3, 0.4, 2.4, 10.0)
    table = polygons(np.stack([far, near]), Label.CAR, rgb("#ffffff"))
    whole = np.array(view().painted(table["xyz"], table["corners"], np.array([1, 2]), "I"))
    # 3 x 2 m at 5 m and a focal length of 100 px: 60 x 40 px, from column 70 and row 30 on, give or take a sample.
    top, bottom, left, right = (edge * SUPERSAMPLE for edge in (30, 70, 70, 130))
    assert (whole[top + 1 : bottom - 1, left + 1 : right - 1] == 2).all()
    whole[top - 1 : bottom + 1, left - 1 : right + 1] = 0
    assert not whole.any()
    turned = polygons(near[::-1], Label.CAR, rgb("#ffffff"))
    assert not np.asarray(view().painted(turned["xyz"], turned["corners"], np.array([1]), "I")).any()
    assert np.asarray(view().painted(turned["xyz"], turned["corners"], np.array([1]), "I", backs=True)).any()


def test_the_sides_of_boxes_look_outwards():
    rng = np.random.default_rng(0)
    low, high = rng.uniform(-5, 0, (3, 7)), rng.uniform(1, 5, (3, 7))
    boxes = Boxes(
        (low[0], high[0]), (0.0, high[1]), (low[2], high[2]), narrow=0.3, rear=0.2, front=rng.uniform(0, 0.5, 7)
    )
    quads, normals = boxes.quads.astype(float), boxes.normals.astype(float)
    along, up = quads[:, :, 1] - quads[:, :, 0], quads[:, :, 3] - quads[:, :, 0]
    assert np.einsum("nsx,nsx->ns", normals, along) == pytest.approx(0, abs=1e-5)
    assert np.einsum("nsx,nsx->ns", normals, up) == pytest.approx(0, abs=1e-5)
    assert np.linalg.norm(normals, axis=-1) == pytest.approx(1)
    middle = quads.mean((1, 2))[:, None] - (0, 1e-3, 0)
    assert (np.einsum("nsx,nsx->ns", normals, quads.mean(2) - middle) > 0).all()
    # Counter-clockwise from outside. The axes x, y, z are left-handed, hence the sign.
    assert (np.einsum("nsx,nsx->ns", np.cross(along, up), normals) < 0).all()


def test_patches_lie_on_their_side_where_their_shares_say():
    box = Boxes((-1.0, 1.0), (0.0, 2.0), (3.0, 7.0))
    whole = box.patches(LEFT, (0, 1), (0, 1), Label.CAR, MAIN)["xyz"][0, :4]
    assert whole == pytest.approx(box.quads[0, LEFT])
    part = box.patches(REAR, (0.25, 0.5), (0.5, 1.0), Label.CAR, MAIN)["xyz"][0, :4]
    assert part == pytest.approx(np.array([(-0.5, 1, 3), (0, 1, 3), (0, 2, 3), (-0.5, 2, 3)]))
    for side in (*ALL_ROUND, TOP):
        inside = box.patches(side, (0.2, 0.7), (0.1, 0.9), Label.CAR, MAIN)["xyz"][0, :4]
        assert (inside - box.quads[0, side, 0]) @ box.normals[0, side] == pytest.approx(0, abs=1e-6)


def test_models_are_turned_clockwise_scaled_moved_and_dyed():
    model = Boxes((-1.0, 1.0), (0.0, 1.0), (-2.0, 2.0)).faces(Label.CAR, MAIN)
    red, blue = "#ff0000", "#0000ff"
    things = [Placed(model, 5.0, 9.0, 90.0, 2.0, ((red,),)), Placed(model, -3.0, 4.0, dyes=((blue,),))]
    turned, straight = np.split(assembled(things, np.random.default_rng(0), jitter=0.0), 2)
    assert np.ptp(turned["xyz"], axis=(0, 1)) == pytest.approx([8, 2, 4])
    assert turned["anchor"] == pytest.approx(np.tile((5, 9), (5, 1)))
    assert turned["normal"][FRONT] == pytest.approx([1, 0, 0], abs=1e-6)  # ahead has become right
    assert turned["normal"][RIGHT] == pytest.approx([0, 0, -1], abs=1e-6)  # and right has come to the rear
    assert (turned["albedo"] == rgb(red)).all() and (straight["albedo"] == rgb(blue)).all()
    assert straight["xyz"] == pytest.approx(model["xyz"] + np.array((-3, 0, 4)))
    assert not model["albedo"].any()  # the model itself, which is shared, has been left alone


@pytest.mark.parametrize("ahead", (-1.0, 1.0))
def test_a_shadow_falls_away_from_the_sun_as_far_as_its_height_demands(ahead):
    """A post 2 m high under a sun at 45 degrees, behind the camera or before it, and off to the left."""
    post = Boxes((1.4, 1.6), (0.0, 2.0), (7.9, 8.1)).faces(Label.POLE, rgb("#888888"))
    sun = np.array([-0.5, np.sqrt(0.5), ahead * 0.5], np.float32)
    camera = view(post, eye=(1.5, 3.0))
    dark = shadows(camera, STYLES["game"].light, sun)
    tip = np.array([1.5 + 2 * np.sqrt(0.5), 0.0, 8.0 - ahead * 2 * np.sqrt(0.5)])
    foot = np.array([1.5, 0.0, 8.0])

    def at(point: np.ndarray) -> float:
        column, row = camera.screen(*(point[:, None].astype(np.float32)))
        return float(dark[int(row[0]), int(column[0])])

    assert at(0.5 * foot + 0.5 * tip) > 0.5 and at(0.1 * foot + 0.9 * tip) > 0.3
    assert at(1.3 * tip - 0.3 * foot) == 0 == at(1.3 * foot - 0.3 * tip)


def test_the_sun_stands_where_the_style_says():
    light = STYLES["noon"].light
    directions = np.array([sun_direction(light, Dice(np.random.default_rng(seed))) for seed in range(200)])
    assert np.linalg.norm(directions, axis=1) == pytest.approx(1)
    elevation = np.degrees(np.arcsin(directions[:, 1]))
    azimuth = np.degrees(np.arctan2(directions[:, 0], directions[:, 2]))
    assert light.sun_elevation[0] <= elevation.min() and elevation.max() <= light.sun_elevation[1] + 1e-4
    assert light.sun_azimuth[0] <= np.abs(azimuth).min() and np.abs(azimuth).max() <= light.sun_azimuth[1] + 1e-4
    assert 0.3 < np.mean(azimuth > 0) < 0.7


def test_pixels_are_the_mean_of_their_samples():
    rng = np.random.default_rng(0)
    numbers, facts = rng.integers(0, 9, (4 * SUPERSAMPLE, 5 * SUPERSAMPLE)).astype(np.int32), rng.random((9, 4))
    expected = facts[numbers].reshape(4, SUPERSAMPLE, 5, SUPERSAMPLE, 4).mean((1, 3)).transpose(2, 0, 1)
    assert averaged(numbers, facts) == pytest.approx(expected, abs=1.01 / 255)


# Layout


def test_lots_neither_overlap_nor_stand_in_a_side_street():
    for seed in range(40):
        dice = Dice(np.random.default_rng(seed))
        plan = draw_plan(STYLES["noon"], dice)
        lots = draw_lots(plan, dice)
        assert all(begin < end for begin, end in lots)
        assert all(one[1] <= other[0] for one, other in pairwise(lots))
        if plan.crossroad:
            near, far = plan.crossroad
            assert not any(begin < far and end > near for begin, end in lots)


def test_vehicles_keep_apart_and_in_their_lanes():
    for seed in range(40):
        dice = Dice(np.random.default_rng(seed))
        plan = draw_plan(STYLES["rain"], dice)
        things, track = driving(STYLES["rain"], plan, dice)
        taken: dict[int, list[tuple[float, float]]] = {}
        for thing in things:
            if (thing.model["label"] == Label.RIDER).any():
                continue  # sits on the motorcycle before
            lane = int(np.floor(thing.x / plan.lane))
            half = np.abs(thing.model["xyz"][..., 2]).max()
            assert -plan.lanes <= lane < plan.lanes
            assert abs((thing.degrees + 90) % 360 - 90) < 20 if lane >= 0 else abs(thing.degrees - 180) < 20
            taken.setdefault(lane, []).append((thing.z - half, thing.z + half))
        for spans in taken.values():
            spans.sort()
            assert all(one[1] < other[0] for one, other in pairwise(spans))
        assert (track is not None) == any((thing.model["label"] == Label.TRAIN).any() for thing in things)


def test_sidewalks_lie_outside_the_kerbs():
    for seed in range(20):
        plan = draw_plan(STYLES["dusk"], Dice(np.random.default_rng(seed)))
        for side, _ in SIDES:
            assert plan.lanes * plan.lane < plan.kerb(side) < plan.back(side)


def test_dice_follow_their_distributions():
    dice = Dice(np.random.default_rng(0))
    counts = np.array([dice.count(2.5) for _ in range(4000)])
    assert counts.mean() == pytest.approx(2.5, abs=0.1) and counts.var() == pytest.approx(2.5, abs=0.25)
    assert dice.count(0.0) == 0
    assert np.bincount([dice.below(5) for _ in range(4000)]) == pytest.approx(np.full(5, 800), abs=120)
    assert np.mean([dice.chance(0.3) for _ in range(4000)]) == pytest.approx(0.3, abs=0.03)
    noise = static(np.random.default_rng(0), 200, 200)
    assert noise.mean() == pytest.approx(0, abs=0.02) and noise.std() == pytest.approx(1, abs=0.02)


def test_repeated_counts_each_on_its_own():
    which, number = repeated(np.array([2, 0, 3]))
    assert which.tolist() == [0, 0, 2, 2, 2] and number.tolist() == [0, 1, 0, 1, 2]


# Files


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_the_files_are_laid_out_as_cityscapes(tmp_path):
    write(tmp_path, ["noon", "snow"], train=2, val=1, seed=4, height=32, width=64)
    expected = set()
    for domain, (split, sequence, frames) in product(("noon", "snow"), (("train", 0, 2), ("val", 1, 1))):
        for frame in range(frames):
            name = f"{domain}/{{}}/{split}/{domain}/{domain}_{sequence:06d}_{frame:06d}_{{}}.png"
            expected |= {name.format("leftImg8bit", "leftImg8bit"), name.format("gtFine", "gtFine_labelIds")}
    written = tree(tmp_path)
    assert set(written) == expected
    for name in written:
        with Image.open(tmp_path / name) as image:
            assert image.size == (64, 32) and image.mode == ("RGB" if "leftImg8bit" in name else "L")
            if image.mode == "L":
                assert set(np.unique(np.asarray(image))) <= TRAINED | {EGO_VEHICLE}
    assert len(set(written.values())) == len(written), "two scenes are the same"


def test_files_follow_from_the_arguments(tmp_path):
    """Neither the other domains nor how many scenes there are change a scene; the seed does."""
    write(tmp_path / "a", ["night"], train=2, val=1, height=32, width=64)
    write(tmp_path / "b", ["fog", "night"], train=1, val=2, height=32, width=64)
    write(tmp_path / "c", ["night"], train=2, val=1, seed=1, height=32, width=64)
    a, b, c = (tree(tmp_path / root / "night") for root in "abc")
    assert len(set(a) & set(b)) == 4 and all(a[name] == b[name] for name in set(a) & set(b))
    assert set(a) == set(c) and not any(a[name] == c[name] for name in a)


def test_what_is_there_is_not_overwritten(tmp_path):
    write(tmp_path, ["game"], train=1, val=1, height=32, width=64)
    before = tree(tmp_path)
    with pytest.raises(ValueError, match=r"game is there already; remove it"):
        write(tmp_path, ["noon", "game"], train=1, val=1, height=32, width=64)
    assert tree(tmp_path) == before, "the check comes before the first scene"


def test_an_interrupted_run_leaves_whole_domains_or_nothing(tmp_path, monkeypatch):
    drawn = []

    def interrupted(domain: str, *arguments: int) -> tuple[np.ndarray, np.ndarray]:
        drawn.append(domain)
        if len(drawn) == 5:
            raise KeyboardInterrupt
        return render(domain, *arguments)

    monkeypatch.setattr("raydg.domains.street_world.files.render", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, ["noon", "dusk"], train=2, val=1, height=32, width=64)
    assert drawn == ["noon"] * 3 + ["dusk"] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["noon"]
    assert len(tree(tmp_path)) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"domains": ["noon", "venus"]}, "'venus' .* noon, dusk"), ({"train": 0}, "train=0"), ({"val": -1}, "val=-1")],
)
def test_bad_arguments_write_nothing(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "new", **{"domains": ["noon"], "train": 1, "val": 1, "height": 32, "width": 64, **arguments})
    assert not (tmp_path / "new").exists()
