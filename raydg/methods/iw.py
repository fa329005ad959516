"""Instance whitening: the channels of an image's features are not to vary together, for that is its style."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from raydg.methods.method import Method
from raydg.models import Architecture, Network
from raydg.models.normalisation import InstanceStandardisation
from raydg.types import Episode


@dataclass(frozen=True, kw_only=True)
class IW(Method):
    """Instance whitening, and its relaxed form IRW, of RobustNet (Choi et al., CVPR 2021), with ERM's loss.

        loss = cross-entropy + penalty_weight mean over sites and images of
                   max(0, mean over pairs of channels of |C| - tolerance)

    C is the covariance, over positions and with n - 1, of two channels of an image's features at a site where the
    network standardises them: the stem and the ends of layer1 and layer2 of `ResNet(norm="robustnet")`, the end of
    block1 and block2 of `SmallNet`'s. Standardised, they have covariances that are correlations. Pairs are of different
    channels. Read from the published code (network/instance_whitening.py, deepv3.py and cov_settings.py), which divides
    by the number of pairs.

    Raises:
        ValueError: a negative number, per-domain BatchNorm, or an encoder that does not learn.
    """

    penalty_weight: float = 0.6
    """Weight of the penalty (wt_reg_weight of their train_r50os16_gtav_iw.sh and _irw.sh)."""
    tolerance: float = 0.0
    """Mean |C| that costs nothing: 0 is IW, 1/64 IRW (relax_denom 64, whose number of pairs they round down)."""

    loss_names: ClassVar[tuple[str, ...]] = ("loss", "cross_entropy", "penalty")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.penalty_weight >= 0, "penalty_weight", "0 or more")
        self.require(self.tolerance >= 0, "tolerance", "0 or more")
        self.require(self.batchnorm == "pooled", "batchnorm", "'pooled'")
        self.require(self.trains != "decoder", "trains", "'both' or 'encoder': the penalty is the encoder's")

    def check_model(self, model: Architecture) -> None:
        super().check_model(model)
        check_standardised(self, model)

    def losses(self, network: nn.Module, episode: Episode) -> dict[str, Tensor]:
        plain = cast(Network, network)
        with observed(plain, covariances) as found:
            error = self.loss(plain, episode.batch)
        penalty = torch.stack([(c.abs().mean(1) - self.tolerance).clamp(min=0).mean() for c in found.values()]).mean()
        return {
            "loss": error + self.penalty_weight * penalty,
            "cross_entropy": error.detach(),
            "penalty": penalty.detach(),
        }


def covariances(maps: Tensor) -> Tensor:
    """Covariances (b, pairs) of standardised maps (b, c, h, w), over n - 1; the pairs as `torch.triu_indices` has them.

    In float32 at least, whatever autocast says: what is small here is what counts.
    """
    with torch.autocast(maps.device.type, enabled=False):
        flat = maps.to(torch.promote_types(maps.dtype, torch.float32)).flatten(2)
        matrix = flat @ flat.mT / max(1, flat.shape[2] - 1)
    first, second = torch.triu_indices(flat.shape[1], flat.shape[1], offset=1, device=maps.device)
    return matrix[:, first, second]


@contextmanager
def observed(network: Network, look: Callable[[Tensor], Tensor]) -> Iterator[dict[str, Tensor]]:
    """In this block `look` sees the maps at every standardised site of a network; gives what it made of them, by site.

    A second forward in the block replaces what the first one left.
    """
    found: dict[str, Tensor] = {}

    def at(name: str, maps: Tensor) -> Tensor:
        found[name] = look(maps)
        return maps

    with network.transformed({name: partial(at, name) for name in standardised(network)}):
        yield found


def standardised(network: Network) -> dict[str, InstanceStandardisation]:
    """The sites of a network where features are standardised, by name."""
    return {name: site for name, site in network.sites.items() if isinstance(site, InstanceStandardisation)}


@cache
def has_standardised(model: Architecture) -> bool:
    with torch.device("meta"):
        return bool(standardised(model.assemble(num_classes=2)))


def check_standardised(method: Method, model: Architecture) -> None:
    """Raise a ValueError unless networks of this architecture standardise features somewhere."""
    if not has_standardised(model):
        raise ValueError(
            f"{type(method).__name__} whitens standardised features, and {type(model.backbone).__name__} has none: "
            "take ResNet or SmallNet with norm='robustnet'."
        )
