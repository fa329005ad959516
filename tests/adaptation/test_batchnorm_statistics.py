"""TN and IaBN against BatchNorm written out in numpy."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from raydg.adaptation import IaBN, TargetNorm, TrainBN


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def normalise(x: np.ndarray, mean: np.ndarray, var: np.ndarray, layer: nn.Module) -> np.ndarray:
    """BatchNorm of one image's channels (c, h, w) with given statistics (c,), channel by channel."""
    out = np.empty_like(x)
    for c in range(len(x)):
        w, b = layer.weight[c].item(), layer.bias[c].item()
        out[c] = (x[c] - mean[c]) / np.sqrt(var[c] + layer.eps) * w + b
    return out


def iabn(x: np.ndarray, layer: nn.Module, a: float) -> np.ndarray:
    """Eq. 3 and 4, image by image."""
    running_mean, running_var = layer.running_mean.numpy(), layer.running_var.numpy()
    out = []
    for image in x:
        mean = image.reshape(len(image), -1).mean(axis=1)
        var = ((image - mean[:, None, None]) ** 2).reshape(len(image), -1).mean(axis=1)
        out.append(normalise(image, (1 - a) * running_mean + a * mean, (1 - a) * running_var + a * var, layer))
    return np.stack(out)


def target_norm(x: np.ndarray, layer: nn.Module) -> np.ndarray:
    """Eq. 11 and 12: statistics over all values that the batch has in a channel."""
    values = [x[:, c].ravel() for c in range(x.shape[1])]
    mean = np.array([v.sum() / v.size for v in values])
    var = np.array([((v - v.sum() / v.size) ** 2).sum() / v.size for v in values])
    return np.stack([normalise(image, mean, var, layer) for image in x])


def through(network: nn.Sequential, x: np.ndarray, norm) -> np.ndarray:
    """A stack of 1 x 1 convolutions, BatchNorm and ReLU in numpy, with `norm(features, layer)` for BatchNorm."""
    for module in network:
        if isinstance(module, nn.Conv2d):
            x = np.einsum("kc,bchw->bkhw", module.weight.detach().numpy()[:, :, 0, 0], x)
            x = x + module.bias.detach().numpy()[:, None, None]
        else:
            x = np.maximum(x, 0) if isinstance(module, nn.ReLU) else norm(x, module)
    return softmax(x)


@pytest.fixture
def stack(images) -> nn.Sequential:
    """Two BatchNorm layers in a row of convolutions, with running statistics of a few training batches."""
    torch.manual_seed(3)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 1), nn.BatchNorm2d(5, eps=1e-2)
    ).double()  # fmt: skip
    for layer in (network[1], network[4]):
        nn.init.normal_(layer.weight)
        nn.init.normal_(layer.bias)
    for _ in range(5):
        network(torch.rand(images.shape, dtype=torch.float64))
    return network


@pytest.mark.parametrize("a", [0.0, 0.1, 0.5, 1.0])
def test_iabn_is_the_blend_of_equation_4(stack, images, a):
    expected = through(stack, images.numpy(), lambda x, layer: iabn(x, layer, a))
    np.testing.assert_allclose(IaBN(instance_weight=a).predictor(stack)(images).numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize("num_images", [2, 3, 4])
def test_target_norm_has_the_statistics_of_the_batch_whole_or_partial(stack, images, num_images):
    batch = images[:num_images]
    expected = through(stack, batch.numpy(), target_norm)
    np.testing.assert_allclose(TargetNorm(batch_size=4).predictor(stack)(batch).numpy(), expected, rtol=1e-9)


def test_train_bn_has_the_statistics_of_training(stack, images):
    def running(x, layer):
        return np.stack([normalise(i, layer.running_mean.numpy(), layer.running_var.numpy(), layer) for i in x])

    expected = through(stack, images.numpy(), running)
    np.testing.assert_allclose(TrainBN().predictor(stack)(images).numpy(), expected, rtol=1e-9)


def test_iabn_without_the_image_is_t_bn(network, images):
    torch.testing.assert_close(
        IaBN(0).predictor(network)(images), TrainBN().predictor(network)(images), rtol=0, atol=1e-12
    )


def test_iabn_of_the_image_alone_is_instance_norm(layer, images):
    bn = layer[0]
    expected = nn.functional.instance_norm(images, weight=bn.weight, bias=bn.bias, eps=bn.eps).softmax(dim=1)
    torch.testing.assert_close(IaBN(1).predictor(layer)(images), expected)
    torch.testing.assert_close(TargetNorm(batch_size=1).predictor(layer)(images), expected)


def test_iabn_of_the_image_alone_is_target_norm_of_one_image(network, images):
    alone, singly = IaBN(1).predictor(network), TargetNorm(batch_size=1).predictor(network)
    torch.testing.assert_close(alone(images), singly(images), rtol=0, atol=1e-12)


def test_target_norm_is_the_published_procedure(network, images):
    """Train mode with dropout off, BatchNorm tracking nothing."""
    published = copy.deepcopy(network).train()
    for module in published.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats = False
    with torch.no_grad():
        expected = published(images).softmax(dim=1)
    torch.testing.assert_close(TargetNorm(batch_size=16).predictor(network)(images), expected)


def test_target_norm_takes_out_what_the_whole_batch_shares(layer, images):
    layer[0].eps = 0.0
    predictor = TargetNorm(batch_size=4).predictor(layer)
    torch.testing.assert_close(predictor(images * 3 + 5), predictor(images))


@pytest.mark.parametrize(("adaptation", "share"), [(TargetNorm(4), None), (IaBN(1), None), (IaBN(0.25), 0.75)])
def test_a_single_value_per_channel_has_no_variance(layer, adaptation, share):
    """1 x 1 positions of one image: the bias alone is left, unless the running statistics have a share."""
    image = torch.tensor([0.9, 0.1, 0.4], dtype=torch.float64).view(1, 3, 1, 1)
    bn = layer[0]
    logits = bn.bias.view(1, 3, 1, 1)
    if share is not None:
        mean = share * bn.running_mean.view(1, 3, 1, 1) + (1 - share) * image
        spread = torch.sqrt(share * bn.running_var + bn.eps).view(1, 3, 1, 1)
        logits = (image - mean) / spread * bn.weight.view(1, 3, 1, 1) + logits
    torch.testing.assert_close(adaptation.predictor(layer)(image), logits.softmax(dim=1).detach())


@pytest.mark.parametrize("adaptation", [TargetNorm(4), IaBN(1)])
def test_constant_channels_far_from_zero_give_the_bias_in_float32(layer, adaptation):
    """The scale of a constant channel is 1 / sqrt(eps): rounding of its mean must not be blown up by it."""
    images = torch.full((2, 3, 5, 5), 1000.1)
    expected = layer.float()[0].bias.softmax(dim=0).view(1, 3, 1, 1).expand(2, 3, 5, 5)
    torch.testing.assert_close(adaptation.predictor(layer)(images), expected.detach())


def test_vectors_have_batch_statistics_but_none_of_one_image(vectors, images):
    hidden = vectors[:2](images).detach().numpy()
    bn = vectors[2]
    spread = np.sqrt(hidden.var(axis=0) + bn.eps)
    logits = (hidden - hidden.mean(axis=0)) / spread * bn.weight.detach().numpy() + bn.bias.detach().numpy()
    predictor = TargetNorm(batch_size=4).predictor(vectors)
    np.testing.assert_allclose(predictor(images).numpy(), softmax(logits), rtol=1e-9)
    for adaptation, batch in ((TargetNorm(4), images[:1]), (TargetNorm(1), images), (IaBN(), images)):
        with pytest.raises(ValueError, match=rf"BatchNorm layer '2' normalises vectors \({len(batch)}, 6\)"):
            adaptation.predictor(vectors)(batch)


def test_target_norm_refuses_more_images_than_its_batch(network, images):
    with pytest.raises(ValueError, match=r"TN\(batch_size=3\) got 4 images at once: pass at most 3"):
        TargetNorm(batch_size=3).predictor(network)(images)


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_a_share_outside_0_to_1_is_refused(weight):
    with pytest.raises(ValueError, match=r"IaBN.instance_weight is .*: it must be between 0 and 1"):
        IaBN(instance_weight=weight)


@pytest.mark.parametrize("field", ["batch_size", "orders"])
def test_batches_and_orders_below_one_are_refused(field):
    with pytest.raises(ValueError, match=f"TargetNorm.{field} is 0: it must be at least 1"):
        TargetNorm(**{field: 0})


def test_gradients_reach_the_image_through_its_statistics(stack, images):
    """Test-time training differentiates the adapted network: the statistics must not be cut off."""
    network = IaBN(0.3).predictor(stack).network
    torch.autograd.gradcheck(lambda x: network(x).sin().sum(), images[:2, :, :2, :2].clone().requires_grad_())
