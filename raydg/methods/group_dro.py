"""Distributionally robust optimisation over sources: the worst-served ones weigh most."""

from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from raydg.methods.method import Extended, Method
from raydg.models import Network
from raydg.types import Episode


@dataclass(frozen=True, kw_only=True)
class GroupDRO(Method):
    """Sagawa et al., "Distributionally Robust Neural Networks for Group Shifts", ICLR 2020, Algorithm 1.

        q_d <- q_d exp(step_size R_d),  q <- q / sum(q)        R_d the risk of source d
        loss = sum_d q_d R_d

    q is remembered from step to step. In a step of several episodes each starts from the step's own q, and their mean
    is kept, as for all buffers. Every episode needs images of every source.

    Raises:
        ValueError: a negative step size.
    """

    step_size: float = 0.01
    """How fast the weights follow the risks (the paper's eta_q)."""

    loss_names: ClassVar[tuple[str, ...]] = ("loss", "risk", "largest_weight")
    minimum_sources: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.step_size >= 0, "step_size", "0 or more")

    @property
    def smallest_forward(self) -> Literal["one domain", "all domains"]:
        return "one domain"

    def wrap(self, network: Network, num_sources: int, num_classes: int) -> "Weighted":
        return Weighted(network, num_sources)

    def losses(self, network: nn.Module, episode: Episode) -> dict[str, Tensor]:
        weighted = cast(Weighted, network)
        risks = self.risks(weighted.network, episode)
        q = weighted.weights * (self.step_size * risks.detach()).exp()
        weighted.weights.copy_(q / q.sum())
        q = weighted.weights.clone()
        return {"loss": (q * risks).sum(), "risk": risks.detach().mean(), "largest_weight": q.max()}


class Weighted(Extended):
    """A network and the weight of every source, which add up to 1."""

    weights: Tensor

    def __init__(self, network: Network, num_sources: int) -> None:
        super().__init__(network)
        self.register_buffer("weights", torch.full((num_sources,), 1 / num_sources))
