"""CORAL: the sources' features are to have the same means and covariances."""

from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from raydg.methods.method import Method
from raydg.models import Architecture, Network
from raydg.models.sites import check_sites, sites_of
from raydg.types import Episode


@dataclass(frozen=True, kw_only=True)
class CORAL(Method):
    """Sun and Saenko, "Deep CORAL: Correlation Alignment for Deep Domain Adaptation", 2016, for several sources.

        loss = cross-entropy + penalty_weight mean over pairs of sources of
                   mean over features of (m_i - m_j)²  +  mean over pairs of features of (C_i - C_j)²

    m and C are the mean and the covariance (over n - 1) of a source's features, vectors at one site; maps are averaged
    over their positions first. The paper aligns covariances alone, at a quarter of this weight; DomainBed, which most
    numbers of the field are from, adds the means, and so do we.

    Raises:
        ValueError: a negative weight, or per-domain BatchNorm; in training, a source with fewer than 2 images.
    """

    penalty_weight: float = 1.0
    """Weight of the penalty (DomainBed's gamma)."""
    site: str = "before_last"
    """Where features are aligned: a site of the network, such as the input of the last layer, or `context`."""

    loss_names: ClassVar[tuple[str, ...]] = ("loss", "cross_entropy", "penalty")
    minimum_sources: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.penalty_weight >= 0, "penalty_weight", "0 or more")
        self.require(self.batchnorm == "pooled", "batchnorm", "'pooled'")

    def check_model(self, model: Architecture) -> None:
        super().check_model(model)
        check_sites("CORAL", (self.site,), sites_of(model))

    def losses(self, network: nn.Module, episode: Episode) -> dict[str, Tensor]:
        seen: list[Tensor] = []

        def look(activations: Tensor) -> Tensor:
            seen.append(activations if activations.ndim == 2 else activations.mean((2, 3)))
            return activations

        with cast(Network, network).transformed({self.site: look}):
            error = self.loss(network, episode.batch)
        domains = episode.batch.domains
        groups = [seen[0][domains == domain] for domain in domains.unique()]
        fewest = min(map(len, groups))
        if fewest < 2:
            raise ValueError(f"CORAL needs 2 images of every source in an episode, one has {fewest}: draw more.")
        moments = [(group.mean(0), group.T.cov()) for group in groups]
        penalty = torch.stack(
            [
                (mean - other_mean).square().mean() + (covariance - other_covariance).square().mean()
                for (mean, covariance), (other_mean, other_covariance) in combinations(moments, 2)
            ]
        ).mean()
        return {
            "loss": error + self.penalty_weight * penalty,
            "cross_entropy": error.detach(),
            "penalty": penalty.detach(),
        }
