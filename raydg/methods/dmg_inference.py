"""Ways to predict with domain-specific masks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast

import torch
from torch import Tensor, nn

from raydg.methods.inference import Averages, Inference, OfKnownDomain, average, positions
from raydg.methods.masked import Masked, pooled, scale
from raydg.methods.method import Extended
from raydg.models import Network

if TYPE_CHECKING:
    from raydg.methods.method import Method


@dataclass(frozen=True, kw_only=True)
class PredEns(Inference):
    """Pred-Ens (Section 3.2): one prediction under the soft masks of each source, averaged.

    Activations are scaled by the masks' probabilities; nothing is sampled. The paper averages predictions, and so do
    we; the published code averages logits, which is the other choice of `averages`.
    """

    averages: Averages = "probabilities"
    """What is averaged over the sources."""

    @property
    def label(self) -> str:
        return "Pred-Ens" + (" of logits" if self.averages == "logits" else "")

    def module(self, model: Network | Extended, sources: Sequence[str], domain: str | None) -> nn.Module:
        masked = cast(Masked, model)
        return MaskedEnsemble(masked.network, masked.probabilities(), self.averages)


@dataclass(frozen=True, kw_only=True)
class MaskEns(Inference):
    """Mask-Ens (Section 7.3): the soft masks are averaged over the sources, and one prediction is made under that."""

    @property
    def label(self) -> str:
        return "Mask-Ens"

    def module(self, model: Network | Extended, sources: Sequence[str], domain: str | None) -> nn.Module:
        masked = cast(Masked, model)
        return MaskedEnsemble(
            masked.network, {name: p.mean(0, keepdim=True) for name, p in masked.probabilities().items()}
        )


@dataclass(frozen=True, kw_only=True)
class KnownDomain(OfKnownDomain):
    """DMG-KD (Table 3): the soft masks of the domain that is scored. It predicts on sources only.

    Where a source was listed more than once, the probabilities under each of its masks are averaged.
    """

    @property
    def label(self) -> str:
        return "known domain"

    def module(self, model: Network | Extended, sources: Sequence[str], domain: str | None) -> nn.Module:
        own, masked = self.own(sources, domain), cast(Masked, model)
        return MaskedEnsemble(masked.network, {name: p[own] for name, p in masked.probabilities().items()})


@dataclass(frozen=True, kw_only=True)
class OneMask(Inference):
    """The soft masks of one chosen source, whatever domain is scored: a row of Table 4.

    Raises:
        ValueError: from `check`, a name that is no source's.
    """

    source: str
    """Name of the source, as `Experiment.source_names` has it."""

    @property
    def label(self) -> str:
        return f"mask of {self.source}"

    def check(self, method: "Method", sources: Sequence[str]) -> None:
        super().check(method, sources)
        self.require(self.source in sources, "source", f"one of the sources {', '.join(sources)}")

    def module(self, model: Network | Extended, sources: Sequence[str], domain: str | None) -> nn.Module:
        masked, chosen = cast(Masked, model), [list(sources).index(self.source)]
        return MaskedEnsemble(masked.network, {name: p[chosen] for name, p in masked.probabilities().items()})


@dataclass(frozen=True, kw_only=True)
class Greedy(Inference):
    """Hard masks: a unit is on where its probability is above 0.5.

    On a source they are that source's own, which is what the published code selects checkpoints by. On any other domain
    the code has nothing to say; there we average the predictions under the hard masks of every source, as Pred-Ens does
    with soft ones. At the start of training all logits are positive: greedy masks then mask nothing.
    """

    knows_domain: ClassVar[bool] = True

    averages: Averages = "probabilities"
    """What is averaged over the sources."""

    @property
    def label(self) -> str:
        return "greedy" + (" of logits" if self.averages == "logits" else "")

    def module(self, model: Network | Extended, sources: Sequence[str], domain: str | None) -> nn.Module:
        masked = cast(Masked, model)
        own = (positions(sources, domain) if domain else []) or list(range(masked.num_sources))
        hard = {name: (p[own] > 0.5).to(p) for name, p in masked.probabilities().items()}
        return MaskedEnsemble(masked.network, hard, self.averages)


@dataclass(frozen=True, kw_only=True)
class WeightedPredEns(Inference):
    """Pred-Ens weighted, image by image, by the probabilities of a domain classifier (footnote to Section 3.2).

    The paper does not say what its classifier is or sees. Ours is `DMG.domain_classifier`.

    Raises:
        ValueError: from `check`, a training without a domain classifier.
    """

    averages: Averages = "probabilities"
    """What is averaged over the sources."""

    @property
    def label(self) -> str:
        return "weighted Pred-Ens" + (" of logits" if self.averages == "logits" else "")

    def check(self, method: "Method", sources: Sequence[str]) -> None:
        super().check(method, sources)
        if not getattr(method, "domain_classifier", False):
            raise ValueError(
                f"WeightedPredEns needs a domain classifier, and {type(method).__name__}.domain_classifier is False: "
                "train with it, or take PredEns."
            )

    def module(self, model: Network | Extended, sources: Sequence[str], domain: str | None) -> nn.Module:
        masked = cast(Masked, model)
        if masked.domain_classifier is None:
            raise ValueError("WeightedPredEns needs a domain classifier: train with DMG.domain_classifier=True.")
        return MaskedEnsemble(masked.network, masked.probabilities(), self.averages, masked.domain_classifier)


class MaskedEnsemble(nn.Module):
    """The average of the predictions under several masks: images to log-probabilities, or to logits if those are
    averaged.

    Every mask has a forward of its own, so that batch statistics (TN) are a mask's. A classifier computes what comes
    before the first site once; a network that segments runs whole for every mask, for its decoder also takes features
    from before the masks.
    """

    def __init__(
        self,
        network: Network,
        masks: Mapping[str, Tensor],
        averages: Averages = "probabilities",
        domain_classifier: nn.Linear | None = None,
    ) -> None:
        """Masks are (m, c) at each site, the sites in the order of the forward. A domain classifier maps the pooled
        input of the first site to logits (b, m), whose softmax weights the masks; None: they weigh alike."""
        super().__init__()
        self.network = network
        self.masks = nn.ParameterDict({name: nn.Parameter(mask, requires_grad=False) for name, mask in masks.items()})
        self.averages: Averages = averages
        self.domain_classifier = domain_classifier
        self.first_site, mask = next(iter(masks.items()))
        self.num_masks = len(mask)

    def forward(self, images: Tensor) -> Tensor:
        logits, features = self.members(images)
        weights = self.domain_classifier(pooled(features)).softmax(1).T if self.domain_classifier else None
        return average(logits, self.averages, weights)

    def members(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits under each mask, (m, b, k, ...), and what the first site got."""
        logits, features = self.run(images, 0)
        members, smallest = [logits], self.network.encoder.minimum_size
        for number in range(1, self.num_masks):
            if self.network.task == "classification":
                # The smallest image there can be passes what lies before the first site, where the known takes over.
                members.append(self.run(images[:1, :, :smallest, :smallest], number, features)[0])
            else:
                members.append(self.run(images, number)[0])
        return torch.stack(members), features

    def run(self, images: Tensor, number: int, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits (b, k, ...) under mask `number`, and what the first site got: `known` where that is given."""
        seen: list[Tensor] = []

        def at(name: str, activations: Tensor) -> Tensor:
            if name == self.first_site:
                seen.append(activations if known is None else known)
                activations = seen[0]
            return scale(activations, self.masks[name][number].expand(len(activations), -1))

        transforms = {name: lambda activations, name=name: at(name, activations) for name in self.masks}
        with self.network.transformed(transforms):
            logits = self.network(images)
        return logits, seen[0]
