"""Averages of weights against the closed form of every weight's share."""

import json
from typing import Literal

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from raydg.domains.labels import IDD_LEVEL1, PACS_7
from raydg.methods import DMG, ERM, MLDG, Averaged, Extended, GroupDRO, Method, Objective, PinTheMemory
from raydg.methods.averaged import WithAverage
from raydg.models import Classifier, DeepLabV3Plus, Network, SmallNet
from raydg.types import Batch, Episode
from raydg.values import decode, encode


def network() -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Classifier(SmallNet(2)).build(PACS_7).double()


def episode(step: int) -> Episode:
    generator = torch.Generator().manual_seed(step)
    images = torch.rand(6, 3, 32, 32, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 7, (6,), generator=generator)
    roles = ("meta-train", "meta-train", "meta-test")
    return Episode(step, 0, Batch(images, labels, torch.tensor([0, 0, 1, 1, 2, 2])), roles)


def train(method: Method, model: nn.Module, steps: range) -> list[dict[str, Tensor]]:
    """Plain gradient descent; after every step, everything that learns."""
    objective = Objective(method, model)  # pyright: ignore[reportArgumentType]
    trajectory = []
    for step in steps:
        objective.train().zero_grad()
        torch.manual_seed(step)
        objective(episode(step))["loss"].backward()
        with torch.no_grad():
            for p in objective.parameters():
                if p.grad is not None:
                    p -= 0.1 * p.grad
        method.after_step(model, (), lambda tensor: tensor)  # pyright: ignore[reportArgumentType]
        learning = model.learning if isinstance(model, WithAverage) else model
        trajectory.append({key: tensor.clone() for key, tensor in learning.state_dict().items()})
    return trajectory


METHODS = [ERM(), MLDG(inner_lr=0.1), DMG(), GroupDRO()]


@pytest.mark.parametrize("inner", METHODS, ids=lambda method: type(method).__name__)
def test_ema_is_the_sum_of_all_steps_with_geometric_shares(inner: Method) -> None:
    method = Averaged(method=inner, ema_rate=0.7)
    torch.manual_seed(1)
    model = method.wrap(network(), 3, 3).double()
    start = {key: tensor.clone() for key, tensor in model.learning.state_dict().items()}
    steps = train(method, model, range(4))
    for key, tensor in model.average.state_dict().items():
        if tensor.is_floating_point():
            expected = 0.7**4 * start[key] + sum(0.3 * 0.7 ** (3 - t) * steps[t][key] for t in range(4))
            torch.testing.assert_close(tensor, expected)
        else:
            assert torch.equal(tensor, steps[-1][key])


def test_swa_is_the_plain_mean_of_the_steps_that_count() -> None:
    method = Averaged(method=ERM(), ema_rate=None, start_step=1, every=2)
    model = method.wrap(network(), 3, 3)
    steps = train(method, model, range(2))
    assert all(torch.equal(t, steps[1][key]) for key, t in model.average.state_dict().items()), "it follows at first"
    steps += train(method, model, range(2, 8))
    counted = [steps[number - 1] for number in (3, 5, 7)]
    for key, tensor in model.average.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, sum(each[key] for each in counted) / 3)


@pytest.mark.parametrize("statistics", ["average", "own"])
@pytest.mark.parametrize("inner", METHODS, ids=lambda method: type(method).__name__)
def test_the_method_trains_as_without(inner: Method, statistics: Literal["average", "own"]) -> None:
    method = Averaged(method=inner, statistics="average" if isinstance(inner, DMG) else statistics)
    torch.manual_seed(1)
    ours = train(method, method.wrap(network(), 3, 3).double(), range(3))
    torch.manual_seed(1)
    theirs = train(inner, inner.wrap(network(), 3, 3).double(), range(3))
    assert all(torch.equal(ours[-1][key], tensor) for key, tensor in theirs[-1].items())


def test_own_statistics_are_those_of_its_own_activations() -> None:
    method = Averaged(method=ERM(), ema_rate=0.5, statistics="own")
    model = method.wrap(network(), 3, 3)
    train(method, model, range(3))
    average = model.averaged_network
    stem = average.encoder.get_submodule("stem.1")
    before = stem.running_mean.clone(), stem.running_var.clone()
    train(method, model, range(3, 4))
    # The weights that the average had in the last forward are those before its last move: take the move back.
    learning = dict(model.network.named_parameters())
    weight = 2 * average.encoder.get_parameter("stem.0.weight") - learning["encoder.stem.0.weight"]
    images = (episode(3).batch.images - average.mean) / average.std
    maps = torch.conv2d(images, weight, stride=2, padding=1)
    torch.testing.assert_close(stem.running_mean, 0.9 * before[0] + 0.1 * maps.mean((0, 2, 3)))
    torch.testing.assert_close(stem.running_var, 0.9 * before[1] + 0.1 * maps.var((0, 2, 3)))


@pytest.mark.parametrize("inner", METHODS, ids=lambda method: type(method).__name__)
def test_it_goes_on_bit_for_bit_from_a_checkpoint(inner: Method) -> None:
    method = Averaged(method=inner, ema_rate=None, statistics="average" if isinstance(inner, DMG) else "own")
    torch.manual_seed(1)
    whole = method.wrap(network(), 3, 3).double()
    train(method, whole, range(4))
    torch.manual_seed(1)
    half = method.wrap(network(), 3, 3).double()
    train(method, half, range(2))
    # safetensors refuses a tensor under two names
    saved = save({key: tensor.detach().contiguous() for key, tensor in half.state_dict().items()})
    torch.manual_seed(8)
    rest = method.wrap(Classifier(SmallNet(2)).build(PACS_7), 3, 3).double()
    rest.load_state_dict(load(saved))
    train(method, rest, range(2, 4))
    assert all(torch.equal(tensor, whole.state_dict()[key]) for key, tensor in rest.state_dict().items())


@pytest.mark.parametrize("inner", METHODS, ids=lambda method: type(method).__name__)
def test_the_average_is_evaluated_and_never_learns(inner: Method) -> None:
    method = Averaged(method=inner)
    model = method.wrap(network(), 3, 3).double()
    train(method, model, range(2))
    assert all(not p.requires_grad and p.grad is None for p in model.average.parameters())
    assert all(p.requires_grad for p in model.learning.parameters())
    extras = {id(p) for p in model.extras() if p.requires_grad}
    of_network = {id(p) for p in model.network.parameters()}
    assert extras == {id(p) for p in model.learning.parameters()} - of_network
    images = episode(9).batch.images
    expected = inner.default_inference().module(model.average, ("a", "b", "c"), None).eval()(images)
    assert torch.equal(method.default_inference().module(model, ("a", "b", "c"), None).eval()(images), expected)
    assert not torch.equal(
        inner.default_inference().module(model.learning, ("a", "b", "c"), None).eval()(images), expected
    )


def test_it_asks_what_its_method_asks() -> None:
    method = Averaged(method=MLDG())
    assert method.minimum_sources == 2 and method.loss_names == MLDG().loss_names
    assert method.smallest_forward == "one domain"
    assert [method.roles(3, 5, s, 0) for s in range(9)] == [MLDG().roles(3, 5, s, 0) for s in range(9)]
    with pytest.raises(ValueError, match="MLDG needs at least 2 source domains"):
        method.check_sources(1)
    with pytest.raises(ValueError, match=r"DMG\.sites names fc"):
        Averaged(method=DMG(sites=("fc",))).check_model(Classifier(SmallNet()))
    assert decode(Method, json.loads(json.dumps(encode(method)))) == method


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Averaged(method=ERM(), ema_rate=1.5), "ema_rate"),
        (lambda: Averaged(method=ERM(), start_step=-1), "start_step"),
        (lambda: Averaged(method=ERM(), every=0), "every"),
        (lambda: Averaged(method=ERM(trains="decoder")), r"trains is 'both': it must be its method's, 'decoder'"),
        (lambda: Averaged(method=ERM(batchnorm="per-domain")), "batchnorm is 'pooled'"),
        (
            lambda: Averaged(method=ERM(batchnorm="per-domain"), batchnorm="per-domain", statistics="own"),
            "statistics is 'own'",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_the_average_of_a_memory_has_the_memory_that_was_filled_before_the_first_step() -> None:
    """Pin the Memory inside: its hooks are all passed on."""
    inner = PinTheMemory(auxiliary_weight=0.0, inner_lr_relative=False)
    method = Averaged(method=inner, ema_rate=0.5)
    architecture = DeepLabV3Plus(SmallNet(8), aspp_channels=8, low_level_channels=8, decoder_channels=8)
    model = method.wrap(architecture.build(IDD_LEVEL1), 2, 7)
    batch = Batch(torch.rand(4, 3, 32, 32), torch.randint(0, 7, (4, 32, 32)), torch.tensor([0, 0, 1, 1]))
    episode = Episode(0, 0, batch, ("meta-train", "meta-test"))
    assert method.initial_steps(3) == inner.initial_steps(3) == 3 and method.revisits_episodes
    method.start(model, [episode], lambda tensor: tensor)
    filled = model.learning.get_buffer("memory").clone()
    assert filled.any() and torch.equal(model.average.get_buffer("memory"), filled)
    Objective(method, model).train()(episode)["loss"].backward()
    method.after_step(model, [episode], lambda tensor: tensor)
    written = model.learning.get_buffer("memory")
    assert not torch.equal(written, filled)
    torch.testing.assert_close(model.average.get_buffer("memory"), 0.5 * filled + 0.5 * written)


def test_a_classifier_that_the_method_moves_is_not_the_optimisers_either() -> None:
    architecture = DeepLabV3Plus(SmallNet(8), aspp_channels=8, low_level_channels=8, decoder_channels=8)
    inner = PinTheMemory(auxiliary_weight=0.0)
    model = Averaged(method=inner).wrap(architecture.build(IDD_LEVEL1), 2, 7)
    assert isinstance(model.learning, Extended)
    assert [id(p) for p in model.extras()] == [id(p) for p in model.learning.extras()]
    moved = {id(p) for name, p in model.named_parameters() if "classifier" in name and "decoder" not in name}
    assert moved and moved.isdisjoint(map(id, model.extras()))
    assert Averaged(method=ERM()).wrap(network(), 2, 7).extras() == []


@pytest.mark.parametrize("method", [PinTheMemory(auxiliary_weight=0.0), DMG(), ERM(trains="decoder")], ids=str)
def test_own_statistics_are_refused_where_another_forward_predicts(method: Method) -> None:
    with pytest.raises(ValueError, match="statistics is 'own': it must be 'average' unless"):
        Averaged(method=method, statistics="own", trains=method.trains)
