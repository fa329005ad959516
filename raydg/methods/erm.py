"""Empirical risk minimisation on the union of the sources."""

from dataclasses import dataclass

from torch import Tensor

from raydg.methods.method import Method
from raydg.models import Network
from raydg.types import Episode


@dataclass(frozen=True, kw_only=True)
class ERM(Method):
    """Aggregate all sources and minimise their cross-entropy: L_agg = L(D_src; θ, φ) (TSMLDG Eq. 2, "AGG"; DMG's
    "Aggregate").

    Eq. 1 sums over pixels and averages over images; TSMLDG's code, like all others, averages over the labelled pixels
    of the whole batch, and so do we: an image with few labelled pixels then counts less, and the loss does not grow
    with the crop.
    """

    def losses(self, network: Network, episode: Episode) -> dict[str, Tensor]:
        return {"loss": self.loss(network, episode.batch)}
