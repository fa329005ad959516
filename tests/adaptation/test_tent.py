"""Tent against gradients by finite differences; online against one long run."""

import copy

import pytest
import torch
from torch import nn

from raydg.adaptation import AdaBN, IaBN, TargetNorm, Tent, TrainBN
from raydg.adaptation.learning import entropies


@pytest.fixture
def small() -> nn.Module:
    """One BatchNorm layer; its output is the logits."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)).double()
    nn.init.uniform_(network[1].weight, 0.5, 2)
    network[1].running_var.fill_(0.3)
    return network.eval()


def test_the_entropy_is_the_mean_over_positions_of_p_log_p(images):
    logits = images[:, :2] * 3
    p = logits.softmax(1)
    expected = sum(-(q * q.log()).sum() for q in p.permute(0, 2, 3, 1).reshape(-1, 2)) / (4 * 7 * 9)
    assert entropies(logits).shape == (4, 7, 9)
    torch.testing.assert_close(entropies(logits).mean(), expected)
    assert entropies(torch.zeros(1, 8)).item() == pytest.approx(2.0794415, rel=1e-6)
    assert entropies(torch.tensor([[1e4, 0.0]])).item() == 0


@pytest.mark.parametrize("norm", [TrainBN(), IaBN(0.3), TargetNorm(batch_size=1)])
def test_a_step_is_a_step_down_the_entropy(small, images, norm):
    """The gradient by central differences of each of the four numbers that learn."""
    image, h, rate = images[:1], 1e-5, 0.1

    def predicted(changed: nn.Module) -> torch.Tensor:
        return norm.predictor(changed)(image)

    twin = copy.deepcopy(small)
    steps = []
    for parameter in (twin[1].weight, twin[1].bias):
        for i in range(2):
            values = []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter[i] += sign * h
                    p = predicted(twin)
                    values.append(-(p * p.log()).sum(1).mean().item())
                    parameter[i] -= sign * h
            steps.append((parameter, i, (values[0] - values[1]) / (2 * h)))
    with torch.no_grad():
        for parameter, i, gradient in steps:
            parameter[i] -= rate * gradient
    expected = predicted(twin)
    assert (expected - predicted(small)).abs().max() > 1e-3
    got = Tent(norm, iterations=1, learning_rate=rate).predictor(small)(image)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-8)


def test_nothing_learns_but_scale_and_shift(network, images):
    predictor = Tent(mode="online", iterations=2, learning_rate=0.05).predictor(network)
    before = {name: tensor.clone() for name, tensor in predictor.network.state_dict().items()}
    predictor(images)
    moved = {n for n, tensor in predictor.network.state_dict().items() if not torch.equal(tensor, before[n])}
    norms = {name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert moved and moved <= {f"{norm}.{part}" for norm in norms for part in ("weight", "bias")}


def test_online_goes_on_where_it_was(small, images):
    """The same image again and again is one long run."""
    online = Tent(mode="online", iterations=2, learning_rate=0.1, momentum=0.5).predictor(small)
    for _ in range(2):
        online(images[:1])
    long = Tent(iterations=6, learning_rate=0.1, momentum=0.5).predictor(small)(images[:1])
    torch.testing.assert_close(online(images[:1]), long)
    episodic = Tent(iterations=2, learning_rate=0.1, momentum=0.5).predictor(small)
    assert torch.equal(episodic(images[:1]), episodic(images[:1]))


def test_a_new_domain_starts_anew(network, images):
    predictor = Tent(AdaBN(batch_size=2), mode="online", iterations=1, learning_rate=0.05).predictor(network)
    predictor.fit([images])
    first = predictor(images)
    predictor.fit([images])
    assert torch.equal(predictor(images), first) and not torch.equal(predictor(images), first)


def test_entropy_falls(network, images):
    tent = Tent(TargetNorm(batch_size=4), iterations=5, learning_rate=0.05)
    before = TargetNorm(batch_size=4).predictor(network)(images)
    after = tent.predictor(network)(images)
    assert -(after * after.log()).sum(1).mean() < -(before * before.log()).sum(1).mean()


def test_what_it_sees_and_keeps():
    assert Tent().sees == "one image" and not Tent().keeps_state and Tent().needs_batchnorm
    batch = Tent(TargetNorm(batch_size=8, orders=2))
    assert (batch.sees, batch.batch_size, batch.num_orders) == ("a batch", 8, 2)
    online = Tent(TargetNorm(batch_size=8), mode="online")
    assert (online.sees, online.batch_size, online.num_orders, online.keeps_state) == ("a stream", 8, 1, True)
    assert Tent(TrainBN()).needs_batchnorm
    fitted = Tent(AdaBN(), mode="online")
    assert (fitted.sees, fitted.needs_fit, fitted.keeps_state) == ("the whole target", True, True)


@pytest.mark.parametrize("change", [{"iterations": 0}, {"learning_rate": 0.0}, {"momentum": 1.0}, {"mode": "both"}])
def test_illegal_settings_are_refused(change):
    with pytest.raises(ValueError, match=f"Tent.{next(iter(change))} is"):
        Tent(**change)
