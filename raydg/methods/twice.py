"""BatchNorm and attention for losses that are differentiated twice."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode


@contextmanager
def differentiable_twice() -> Iterator[None]:
    """What is computed in this block can be differentiated twice, and BatchNorm quickly so.

    Attention's fast kernels have no second derivative. torch's of BatchNorm on batch statistics is put together from
    elementwise operations, which took a tenth of a second-order step; the one here takes two of BatchNorm's backwards
    and eight passes over the maps. All results are torch's, to rounding.
    """
    with sdpa_kernel(SDPBackend.MATH), _Twice():
        yield


class _Twice(TorchFunctionMode):
    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return (batch_norm if func is F.batch_norm else func)(*args, **kwargs or {})


def batch_norm(
    maps: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`F.batch_norm`, which still does what is not the plain case, and refuses one value a channel."""
    if not training or weight is None or bias is None or maps.numel() == maps.shape[1]:
        return F.batch_norm(maps, running_mean, running_var, weight, bias, training, momentum, eps)
    return _BatchNorm.apply(maps, weight, bias, running_mean, running_var, momentum, eps)


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,
        x: Tensor,
        w: Tensor,
        b: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        momentum: float,
        eps: float,
    ) -> Tensor:
        y, mean, r = torch.native_batch_norm(x, w, b, running_mean, running_var, True, momentum, eps)
        ctx.save_for_backward(x, w, mean, r)
        ctx.eps = eps
        return y

    @staticmethod
    def backward(ctx, gy: Tensor) -> tuple[Tensor | None, ...]:
        return *_BatchNormBackward.apply(gy, *ctx.saved_tensors, ctx.eps), None, None, None, None


class _BatchNormBackward(torch.autograd.Function):
    """With x̂ = r (x - mean), the means and sums over all of a channel's n values, and the symmetric

        P u = u - mean(u) - x̂ mean(u x̂)

    it is gx = w r P gy, gw = Σ gy x̂, gb = Σ gy. Its derivative, u, a and c coming from these three:

        of gy   w r P u + a x̂ + c
        of w    s = Σ gy r P u
        of x    r P (a gy - w r (gy mean(u x̂) + u mean(gy x̂))) - x̂ w r s / n
    """

    @staticmethod
    def forward(
        ctx, gy: Tensor, x: Tensor, w: Tensor, mean: Tensor, r: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        gx, gw, gb = _projected(gy, x, w, mean, r, eps)
        ctx.save_for_backward(gy, x, w, mean, r, gw)
        ctx.eps = eps
        return gx, gw, gb

    @staticmethod
    def backward(ctx, u: Tensor, a: Tensor, c: Tensor) -> tuple[Tensor | None, ...]:
        gy, x, w, mean, r, gw = ctx.saved_tensors
        n, one = x.numel() // x.shape[1], torch.ones_like(w)

        def wide(channels: Tensor) -> Tensor:
            return channels.view(-1, *[1] * (x.ndim - 2))

        rpu, ux, _ = _projected(u, x, one, mean, r, ctx.eps)
        of_gy = torch.addcmul(wide(c - a * r * mean), x, wide(a * r)).addcmul_(rpu, wide(w))
        s = (gy * rpu).sum([0, *range(2, x.ndim)], dtype=r.dtype)
        inner = torch.addcmul(gy * wide(a - w * r * ux / n), u, wide(-w * r * gw / n))
        rpi, _, _ = _projected(inner.to(x.dtype), x, one, mean, r, ctx.eps)
        shift = w * r.square() * s / n
        of_x = torch.addcmul(rpi + wide(shift * mean), x, wide(shift), value=-1)
        return of_gy.to(gy.dtype), of_x.to(x.dtype), s, None, None, None


def _projected(u: Tensor, x: Tensor, w: Tensor, mean: Tensor, r: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """w r P u, Σ u x̂ and Σ u: BatchNorm's backward."""
    needed = [True, True, True]
    return torch.ops.aten.native_batch_norm_backward(u, x, w, None, None, mean, r, True, eps, needed)
