"""The object world: what its pictures promise, and the files it writes."""

import hashlib
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageChops

from raydg.domains.object_world import CLASSES, DOMAINS, pacs, render, write
from raydg.domains.object_world.picture import individual
from raydg.domains.object_world.shapes.outlines import Layer, attach, disc, limb, mirrored, smooth
from raydg.domains.object_world.styles.raster import inked, silhouettes


def area(outline: np.ndarray) -> float:
    """The shoelace formula."""
    x, y = outline.T
    return abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def silhouette(class_name: str, seed: int, side: int) -> np.ndarray:
    """Where the individual is (side, side), as a share of each pixel."""
    whole = Image.new("L", (4 * side, 4 * side))
    for _, mask in silhouettes(individual(class_name, seed)[0], 4 * side):
        whole = ImageChops.lighter(whole, mask)
    return np.asarray(whole.reduce(4), float) / 255


# Outlines


def test_a_smooth_curve_passes_through_its_points_and_a_closed_one_returns():
    points = np.random.default_rng(0).normal(size=(6, 2))
    for closed in (False, True):
        curve = smooth(points, closed)
        nearest = np.linalg.norm(points[:, None] - curve, axis=2).min(1)
        assert nearest == pytest.approx(0, abs=1e-12)
    line = np.linspace(0, 1, 5)[:, None] * (3.0, 4.0)
    assert smooth(line) @ (4.0, -3.0) == pytest.approx(0, abs=1e-12)


def test_a_limb_and_a_disc_have_the_area_of_the_figures_they_stand_for():
    straight = limb([(0.0, 0.0), (1.5, 2.0)], [0.2, 0.2])
    assert area(straight) == pytest.approx(2 * 0.2 * 2.5 + np.pi * 0.2**2, rel=0.01)
    tapered = limb([(0.0, 0.0), (1.0, 0.0)], [0.3, 0.1])
    assert area(tapered) == pytest.approx(0.4 + np.pi * (0.3**2 + 0.1**2) / 2, rel=0.02)
    assert area(disc((5.0, -2.0), 0.3, 0.1, 40)) == pytest.approx(np.pi * 0.03, rel=0.02)


def test_mirrored_outlines_are_their_own_mirror_image():
    outline = mirrored([(0.0, 0.0), (1.0, 0.2), (0.5, 1.0), (0.0, 1.5)])
    assert {tuple(p) for p in outline} == {(-x, y) for x, y in outline}
    assert area(outline) == pytest.approx(2 * area(np.array([(0.0, 0.0), (1.0, 0.2), (0.5, 1.0), (0.0, 1.5)])))


def test_attaching_scales_turns_and_moves():
    layers = [Layer("a", [disc((1.0, 0.0), 0.1), disc((0.0, 0.0), 0.2)]), Layer("b", [disc((0.0, 2.0), 0.1)], far=True)]
    moved = attach(layers, (10.0, 20.0), 90, 3.0)
    assert [(layer.paint, layer.far, len(layer.areas)) for layer in moved] == [("a", False, 2), ("b", True, 1)]
    centres = [a.mean(0).tolist() for layer in moved for a in layer.areas]
    assert np.allclose(centres, [(10, 23), (10, 20), (4, 20)])
    assert area(moved[0].areas[1]) == pytest.approx(9 * area(layers[0].areas[1]))


def test_an_inked_layer_has_a_line_around_its_union_and_none_across_it():
    cross = [np.array([(0.2, 0.4), (0.8, 0.4), (0.8, 0.6), (0.2, 0.6)])]
    cross.append(cross[0][:, ::-1])
    [(_, mask, lines)] = inked([Layer("coat", cross)], 100, 3)
    inside, line = np.asarray(mask) > 0, (np.asarray(lines) > 0) & (np.asarray(mask) == 0)
    assert inside[50, 50] and inside[50, 25] and inside[25, 50] and not inside[25, 25]
    assert line[50, 18] and line[38, 25] and not line[40:60, 40:60].any()
    y, x = np.nonzero(line)
    rows, columns = np.nonzero(inside)
    farthest = max(np.hypot(y0 - rows, x0 - columns).min() for y0, x0 in zip(y, x, strict=True))
    assert 2 <= farthest <= 5


# Figures


@pytest.mark.parametrize("class_name", CLASSES)
def test_every_individual_is_whole_in_the_frame_and_has_a_colour_for_every_paint(class_name):
    extents = []
    for seed in range(40):
        layers, palette = individual(class_name, seed)
        points = np.concatenate([a for layer in layers if not layer.within for a in layer.areas])
        assert np.isfinite(points).all() and 0 <= points.min() and points.max() <= 1
        assert {layer.paint for layer in layers} <= palette.keys()
        assert all(colour.shape == (3,) and 0 <= colour.min() and colour.max() <= 1 for colour in palette.values())
        extents.append(np.ptp(points, axis=0))
    assert np.max(extents, axis=1).min() > 0.65  # large enough to be seen
    assert (np.std(extents, axis=0) > 0.02).all()  # and no two alike


def test_silhouettes_alone_tell_the_classes_apart():
    """One nearest neighbour on centred 24 x 24 silhouettes and their mirror images: no colour, no texture, no style."""

    def feature(class_name: str, seed: int) -> np.ndarray:
        picture = silhouette(class_name, seed, 24)
        rows, columns = np.nonzero(picture > 0.5)
        shift = 12 - round(rows.mean()), 12 - round(columns.mean())
        return np.roll(picture, shift, (0, 1))

    known = np.array([[feature(name, seed) for seed in range(20)] for name in CLASSES])
    asked = np.array([[feature(name, seed) for seed in range(100, 108)] for name in CLASSES])
    known = np.concatenate([known, known[..., ::-1]], axis=1)
    labels = np.repeat(np.arange(len(CLASSES)), known.shape[1])
    away = ((asked.reshape(-1, 1, 576) - known.reshape(1, -1, 576)) ** 2).sum(2)
    right = labels[away.argmin(1)].reshape(len(CLASSES), -1) == np.arange(len(CLASSES))[:, None]
    assert right.mean() > 0.75, right.mean(1)
    assert right.mean(1).min() > 2 / len(CLASSES), right.mean(1)


# Pictures


def test_a_picture_is_a_function_of_domain_class_and_seed():
    pictures = {(d, c, 3): render(d, c, 3, 32) for d in DOMAINS for c in CLASSES}
    pictures |= {(d, "dog", seed): render(d, "dog", seed, 32) for d in DOMAINS for seed in (4, 10**12)}
    for arguments, picture in pictures.items():
        assert picture.shape == (32, 32, 3) and picture.dtype == np.uint8
        if "horse" in arguments:
            assert np.array_equal(picture, render(*arguments, 32))
    for (_, one), (_, other) in combinations(pictures.items(), 2):
        assert np.mean(one != other) > 0.05


def test_another_interpreter_draws_the_same_pictures():
    script = (
        "import hashlib; from raydg.domains.object_world import *; "
        "print(hashlib.sha256(b''.join(render(d, c, 7, 32).tobytes() for d in DOMAINS for c in CLASSES)).hexdigest())"
    )
    here = hashlib.sha256(b"".join(render(d, c, 7, 32).tobytes() for d in DOMAINS for c in CLASSES)).hexdigest()
    environment = os.environ | {"PYTHONHASHSEED": "1"}
    there = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here


def test_a_sketch_keeps_to_the_silhouette_of_its_individual():
    """Up to a few pixels of an unsteady hand: what is drawn follows from class and seed, not from the style."""
    for class_name in CLASSES:
        ink = render("sketch", class_name, 5)[..., 0] < 200
        own = silhouette(class_name, 5, 96) > 0
        rows, columns = np.nonzero(ink)
        own_rows, own_columns = np.nonzero(own)
        for drawn, true in ((rows, own_rows), (columns, own_columns)):
            assert abs(drawn.min() - true.min()) <= 6 and abs(drawn.max() - true.max()) <= 6
        assert ink[own].mean() > 4 * ink[~own].mean()


def test_a_larger_picture_shows_the_same_thing():
    for domain in ("cartoon", "sketch"):  # photo and painting draw their noise and their strokes per pixel
        large = np.asarray(Image.fromarray(render(domain, "house", 2, 128)).reduce(2), float)
        small = render(domain, "house", 2, 64).astype(float)
        assert np.corrcoef(large.ravel(), small.ravel())[0, 1] > 0.8


@pytest.fixture(scope="module")
def gallery() -> dict[str, np.ndarray]:
    """Per domain: a picture of each class (7, 96, 96, 3)."""
    return {d: np.stack([render(d, c, 0) for c in CLASSES]) for d in DOMAINS}


def test_sketches_are_black_on_white(gallery):
    sketches = gallery["sketch"]
    assert (sketches == sketches[..., :1]).all()
    assert (np.mean(sketches > 240, axis=(1, 2, 3)) > 0.6).all()
    assert (sketches.min(axis=(1, 2, 3)) < 100).all()


def test_cartoons_are_flat_and_photos_are_not(gallery):
    def colours(pictures: np.ndarray) -> np.ndarray:
        return np.array([len(np.unique(p.astype(int) @ (1, 256, 65536))) for p in pictures])

    def flat(pictures: np.ndarray) -> np.ndarray:
        """The share of pixels that equal their right neighbour."""
        return (pictures[:, :, 1:] == pictures[:, :, :-1]).all(-1).mean((1, 2))

    assert colours(gallery["cartoon"]).max() < colours(gallery["photo"]).min() / 2
    assert colours(gallery["cartoon"]).max() < colours(gallery["painting"]).min() / 2
    assert flat(gallery["cartoon"]).min() > 0.5
    assert max(flat(gallery["photo"]).max(), flat(gallery["painting"]).max()) < 0.2


def test_the_fine_texture_of_a_photo_is_sensor_noise_and_that_of_a_painting_is_strokes(gallery):
    """Noise is independent between red and blue; a stroke has one colour, and differs from its neighbours in both."""

    def agreement(pictures: np.ndarray) -> np.ndarray:
        """Correlation of red and blue after a 3 x 3 mean is taken away, in the upper third: the background."""
        red_blue = pictures[..., ::2].astype(float)
        mean = sum(np.roll(red_blue, (dy, dx), (1, 2)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)) / 9
        fine = (red_blue - mean)[:, 1:32, 1:-1].reshape(len(pictures), -1, 2)
        return np.array([np.corrcoef(channels.T)[0, 1] for channels in fine])

    assert np.median(agreement(gallery["photo"])) < 0.5
    assert np.median(agreement(gallery["painting"])) > 0.75


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("clipart", "dog", 0), "'clipart'.*photo, painting, cartoon, sketch"),
        (("photo", "cat", 0), "'cat'.*dog, elephant, giraffe, guitar, horse, house, person"),
        (("photo", "dog", 0, 8), "8.*16"),
    ],
)
def test_render_names_what_is_wrong_and_what_is_right(arguments, message):
    with pytest.raises(ValueError, match=message):
        render(*arguments)


# Files


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("object-world") / "data"
    write(root, domains=("photo", "sketch"), train_per_class=3, val_per_class=2, seed=1, size=32)
    return root


def listed(root: Path, domain: str, split: str) -> list[tuple[str, int]]:
    lines = (root / "splits" / f"{domain}_{split}_kfold.txt").read_text().splitlines()
    return [(path, int(label)) for path, label in (line.split(" ") for line in lines)]


@pytest.mark.parametrize("domain", ["photo", "sketch"])
def test_split_lists_are_those_of_pacs(world, domain):
    splits = {split: listed(world, domain, split) for split in ("train", "crossval", "test")}
    for lines, count in zip(splits.values(), (3, 2, 5), strict=True):
        assert len(lines) == len(set(lines)) == 7 * count
        for label, class_name in enumerate(CLASSES, start=1):
            own = [path for path, its in lines if its == label]
            assert len(own) == count
            assert all(path.startswith(f"{domain}/{class_name}/") for path in own)
    assert not set(splits["train"]) & set(splits["crossval"])
    assert set(splits["train"]) | set(splits["crossval"]) == set(splits["test"])


def test_files_are_exactly_the_listed_ones_and_all_different(world):
    files = {p.relative_to(world / "PACS").as_posix() for p in (world / "PACS").rglob("*") if p.is_file()}
    assert files == {path for domain in ("photo", "sketch") for path, _ in listed(world, domain, "test")}
    assert sorted(p.name for p in world.iterdir()) == ["PACS", "splits"]
    assert len(list((world / "splits").iterdir())) == 6
    pictures = set()
    for file in files:
        with Image.open(world / "PACS" / file) as picture:
            assert (picture.mode, picture.size, picture.format) == ("RGB", (32, 32), "PNG")
            pictures.add(picture.tobytes())
    assert len(pictures) == len(files)


def test_a_larger_world_contains_the_smaller_and_another_seed_is_another_world(world, tmp_path):
    def contents(root: Path) -> dict[str, bytes]:
        return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*.png")}

    write(tmp_path / "larger", domains=("sketch",), train_per_class=4, val_per_class=2, seed=1, size=32)
    write(tmp_path / "other", domains=("sketch",), train_per_class=1, val_per_class=2, seed=2, size=32)
    smaller = {path: data for path, data in contents(world).items() if path.startswith("PACS/sketch")}
    assert smaller.items() < contents(tmp_path / "larger").items()
    assert set(listed(world, "sketch", "crossval")) == set(listed(tmp_path / "larger", "sketch", "crossval"))
    other = contents(tmp_path / "other")
    assert other.keys() < smaller.keys() and not set(other.values()) & set(smaller.values())


def test_an_existing_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"data exists already; remove it, or .*new folder"):
        write(tmp_path / "data", domains=("sketch",), train_per_class=1, val_per_class=1, size=16)
    assert [p.name for p in tmp_path.rglob("*")] == ["data", "mine.txt"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError])
def test_an_interrupted_world_leaves_nothing(tmp_path, monkeypatch, interruption):
    drawn = []

    def tired(*arguments):
        drawn.append(arguments)
        if len(drawn) == 10:
            raise interruption
        return render(*arguments)

    monkeypatch.setattr(pacs, "render", tired)
    with pytest.raises(interruption):
        write(tmp_path / "data", domains=("sketch",), train_per_class=1, val_per_class=1, size=16)
    assert len(drawn) == 10 and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"domains": ("sketch", "clipart")}, "clipart.*photo, painting, cartoon, sketch"),
        ({"domains": ("sketch", "sketch")}, "each once"),
        ({"domains": ()}, "one or more"),
        ({"train_per_class": 0}, "train_per_class=0"),
        ({"val_per_class": 0}, "val_per_class=0"),
        ({"size": 8}, "size 8"),
    ],
)
def test_write_refuses_what_it_cannot_do_and_leaves_nothing(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "data", **{"train_per_class": 1, "val_per_class": 1, "size": 16} | wrong)
    assert not list(tmp_path.iterdir())


def test_the_object_world_needs_neither_torch_nor_ray():
    script = "import sys, raydg.domains.object_world; print({'torch', 'ray', 'torchvision'} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "set()"
