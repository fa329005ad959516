"""Second derivatives of BatchNorm against torch's own."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from raydg.methods.twice import differentiable_twice


def zeroed(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    """With a channel that has lost its scale, as residual branches may start."""
    assert norm.weight is not None
    nn.init.normal_(norm.weight)
    nn.init.zeros_(norm.weight[:2])
    return norm


def shiftless(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    norm.register_parameter("bias", None)
    return norm


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "alone": lambda: zeroed(nn.BatchNorm2d(4)),
    "between others": lambda: nn.Sequential(
        nn.Conv2d(4, 6, 3), zeroed(nn.BatchNorm2d(6)), nn.ReLU(inplace=True), nn.Conv2d(6, 2, 1)
    ),
    "of vectors": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(4)),
    "without a shift": lambda: nn.Sequential(nn.Conv2d(4, 6, 1), shiftless(nn.BatchNorm2d(6))),
    "without parameters": lambda: nn.Sequential(nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6, affine=False)),
    "on running statistics": lambda: nn.BatchNorm2d(4).eval(),
}


def derivatives(layer: nn.Module, maps: Tensor, fast: bool, inputs_learn: bool = True) -> list[Tensor]:
    """The output, the gradients of a scalar of it, those of a product with them, and the layer's buffers after."""
    torch.manual_seed(1)
    maps = maps.clone().requires_grad_(inputs_learn)
    inputs = [*layer.parameters(), *([maps] if inputs_learn else [])]
    if fast:
        with differentiable_twice():
            output = layer(maps)
    else:
        output = layer(maps)
    gradients = torch.autograd.grad((output.double() ** 3).mean(), inputs, create_graph=True)
    along = [torch.randn_like(gradient) for gradient in gradients]
    second = torch.autograd.grad(gradients, inputs, along, materialize_grads=True)
    return [output, *gradients, *second, *(buffer.double() for buffer in layer.buffers())]


@pytest.mark.parametrize("inputs_learn", [True, False])
@pytest.mark.parametrize("layer", LAYERS)
def test_both_derivatives_are_torchs(layer: str, inputs_learn: bool) -> None:
    torch.manual_seed(0)
    maps = torch.randn(3, 4, 9, 8, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    found = []
    for fast in (True, False):
        torch.manual_seed(2)
        found.append(derivatives(LAYERS[layer]().double(), maps, fast, inputs_learn))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def test_under_autocast_they_are_as_exact_as_torchs() -> None:
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 3))
    maps = torch.randn(8, 4, 16, 16)
    exact = derivatives(layer, maps, fast=True)
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = (derivatives(layer, maps, fast) for fast in (True, False))
    for e, o, t in zip(exact, ours, theirs, strict=True):
        assert o.dtype == t.dtype
        assert (o - e).norm() <= 2 * (t - e).norm() + 0.01 * e.norm()


def test_one_value_a_channel_is_refused_as_ever() -> None:
    with differentiable_twice(), pytest.raises(ValueError, match="more than 1 value per channel"):
        nn.BatchNorm2d(4)(torch.rand(1, 4, 1, 1))
