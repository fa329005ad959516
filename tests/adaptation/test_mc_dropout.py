"""MC-Dropout against dropout's moments, and its independence of batches."""

import pytest
import torch
from torch import nn

from raydg.adaptation import IaBN, MCDropout, TrainBN
from raydg.adaptation.mc_dropout import SeededDropout


@pytest.mark.parametrize(("layer", "channels"), [(nn.Dropout(0.3), False), (nn.Dropout2d(0.3), True)])
def test_a_layer_drops_its_share_and_scales_the_rest(layer, channels):
    seeded = SeededDropout(layer)
    seeded.generator = torch.Generator().manual_seed(0)
    out = seeded(torch.ones(2, 400, 6, 6))
    assert torch.equal(out[0], out[1])
    assert out.unique().tolist() == [0.0, pytest.approx(1 / 0.7)]
    kept = (out[0] > 0).float()
    assert (kept.flatten(1).std(1) == 0).all() == channels
    draws = 400 if channels else 400 * 36
    # Five standard deviations of the mean of that many draws.
    assert abs(kept.mean().item() - 0.7) < 5 * (0.21 / draws) ** 0.5


def test_the_mean_over_samples_tends_to_the_expectation():
    """Linear up to the softmax of two classes, with one unit that is there or not: two outcomes, half and half."""
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(3, 2, bias=False)).double()
    with torch.no_grad():
        network[2].weight.copy_(torch.tensor([[1.0, 0, 0], [0, 0, 0]]))
    image = torch.tensor([1.0, 0, 0]).double().view(1, 3, 1, 1)
    expected = 0.5 * torch.sigmoid(torch.tensor(2.0)).item() + 0.5 * 0.5
    got = MCDropout(samples=2000).predictor(network)(image)[0, 0].item()
    spread = 0.5 * (torch.sigmoid(torch.tensor(2.0)).item() - 0.5)
    assert abs(got - expected) < 5 * spread / 2000**0.5


def test_samples_differ_and_follow_the_seed(network, images):
    one, two = (MCDropout(samples=n).predictor(network)(images) for n in (1, 2))
    other = MCDropout(samples=1, seed=5).predictor(network)(images)
    assert not torch.equal(one, two) and not torch.equal(one, other)
    assert not torch.allclose(one, TrainBN().predictor(network)(images), atol=1e-3)


def test_dropout_that_drops_nothing_is_none(network, images):
    network.encoder.stem[3].p = 0.0
    with pytest.raises(ValueError, match=r"MC-Dropout\(IaBN.* needs dropout layers, and Network has none that drops"):
        MCDropout(IaBN()).predictor(network)


def test_no_sample_is_refused():
    with pytest.raises(ValueError, match=r"MCDropout.samples is 0: it must be 1 or more"):
        MCDropout(samples=0)
