"""ERM's optional terms against their definitions."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from raydg.domains.labels import IDD_LEVEL1
from raydg.methods import ERM, DeFT
from raydg.methods.erm import Anchored
from raydg.models import DeepLabV3Plus, Network, SmallNet
from raydg.types import Batch, Episode

MODEL = DeepLabV3Plus(SmallNet(8), aspp_channels=8, low_level_channels=8, decoder_channels=8, auxiliary=True)


@pytest.fixture
def network() -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MODEL.build(IDD_LEVEL1).double()


def episode() -> Episode:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(2, 3, 32, 32, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 7, (2, 32, 32), generator=generator)
    labels[0, :5] = 255
    return Episode(0, 0, Batch(images, labels, torch.tensor([0, 1])), ("meta-train",) * 2)


def test_the_auxiliary_loss_is_weighted_and_reaches_its_head(network: Network) -> None:
    network.eval()
    losses = ERM(auxiliary_weight=0.4).losses(network, episode())
    logits, auxiliary = network.with_auxiliary(episode().batch.images)
    main, extra = (F.cross_entropy(each, episode().batch.labels, ignore_index=255) for each in (logits, auxiliary))
    torch.testing.assert_close(losses["loss"], main + 0.4 * extra)
    assert losses["auxiliary_loss"] == extra and losses["cross_entropy"] == main
    losses["loss"].backward()
    assert all(p.grad is not None and p.grad.any() for p in network.decoder.auxiliary.parameters())


def test_a_head_and_its_weight_go_together() -> None:
    with pytest.raises(ValueError, match="ERM has no loss for that head, which would never learn: give it a weight"):
        ERM().check_model(MODEL)
    with pytest.raises(ValueError, match=r"auxiliary_weight is 0\.4, but DeepLabV3Plus has no auxiliary head"):
        ERM(auxiliary_weight=0.4).check_model(replace(MODEL, auxiliary=False))
    with pytest.raises(ValueError, match="0 where BatchNorm is per domain"):
        ERM(auxiliary_weight=0.4, batchnorm="per-domain")


@pytest.mark.parametrize("method", [ERM(distance_weight=0.1), DeFT(distance_weight=0.1)], ids=["ERM", "DeFT"])
def test_the_distance_is_the_sum_of_norms_and_pulls_back(network: Network, method: ERM | DeFT) -> None:
    network.eval()
    start = copy.deepcopy(network)
    model = method.wrap(network, 2, 3)
    model.eval()
    at_start = method.losses(model, episode())
    assert at_start["distance"] == 0
    at_start["loss"].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    plain = replace(method, distance_weight=0.0)
    moved = model.network
    with torch.no_grad():
        for p in moved.parameters():
            p.add_(0.01)
    losses = method.losses(model, episode())
    expected = sum((p - q).square().sum().sqrt() for p, q in zip(moved.parameters(), start.parameters(), strict=True))
    torch.testing.assert_close(losses["distance"], expected.detach())
    weight = moved.decoder.classifier.weight
    (with_distance,) = torch.autograd.grad(losses["loss"], weight)
    (without,) = torch.autograd.grad(plain.losses(model, episode())["loss"], weight)
    difference = weight - start.decoder.classifier.weight
    torch.testing.assert_close(with_distance - without, 0.1 * difference / difference.norm())


def test_what_makes_no_sense_is_refused() -> None:
    for wrong in ({"auxiliary_weight": -1.0}, {"distance_weight": -1.0}):
        with pytest.raises(ValueError, match="0 or more"):
            ERM(**wrong)


def test_distances_are_measured_without_being_a_loss(network: Network) -> None:
    method = ERM(measure_distances=True)
    model = method.wrap(network, 2, 3)
    assert isinstance(model, Anchored) and method.loss_names == ("loss",)
    assert set(method.measurements(model).values()) == {0.0}
    with torch.no_grad():
        next(network.parameters()).add_(1.0)
    moved = next(network.parameters()).numel() ** 0.5
    assert method.measurements(model)["distance/l2"] == pytest.approx(moved, rel=1e-5)
    assert ERM(distance_weight=0.1).measurements(model) == {} == ERM().measurements(network)
