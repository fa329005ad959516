"""Invariant risk minimisation: one classifier that is best for every source at once."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from raydg.methods.method import Method, cross_entropy
from raydg.types import Episode


@dataclass(frozen=True, kw_only=True)
class IRM(Method):
    """IRMv1 of Arjovsky et al., "Invariant Risk Minimization", 2019, Section 3.

        loss = mean over sources of [ R(network) + penalty_weight ( d R(w network) / d w at w = 1 )² ]

    w is one number that scales the logits. DomainBed estimates the square by the product of the gradients of two halves
    of a batch, which is unbiased; the paper's appendix does likewise, its Section 3 squares one gradient, and so do we:
    it needs no second image of a source. The weight is usually raised after some steps: put a stage with penalty_weight
    0 before (`ERM`), as the paper's experiments do.

    Raises:
        ValueError: a negative weight.
    """

    penalty_weight: float = 1.0
    """Weight of the penalty (the paper's lambda)."""

    loss_names: ClassVar[tuple[str, ...]] = ("loss", "risk", "penalty")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.penalty_weight >= 0, "penalty_weight", "0 or more")

    @property
    def smallest_forward(self) -> Literal["one domain", "all domains"]:
        return "one domain"

    def losses(self, network: nn.Module, episode: Episode) -> dict[str, Tensor]:
        risks, penalties = [], []
        for batch in episode.batch.by_domain():
            scale = torch.ones((), dtype=batch.images.dtype, device=batch.images.device, requires_grad=True)
            risk = cross_entropy(network(batch.images) * scale, batch.labels)
            (slope,) = torch.autograd.grad(risk, scale, create_graph=True)
            risks.append(risk)
            penalties.append(slope.square())
        risk, penalty = torch.stack(risks).mean(), torch.stack(penalties).mean()
        return {"loss": risk + self.penalty_weight * penalty, "risk": risk.detach(), "penalty": penalty.detach()}
