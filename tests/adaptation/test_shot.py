"""SHOT against its loss and its labels by hand, and a fit against its procedure written out."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from raydg.adaptation import SHOT, AdaBN, IaBN, TargetNorm, TrainBN, batches
from raydg.adaptation.shot import information, pseudo_labels
from raydg.domains.labels import PACS_7
from raydg.models import Classifier, SqueezeNet
from raydg.seeds import generator


def entropy(*p: float) -> float:
    return -sum(q * math.log(q) for q in p if q)


def test_information_is_entropy_less_the_entropy_of_the_mean():
    logits = torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=torch.float64).log()
    expected = (entropy(0.9, 0.1) + entropy(0.2, 0.8)) / 2 - entropy(0.55, 0.45)
    assert information(logits).item() == pytest.approx(expected, rel=1e-12)
    # Certain and of both classes alike: the least there is, and with a gradient.
    sure = torch.tensor([[400.0, 0.0], [0.0, 400.0]], requires_grad=True)
    assert information(sure).item() == pytest.approx(-math.log(2), rel=1e-6)
    (gradient,) = torch.autograd.grad(information(sure), sure)
    assert gradient.isfinite().all()


def nearest(vectors: np.ndarray, p: np.ndarray) -> list[int]:
    """Labels by two rounds of centroids, class by class and image by image."""
    n, k = p.shape
    units = [np.append(v, 1) / np.linalg.norm(np.append(v, 1)) for v in vectors]
    labels, weights = p.argmax(1).tolist(), p
    for _ in range(2):
        centroids = {
            c: sum(weights[i, c] * units[i] for i in range(n)) / sum(weights[:, c]) for c in range(k) if c in labels
        }
        labels = [max(centroids, key=lambda c: unit @ centroids[c] / np.linalg.norm(centroids[c])) for unit in units]
        weights = np.array([[float(label == c) for c in range(k)] for label in labels])
    return labels


def test_labels_are_those_of_the_nearest_centroid():
    draw = np.random.default_rng(0)
    p = draw.dirichlet(np.ones(5) * 0.7, size=40)
    p[:, 3] *= 1e-3  # a class that no image is predicted to be
    p /= p.sum(1, keepdims=True)
    vectors = draw.normal(size=(40, 3)) + 4 * p[:, :3]
    got = pseudo_labels(torch.from_numpy(vectors), torch.from_numpy(p)).tolist()
    assert got == nearest(vectors, p)
    assert 3 not in got and got != p.argmax(1).tolist()


@pytest.fixture
def classifying(classifying):
    """Whose predictions are not certain from the start."""
    classifying.decoder.last.weight.data.mul_(0.1)
    return classifying


SHORT = {"epochs": 2, "images_per_step": 3, "learning_rate": 0.05}


@pytest.mark.parametrize("shot", [SHOT(seed=4, **SHORT), SHOT(IaBN(0.3), pseudo_label_weight=0.0, **SHORT)])
def test_a_fit_is_the_procedure(classifying, images, shot):
    twin = shot.norm.predictor(classifying).network
    learning = [p for name, p in twin.named_parameters() if not name.startswith("decoder.last")]
    velocity = [torch.zeros_like(p) for p in learning]
    step, steps = 0, 2 * 2
    for epoch in range(2):
        with torch.no_grad():
            features = twin.encoder((images - twin.mean) / twin.std)[-1].mean((2, 3))
            labels = torch.tensor(nearest(features.numpy(), twin(images).softmax(1).numpy()))
        order = generator(shot.seed, "shot", epoch).permutation(4)
        for chosen in (order[:3], order[3:]):
            step += 1
            p = twin(images[chosen]).softmax(1)
            mean = p.mean(0)
            loss = -(p * p.log()).sum() / len(chosen) + (mean * mean.log()).sum()
            loss = loss + shot.pseudo_label_weight * F.nll_loss(p.log(), labels[chosen])
            gradients = torch.autograd.grad(loss, learning)
            rate = 0.05 / (1 + 10 * step / steps) ** 0.75
            with torch.no_grad():
                for weight, g, v in zip(learning, gradients, velocity, strict=True):
                    g = g + 0.001 * weight
                    v.mul_(0.9).add_(g)
                    weight -= rate * (g + 0.9 * v)
    predictor = shot.predictor(classifying)
    predictor.fit(iter(images.split(2)))
    with torch.no_grad():
        torch.testing.assert_close(predictor(images), twin(images).softmax(1), rtol=1e-6, atol=1e-8)
    assert (predictor(images) - shot.norm.predictor(classifying)(images)).abs().max() > 1e-5


def test_the_head_is_frozen_and_all_before_it_learns(classifying, images):
    predictor = SHOT(**SHORT).predictor(classifying)
    predictor.fit([images])
    for name, learnt in predictor.network.named_parameters():
        assert torch.equal(learnt, classifying.get_parameter(name)) == name.startswith("decoder.last")


def test_predictions_become_certain_and_of_every_kind(classifying, images):
    def worth(predicted: Tensor) -> float:
        return information(predicted.log()).item()

    predictor = SHOT(epochs=20, learning_rate=0.05).predictor(classifying)
    predictor.fit([images])
    assert worth(predictor(images)) < worth(TrainBN().predictor(classifying)(images)) - 0.1


def test_a_second_fit_starts_anew(classifying, images):
    predictor, other = (SHOT(AdaBN(batch_size=2), **SHORT).predictor(classifying) for _ in range(2))
    predictor.fit([images[:3] * 0.5])
    predictor.fit([images])
    other.fit([images])
    assert torch.equal(predictor(images), other(images))


def test_what_it_cannot_be_fitted_on(classifying, images):
    predictor = SHOT().predictor(classifying)
    with pytest.raises(ValueError, match="SHOT predicts with what it learnt from the whole target: call fit"):
        predictor(images)
    with pytest.raises(ValueError, match="SHOT was fitted on no images"):
        predictor.fit([])
    with pytest.raises(ValueError, match=r"images of several sizes \(5 x 9, 7 x 9\): bring them to one"):
        predictor.fit([images, images[:, :, :5]])


def test_what_has_no_linear_head_is_refused(segmenting):
    with pytest.raises(ValueError, match="SHOT looks at one vector of an image, and this network segments"):
        SHOT().predictor(segmenting)
    with pytest.raises(ValueError, match="SHOT needs a classifier that ends in a linear layer"):
        SHOT().predictor(Classifier(SqueezeNet("1.1")).build(PACS_7))


def test_its_batches_come_as_the_images_stand():
    assert SHOT().sees == "the whole target" and SHOT().needs_fit and not SHOT().keeps_state
    assert batches([(4, 4)] * 5, SHOT(images_per_step=2), seed=0, order=0, at_once=9) == [(0, 1), (2, 3), (4,)]
    assert SHOT(TargetNorm(batch_size=1)).num_orders == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "SHOT.epochs is 0"),
        ({"learning_rate": 0.0}, "SHOT.learning_rate is 0.0"),
        ({"pseudo_label_weight": -1.0}, "SHOT.pseudo_label_weight is -1.0"),
        ({"momentum": 1.0}, "SHOT.momentum is 1.0"),
        ({"weight_decay": -1.0}, "SHOT.weight_decay is -1.0"),
        ({"images_per_step": 0}, "SHOT.images_per_step is 0: it must be 1 or more"),
        ({"norm": TargetNorm()}, "SHOT.norm is .*: it must be one that does not see a batch"),
    ],
)
def test_illegal_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        SHOT(**change)


def test_the_network_is_the_callers_own(classifying, images):
    before = copy.deepcopy(classifying.state_dict())
    SHOT(**SHORT).predictor(classifying).fit([images])
    assert all(torch.equal(tensor, before[name]) for name, tensor in classifying.state_dict().items())
