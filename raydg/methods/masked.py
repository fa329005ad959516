"""A network whose units are masked differently for every source."""

from collections.abc import Mapping
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor, nn

from raydg.methods.method import Extended
from raydg.models import Network
from raydg.models.sites import check_sites

EPSILON = 1e-6
"""Added to both parts of the soft IoU, as in the published code."""


class Masked(Extended):
    """A network with a mask for every source at every site: logits (d, c), drawn from U(0, 1) at the start.

    With a domain classifier there is also a linear layer that tells the sources apart by the features in front of the
    first mask; it gets them detached, so what it learns changes nothing else.

    Raises:
        ValueError: a site that the network does not have.
    """

    def __init__(
        self, network: Network, num_sources: int, sites: tuple[str, ...] | None = None, domain_classifier: bool = False
    ) -> None:
        super().__init__(network)
        known = network.sites
        check_sites("DMG", sites, tuple(known))
        # In the order of the forward, which is that of the network's modules; of a dict it would sort the names.
        self.masks = nn.ParameterDict(
            [
                (name, nn.Parameter(torch.rand(num_sources, site.channels)))
                for name, site in known.items()
                if (not site.early if sites is None else name in sites)
            ]
        )
        # After the masks, so that they start alike with and without it.
        channels = known[self.first_site].channels
        self.domain_classifier = nn.Linear(channels, num_sources) if domain_classifier else None

    @property
    def num_sources(self) -> int:
        return len(self.masks[self.first_site])

    @property
    def first_site(self) -> str:
        """The site that a forward comes to first."""
        return next(iter(self.masks))

    def probabilities(self) -> dict[str, Tensor]:
        """Keep-probabilities (d, c) at every site, without a gradient."""
        return {name: logits.detach().sigmoid() for name, logits in self.masks.items()}

    def overlap(self, pairs: Literal["mean", "sum"]) -> Tensor:
        """Soft IoU of the masks of every pair of domains, added over sites."""
        total = next(iter(self.masks.values())).new_zeros(())
        for logits in self.masks.values():
            p = logits.sigmoid()
            ious = torch.stack([soft_iou(p[a], p[b]) for a, b in combinations(range(len(p)), 2)])
            total = total + (ious.mean() if pairs == "mean" else ious.sum())
        return total

    def sparsity(self) -> Tensor:
        """Mean keep-probability of a site's units and domains, added over sites."""
        return torch.stack([logits.sigmoid().mean() for logits in self.masks.values()]).sum()


def scale(activations: Tensor, units: Tensor) -> Tensor:
    """Maps (b, c, h, w) or vectors (b, c) times one value for every image and unit, (b, c)."""
    units = units.to(activations.dtype)
    return activations * (units if activations.ndim == 2 else units[:, :, None, None])


def pooled(activations: Tensor) -> Tensor:
    """Vectors (b, c) as they are, maps (b, c, h, w) averaged over their positions."""
    return activations if activations.ndim == 2 else activations.mean((2, 3))


def soft_iou(p: Tensor, q: Tensor) -> Tensor:
    """Intersection over union of two masks of probabilities (c,)."""
    together = (p * q).sum()
    return (together + EPSILON) / ((p + q).sum() - together + EPSILON)


def statistics(probabilities: Mapping[str, Tensor]) -> dict[str, float]:
    """What masks (d, c) thresholded at 0.5 say of the sources (Section 7.1, Fig. 3c to 5).

    "iou/<site>/<a>-<b>" for every pair of sources, by their numbers, of two empty masks 1; "iou/<site>" their mean, and
    "iou" the mean over sites. Of a site's units "units/<site>/active" is the share that is on, averaged over sources;
    "off-in-all", "on-in-all" and "domain-specific" share out all units. With one source there is no pair, and no unit
    is specific.
    """
    found: dict[str, float] = {}
    means = []
    for name, p in probabilities.items():
        on = p > 0.5
        ious = []
        for a, b in combinations(range(len(on)), 2):
            union = int((on[a] | on[b]).sum())
            ious.append(int((on[a] & on[b]).sum()) / union if union else 1.0)
            found[f"iou/{name}/{a}-{b}"] = ious[-1]
        if ious:
            means.append(sum(ious) / len(ious))
            found[f"iou/{name}"] = means[-1]
        off_in_all, on_in_all = float((~on).all(0).double().mean()), float(on.all(0).double().mean())
        found[f"units/{name}/active"] = float(on.double().mean())
        found[f"units/{name}/off-in-all"], found[f"units/{name}/on-in-all"] = off_in_all, on_in_all
        found[f"units/{name}/domain-specific"] = float((on.any(0) & ~on.all(0)).double().mean())
    return found | ({"iou": sum(means) / len(means)} if means else {})
