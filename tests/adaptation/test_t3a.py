"""T3A against its supports kept in plain lists; the cut before the last layer."""

import math

import pytest
import torch
from torch import Tensor

from raydg.adaptation import T3A, AdaBN, IaBN, TargetNorm, TrainBN
from raydg.adaptation.linear_head import LinearHead
from raydg.domains.labels import PACS_7
from raydg.methods import MultiHeaded
from raydg.models import Classifier, SmallNet, SqueezeNet


def entropy(p: list[float]) -> float:
    return -sum(q * math.log(q) for q in p)


def adjusted(t3a: T3A, rows: Tensor, bias: Tensor, batches: list[Tensor]) -> Tensor:
    """Predictions of vectors that come in batches, by the equations, one support after another."""
    supports: list[list[tuple[float, Tensor]]] = [[] for _ in rows]

    def enter(vector: Tensor, number: int | None) -> None:
        p = (rows @ vector + bias).softmax(0)
        number = int(p.argmax()) if number is None else number
        supports[number].append((entropy(p.tolist()), vector / vector.norm()))
        supports[number].sort(key=lambda pair: pair[0])
        if t3a.supports:
            del supports[number][t3a.supports :]

    for k, row in enumerate(rows):
        enter(row, k if t3a.first_supports == "own class" else None)
    found = []
    for batch in batches:
        for vector in batch:
            enter(vector, None)
        for vector in batch:
            scores = []
            for kept in supports:
                total = sum((unit for _, unit in kept), torch.zeros_like(vector))
                size = total.norm() if t3a.prototypes == "unit length" else len(kept)
                scores.append(vector @ total / size if kept else torch.zeros((), dtype=vector.dtype))
            found.append(torch.stack(scores).softmax(0))
    return torch.stack(found)


@pytest.fixture
def stream(images) -> Tensor:
    return torch.cat([images, images.flip(2) * 0.8, images.flip(0, 3) * 0.9 + 0.05])


@pytest.mark.parametrize(
    "t3a",
    [T3A(supports=2), T3A(supports=None), T3A.reference(supports=3), T3A(TargetNorm(batch_size=3), supports=1)],
    ids=lambda t3a: t3a.label,
)
def test_it_is_the_equations(classifying, stream, t3a):
    norm = t3a.norm.predictor(classifying).network
    head = LinearHead(norm, "T3A")
    together = 3 if t3a.norm == TargetNorm(batch_size=3) else 1
    with torch.no_grad():
        vectors = [head(part)[0] for part in stream.split(together)]
        expected = adjusted(t3a, head.last.weight, head.last.bias, vectors)
    predictor = t3a.predictor(classifying)
    got = torch.cat([predictor(part) for part in stream.split(together)])
    torch.testing.assert_close(got, expected)
    plain = torch.cat([t3a.norm.predictor(classifying)(part) for part in stream.split(together)])
    assert (got.argmax(1) != plain.argmax(1)).any() or (got - plain).abs().max() > 0.01


def test_images_of_a_forward_enter_one_by_one_unless_they_share_statistics(classifying, stream):
    at_once, singly = (T3A(IaBN()).predictor(classifying) for _ in range(2))
    torch.testing.assert_close(at_once(stream), torch.cat([singly(image[None]) for image in stream]))


def test_the_cut_is_what_enters_the_last_layer(classifying, images):
    classifying.eval()
    vectors, logits = LinearHead(classifying, "T3A")(images)
    features = classifying.encoder((images - classifying.mean) / classifying.std)[-1]
    torch.testing.assert_close(vectors, features.mean((2, 3)))
    torch.testing.assert_close(logits, classifying(images))
    torch.testing.assert_close(vectors @ classifying.decoder.last.weight.T + classifying.decoder.last.bias, logits)


def test_what_has_no_such_cut_is_refused(segmenting):
    with pytest.raises(ValueError, match="T3A looks at one vector of an image, and this network segments: take SegTTT"):
        T3A().predictor(segmenting)
    squeeze = Classifier(SqueezeNet("1.1")).build(PACS_7)
    with pytest.raises(ValueError, match=r"T3A needs a classifier that ends in a linear layer .* ends in Sequential"):
        T3A().predictor(squeeze)
    headed = MultiHeaded().wrap(Classifier(SmallNet(8)).build(PACS_7), 2, 7)
    with pytest.raises(ValueError, match="T3A works on the parts of one raydg Network, and HeadEnsemble is none"):
        T3A().predictor(MultiHeaded().default_inference().module(headed, ("a", "b"), None))


def test_what_it_sees_and_keeps():
    assert T3A().sees == "a stream" and T3A().keeps_state and not T3A().needs_fit and not T3A().needs_batchnorm
    batch = T3A(TargetNorm(batch_size=8))
    assert (batch.sees, batch.batch_size, batch.num_orders) == ("a stream", 8, 1)
    assert T3A(AdaBN()).sees == "the whole target" and T3A(AdaBN()).keeps_state
    assert T3A(TrainBN(), None).label == "T3A(t-BN, all supports)"


def test_no_support_is_refused():
    with pytest.raises(ValueError, match=r"T3A.supports is 0: it must be None or 1 or more"):
        T3A(supports=0)
