"""Domain-specific masks: every source learns which units it needs, so that some stay shared and some become its own."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from raydg.methods.method import Extended, Method
from raydg.models import Architecture, Network
from raydg.models.network import Transform
from raydg.models.sites import check_sites, sites_of
from raydg.types import Episode

EPSILON = 1e-6
"""Added to both parts of the soft IoU, as in the published code."""


@dataclass(frozen=True, kw_only=True)
class DMG(Method):
    """DMG (Section 3.1, Eq. 1 to 4).

        p = sigmoid(logits of the image's domain)          keep-probability of every unit at a site
        m ~ Bernoulli(p), one sample per image and unit    gradients pass straight through to p
        activations <- m activations
        loss = cross-entropy + overlap_weight overlap + sparsity_weight sparsity
        overlap  = over sites and pairs of domains, soft IoU(p1, p2) = sum(p1 p2) / sum(p1 + p2 - p1 p2)
        sparsity = over sites and domains, mean of p

    A unit is a channel of a map, or an element of a vector. Activations are not rescaled by 1/p.

    **Paper and code.** Eq. 1 speaks of the mask distributions, so the soft IoU is of the probabilities. The paper sums
    it over pairs, the published code averages: with 3 sources the same weight then means 3 times less, with 5 ten times
    less. `pairs` chooses, by default the code's mean, for the published weight of 0.1 is the code's. The paper masks
    the last residual block and the classifier, two places; the shipped ResNet jobs mask the inputs of layer3, layer4
    and fc: `sites` names them, by default all that the network has. The published code trains with AlexNet's dropout
    off: `dropout`.

    Raises:
        ValueError: a negative weight.
    """

    sites: tuple[str, ...] | None = None
    """Where masks sit, by the names of the network's sites; None: at all of them."""
    overlap_weight: float = 0.1
    """Weight of the overlap (the paper's lambda_O)."""
    sparsity_weight: float = 0.0
    """Weight of the sparsity, the variant that the paper compares with."""
    pairs: Literal["mean", "sum"] = "mean"
    """Whether the soft IoU is averaged or summed over pairs of domains."""
    dropout: bool = False
    """Whether the network's own dropout is on beside the masks."""

    loss_names: ClassVar[tuple[str, ...]] = ("loss", "cross_entropy", "overlap", "sparsity")
    minimum_sources: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.overlap_weight >= 0, "overlap_weight", "0 or more")
        self.require(self.sparsity_weight >= 0, "sparsity_weight", "0 or more")
        self.require(self.sites is None or len(self.sites) > 0, "sites", "None or at least one site")

    def check_model(self, model: Architecture) -> None:
        check_sites("DMG", self.sites, sites_of(model))

    def wrap(self, network: Network, num_sources: int, num_classes: int) -> "Masked":
        return Masked(network, num_sources, self.sites)

    def losses(self, network: "Masked", episode: Episode) -> dict[str, Tensor]:
        if not self.dropout:
            for layer in network.modules():
                if isinstance(layer, nn.modules.dropout._DropoutNd):
                    layer.eval()
        domains = episode.batch.domains
        with network.network.transformed(network.masking(lambda p: straight_through(p[domains]))):
            error = self.loss(network.network, episode.batch)
        overlap, sparsity = network.overlap(self.pairs), network.sparsity()
        loss = error + self.overlap_weight * overlap + self.sparsity_weight * sparsity
        return {
            "loss": loss,
            "cross_entropy": error.detach(),
            "overlap": overlap.detach(),
            "sparsity": sparsity.detach(),
        }

    def inference(self, model: "Masked") -> nn.Module:
        return PredictionEnsemble(model)


class Masked(Extended):
    """A network with a mask for every source at every site: logits (d, c), drawn from U(0, 1) at the start.

    Raises:
        ValueError: a site that the network does not have.
    """

    def __init__(self, network: Network, num_sources: int, sites: tuple[str, ...] | None = None) -> None:
        super().__init__(network)
        known = network.sites
        check_sites("DMG", sites, tuple(known))
        # In the order of the forward, which is that of the network's modules.
        self.masks = nn.ParameterDict(
            {
                name: nn.Parameter(torch.rand(num_sources, site.channels))
                for name, site in known.items()
                if sites is None or name in sites
            }
        )

    @property
    def num_sources(self) -> int:
        return len(next(iter(self.masks.values())))

    def masking(self, mask: Callable[[Tensor], Tensor]) -> dict[str, Transform]:
        """Transforms that multiply the activations at each site by `mask` of its probabilities (d, c): (b, c)."""

        def at(name: str) -> Transform:
            def multiply(activations: Tensor) -> Tensor:
                units = mask(self.masks[name].sigmoid()).to(activations.dtype)
                return activations * (units if activations.ndim == 2 else units[:, :, None, None])

            return multiply

        return {name: at(name) for name in self.masks}

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


def straight_through(p: Tensor) -> Tensor:
    """A Bernoulli sample of p, 0 or 1, with the gradient of p."""
    return (torch.bernoulli(p) - p).detach() + p


def soft_iou(p: Tensor, q: Tensor) -> Tensor:
    """Intersection over union of two masks of probabilities (c,)."""
    together = (p * q).sum()
    return (together + EPSILON) / ((p + q).sum() - together + EPSILON)


class PredictionEnsemble(nn.Module):
    """The mean, over the sources' masks, of the predicted probabilities ("Pred-Ens", Section 3.2): images to
    log-probabilities.

    Activations are scaled by the probabilities of the masks, nothing is sampled. The published code averages logits;
    the paper averages predictions, and so do we. A classifier computes what comes before the first site once: there the
    batch is repeated for every source. (Under batch statistics, which TN uses, the sources' copies then share them.) A
    network that segments runs once for every source, for its decoder also takes features from before the masks.
    """

    def __init__(self, model: Masked) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        by_source = self.together(images) if self.model.network.task == "classification" else self.in_turn(images)
        return by_source.logsumexp(0) - math.log(self.model.num_sources)

    def in_turn(self, images: Tensor) -> Tensor:
        """Log-probabilities under each source's masks, (d, b, k, ...), one forward after the other."""
        return torch.stack([self.under(source, images) for source in range(self.model.num_sources)])

    def under(self, source: int, images: Tensor) -> Tensor:
        """Log-probabilities (b, k, ...) under the masks of one source."""
        with self.model.network.transformed(self.model.masking(lambda p: p[source].expand(len(images), -1))):
            return self.model.network(images).log_softmax(1)

    def together(self, images: Tensor) -> Tensor:
        """As `in_turn`, in one forward whose batch grows at the first site."""
        model, num_images = self.model, len(images)
        sources = torch.arange(model.num_sources, device=images.device).repeat_interleave(num_images)
        masking = model.masking(lambda p: p[sources])
        first = next(iter(masking))
        repeat_and_mask = masking[first]

        def repeat(activations: Tensor) -> Tensor:
            return repeat_and_mask(activations.repeat(model.num_sources, *[1] * (activations.ndim - 1)))

        with model.network.transformed({**masking, first: repeat}):
            logits = model.network(images)
        return logits.log_softmax(1).unflatten(0, (model.num_sources, num_images))
