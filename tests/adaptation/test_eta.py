"""ETA against its filters and its step written out prediction by prediction."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from raydg.adaptation import ETA, AdaBN, IaBN, TargetNorm, TrainBN


def flat(logits: Tensor) -> Tensor:
    """Every prediction a row."""
    return logits.movedim(1, -1).reshape(-1, logits.shape[1])


def step(twin: nn.Module, velocity: dict[str, Tensor], average: Tensor | None, images: Tensor, eta: ETA):
    """One batch: probabilities, the rows kept, and the average afterwards."""
    logits = twin(images)
    largest = eta.entropy_share * math.log(logits.shape[1])
    kept, terms = [], []
    for row in flat(logits):
        p = row.softmax(0)
        h = -(p * p.log()).sum()
        if h < largest and (average is None or p @ average / (p.norm() * average.norm()) < eta.similarity):
            kept.append(p.detach())
            terms.append(math.exp(largest - h.item()) * h)
    if kept:
        learning = {n: p for n, p in twin.named_parameters() if p.requires_grad}
        gradients = torch.autograd.grad(sum(terms) / len(terms), list(learning.values()))
        with torch.no_grad():
            for (name, p), g in zip(learning.items(), gradients, strict=True):
                velocity[name] = eta.momentum * velocity.get(name, torch.zeros_like(g)) + g
                p -= eta.learning_rate * velocity[name]
        mean = sum(kept) / len(kept)
        average = mean if average is None else (1 - eta.average_rate) * average + eta.average_rate * mean
    return logits.detach().softmax(1), len(kept), average


@pytest.mark.parametrize(
    "norm", [TargetNorm(batch_size=4), IaBN(0.3), AdaBN(batch_size=4)], ids=["batch", "one image", "whole target"]
)
def test_it_is_the_equations(network, images, norm):
    eta = ETA(norm, entropy_share=0.7, similarity=0.8, learning_rate=0.05)
    predictor = eta.predictor(network)
    twin = norm.predictor(network)
    for each in (predictor, twin) if norm.needs_fit else ():
        each.fit([images])
    twin = twin.network
    norms = {name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}
    for name, parameter in twin.named_parameters():
        parameter.requires_grad_(name.rpartition(".")[0] in norms)
    velocity, average, counts = {}, None, []
    stream = [images, images.flip(0, 3) * 0.9, images.flip(2)]
    for batch in stream:
        got = predictor(batch)
        expected = []
        for part in batch.split(4 if norm.sees == "a batch" else 1):
            p, count, average = step(twin, velocity, average, part, eta)
            expected.append(p)
            counts.append((count, flat(p).shape[0]))
        torch.testing.assert_close(got, torch.cat(expected), rtol=1e-8, atol=1e-10)
    assert sum(count for count, _ in counts) and any(count < of for count, of in counts)
    moved = {n for n, p in predictor.network.named_parameters() if not torch.equal(p, network.get_parameter(n))}
    assert moved and moved <= {f"{norm_}.{part}" for norm_ in norms for part in ("weight", "bias")}


def test_nothing_is_learnt_where_nothing_is_kept(network, images):
    quiet = copy.deepcopy(network)
    quiet.decoder.last.weight.data.mul_(1e-3)
    quiet.decoder.last.bias.data.zero_()
    predictor = ETA(TrainBN(), learning_rate=1.0).predictor(quiet)
    for _ in range(2):
        assert torch.equal(predictor(images), TrainBN().predictor(quiet)(images))
    assert predictor.average is None


def test_a_prediction_like_those_before_is_redundant(network, images):
    predictor = ETA(TrainBN(), entropy_share=1.0, similarity=0.5, learning_rate=1e-9).predictor(network)
    assert predictor.kept(torch.tensor([[0.98, 0.01, 0.01]])).all()
    predictor.average = torch.tensor([1.0, 0.0, 0.0])
    several = torch.tensor([[0.98, 0.01, 0.01], [0.01, 0.98, 0.01], [0.4, 0.59, 0.01], [1 / 3, 1 / 3, 1 / 3]])
    # Cosines 1.0, 0.01, 0.56 and 0.58; the last has the largest entropy, too.
    assert predictor.kept(several).tolist() == [False, True, False, False]


def test_what_it_sees_and_keeps():
    assert (ETA().sees, ETA().batch_size, ETA().num_orders) == ("a stream", 16, 1)
    assert ETA().keeps_state and ETA(TrainBN()).needs_batchnorm and ETA(TrainBN()).batch_size == 1
    assert ETA(AdaBN()).sees == "the whole target" and ETA(AdaBN()).needs_fit


@pytest.mark.parametrize(
    "change",
    [
        {"entropy_share": 0.0},
        {"similarity": 1.5},
        {"average_rate": 0.0},
        {"learning_rate": 0.0},
        {"momentum": 1.0},
    ],
)
def test_illegal_settings_are_refused(change):
    with pytest.raises(ValueError, match=f"ETA.{next(iter(change))} is"):
        ETA(**change)
