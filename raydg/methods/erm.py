"""Empirical risk minimisation on the union of the sources."""

from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from raydg.methods.anchor import Anchor
from raydg.methods.auxiliary import cross_entropies
from raydg.methods.method import Extended, Method
from raydg.models import Network
from raydg.types import Episode


@dataclass(frozen=True, kw_only=True)
class ERM(Method):
    """Aggregate all sources and minimise their cross-entropy: L_agg = L(D_src; θ, φ) (TSMLDG Eq. 2, "AGG"; DMG's
    "Aggregate").

        loss = cross-entropy + auxiliary_weight cross-entropy of the auxiliary head + distance_weight distance

    Eq. 1 sums over pixels and averages over images; TSMLDG's code, like all others, averages over the labelled pixels
    of the whole batch, and so do we: an image with few labelled pixels then counts less, and the loss does not grow
    with the crop.

    Raises:
        ValueError: a negative weight, or an auxiliary loss with per-domain BatchNorm.
    """

    auxiliary_weight: float = 0.0
    """Weight of the loss of the network's auxiliary head (DeFT's Table 6; Pin the Memory's baseline has 0.4)."""
    distance_weight: float = 0.0
    """Weight of the sum of the distances of the learning parameters from where the stage began (DeFT's Eq. 3, Table 3;
    the paper does not say which weight it used)."""
    measure_distances: bool = False
    """Whether every checkpoint records how far the network is from where the stage began (DeFT's Figure 3; see
    `Anchor.distances`), as `DeFT.measure_distances` does."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.auxiliary_weight >= 0, "auxiliary_weight", "0 or more")
        self.require(self.distance_weight >= 0, "distance_weight", "0 or more")
        legal = "0 where BatchNorm is per domain"
        self.require(self.auxiliary_weight == 0 or self.batchnorm == "pooled", "auxiliary_weight", legal)

    @property
    def loss_names(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The terms that there are beside the whole."""
        optional = {"auxiliary_loss": self.auxiliary_weight, "distance": self.distance_weight}
        used = tuple(name for name, weight in optional.items() if weight)
        return ("loss", "cross_entropy", *used) if used else ("loss",)

    def wrap(self, network: Network, num_sources: int, num_classes: int) -> Network | Extended:
        return Anchored(network) if self.distance_weight or self.measure_distances else network

    def measurements(self, model: Network | Extended) -> dict[str, float]:
        return model.anchor.distances(model.network) if self.measure_distances and isinstance(model, Anchored) else {}

    def losses(self, network: nn.Module, episode: Episode) -> dict[str, Tensor]:
        plain = cast(Network, network.network if isinstance(network, Anchored) else network)
        terms: dict[str, Tensor] = {}
        if self.auxiliary_weight:
            terms["cross_entropy"], terms["auxiliary_loss"] = cross_entropies(plain, episode.batch)
            loss = terms["cross_entropy"] + self.auxiliary_weight * terms["auxiliary_loss"]
        else:
            loss = terms["cross_entropy"] = self.loss(plain, episode.batch)
        if self.distance_weight:
            assert isinstance(network, Anchored)
            terms["distance"] = network.anchor.distance(plain)
            loss = loss + self.distance_weight * terms["distance"]
        return {"loss": loss, **{name: terms[name].detach() for name in self.loss_names if name != "loss"}}


class Anchored(Extended):
    """A network that knows where it began."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.anchor = Anchor(network)
