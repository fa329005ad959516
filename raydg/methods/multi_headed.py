"""A head for every source on a shared encoder: the baseline that DMG compares with."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from raydg.methods.inference import Averages, Inference, OfKnownDomain, average
from raydg.methods.method import Extended, Method, cross_entropy
from raydg.models import Network
from raydg.models.network import Features
from raydg.types import Episode


@dataclass(frozen=True, kw_only=True)
class HeadEns(Inference):
    """The mean over the heads of all sources. DMG's paper averages predictions; the test of its code averages logits,
    although the code could do either."""

    averages: Averages = "probabilities"
    """What is averaged over the heads."""

    @property
    def label(self) -> str:
        return "all heads" + (", logits" if self.averages == "logits" else "")

    def module(self, model: Network | Extended, sources: Sequence[str], domain: str | None) -> nn.Module:
        headed = cast(Headed, model)
        return HeadEnsemble(headed.network, headed.heads, self.averages)


@dataclass(frozen=True, kw_only=True)
class KnownHead(OfKnownDomain):
    """The head of the domain that is scored; it predicts on sources only.

    Where a source was listed more than once, the probabilities of its heads are averaged.
    """

    @property
    def label(self) -> str:
        return "known head"

    def module(self, model: Network | Extended, sources: Sequence[str], domain: str | None) -> nn.Module:
        own, headed = self.own(sources, domain), cast(Headed, model)
        return HeadEnsemble(headed.network, [headed.heads[number] for number in own])


@dataclass(frozen=True, kw_only=True)
class MultiHeaded(Method):
    """DMG's "Multi-Headed" (Section 4.1): one encoder, and a head for every source that learns on its images alone.

        loss = cross-entropy of every image's prediction by the head of its domain

    A head is the network's decoder: of a classifier the last layer, of a network that segments all that is not
    backbone. The head of the first source is the network's own, the others are extras and start as copies of it, where
    the published code draws each anew: their images set them apart. So where `Optimizer.decoder_lr_factor` is not 1,
    `extras_lr_factor` should be as large. A stage that follows goes on with the first head.

    With pooled BatchNorm the encoder sees all domains together; a head's own BatchNorm sees its domain's images.

    **Paper and code.** In the published code the AlexNet heads of all sources are one shared module, a bug: that
    network is Aggregate. We do not follow it; the ResNet heads there are distinct, as ours are.

    Raises:
        ValueError: only the encoder is to learn.
    """

    averages: Averages = "probabilities"
    """What the method's own inference, `HeadEns`, averages."""

    inferences: ClassVar[tuple[type[Inference], ...]] = (HeadEns, KnownHead)
    minimum_sources: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.trains != "encoder", "trains", "'both' or 'decoder': the heads must learn")

    @property
    def smallest_forward(self) -> Literal["one domain", "all domains"]:
        return "one domain"

    def default_inference(self) -> Inference:
        return HeadEns(averages=self.averages)

    def wrap(self, network: Network, num_sources: int, num_classes: int) -> "Headed":
        return Headed(network, num_sources)

    def losses(self, network: nn.Module, episode: Episode) -> dict[str, Tensor]:
        headed, batch = cast(Headed, network), episode.batch
        shared = encoded(headed.network, batch.images) if self.batchnorm == "pooled" else None
        logits, labels = [], []
        for domain in batch.domains.unique().tolist():
            rows = batch.domains == domain
            own = encoded(headed.network, batch.images[rows]) if shared is None else tuple(f[rows] for f in shared)
            logits.append(decoded(headed.network, headed.heads[domain], own, batch.images.shape[-2:]))
            labels.append(batch.labels[rows])
        return {"loss": cross_entropy(torch.cat(logits), torch.cat(labels))}


class Headed(Extended):
    """A network with a head for every source: its own decoder for the first, copies of it for the others."""

    def __init__(self, network: Network, num_sources: int) -> None:
        super().__init__(network)
        self.others = nn.ModuleList(copy.deepcopy(network.decoder) for _ in range(num_sources - 1))

    @property
    def heads(self) -> list[nn.Module]:
        """The head of every source, in their order."""
        return [self.network.decoder, *self.others]


class HeadEnsemble(nn.Module):
    """The average of the predictions of several heads, the encoder run once: images to log-probabilities, or to logits
    if those are averaged."""

    def __init__(self, network: Network, heads: Sequence[nn.Module], averages: Averages = "probabilities") -> None:
        super().__init__()
        self.network = network
        self.heads = nn.ModuleList(heads)
        self.averages: Averages = averages

    def forward(self, images: Tensor) -> Tensor:
        features = encoded(self.network, images)
        members = [decoded(self.network, head, features, images.shape[-2:]) for head in self.heads]
        return average(torch.stack(members), self.averages)


def encoded(network: Network, images: Tensor) -> Features:
    """What the encoder makes of images (b, 3, h, w) in [0, 1]."""
    return network.encoder((images - network.mean) / network.std)


def decoded(network: Network, head: nn.Module, features: Features, size: Sequence[int]) -> Tensor:
    """Logits of a head, (b, k) or, at `size`, (b, k, h, w)."""
    logits = head(features)
    return logits if network.upsample is None else network.upsample(logits, size)
