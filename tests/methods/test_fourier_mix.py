"""Fourier mixing against the whole complex spectrum, image by image."""

import numpy as np
import pytest
import torch

from raydg.methods import FourierMix
from raydg.methods.fourier_mix import lend

DOMAINS = torch.tensor([0, 0, 1, 1, 2, 2])


def pictures(height: int = 8, width: int = 10) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(6, 3, height, width, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("size", [(8, 10), (7, 9), (8, 9)])
@pytest.mark.parametrize("window", [1.0, 0.4, 0.0])
def test_amplitudes_inside_the_window_mix_and_phases_stay(size: tuple[int, int], window: float) -> None:
    images, (height, width) = pictures(*size), size
    others, share = images.roll(1, 0), torch.linspace(0, 1, 6, dtype=torch.float64).view(-1, 1, 1, 1)
    mixed = lend(images, others, share, window).numpy()
    for b in range(6):
        for c in range(3):
            own, lent = (np.fft.fft2(x[b, c].numpy()) for x in (images, others))
            amplitude = np.abs(own)
            for u in range(height):
                for v in range(width):
                    cycles = min(u, height - u) / height, min(v, width - v) / width
                    if max(cycles) <= window / 2:
                        m = share[b].item()
                        amplitude[u, v] = (1 - m) * amplitude[u, v] + m * np.abs(lent[u, v])
            expected = np.fft.ifft2(amplitude * np.exp(1j * np.angle(own)))
            np.testing.assert_allclose(expected.imag, 0, atol=1e-12)
            np.testing.assert_allclose(mixed[b, c], expected.real, atol=1e-12)


def test_an_empty_window_lends_the_mean_colour_alone() -> None:
    images = pictures()
    mixed = lend(images, images.flip(0), torch.ones(6, 1, 1, 1, dtype=torch.float64), window=0.0)
    torch.testing.assert_close(mixed.mean((2, 3)), images.flip(0).mean((2, 3)))
    torch.testing.assert_close(mixed - mixed.mean((2, 3), keepdim=True), images - images.mean((2, 3), keepdim=True))


def test_an_image_is_lent_to_by_another_domain() -> None:
    """Constant images have no phase but their mean, so the whole amplitude is the lender's colour."""
    colours = torch.arange(1, 7).double() / 10
    images = colours.view(-1, 1, 1, 1).expand(6, 3, 4, 4)
    method = FourierMix(probability=1.0, least=1.0, partners="other-domain")
    seen = set()
    for seed in range(40):
        torch.manual_seed(seed)
        lenders = (method.mix(images, DOMAINS).mean((1, 2, 3)) * 10 - 1).round().long()
        assert (DOMAINS[lenders] != DOMAINS).all()
        seen |= set(enumerate(lenders.tolist()))
    assert len(seen) == 6 * 4, "every image of the other domains lends at some time"


def test_shares_and_choices_are_drawn_as_said() -> None:
    colours = torch.tensor([0.0, 1.0]).double().repeat(2000)
    images = colours.view(-1, 1, 1, 1).expand(4000, 3, 1, 1)
    torch.manual_seed(0)
    domains = torch.tensor([0, 1]).repeat(2000)
    method = FourierMix(probability=0.25, least=0.2, most=0.6, partners="other-domain")
    share = (method.mix(images, domains)[:, 0, 0, 0] - colours).abs()
    moved = share[share > 0]
    assert len(moved) / 4000 == pytest.approx(0.25, abs=0.03)
    assert 0.2 <= moved.min() and moved.max() <= 0.6
    assert moved.mean() == pytest.approx(0.4, abs=0.02)


def test_results_are_images_and_follow_from_the_seed() -> None:
    images = pictures().contiguous(memory_format=torch.channels_last)
    torch.manual_seed(1)
    mixed = FourierMix(probability=1.0).mix(images, DOMAINS)
    assert mixed.dtype == images.dtype and mixed.is_contiguous(memory_format=torch.channels_last)
    assert 0 <= mixed.min() and mixed.max() <= 1 and not torch.equal(mixed, images)
    torch.manual_seed(1)
    assert torch.equal(FourierMix(probability=1.0).mix(images, DOMAINS), mixed)
    assert torch.equal(FourierMix(probability=0.0).mix(images, DOMAINS), images)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FourierMix(probability=2.0), "probability"),
        (lambda: FourierMix(most=1.5), "most"),
        (lambda: FourierMix(least=0.6, most=0.5), r"least is 0\.6: it must be 0 to most = 0\.5"),
        (lambda: FourierMix(window=-0.1), "window"),
        (lambda: FourierMix(partners="other-domain").check_sources(1), "partners is 'other-domain'.*'any' with one"),
        (lambda: FourierMix(partners="other-domain").mix(pictures(), DOMAINS * 0), "holds one domain: take 'any'"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
