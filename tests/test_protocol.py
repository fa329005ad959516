"""What of an image is shown and what of its label counts, against small pictures worked out by hand."""

import json
from typing import cast

import numpy as np
import pytest
import torch
from torch import nn

from raydg.adaptation import Predictor
from raydg.domains.labels import IGNORE
from raydg.protocol import Capped, CenterCrop, Protocol, Resized, SlidingWindow, Square, WholeImage
from raydg.scoring import shown
from raydg.values import decode, encode

EVERY = (WholeImage(), Resized(6, 8), Capped(8, 12), CenterCrop(6), Square(6), SlidingWindow(5, 4, 0.5))


def picture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(seed))


def columns(height: int, width: int) -> torch.Tensor:
    """An image whose every pixel is its column / 100."""
    return (torch.arange(width) / 100).expand(1, 3, height, width).contiguous()


@pytest.mark.parametrize("protocol", EVERY, ids=lambda protocol: type(protocol).__name__)
def test_sizes_are_as_announced_and_travel_as_json(protocol: Protocol) -> None:
    for height, width in ((7, 9), (10, 14), (12, 5), (6, 6), (20, 31)):
        assert tuple(protocol.image(picture(height, width)).shape[-2:]) == protocol.size(height, width)
        truth = protocol.truth(np.zeros((height, width), np.uint8))
        assert truth.shape == (protocol.size(height, width) if protocol.cuts else (height, width))
    if protocol.one_size:
        assert protocol.size(7, 9) == protocol.size(20, 31)
    assert decode(Protocol, json.loads(json.dumps(encode(protocol)))) == protocol
    assert len({each.label for each in EVERY}) == len(EVERY)


def test_only_images_of_more_pixels_are_capped() -> None:
    capped = Capped(8, 12)
    assert capped.size(16, 6) == (16, 6)  # as many pixels, of other proportions
    assert capped.size(16, 7) == (8, 12)  # its proportions give way
    assert torch.equal(capped.image(picture(16, 6)), picture(16, 6))
    assert torch.allclose(capped.image(torch.full((1, 3, 40, 40), 0.3)), torch.tensor(0.3))


def test_the_middle_square_of_image_and_label_shows_the_same_place() -> None:
    crop = CenterCrop(4)
    # Short side 4 already: columns 2 to 5 of 8 stay.
    assert torch.allclose(crop.image(columns(4, 8))[0, 0, 0] * 100, torch.arange(2.0, 6))
    labels = np.arange(8, dtype=np.uint8)[None].repeat(4, axis=0)
    assert crop.truth(labels)[0].tolist() == [2, 3, 4, 5]
    # Twice as large: halved first; the label takes a pixel of the place, the image its mean.
    twice = np.arange(16, dtype=np.uint8)[None].repeat(8, axis=0)
    assert (crop.truth(twice)[0] // 2).tolist() == [2, 3, 4, 5]
    shown = crop.image(columns(8, 16))[0, 0, 2] * 100
    assert torch.allclose(shown, 2 * torch.arange(2.0, 6) + 0.5, atol=0.01)
    assert crop.truth(labels.T)[:, 0].tolist() == [2, 3, 4, 5]
    # 1024 x 2048 becomes 768 x 1536, of which columns 384 to 1151 count: half of the frame.
    frame = np.arange(2048, dtype=np.int64)[None].repeat(1024, axis=0)
    kept = CenterCrop().truth(frame)[0]
    assert len(kept) == 768 and (kept[0], kept[-1]) == (512, 1535)


def test_a_portrait_is_padded_beside_and_nothing_there_counts() -> None:
    square = Square(6)
    shown = square.image(columns(6, 3) + 0.5)
    assert (shown[0, 0, 0] * 100).round().tolist() == [0, 50, 51, 52, 0, 0]
    assert square.truth(np.array([[7, 8, 9]] * 6))[0].tolist() == [IGNORE, 7, 8, 9, IGNORE, IGNORE]
    # A landscape loses its sides.
    assert square.truth(np.arange(10)[None].repeat(6, axis=0))[0].tolist() == [2, 3, 4, 5, 6, 7]
    assert (square.image(columns(6, 10))[0, 0, 0] * 100).round().tolist() == [2, 3, 4, 5, 6, 7]


def test_the_published_padding_invents_road_and_cuts_the_picture() -> None:
    """The published steps one by one: the difference on both sides, then a window placed as if there were none."""
    label = np.arange(1, 1001)[None].repeat(1536, axis=0)
    padded = np.pad(label, ((0, 0), (536, 536)))
    left = round((1000 - 1536) / 2)
    window = np.array([padded[0, x] if 0 <= x < padded.shape[1] else 0 for x in range(left, left + 1536)])
    published = Square(padding="published")
    truth = published.truth(label)
    assert truth[0].tolist() == window.tolist()
    assert (truth == 0).mean() == pytest.approx(0.52, abs=0.005)  # reference-facts 2.4
    shown = published.image(columns(1536, 1000) / 20 + 0.1)[0, 0, 0]
    assert ((shown > 0.05).numpy() == (window > 0)).all()
    landscape = np.arange(2000)[None].repeat(1536, axis=0)
    assert np.array_equal(published.truth(landscape), Square().truth(landscape))
    assert published.label != Square().label


def test_images_of_several_sizes_share_a_batch_once_they_have_one_size() -> None:
    draw = np.random.default_rng(0)
    images = [draw.integers(0, 255, (*size, 3), dtype=np.uint8) for size in ((7, 9), (10, 14))]
    together = shown(images, Resized(6, 8), torch.device("cpu"), torch.float32)
    assert together.shape == (2, 3, 6, 8)
    for image, found in zip(images, together, strict=True):
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
        assert torch.equal(found, Resized(6, 8).image(pixels)[0])


class Coordinates(nn.Module):
    """Logits that depend on a window's own coordinates, so that overlaps differ."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        height, width = images.shape[-2:]
        ramp = torch.arange(height * width, dtype=images.dtype).view(height, width) / 7
        return torch.stack([images[:, 0], images[:, 1] + ramp.sin(), images[:, 2]], 1)


def test_windows_cover_the_image_and_overlaps_are_averaged() -> None:
    protocol, images, predictor = SlidingWindow(5, 4, 0.5), picture(12, 9), Predictor(Coordinates())
    total, times = torch.zeros(2, 3, 12, 9), torch.zeros(12, 9)
    # Rows 0, 3, 6 and the last at 12 - 5; columns 0, 2, 4 and 9 - 4.
    for top in (0, 3, 6, 7):
        for left in (0, 2, 4, 5):
            total[..., top : top + 5, left : left + 4] += predictor(images[..., top : top + 5, left : left + 4])
            times[top : top + 5, left : left + 4] += 1
    assert times.min() >= 1 and times.max() > 1
    found = protocol.predict(predictor, images)
    assert found.shape == (1, 2, 3, 12, 9)
    assert torch.allclose(found[0], total / times, atol=1e-6)
    assert torch.allclose(found.sum(2), torch.ones(1, 2, 12, 9), atol=1e-5)
    whole = SlidingWindow(20, 20).predict(predictor, images)
    assert torch.allclose(whole[0], predictor(images), atol=1e-6)
    assert len(SlidingWindow(4, 4, 1.0).windows(8, 12)) == 6
    assert len(list(SlidingWindow(4, 4, 1.0).pieces(picture(8, 12)))) == 6


class Twice(Predictor):
    """A predictor with two variants: uniform, and what the network says."""

    def all(self, images: torch.Tensor) -> torch.Tensor:
        found = self(images)
        return torch.stack([torch.full_like(found, 1 / 3), found])


def test_windows_keep_the_variants_apart() -> None:
    found = SlidingWindow(5, 4).predict(cast(Predictor, Twice(Coordinates())), picture(12, 9))
    assert torch.allclose(found[0], torch.full_like(found[0], 1 / 3))
    assert torch.allclose(found[1], SlidingWindow(5, 4).predict(Predictor(Coordinates()), picture(12, 9))[0])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Resized(0, 5), r"Resized.height is 0: it must be 1 or more"),
        (lambda: Capped(5, 0), r"Capped.width is 0"),
        (lambda: CenterCrop(0), r"CenterCrop.size_px is 0"),
        (lambda: Square(0), r"Square.size_px is 0"),
        (lambda: Square(padding="road"), r"Square.padding is 'road': it must be one of 'ignored', 'published'"),
        (lambda: SlidingWindow(stride=0), r"SlidingWindow.stride is 0.0: it must be above 0 and at most 1"),
        (lambda: SlidingWindow(0, 1), r"SlidingWindow.height is 0"),
    ],
)
def test_what_is_no_size_is_refused(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
