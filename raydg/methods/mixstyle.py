"""MixStyle: images lend each other the statistics of their features, so that styles in between are seen."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from raydg.methods.method import Method
from raydg.models import Architecture
from raydg.models.sites import check_sites, sites_of
from raydg.types import Episode


@dataclass(frozen=True, kw_only=True)
class MixStyle(Method):
    """Zhou et al., "Domain Generalization with MixStyle", ICLR 2021, Section 2.2, with ERM's loss.

        mu, sigma     mean and standard deviation of a feature map over its positions, per image and channel
        x <- sigma_mix (x - mu) / sigma + mu_mix
        mu_mix = m mu + (1 - m) mu of another image of the batch, sigma_mix likewise, m ~ Beta(beta, beta) per image

    Statistics carry no gradient, as in the authors' code. Each site mixes with the given probability, by a permutation
    of the batch that is drawn there; the paper's other way, to pair images of different domains only, is not here.

    Raises:
        ValueError: no site, a probability outside [0, 1], or a beta that is not positive.
    """

    sites: tuple[str, ...]
    """Where styles are mixed, by the names of the network's sites of maps. The paper mixes behind the first two or
    three of a ResNet's layers: "before_layer2", "before_layer3", "before_layer4"; late sites carry content, which
    mixing harms."""
    probability: float = 0.5
    """Of mixing at a site in a forward."""
    beta: float = 0.1
    """Both parameters of the Beta distribution (the paper's alpha)."""

    loss_names: ClassVar[tuple[str, ...]] = ("loss",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(len(self.sites) > 0, "sites", "at least one site")
        self.require(0 <= self.probability <= 1, "probability", "0 to 1")
        self.require(self.beta > 0, "beta", "above 0")

    def check_model(self, model: Architecture) -> None:
        super().check_model(model)
        check_sites("MixStyle", self.sites, sites_of(model))

    def losses(self, network: nn.Module, episode: Episode) -> dict[str, Tensor]:
        with network.transformed(dict.fromkeys(self.sites, self.mix)):  # pyright: ignore[reportCallIssue]
            return {"loss": self.loss(network, episode.batch)}

    def mix(self, maps: Tensor) -> Tensor:
        """Maps (b, c, h, w) in styles between their own and another's, or as they are."""
        if torch.rand(()) >= self.probability:
            return maps
        mean = maps.detach().mean((2, 3), keepdim=True)
        deviation = (maps.detach().var((2, 3), keepdim=True) + 1e-6).sqrt()
        m = torch.distributions.Beta(self.beta, self.beta).sample((len(maps), 1, 1, 1)).to(maps)
        other = torch.randperm(len(maps)).to(maps.device)
        mixed_mean = m * mean + (1 - m) * mean[other]
        mixed_deviation = m * deviation + (1 - m) * deviation[other]
        return mixed_deviation * (maps - mean) / deviation + mixed_mean
