"""CoTTA against its equations by three networks written out, and its limits."""

import copy

import pytest
import torch
from torch import Tensor, nn

from raydg.adaptation import TTA, AdaBN, CoTTA, IaBN, TargetNorm, TrainBN, Views

TWO = Views((0.75, 1.5), grey=False)


@pytest.mark.parametrize(
    ("norm", "labels"), [(IaBN(0.3), "soft"), (TargetNorm(batch_size=4), "hard"), (AdaBN(batch_size=4), "soft")]
)
def test_it_is_the_equations(network, images, norm, labels):
    """Without restoring, which is random; Adam by its own equations."""
    cotta = CoTTA(norm, TWO, 0.6, labels, learning_rate=0.01, teacher_momentum=0.7, restored=0.0)
    predictor, base = cotta.predictor(network), norm.predictor(network)
    for each in (predictor, base) if norm.needs_fit else ():
        each.fit([images])
    source, teacher, learner = (copy.deepcopy(base.network) for _ in range(3))
    weights = list(learner.parameters())
    first, second = ([torch.zeros_like(p) for p in weights] for _ in range(2))
    step, chosen = 0, []
    for batch in (images, images.flip(3) * 0.9):
        got, expected = predictor(batch), []
        for part in batch.split(4 if norm.sees == "a batch" else 1):
            with torch.no_grad():
                voted = TTA(TrainBN(), TWO).predictor(teacher)
                # Views are met one by one where they would share statistics; `teacher` normalises as it does.
                if norm.sees == "a batch":
                    voted.norm = norm
                sure = source(part).softmax(1).max(1, keepdim=True).values >= 0.6
                y = torch.where(sure, teacher(part).softmax(1), voted(part))
            chosen.append(sure.flatten())
            expected.append(y)
            target = nn.functional.one_hot(y.argmax(1), y.shape[1]).movedim(-1, 1) if labels == "hard" else y
            p = learner(part).log_softmax(1)
            loss = -(target * p).sum() / (p.numel() / p.shape[1])
            gradients = torch.autograd.grad(loss, weights)
            step += 1
            with torch.no_grad():
                for w, g, m, v in zip(weights, gradients, first, second, strict=True):
                    m.mul_(0.9).add_(0.1 * g)
                    v.mul_(0.999).add_(0.001 * g**2)
                    w -= 0.01 * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)
                for t, w in zip(teacher.parameters(), weights, strict=True):
                    t.copy_(0.7 * t + 0.3 * w)
        torch.testing.assert_close(got, torch.cat(expected), rtol=1e-6, atol=1e-8)
    assert torch.cat(chosen).any() and not torch.cat(chosen).all()


def numbers(module: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def test_the_limits_of_confidence(network, images):
    sure = CoTTA(IaBN(), TWO, confidence=0.0).predictor(network)
    assert torch.equal(sure(images[:1]), IaBN().predictor(network)(images[:1]))
    never = CoTTA(IaBN(), TWO, confidence=1.1).predictor(network)
    assert torch.equal(never(images[:1]), TTA(IaBN(), TWO).predictor(network)(images[:1]))


def test_the_limits_of_the_teacher_and_of_restoring(network, images):
    steady = CoTTA(views=TWO, teacher_momentum=1.0, learning_rate=0.01).predictor(network)
    assert torch.equal(steady(images), steady(images))
    assert not torch.equal(numbers(steady.network), numbers(network))
    follows = CoTTA(views=TWO, teacher_momentum=0.0, learning_rate=0.01, restored=0.0).predictor(network)
    follows(images[:1])
    assert torch.equal(numbers(follows.teacher), numbers(follows.network))
    back = CoTTA(views=TWO, restored=1.0, learning_rate=0.01).predictor(network)
    back(images)
    assert torch.equal(numbers(back.network), numbers(network))


def test_a_share_is_put_back_and_follows_the_seed(network, images):
    def learnt(seed: int, restored: float) -> Tensor:
        predictor = CoTTA(views=TWO, restored=restored, learning_rate=0.01, seed=seed).predictor(network)
        predictor(images[:1])
        return numbers(predictor.network)

    start, free, some, other = numbers(network), learnt(0, 0.0), learnt(0, 0.25), learnt(1, 0.25)
    moves = free != start
    put_back = (some == start)[moves]
    # What is not put back is as it would be; five standard deviations of the share.
    assert torch.equal(some[moves][~put_back], free[moves][~put_back])
    assert abs(put_back.double().mean().item() - 0.25) < 5 * (0.1875 / len(put_back)) ** 0.5
    assert torch.equal(learnt(0, 0.25), some) and not torch.equal(some, other)


def test_a_new_domain_starts_anew(network, images):
    predictor = CoTTA(AdaBN(batch_size=2), TWO, learning_rate=0.01).predictor(network)
    predictor.fit([images])
    first = predictor(images)
    predictor(images)
    predictor.fit([images])
    assert torch.equal(predictor(images), first)


def test_what_it_sees_and_keeps():
    assert (CoTTA().sees, CoTTA().batch_size, CoTTA().num_orders) == ("a stream", 1, 1)
    assert CoTTA().keeps_state and not CoTTA().needs_batchnorm and CoTTA(IaBN()).needs_batchnorm


@pytest.mark.parametrize(
    "change", [{"confidence": -0.1}, {"learning_rate": 0.0}, {"teacher_momentum": 1.1}, {"restored": 2.0}]
)
def test_illegal_settings_are_refused(change):
    with pytest.raises(ValueError, match=f"CoTTA.{next(iter(change))} is"):
        CoTTA(**change)
