"""Meta-learning domain generalisation: learn on some sources so that a step on them also helps the others."""

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from raydg.methods.method import Method
from raydg.seeds import generator
from raydg.types import Episode, Role


@dataclass(frozen=True, kw_only=True)
class MLDG(Method):
    """Model-agnostic learning of TSMLDG (Section 3.2, Eq. 3 to 6, Algorithm 1).

        L_ds = L(B_tr; θ)                        meta-train loss
        θ'   = θ - inner_lr ∇L_ds(θ)             look-ahead, every learning parameter, BatchNorm's affine ones included
        L_dg = L(B_te; θ')                       meta-test loss
        loss = meta_train_weight L_ds + meta_test_weight L_dg

    **Paper and code.** Eq. 6 puts the paper's α on L_ds, Algorithm 1 line 7 on L_dg, and the published code has none:
    both are weights here, 1 by default, where all three agree. The paper differentiates through the look-ahead; the
    published code does not (its gradient is constant there), so its outer gradient is ∇L_ds(θ) + ∇L_dg(θ').
    `second_order=False`, the default, is that; True is the paper's: the exact gradient, with the term -inner_lr H
    ∇L_dg(θ'), H the Hessian of L_ds. The paper splits four sources 2:2; the published code, and our default, draws the
    number of meta-train domains from 1 to D-1.

    **BatchNorm.** L_ds moves the running statistics, L_dg does not: its pass reads and writes a copy, as the published
    code's second network does.

    **How the gradient is made.** It is complete before `losses` returns: each graph is freed as soon as it has been
    used, and the loss carries the gradient with it (`with_gradient`). The second-order term is one Hessian-vector
    product on the meta-train graph, so the meta-test graph is never kept beside it.
    """

    inner_lr: float = 1e-3
    """Step of the look-ahead (the paper's η, 1e-3)."""
    second_order: bool = False
    """Differentiate through the look-ahead step (the paper) or not (the published code)."""
    meta_train_weight: float = 1.0
    """Weight of L_ds (the paper's α in Eq. 6)."""
    meta_test_weight: float = 1.0
    """Weight of L_dg (the paper's α in Algorithm 1, line 7)."""
    num_meta_train: int | None = None
    """Number of meta-train domains (the n of n:m in Table 4); None draws it from 1 to D-1."""
    split_per: Literal["step", "episode"] = "step"
    """Whether the episodes of a step share one split of the domains (the paper's way) or draw their own."""

    loss_names: ClassVar[tuple[str, ...]] = ("loss", "meta_train_loss", "meta_test_loss")
    minimum_sources: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.inner_lr >= 0, "inner_lr", "0 or more")
        self.require(self.meta_train_weight >= 0, "meta_train_weight", "0 or more")
        self.require(self.meta_test_weight >= 0, "meta_test_weight", "0 or more")
        self.require(self.num_meta_train is None or self.num_meta_train >= 1, "num_meta_train", "None or 1 or more")

    def check_sources(self, num_sources: int) -> None:
        super().check_sources(num_sources)
        legal = f"None or 1 to {num_sources - 1} with {num_sources} source domains"
        self.require(self.num_meta_train is None or self.num_meta_train < num_sources, "num_meta_train", legal)

    @property
    def smallest_forward(self) -> Literal["one domain", "all domains"]:
        return "one domain"

    def roles(self, num_sources: int, seed: int, step: int, episode: int) -> tuple[Role, ...]:
        draw = generator(seed, "split", step, episode if self.split_per == "episode" else -1)
        order = draw.permutation(num_sources)
        num_meta_train = self.num_meta_train or int(draw.integers(1, num_sources))
        meta_train = set(order[:num_meta_train].tolist())
        return tuple("meta-train" if source in meta_train else "meta-test" for source in range(num_sources))

    def losses(self, network: nn.Module, episode: Episode) -> dict[str, Tensor]:
        # Attention's fast kernels have no second derivative.
        with sdpa_kernel(SDPBackend.MATH) if self.second_order else nullcontext():
            return self._losses(network, episode)

    def _losses(self, network: nn.Module, episode: Episode) -> dict[str, Tensor]:
        parameters = {name: p for name, p in network.named_parameters() if p.requires_grad}
        theta = list(parameters.values())

        meta_train_loss = self.loss(network, episode.of_role("meta-train"))
        g = torch.autograd.grad(meta_train_loss, theta, create_graph=self.second_order, materialize_grads=True)

        with torch.no_grad():
            fast = {
                n: (p - self.inner_lr * g_p).requires_grad_() for (n, p), g_p in zip(parameters.items(), g, strict=True)
            }
            copied_buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
        look_ahead = partial(functional_call, network, fast | copied_buffers)
        meta_test_loss = self.loss(look_ahead, episode.of_role("meta-test"))
        v = torch.autograd.grad(meta_test_loss, list(fast.values()), materialize_grads=True)

        if self.second_order:  # the transpose of dθ'/dθ = I - inner_lr H, applied to v
            hessian_v = torch.autograd.grad(g, theta, grad_outputs=v, materialize_grads=True)
            v = [v_p - self.inner_lr * h_p for v_p, h_p in zip(v, hessian_v, strict=True)]
        w_train, w_test = self.meta_train_weight, self.meta_test_weight
        total = [w_train * g_p.detach() + w_test * v_p for g_p, v_p in zip(g, v, strict=True)]

        meta_train_loss, meta_test_loss = meta_train_loss.detach(), meta_test_loss.detach()
        loss = with_gradient(w_train * meta_train_loss + w_test * meta_test_loss, theta, total)
        return {"loss": loss, "meta_train_loss": meta_train_loss, "meta_test_loss": meta_test_loss}


def with_gradient(value: Tensor, parameters: Iterable[Tensor], gradients: Iterable[Tensor]) -> Tensor:
    """A scalar of the given value whose backward hands each parameter the gradient given here, times what comes from
    above.

    So a gradient that a forward has already computed passes through DistributedDataParallel, loss scaling and
    accumulation like any other, and no graph has to be kept for it.
    """
    return _WithGradient.apply(value, *parameters, *gradients)


class _WithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value: Tensor, *parameters_and_gradients: Tensor) -> Tensor:
        half = len(parameters_and_gradients) // 2
        ctx.save_for_backward(*parameters_and_gradients[half:])
        return value.clone()

    @staticmethod
    def backward(ctx, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.saved_tensors
        return (None, *(grad_output * gradient for gradient in gradients), *(None for _ in gradients))
