"""DeFT against its algorithm, written out step by step with four networks."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from raydg.domains.labels import PACS_7
from raydg.methods import ERM, DeFT, DeFTConfiguration, Objective
from raydg.methods.anchor import Anchor
from raydg.methods.deft import Twins, distances
from raydg.models import Classifier, Network, SmallNet
from raydg.types import Batch, Episode


def episode(step: int = 0) -> Episode:
    generator = torch.Generator().manual_seed(step)
    images = torch.rand(4, 3, 32, 32, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 7, (4,), generator=generator)
    return Episode(step, 0, Batch(images, labels, torch.tensor([0, 0, 1, 1])), ("meta-train",) * 2)


@pytest.fixture
def network() -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Classifier(SmallNet(4)).build(PACS_7).double()


def take(method: DeFT, twins: Twins, steps: int = 3, lr: float = 0.1) -> None:
    objective = Objective(method, twins)
    optimizer = torch.optim.SGD([p for p in twins.parameters() if p.requires_grad], lr=lr, momentum=0.9)
    for step in range(steps):
        objective.train()
        optimizer.zero_grad()
        objective(episode(step))["loss"].backward()
        optimizer.step()
        method.after_step(twins, (), lambda tensor: tensor)


def normalised(network: Network, images: torch.Tensor) -> torch.Tensor:
    return (images - network.mean) / network.std


def test_three_steps_of_algorithm_2(network: Network) -> None:
    """With "own" buffers, the pseudo-code's: every module keeps its own statistics."""
    start = copy.deepcopy(network)
    method = DeFT(ema_rate=0.8, buffers="own")
    twins = method.wrap(network, 2, 3)
    take(method, twins)

    e1, e2, d1, d2 = (copy.deepcopy(part).train() for part in (start.encoder,) * 2 + (start.decoder,) * 2)
    optimizers = [torch.optim.SGD(part.parameters(), lr=0.1, momentum=0.9) for part in (e1, d2)]
    for step in range(3):
        batch = episode(step).batch
        x = normalised(start, batch.images)
        for optimizer in optimizers:
            optimizer.zero_grad()
        F.cross_entropy(d1(e1(x)), batch.labels).backward()
        with torch.no_grad():
            features = e2(x)
        F.cross_entropy(d2(features), batch.labels).backward()
        for optimizer in optimizers:
            optimizer.step()
        for average, learning in ((e2, e1), (d1, d2)):
            for a, b in zip(average.parameters(), learning.parameters(), strict=True):
                a.data.mul_(0.8).add_(b.data, alpha=0.2)
    for ours, theirs in (
        (twins.network.encoder, e1),
        (twins.average.encoder, e2),
        (twins.average.decoder, d1),
        (twins.network.decoder, d2),
    ):
        for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("buffers", ["follow", "own", "average", "fixed"])
@pytest.mark.parametrize("normalises_with", ["batch", "running"])
def test_running_statistics_are_those_of_the_policy(network: Network, buffers, normalises_with) -> None:
    start = copy.deepcopy(network)
    method = DeFT(ema_rate=0.5, buffers=buffers, average_normalises_with=normalises_with)
    twins = method.wrap(network, 2, 3)
    take(method, twins, steps=1)
    before, learning, after = (
        next(m for m in part.modules() if isinstance(m, nn.BatchNorm2d)).running_mean
        for part in (start.encoder, twins.network.encoder, twins.average.encoder)
    )
    assert not torch.equal(learning, before)
    if buffers == "average":
        torch.testing.assert_close(after, (before + learning) / 2)
    elif buffers == "fixed" or normalises_with == "running":
        assert torch.equal(after, before)
    else:  # of the same images, with the same weights in the first step
        torch.testing.assert_close(after, learning)


def test_without_averaging_it_is_joint_finetuning(network: Network) -> None:
    method = DeFT(ema_rate=0.0, buffers="average")
    twins, joint = method.wrap(copy.deepcopy(network), 2, 3), network
    take(method, twins)
    optimizer = torch.optim.SGD(joint.parameters(), lr=0.1, momentum=0.9)
    for step in range(3):
        optimizer.zero_grad()
        ERM().losses(joint.train(), episode(step))["loss"].backward()
        optimizer.step()
    for a, b in zip(twins.average.state_dict().values(), joint.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_with_averages_that_never_move_each_half_is_finetuning_of_one_part(network: Network, part) -> None:
    """Table 1's rows: one part learns, the other stays; with its BatchNorm in training mode, as DeFT's averages are."""
    method = DeFT(ema_rate=1.0, buffers="own")
    twins, alone = method.wrap(copy.deepcopy(network), 2, 3), network
    take(method, twins)
    learning = getattr(alone, part)
    optimizer = torch.optim.SGD(learning.parameters(), lr=0.1, momentum=0.9)
    for step in range(3):
        alone.train().zero_grad()
        ERM().losses(alone, episode(step))["loss"].backward()
        optimizer.step()
    for a, b in zip(getattr(twins.network, part).parameters(), learning.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_only_what_learns_receives_a_gradient(network: Network) -> None:
    method = DeFT()
    twins = method.wrap(network, 2, 3)
    objective = Objective(method, twins).train()
    objective(episode())["loss"].backward()
    assert all(p.grad is not None and p.grad.any() for p in twins.network.parameters())
    assert all(p.grad is None and not p.requires_grad for p in twins.average.parameters())
    assert twins.extras() == list(twins.average.parameters())


@pytest.mark.parametrize(
    ("row", "encoder", "decoder"),
    [
        ("I", "network", "network"),
        ("II", "network", "average"),
        ("III", "average", "network"),
        ("IV", "average", "average"),
    ],
)
def test_each_row_of_table_7_is_evaluated(network: Network, row, encoder, decoder) -> None:
    twins = DeFT(ema_rate=0.5).wrap(network, 2, 3)
    take(DeFT(ema_rate=0.5), twins, steps=1)
    found = DeFTConfiguration(configuration=row).module(twins, ("a", "b"), "c").eval()
    x = normalised(twins.network, episode().batch.images)
    expected = getattr(twins, decoder).eval().decoder(getattr(twins, encoder).eval().encoder(x))
    torch.testing.assert_close(found(episode().batch.images), expected)


def test_the_methods_own_are_the_two_averages() -> None:
    assert DeFT().default_inference() == DeFTConfiguration(configuration="IV")


def test_distances_are_norms_of_the_change(network: Network) -> None:
    """Each norm as the largest response of the operator that it is of, found without its closed form."""
    method = DeFT(measure_distances=True)
    twins = method.wrap(network, 2, 3)
    assert set(method.measurements(twins).values()) == {0.0}
    start = copy.deepcopy(twins.average)
    torch.manual_seed(6)
    with torch.no_grad():
        for p in twins.average.parameters():
            p += torch.randn_like(p) * 0.1
    found = method.measurements(twins)

    moved = [(p - q).flatten() for p, q in zip(twins.average.parameters(), start.parameters(), strict=True)]
    assert found["distance/l2"] == pytest.approx(torch.cat(moved).norm().item())
    mars = operator = 0.0
    layers = zip(twins.average.modules(), start.modules(), strict=True)
    for layer, before in layers:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            change = (layer.weight - before.weight).detach().flatten(1)
            # Of all inputs in [-1, 1] the signs of a row bring out its absolute sum.
            mars += max((change @ row.sign()).max().item() for row in change)
            x = torch.randn(change.shape[1], dtype=torch.float64)
            for _ in range(1000):  # power iteration
                x = change.T @ (change @ x)
                x /= x.norm()
            operator += (change @ x).norm().item()
    assert found["distance/mars"] == pytest.approx(mars)
    assert found["distance/operator"] == pytest.approx(operator, rel=1e-3)


def test_distances_of_a_convolution_with_groups_are_those_of_its_largest_group() -> None:
    layer = nn.Conv2d(4, 4, 1, groups=2, bias=False).double()
    anchor = Anchor(layer)
    with torch.no_grad():
        layer.weight += torch.tensor([[3.0, 0], [0, 1], [0, 2], [5, 0]], dtype=torch.float64).view(4, 2, 1, 1)
    assert anchor.distances(layer) == pytest.approx(
        {"distance/l2": 39**0.5, "distance/mars": 5.0, "distance/operator": 5.0}
    )


def test_distances_without_the_start_are_refused(network: Network) -> None:
    twins = DeFT().wrap(network, 2, 3)
    assert DeFT().measurements(twins) == {}
    with pytest.raises(ValueError, match=r"not kept: train with DeFT.measure_distances=True"):
        distances(twins)


def test_measuring_is_not_regularising(network: Network) -> None:
    method = DeFT(measure_distances=True)
    losses = method.losses(method.wrap(network, 2, 3), episode())
    assert tuple(losses) == method.loss_names == ("loss", "encoder_loss", "decoder_loss")


@pytest.mark.parametrize("wrong", [{"ema_rate": 1.5}, {"trains": "encoder"}, {"batchnorm": "per-domain"}])
def test_what_makes_no_sense_is_refused(wrong) -> None:
    with pytest.raises(ValueError, match="DeFT"):
        DeFT(**wrong)
