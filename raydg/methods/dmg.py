"""Domain-specific masks: every source learns which units it needs, so that some stay shared and some become its own."""

from dataclasses import dataclass
from typing import ClassVar, Literal, Self, cast

import torch
from torch import Tensor, nn

from raydg.methods.dmg_inference import Greedy, KnownDomain, MaskEns, OneMask, PredEns, WeightedPredEns
from raydg.methods.inference import Averages, Inference
from raydg.methods.masked import Masked, pooled, scale, statistics
from raydg.methods.method import Extended, Method, cross_entropy
from raydg.models import Architecture, Network
from raydg.models.sites import check_sites, sites_of
from raydg.types import Batch, Episode


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
    and fc: `sites` names them, by default all that the network has but early ones. The published code trains with
    AlexNet's dropout off: `dropout`. The paper averages predictions, the code logits (`averages`), and the code selects
    checkpoints by hard masks (`validates_with`). `reference` sets all of these as the code ran.

    Raises:
        ValueError: a negative weight, or no site.
    """

    sites: tuple[str, ...] | None = None
    """Where masks sit, by the names of the network's sites; None: at all of them but early ones."""
    overlap_weight: float = 0.1
    """Weight of the overlap (the paper's lambda_O)."""
    sparsity_weight: float = 0.0
    """Weight of the sparsity, the variant that the paper compares with."""
    pairs: Literal["mean", "sum"] = "mean"
    """Whether the soft IoU is averaged or summed over pairs of domains."""
    dropout: bool = False
    """Whether the network's own dropout is on beside the masks."""
    domain_classifier: bool = False
    """Whether a linear layer learns beside to tell the sources apart by the pooled features in front of the first mask,
    which `WeightedPredEns` needs. It gets them detached, so the network and its masks do not notice, unless
    `Stage.clip_norm` counts its gradient among theirs."""
    averages: Averages = "probabilities"
    """What the method's own inference, `PredEns`, averages."""
    validates_with: Literal["soft", "greedy"] = "soft"
    """Masks that checkpoints are validated with: as `PredEns`, or as `Greedy`."""

    inferences: ClassVar[tuple[type[Inference], ...]] = (
        PredEns,
        MaskEns,
        KnownDomain,
        OneMask,
        Greedy,
        WeightedPredEns,
    )
    minimum_sources: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.overlap_weight >= 0, "overlap_weight", "0 or more")
        self.require(self.sparsity_weight >= 0, "sparsity_weight", "0 or more")
        self.require(self.sites is None or len(self.sites) > 0, "sites", "None or at least one site")

    @classmethod
    def reference(cls) -> Self:
        """The method as the published code ran it (reference-facts 5).

        On AlexNet and ResNets, whose sites are those that the code masks: the inputs of fc6, fc7 and fc8, and of
        layer3, layer4 and fc. The rest of its recipe is the stage's: `Adam(1e-4)` for network and masks alike, weight
        decay 1e-5 and `Exponential` on PACS, where `extras_schedule=Constant()` keeps the masks' rate, and `Inverse` on
        DomainNet for both. Its batches of 64 are drawn from the pooled sources: `Sampling(balance="proportional")`.
        """
        return cls(
            sites=None,
            overlap_weight=0.1,
            sparsity_weight=0.0,
            pairs="mean",
            dropout=False,
            averages="logits",
            validates_with="greedy",
        )

    @property
    def needs_every_source(self) -> bool:
        """Masks overlap whether or not an episode shows their domains."""
        return False

    @property
    def loss_names(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The terms that there are beside the whole."""
        names = ("loss", "cross_entropy", "overlap", "sparsity")
        return (*names, "domain_loss") if self.domain_classifier else names

    def default_inference(self) -> Inference:
        return PredEns(averages=self.averages)

    def validation_inference(self) -> Inference:
        return Greedy(averages=self.averages) if self.validates_with == "greedy" else self.default_inference()

    def check_model(self, model: Architecture) -> None:
        super().check_model(model)
        check_sites("DMG", self.sites, sites_of(model))

    def wrap(self, network: Network, num_sources: int, num_classes: int) -> Masked:
        return Masked(network, num_sources, self.sites, self.domain_classifier)

    def losses(self, network: nn.Module, episode: Episode) -> dict[str, Tensor]:
        masked = cast(Masked, network)
        if not self.dropout:
            for layer in masked.modules():
                if isinstance(layer, nn.modules.dropout._DropoutNd):
                    layer.eval()
        groups = episode.batch.by_domain() if self.batchnorm == "per-domain" else [episode.batch]
        logits, features = zip(*(self.forward(masked, group) for group in groups), strict=True)
        error = cross_entropy(torch.cat(logits), torch.cat([group.labels for group in groups]))
        overlap, sparsity = masked.overlap(self.pairs), masked.sparsity()
        loss = error + self.overlap_weight * overlap + self.sparsity_weight * sparsity
        losses = {"cross_entropy": error, "overlap": overlap, "sparsity": sparsity}
        if masked.domain_classifier is not None:
            domains = torch.cat([group.domains for group in groups])
            losses["domain_loss"] = cross_entropy(masked.domain_classifier(torch.cat(features)), domains)
            loss = loss + losses["domain_loss"]
        return {"loss": loss, **{name: term.detach() for name, term in losses.items()}}

    def forward(self, masked: Masked, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits (b, k, ...) of images under sampled masks of their domains, and what the first site got, pooled and
        detached: (b, c)."""
        features: list[Tensor] = []

        def at(name: str, activations: Tensor) -> Tensor:
            if name == masked.first_site and self.domain_classifier:
                features.append(pooled(activations.detach()))
            p = masked.masks[name].sigmoid()
            return scale(activations, straight_through(p[batch.domains]))

        transforms = {name: lambda activations, name=name: at(name, activations) for name in masked.masks}
        with masked.network.transformed(transforms):
            logits = masked.network(batch.images)
        return logits, features[0] if features else logits.new_empty(0)

    def measurements(self, model: Network | Extended) -> dict[str, float]:
        """How far the sources' masks are apart: see `masked.statistics`."""
        return statistics(cast(Masked, model).probabilities())


def straight_through(p: Tensor) -> Tensor:
    """A Bernoulli sample of p, 0 or 1, with the gradient of p."""
    return (torch.bernoulli(p) - p).detach() + p
