"""AdaBN against the moments of all values at once."""

import numpy as np
import pytest
import torch
from torch import nn

from raydg.adaptation import (
    ETA,
    TTA,
    AdaBN,
    CoTTA,
    MCDropout,
    SegTTT,
    TargetNorm,
    Tent,
    TrainBN,
    Views,
    batches,
)


@pytest.mark.parametrize("sizes", [[4], [3, 1], [1, 1, 2], [1, 1, 1, 1]])
@pytest.mark.parametrize("share", [1.0, 0.25])
def test_statistics_are_those_of_all_images_in_whatever_batches(layer, images, sizes, share):
    predictor = AdaBN(target_weight=share).predictor(layer)
    predictor.fit(iter(images.split(sizes)))
    bn, values = layer[0], images.numpy()
    mean, var = values.mean((0, 2, 3)), values.var((0, 2, 3))
    mean = share * mean + (1 - share) * bn.running_mean.numpy()
    var = share * var + (1 - share) * bn.running_var.numpy()
    weight, bias = bn.weight.detach().numpy(), bn.bias.detach().numpy()
    normal = (values - mean[:, None, None]) / np.sqrt(var + bn.eps)[:, None, None]
    logits = normal * weight[:, None, None] + bias[:, None, None]
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(predictor(images[1:3]).numpy(), expected[1:3], rtol=1e-9)


def test_images_of_other_sizes_weigh_by_their_values(layer, images):
    predictor = AdaBN().predictor(layer)
    predictor.fit([images, images[:1, :, :2, :3] + 1])
    together = torch.cat([images.transpose(0, 1).flatten(1), (images[:1, :, :2, :3] + 1).transpose(0, 1).flatten(1)], 1)
    twin = nn.Sequential(nn.BatchNorm2d(3)).double()
    twin.load_state_dict(layer.state_dict())
    twin[0].running_mean.copy_(together.mean(1))
    twin[0].running_var.copy_(together.var(1, unbiased=False))
    torch.testing.assert_close(predictor(images), TrainBN().predictor(twin)(images))


def test_the_limits(network, images):
    none = AdaBN(target_weight=0).predictor(network)
    none.fit([images])
    torch.testing.assert_close(none(images), TrainBN().predictor(network)(images))
    whole = AdaBN().predictor(network)
    whole.fit([images])
    # One batch that is the target: its own statistics in every layer.
    torch.testing.assert_close(whole(images), TargetNorm(batch_size=4).predictor(network)(images))


def test_a_second_fit_starts_anew(network, images):
    predictor, other = AdaBN().predictor(network), AdaBN().predictor(network)
    predictor.fit([images[:2] * 0.3])
    predictor.fit([images])
    other.fit([images])
    assert torch.equal(predictor(images), other(images))


def test_statistics_far_from_zero_do_not_cancel(layer):
    draw = torch.Generator().manual_seed(0)
    images = 1e4 + torch.rand(6, 3, 5, 5, generator=draw, dtype=torch.float64)
    exact = AdaBN().predictor(layer)
    exact.fit([images])
    single = AdaBN().predictor(layer.float())
    single.fit(images.float().split(1))
    torch.testing.assert_close(single(images.float()).double(), exact(images.float().double()), rtol=1e-2, atol=1e-2)


def test_it_must_see_the_target_first(network, images):
    predictor = AdaBN().predictor(network)
    with pytest.raises(ValueError, match=r"AdaBN.* call fit with its images first"):
        predictor(images)
    with pytest.raises(ValueError, match="AdaBN was fitted on no images"):
        predictor.fit([])


def test_vectors_of_one_image_are_refused(vectors, images):
    with pytest.raises(ValueError, match=r"BatchNorm layer '2' normalises vectors \(1, 6\): .* at least 2 images"):
        AdaBN().predictor(vectors).fit(images.split(1))


def test_its_batches_come_as_the_images_stand():
    assert AdaBN().sees == "the whole target" and AdaBN().num_orders == 1
    assert batches([(4, 4)] * 5, AdaBN(batch_size=2), seed=0, order=0, at_once=9) == [(0, 1), (2, 3), (4,)]


@pytest.mark.parametrize("change", [{"target_weight": 1.5}, {"batch_size": 0}])
def test_illegal_settings_are_refused(change):
    with pytest.raises(ValueError, match=f"AdaBN.{next(iter(change))} is"):
        AdaBN(**change)


HALF = Views((0.5,), flip=False, grey=False)


@pytest.mark.parametrize(
    "on",
    [
        lambda norm: TTA(norm, Views((1.0,), flip=False, grey=False)),
        lambda norm: SegTTT(norm, HALF, iterations=0),
        lambda norm: Tent(norm, iterations=1, learning_rate=1e-12),
        lambda norm: MCDropout(norm, samples=1),
        lambda norm: CoTTA(norm, HALF, confidence=0.0),
        lambda norm: ETA(norm),
    ],
)
def test_what_is_built_on_it_begins_where_it_is(segmenting, images, on):
    """Fitted on the images as they are, once, with the network as it was trained; then views and learning."""
    segmenting.encoder.stem[3].p = 1e-12  # drops nothing
    norm = AdaBN(target_weight=0.6, batch_size=2)
    predictor, plain = on(norm).predictor(segmenting), norm.predictor(segmenting)
    for each in (predictor, plain):
        each.fit(iter(images.split(2)))
    torch.testing.assert_close(predictor(images[:1]), plain(images[:1]), rtol=1e-6, atol=1e-8)
    adaptation = on(norm)
    assert (adaptation.needs_fit, adaptation.sees, adaptation.batch_size) == (True, "the whole target", 2)


def test_dropout_is_off_while_measuring(segmenting, images):
    one, two = (MCDropout(AdaBN(), samples=2).predictor(segmenting) for _ in range(2))
    torch.manual_seed(0)
    one.fit([images])
    torch.manual_seed(1)
    two.fit([images])
    assert torch.equal(one(images), two(images))


def test_what_is_built_on_it_must_be_fitted_too(segmenting, images):
    with pytest.raises(ValueError, match=r"AdaBN.* call fit with its images first"):
        TTA(AdaBN()).predictor(segmenting)(images)
