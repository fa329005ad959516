"""Meta-learning domain generalisation: learn on some sources so that a step on them also helps the others."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import repeat
from typing import Any, ClassVar, Literal, Self, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from raydg.methods.auxiliary import cross_entropies
from raydg.methods.method import Method
from raydg.methods.twice import differentiable_twice
from raydg.models import Network
from raydg.seeds import generator
from raydg.types import Batch, Episode, Role


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

    **How the gradient is made.** To autograd too the loss is the sum above. Its one backward goes through the meta-test
    graph and reaches the look-ahead (`_LookAhead`) with ∇L_dg(θ'), to which that adds ∇L_ds(θ), computed before. In
    first order the meta-train graph is freed before the meta-test one is made. In second order it stays, for one
    Hessian-vector product, which then no longer finds the meta-test graph beside it.
    """

    inner_lr: float = 1e-3
    """Step of the look-ahead (the paper's η, 1e-3)."""
    inner_lr_relative: bool = False
    """Whether `inner_lr` is a multiple of the encoder's learning rate in the step, after the schedule (Pin the Memory:
    a quarter of it), or a learning rate."""
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
    auxiliary_weight: float = 0.0
    """Weight of the loss of the network's auxiliary head in both losses (Pin the Memory's MLDG has 0.4)."""

    loss_names: ClassVar[tuple[str, ...]] = ("loss", "meta_train_loss", "meta_test_loss")
    minimum_sources: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.inner_lr >= 0, "inner_lr", "0 or more")
        self.require(self.meta_train_weight >= 0, "meta_train_weight", "0 or more")
        self.require(self.meta_test_weight >= 0, "meta_test_weight", "0 or more")
        self.require(self.num_meta_train is None or self.num_meta_train >= 1, "num_meta_train", "None or 1 or more")
        self.require(self.auxiliary_weight >= 0, "auxiliary_weight", "0 or more")
        legal = "0 where BatchNorm is per domain"
        self.require(self.auxiliary_weight == 0 or self.batchnorm == "pooled", "auxiliary_weight", legal)

    @classmethod
    def reference(cls) -> Self:
        """As TSMLDG's published code ran (TSMLDG.py, utils/nn_utils.py): first order, splits of every size, BatchNorm
        pooled over the domains of a role. These are the defaults; the paper's own way is `MLDG(second_order=True,
        num_meta_train=2)`."""
        return cls(inner_lr=1e-3, second_order=False, num_meta_train=None, split_per="step", batchnorm="pooled")

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
        parameters = {name: p for name, p in network.named_parameters() if p.requires_grad}
        theta = list(parameters.values())

        with differentiable_twice() if self.second_order else nullcontext():
            terms = self.meta_train(network, episode)
        meta_train_loss = terms["meta_train_loss"]
        g = torch.autograd.grad(meta_train_loss, theta, create_graph=self.second_order, materialize_grads=True)
        terms = {name: term.detach() for name, term in terms.items()}

        weighed = self.meta_train_weight * terms["meta_train_loss"]
        weighed, *fast = _LookAhead.apply(self, self.step_of(episode), list(parameters), g, weighed, *theta)
        copied_buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
        state = dict(zip(parameters, fast, strict=True)) | copied_buffers
        meta_test_loss = look_ahead(network, state, lambda moved: self.meta_test(moved, episode, terms))

        terms["meta_test_loss"] = meta_test_loss.detach()
        terms["loss"] = weighed + self.meta_test_weight * meta_test_loss
        return {name: terms[name] for name in self.loss_names}

    def step_of(self, episode: Episode) -> float:
        """The learning rate of the look-ahead."""
        return self.inner_lr * episode.lr if self.inner_lr_relative else self.inner_lr

    def meta_train(self, network: nn.Module, episode: Episode) -> dict[str, Tensor]:
        """L_ds under "meta_train_loss", and what else of it is logged or handed on to `meta_test`."""
        return {"meta_train_loss": self.error(network, episode.of_role("meta-train"))}

    def meta_test(self, network: nn.Module, episode: Episode, meta_train: dict[str, Tensor]) -> Tensor:
        """L_dg of the network that the look-ahead has moved, after what `meta_train` returned, without its graph."""
        return self.error(network, episode.of_role("meta-test"))

    def joined(self, parameter: str, scale: Tensor, meta_train_gradient: Tensor, meta_test_gradient: Tensor) -> Tensor:
        """The gradient of a parameter, given by name. That of L_dg comes with its weight; `scale` is what the loss has
        been multiplied by after `losses`, which that of L_dg has in it too."""
        if not self.meta_train_weight:
            return meta_test_gradient
        return torch.addcmul(meta_test_gradient, meta_train_gradient, scale, value=self.meta_train_weight)

    def error(self, network: nn.Module, batch: Batch) -> Tensor:
        """Cross-entropy, with that of the auxiliary head where it has a weight."""
        if not self.auxiliary_weight:
            return self.loss(network, batch)
        main, auxiliary = cross_entropies(cast(Network, network), batch)
        return main + self.auxiliary_weight * auxiliary


def look_ahead(network: nn.Module, state: dict[str, Tensor], function: Callable[[Any], Tensor]) -> Tensor:
    """`function(network)` where `state` stands in for the parameters and buffers that it names, whichever of the
    network's methods the function calls."""
    return functional_call(_Applied(network), {f"network.{name}": t for name, t in state.items()}, (function,))


class _Applied(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, function: Callable[[Any], Tensor]) -> Tensor:
        return function(self.network)


class _LookAhead(torch.autograd.Function):
    """From θ to θ', and to L_ds with its weight, whose value and gradient g have been computed.

    To autograd this is all that leads to θ. So DistributedDataParallel, loss scaling and accumulation see one ordinary
    backward. The gradients are joined here, in one pass over the parameters.
    """

    @staticmethod
    def forward(
        ctx, method: MLDG, step: float, names: Sequence[str], g: Sequence[Tensor], weighed: Tensor, *theta: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.method, ctx.step, ctx.names = method, step, names
        ctx.save_for_backward(*theta, *g)
        return weighed.clone(), *(torch.sub(p, g_p.detach(), alpha=step) for p, g_p in zip(theta, g, strict=True))

    @staticmethod
    def backward(ctx, scale: Tensor, *v: Tensor) -> tuple[Tensor | None, ...]:
        theta, g = ctx.saved_tensors[: len(v)], ctx.saved_tensors[len(v) :]
        if ctx.method.second_order:  # the transpose of dθ'/dθ = I - step H, applied to v
            hessian_v = torch.autograd.grad(g, theta, grad_outputs=v, materialize_grads=True)
            v = tuple(torch.sub(v_p, h_p, alpha=ctx.step) for v_p, h_p in zip(v, hessian_v, strict=True))
        joined = map(ctx.method.joined, ctx.names, repeat(scale), (g_p.detach() for g_p in g), v)
        return None, None, None, None, None, *joined
