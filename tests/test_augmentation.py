import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from raydg.augmentation import (
    Augmentation,
    ColorJitter,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    RandomResizedCrop,
    RandomScaleCrop,
    Resize,
    Rotation,
    Sample,
    Transform,
)
from raydg.values import Value, decode, encode

IGNORE = 255
HEIGHT, WIDTH = 120, 200

GEOMETRY = (
    Resize(64, 96),
    RandomScaleCrop(80, 80),
    RandomScaleCrop(150, 230, scale_min=0.5, scale_max=1.2),
    RandomResizedCrop(64, 96),
    HorizontalFlip(1.0),
    Rotation(30, probability=1.0),
)
PHOTOMETRY = (
    ColorJitter(0.4, 0.4, 0.4, 0.1, probability=1.0),
    GaussianBlur(0.5, 2.0, probability=1.0),
    Grayscale(probability=1.0),
)


def sample(image: Tensor, label: Tensor | int, focus: int | None = None) -> Sample:
    mask = tv_tensors.Mask(label.to(torch.uint8)) if isinstance(label, Tensor) else label
    return Sample(tv_tensors.Image(image.round().to(torch.uint8)), mask, focus)


def coordinates(height: int = HEIGHT, width: int = WIDTH) -> tuple[Tensor, Tensor]:
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return rows, columns


def painted(axis: int) -> Sample:
    """Every pixel's label and colour say which row (axis 0) or column (axis 1) it is from."""
    rows, columns = coordinates()
    return sample(torch.stack([rows, columns, rows]), (rows, columns)[axis])


def noise(label: Tensor | int = 0, seed: int = 0) -> Sample:
    generator = torch.Generator().manual_seed(seed)
    return sample(torch.randint(0, 256, (3, HEIGHT, WIDTH), generator=generator), label)


def seeded(transform: Transform, given: Sample, seed: int) -> Sample:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return transform.apply(given)


def label_of(result: Sample) -> Tensor:
    assert isinstance(result.label, tv_tensors.Mask)
    return result.label.as_subclass(Tensor)


def inner(pixels: Tensor, radius: int) -> Tensor:
    """(h, w) bool: everything within `radius` is True in `pixels`, and nothing of it is beyond the border."""
    outside = F.pad((~pixels).float()[None], [radius] * 4, fill=1)
    return max_pool2d(outside, 2 * radius + 1, stride=1)[0] == 0


def within(observed: float, expected: float, deviation: float) -> bool:
    """Four standard deviations: the seeds are fixed, so this is no matter of luck but of the distribution."""
    return abs(observed - expected) < 4 * deviation


# Image and label map move together.


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("transform", GEOMETRY, ids=repr)
def test_a_label_names_the_place_its_colour_is_from(transform: Transform, axis: int) -> None:
    bias = []
    for seed in range(10):
        result = seeded(transform, painted(axis), seed)
        error = (result.image[axis].int() - label_of(result).int())[inner(label_of(result) != IGNORE, 2)]
        assert (
            len(error) and error.abs().max() <= 1
        )  # half a pixel between nearest and interpolated place, and rounding
        bias.append(error.float().mean().item())
    assert (
        abs(sum(bias) / len(bias)) < 0.15
    )  # a map that took the upper left instead of the nearest pixel is off by 0.5


@pytest.mark.parametrize("seed", range(12))
def test_random_compositions_keep_flat_regions_aligned(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.randint(0, 19, (3, 4), generator=generator).repeat_interleave(40, 0).repeat_interleave(50, 1)
    blocks[40:80, 50:100] = IGNORE
    colours = torch.where(blocks == IGNORE, 0, 10 * blocks + 20)
    result = sample(colours.expand(3, -1, -1), blocks)
    for choice in torch.randint(0, len(GEOMETRY), (3,), generator=generator).tolist():
        result = seeded(GEOMETRY[choice], result, 1000 * seed + choice)
    label = label_of(result)
    assert set(label.unique().tolist()) <= set(blocks.unique().tolist())
    edges = max_pool2d(label[None].float(), 3, 1, 1) != -max_pool2d(-label[None].float(), 3, 1, 1)
    flat = inner(~edges[0], 6)
    expected = torch.where(label == IGNORE, 0, 10 * label.int() + 20)
    assert flat.any() and torch.equal(result.image[:, flat].int(), expected[flat].expand(3, -1))


@pytest.mark.parametrize("transform", GEOMETRY, ids=repr)
def test_fill_is_0_exactly_where_the_label_is_255(transform: Transform) -> None:
    given = sample(torch.full((3, HEIGHT, WIDTH), 200), torch.full((HEIGHT, WIDTH), 7))
    filled = 0
    for seed in range(20):
        result = seeded(transform, given, seed)
        assert set(label_of(result).unique().tolist()) <= {7, IGNORE}
        assert torch.equal((result.image == 0).all(0), label_of(result) == IGNORE)
        assert torch.equal((result.image == 0).any(0), label_of(result) == IGNORE)
        filled += int((label_of(result) == IGNORE).sum())
    assert (filled > 0) == (isinstance(transform, Rotation) or transform == GEOMETRY[2] or transform == GEOMETRY[1])


@pytest.mark.parametrize("transform", PHOTOMETRY, ids=repr)
def test_photometry_changes_the_image_and_not_the_label(transform: Transform) -> None:
    given = noise(torch.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 19)
    result = seeded(transform, given, 0)
    assert result.label is given.label
    assert result.image.shape == given.image.shape and not torch.equal(result.image, given.image)


@pytest.mark.parametrize("transform", GEOMETRY + PHOTOMETRY, ids=repr)
def test_the_given_sample_stays_and_types_are_kept(transform: Transform) -> None:
    given = noise(torch.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 19)
    before = given.image.clone(), label_of(given).clone()
    result = seeded(transform, replace(given, focus=3), 1)
    assert torch.equal(given.image, before[0]) and torch.equal(label_of(given), before[1])
    assert isinstance(result.image, tv_tensors.Image) and result.image.dtype == torch.uint8
    assert isinstance(result.label, tv_tensors.Mask) and result.label.dtype == torch.uint8
    assert result.focus == 3 and tuple(result.image.shape[1:]) == (transform.output_size or (HEIGHT, WIDTH))


@pytest.mark.parametrize("transform", GEOMETRY + PHOTOMETRY, ids=repr)
def test_class_ids_pass_and_images_are_treated_as_if_they_had_a_label_map(transform: Transform) -> None:
    mapped = seeded(transform, noise(torch.zeros(HEIGHT, WIDTH)), 5)
    result = seeded(transform, noise(label=4), 5)
    assert result.label == 4
    inside = label_of(mapped) != IGNORE
    assert torch.equal(result.image[:, inside], mapped.image[:, inside])


# Crops.


def smooth_frame() -> Tensor:
    rows, columns = coordinates()
    return torch.stack([127 + 100 * torch.sin(rows / 20 + channel) * torch.cos(columns / 25) for channel in range(3)])


@pytest.mark.parametrize("scale", [0.5, 0.63, 0.9, 1.0, 1.37, 2.0])
def test_scale_crop_shows_what_resizing_the_frame_and_cropping_shows(scale: float) -> None:
    size = 50
    crop = RandomScaleCrop(size, size, scale_min=scale, scale_max=scale)
    frame = sample(smooth_frame(), torch.zeros(HEIGHT, WIDTH))
    scaled = F.resize(frame.image, [round(HEIGHT * scale), round(WIDTH * scale)]).int()
    for seed in range(5):
        result = seeded(crop, frame, seed).image.int()
        starts = [label_of(seeded(crop, painted(axis), seed))[0, 0].item() for axis in (0, 1)]
        top, left = (math.floor((start + 0.5) * scale) for start in starts)
        errors = [
            (result - scaled[:, y : y + size, x : x + size])[:, 2:-2, 2:-2].abs().max().item()
            for y in range(max(0, top - 2), top + 3)
            for x in range(max(0, left - 2), left + 3)
            if y + size <= scaled.shape[1] and x + size <= scaled.shape[2]
        ]
        # At whole scales every place is on the grid of the scaled frame; at others up to half a pixel beside it, where
        # the picture changes by no more than 9 levels a pixel of the frame.
        assert min(errors) <= (1 if scale in (1.0, 2.0) else 4.5 / scale + 1)


def test_a_picture_smaller_than_the_crop_is_shown_whole() -> None:
    crop = RandomScaleCrop(100, 200, scale_min=0.61, scale_max=0.61)
    frame = noise(torch.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 19)
    height, width = round(0.61 * HEIGHT), round(0.61 * WIDTH)
    whole = F.resize(frame.image, [height, width])
    places = set()
    for seed in range(30):
        result = seeded(crop, frame, seed)
        inside = (label_of(result) != IGNORE).nonzero()
        top, left = inside.amin(0).tolist()
        assert (inside.amax(0) - inside.amin(0) + 1).tolist() == [height, width] and len(inside) == height * width
        assert torch.equal(result.image[:, top : top + height, left : left + width], whole)
        places.add((top, left))
    assert len(places) > 20


def test_scales_are_uniform_and_equal_on_both_axes() -> None:
    crop, scales = RandomScaleCrop(40, 40, scale_min=0.5, scale_max=2.0), []
    for seed in range(300):
        down, across = (
            (label_of(seeded(crop, painted(axis), seed)).int().flatten()[[0, -1]].diff() + 1).item() for axis in (0, 1)
        )
        assert abs(down - across) <= 1  # pixels of the frame that 40 of the crop show
        scales.append(40 / across)
    assert 0.49 <= min(scales) < 0.52 and 1.9 < max(scales) <= 2.2
    for quarter in (1, 2, 3):
        share = sum(scale < 0.5 + 1.5 * quarter / 4 for scale in scales) / len(scales)
        assert within(share, quarter / 4, 0.5 / math.sqrt(len(scales)))


def test_crops_reach_every_place() -> None:
    crop = RandomScaleCrop(HEIGHT, WIDTH - 3, scale_min=1, scale_max=1)
    lefts = [label_of(seeded(crop, painted(1), seed))[0, 0].item() for seed in range(200)]
    assert {left: lefts.count(left) > 25 for left in set(lefts)} == dict.fromkeys(range(4), True)


def test_resized_crop_is_torchvisions() -> None:
    ours, theirs = RandomResizedCrop(64, 80, 0.2, 0.7, 0.5, 1.5), v2.RandomResizedCrop((64, 80), (0.2, 0.7), (0.5, 1.5))
    for seed in range(10):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            expected = theirs(noise().image)
        assert torch.equal(seeded(ours, noise(torch.zeros(HEIGHT, WIDTH)), seed).image, expected)


# Focus.


@pytest.mark.parametrize("transform", [RandomScaleCrop(48, 48), RandomResizedCrop(48, 48, 0.1, 0.25)], ids=repr)
def test_a_crop_shows_its_focus_even_if_it_is_one_pixel(transform: Transform) -> None:
    label = torch.zeros(HEIGHT, WIDTH)
    label[50, 150] = 7
    shown = [seeded(transform, replace(noise(label), focus=7), seed) for seed in range(100)]
    assert all((label_of(result) == 7).any() for result in shown)
    unled = [seeded(transform, noise(label), seed) for seed in range(100)]
    assert sum((label_of(result) == 7).any().item() for result in unled) < 60
    spots = torch.stack([(label_of(result) == 7).nonzero().float().mean(0) for result in shown])
    assert (spots.amin(0) < 8).all() and (spots.amax(0) > 40).all()  # anywhere in the crop, not in its middle


@pytest.mark.parametrize("transform", [RandomScaleCrop(48, 48), RandomResizedCrop(48, 48)], ids=repr)
@pytest.mark.parametrize("corner", [(0, 0), (0, -3), (-3, 0), (-3, -3)])
def test_objects_in_corners_are_found(transform: Transform, corner: tuple[int, int]) -> None:
    label = torch.zeros(HEIGHT, WIDTH)
    top, left = corner[0] % HEIGHT, corner[1] % WIDTH
    label[top : top + 3, left : left + 3] = 7
    for seed in range(40):
        assert (label_of(seeded(transform, replace(noise(label), focus=7), seed)) == 7).any()


def test_objects_are_found_in_proportion_to_their_pixels() -> None:
    label = torch.zeros(HEIGHT, WIDTH)
    label[10:13, 10:20], label[100:101, 180:190] = 7, 7
    crop = RandomScaleCrop(30, 30, scale_min=1, scale_max=1)
    image = (coordinates()[0] < 60).expand(3, -1, -1) * 100  # the upper object's half is bright
    upper = sum(
        seeded(crop, sample(image, label, focus=7), seed).image[0].float().mean().item() > 50 for seed in range(200)
    )
    assert within(upper / 200, 0.75, math.sqrt(0.75 * 0.25 / 200))


def test_a_focus_that_the_image_lacks_changes_nothing() -> None:
    given = noise(torch.zeros(HEIGHT, WIDTH))
    for transform in (RandomScaleCrop(48, 48), RandomResizedCrop(48, 48)):
        with_focus, without = seeded(transform, replace(given, focus=7), 3), seeded(transform, given, 3)
        assert torch.equal(with_focus.image, without.image)


# Flips, turns, colours.


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_flips_happen_as_often_as_asked(probability: float) -> None:
    given = sample(torch.tensor([10, 20]).expand(3, 1, 2), torch.tensor([[1, 2]]))
    flips = 0
    for seed in range(500):
        result = seeded(HorizontalFlip(probability), given, seed)
        flipped = label_of(result).tolist() == [[2, 1]]
        assert result.image[:, 0].tolist() == [[20, 10] if flipped else [10, 20]] * 3
        flips += flipped
    assert within(flips / 500, probability, math.sqrt(probability * (1 - probability) / 500) or 1e-9)


def test_angles_are_uniform() -> None:
    rows, columns = coordinates(61, 61)
    line = (columns > 30) * (rows == 30) * 1  # a line from the centre to the right
    slopes = []
    for seed in range(150):
        turned = label_of(seeded(Rotation(20, probability=1.0), sample(line.expand(3, -1, -1), line), seed)) == 1
        row, column = turned.nonzero().float().mean(0).tolist()
        slopes.append(math.degrees(math.atan2(30 - row, column - 30)))
    assert -20.5 < min(slopes) < -19 and 19 < max(slopes) < 20.5
    assert within(sum(slopes) / 150, 0, 40 / math.sqrt(12 * 150))


def test_jitter_of_brightness_scales_by_a_factor_in_range() -> None:
    image = torch.arange(0, 120).expand(3, 4, -1)
    factors = []
    for seed in range(200):
        jittered = seeded(ColorJitter(0.4, 0, 0, 0, probability=1.0), sample(image, 0), seed).image.double()
        factor = (jittered.sum() / image.sum()).item()
        assert (jittered - factor * image).abs().max() < 1.5
        factors.append(factor)
    assert 0.58 < min(factors) < 0.65 and 1.35 < max(factors) < 1.42


def test_jitter_of_hue_leaves_grey_grey_and_turns_colours() -> None:
    jitter = ColorJitter(0, 0, 0, 0.3, probability=1.0)
    grey = sample(torch.arange(0, 120).expand(3, 4, -1), 0)
    assert torch.equal(seeded(jitter, grey, 0).image, grey.image)
    red = sample(torch.tensor([200, 0, 0])[:, None, None].expand(3, 4, 4), 0)
    turned = seeded(jitter, red, 0).image[:, 0, 0].tolist()
    assert turned != [200, 0, 0] and max(turned) == 200 and min(turned) == 0


def test_grey_is_luma() -> None:
    given = noise()
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)[:, None, None]
    grey = seeded(Grayscale(probability=1.0), given, 0).image
    assert torch.equal(grey[0], grey[1]) and torch.equal(grey[0], grey[2])
    assert (grey[0].double() - (given.image.double() * weights).sum(0)).abs().max() < 1.1  # cut off, not rounded


def test_blur_is_a_gaussian() -> None:
    point = torch.zeros(3, 31, 31)
    point[:, 15, 15] = 255
    distance = torch.arange(31, dtype=torch.float64) - 15
    bell = torch.exp(-0.5 * (distance / 1.5) ** 2)
    bell = bell / bell.sum()
    blurred = seeded(GaussianBlur(1.5, 1.5, probability=1.0), sample(point, 0), 0).image
    assert (blurred[0].double() - 255 * torch.outer(bell, bell)).abs().max() < 1


def test_blurs_are_drawn_from_their_range() -> None:
    point = torch.zeros(3, 21, 21)
    point[:, 10, 10] = 255
    blur = GaussianBlur(0.3, 1.3, probability=1.0)
    peaks = [seeded(blur, sample(point, 0), seed).image[0, 10, 10].item() for seed in range(200)]
    # A Gaussian's peak is 1 / (2 pi sigma^2) of the whole; at 0.3 pixels the samples of the bell decide.
    edge = math.exp(-0.5 / 0.3**2)
    assert 255 / (2 * math.pi * 1.3**2) - 2 < min(peaks) < 255 / (2 * math.pi * 1.25**2)
    assert 0.95 * 255 / (1 + 2 * edge) ** 2 < max(peaks) <= 255 / (1 + 2 * edge) ** 2 + 1


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (3, 2)])
def test_blur_bears_tiny_pictures(size: tuple[int, int]) -> None:
    flat = sample(torch.full((3, *size), 90), 0)
    assert torch.equal(seeded(GaussianBlur(2, 2, probability=1.0), flat, 0).image, flat.image)


# The pipeline.

STREETS = Augmentation(
    (
        RandomScaleCrop(64, 96),
        HorizontalFlip(),
        Rotation(10, probability=0.5),
        ColorJitter(0.4, 0.4, 0.4, 0.1, probability=0.5),
        GaussianBlur(0.15, 1.3, probability=0.5),
        Grayscale(probability=0.1),
    ),
    meta_test=(Resize(64, 96),),
)


def test_the_seed_decides_and_the_callers_generator_is_untouched() -> None:
    given = noise(torch.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 19)
    first = STREETS.apply(given, 11, "meta-train")
    torch.rand(3)
    before = torch.get_rng_state()
    again = STREETS.apply(given, 11, "meta-train")
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.image, again.image) and torch.equal(label_of(first), label_of(again))
    others = [STREETS.apply(given, seed, "meta-train").image for seed in (0, 12, 2**63 + 5, 2**64 - 1)]
    assert not any(torch.equal(first.image, other) for other in others)


def test_an_error_leaves_the_callers_generator_as_it_was() -> None:
    before = torch.get_rng_state()
    with pytest.raises(AttributeError):
        STREETS.apply(None, 11, "meta-train")  # pyright: ignore[reportArgumentType]
    assert torch.equal(torch.get_rng_state(), before)


def test_roles_have_their_own_transforms() -> None:
    given = noise(torch.zeros(HEIGHT, WIDTH))
    plain = F.resize(given.image, [64, 96])
    assert torch.equal(STREETS.apply(given, 3, "meta-test").image, plain)
    assert not torch.equal(STREETS.apply(given, 3, "meta-train").image, plain)
    shared = replace(STREETS, meta_test=None)
    assert torch.equal(shared.apply(given, 3, "meta-test").image, shared.apply(given, 3, "meta-train").image)


def test_output_size_is_that_of_the_last_transform_that_fixes_it() -> None:
    augmentation = Augmentation(
        (Resize(300, 400), HorizontalFlip(), RandomScaleCrop(50, 60), Rotation(5, probability=1))
    )
    assert augmentation.output_size == (50, 60)
    assert augmentation.apply(noise(), 0, "meta-train").image.shape == (3, 50, 60)


def test_augmentation_travels_as_json() -> None:
    assert decode(Augmentation, encode(STREETS)) == STREETS


@pytest.mark.parametrize(
    "transforms, meta_test, message",
    [
        ((), None, r"Augmentation.transforms holds no transform that fixes the size"),
        ((HorizontalFlip(),), None, r"Augmentation.transforms holds no transform that fixes the size"),
        ((Resize(4, 4),), (HorizontalFlip(),), r"Augmentation.meta_test holds no transform that fixes the size"),
        ((Resize(4, 4),), (Resize(4, 5),), r"meta_test ends at 4 x 5 pixels, transforms at 4 x 4"),
    ],
)
def test_sizes_that_cannot_be_stacked_are_refused(
    transforms: tuple[Transform, ...], meta_test: tuple[Transform, ...] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Augmentation(transforms, meta_test)


@pytest.mark.parametrize(
    "cls, settings, field",
    [
        (Resize, {"height": 0, "width": 5}, "height"),
        (RandomScaleCrop, {"height": 5, "width": -1}, "width"),
        (RandomScaleCrop, {"height": 5, "width": 5, "scale_min": 0.0}, "scale_min"),
        (RandomScaleCrop, {"height": 5, "width": 5, "scale_min": 1.0, "scale_max": 0.5}, "scale_max"),
        (RandomScaleCrop, {"height": 5, "width": 5, "scale_max": math.inf}, "scale_max"),
        (RandomScaleCrop, {"height": 5, "width": 5, "scale_max": math.nan}, "scale_max"),
        (RandomResizedCrop, {"height": 5, "width": 5, "area_min": 0.0}, "area_min"),
        (RandomResizedCrop, {"height": 5, "width": 5, "area_max": 1.5}, "area_max"),
        (RandomResizedCrop, {"height": 5, "width": 5, "aspect_min": -1.0}, "aspect_min"),
        (RandomResizedCrop, {"height": 5, "width": 5, "aspect_max": 0.5}, "aspect_max"),
        (HorizontalFlip, {"probability": 1.5}, "probability"),
        (Rotation, {"degrees": 0, "probability": 1}, "degrees"),
        (Rotation, {"degrees": 181, "probability": 1}, "degrees"),
        (GaussianBlur, {"sigma_min": 0, "sigma_max": 1, "probability": 1}, "sigma_min"),
        (GaussianBlur, {"sigma_min": 2, "sigma_max": 1, "probability": 1}, "sigma_max"),
        (ColorJitter, {"brightness": -1, "contrast": 0, "saturation": 0, "hue": 0, "probability": 1}, "brightness"),
        (ColorJitter, {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0.6, "probability": 1}, "hue"),
        (Grayscale, {"probability": -0.1}, "probability"),
    ],
)
def test_values_out_of_range_are_refused_by_name(cls: type[Value], settings: dict, field: str) -> None:
    with pytest.raises(ValueError, match=rf"^{cls.__name__}\.{field} is .*: it must be "):
        cls(**settings)


@pytest.mark.parametrize(
    "image, label, message",
    [
        (torch.zeros(3, 4, 5), 0, r"Sample.image is torch.float32 \(3, 4, 5\): it must be torch.uint8 \(3, h, w\)"),
        (torch.zeros(1, 4, 5, dtype=torch.uint8), 0, r"Sample.image is torch.uint8 \(1, 4, 5\)"),
        (torch.zeros(3, 4, 5, dtype=torch.uint8), torch.zeros(5, 4, dtype=torch.uint8), r"Sample.label .* \(5, 4\)"),
        (torch.zeros(3, 4, 5, dtype=torch.uint8), torch.zeros(4, 5).long(), r"Sample.label is torch.int64"),
    ],
)
def test_samples_that_do_not_fit_are_refused(image: Tensor, label: Tensor | int, message: str) -> None:
    mask = tv_tensors.Mask(label) if isinstance(label, Tensor) else label
    with pytest.raises(ValueError, match=message):
        Sample(tv_tensors.Image(image), mask)
