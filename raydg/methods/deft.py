"""Decoupled finetuning: encoder and decoder each learn against a slowly averaged copy of the other."""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from raydg.methods.anchor import Anchor
from raydg.methods.inference import Inference
from raydg.methods.method import Extended, Method, Total, cross_entropy
from raydg.models import Network
from raydg.types import Episode

Buffers = Literal["follow", "own", "average", "fixed"]


@dataclass(frozen=True, kw_only=True)
class DeFTConfiguration(Inference):
    """Encoder and decoder of Table 7: I is e1 and d2, both of which learnt; II e1 and d1; III e2 and d2; IV e2 and d1,
    the two averages, the method's own.

    Each part normalises with the running statistics that it has, of `DeFT.buffers`. The decoders' are those of e2's
    features under "follow" (d2's always are), so I and II, which give them e1's, are also judged on that.
    """

    configuration: Literal["I", "II", "III", "IV"] = "IV"
    """Row of the table."""

    @property
    def label(self) -> str:
        return {"I": "I: e1, d2", "II": "II: e1, d1", "III": "III: e2, d2", "IV": "IV: e2, d1"}[self.configuration]

    def module(self, model: Network | Extended, sources: Sequence[str], domain: str | None) -> nn.Module:
        learning, average = cast(Twins, model).network, cast(Twins, model).average
        encoder = (learning if self.configuration in ("I", "II") else average).encoder
        decoder = (learning if self.configuration in ("I", "III") else average).decoder
        pair = Network(encoder, decoder, learning.upsample)
        pair.mean, pair.std = learning.mean, learning.std  # of the type and on the device of the weights
        return pair


@dataclass(frozen=True, kw_only=True)
class DeFT(Method):
    """DeFT (Section 3, Eq. 1 and 2, Algorithm 2), the stage after a warm-up of the decoder (`ERM(trains="decoder")`).

        e1, d2            learn (the paper's UC)
        e2, d1            are their exponential moving averages (GC); at the start all are copies of the network
        loss_encoder = CE(d1(e1(x)))    moves e1, through the fixed d1
        loss_decoder = CE(d2(e2(x)))    moves d2, on the features of the fixed e2
        after the step:  e2 <- ema_rate e2 + (1 - ema_rate) e1,   d1 <- ema_rate d1 + (1 - ema_rate) d2

    What is evaluated is d1 after e2, the two averages (the text, Figure 2 and Table 7; the comment in Algorithm 2 has
    d2 after e1). The two losses share no trainable parameter, so their sum is differentiated at once.

    **Open in the paper** (no code was published): Eq. 2 averages with the weights before the step, Algorithm 2 after
    it; we follow the algorithm. What happens to BatchNorm's running statistics is `buffers`, and what e2 and d1
    normalise with while training is `average_normalises_with`.

    Raises:
        ValueError: a rate outside [0, 1], part of the network frozen, or per-domain BatchNorm.
    """

    ema_rate: float = 0.9999
    """Share of the average that stays at a step (the paper's beta)."""
    buffers: Buffers = "follow"
    """Running statistics of e2 and d1. "follow": e2 tracks its own activations, d1, which at inference sees e2's
    features, averages those of d2, which were measured on e2's features: each set belongs to what it will see. "own":
    each tracks its own forwards (the pseudo-code read literally; d1's are measured on e1's features). "average": both
    are averaged like the weights. "fixed": they stay as they are after the warm-up."""
    average_normalises_with: Literal["batch", "running"] = "batch"
    """What normalises inside e2 and d1 while training: the batch's statistics, or the running ones."""
    distance_weight: float = 0.0
    """Weight of the sum of the distances of e1 and d2 from where the stage began (Eq. 3, Table 3; the paper does not
    say which weight it used)."""
    measure_distances: bool = False
    """Whether every checkpoint records how far e2 and d1 are from where the stage began (Figure 3: see
    `Anchor.distances`). It keeps a copy of the weights at the start, in checkpoints too, and takes a singular value
    decomposition of every layer."""

    inferences: ClassVar[tuple[type[Inference], ...]] = (DeFTConfiguration,)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(0 <= self.ema_rate <= 1, "ema_rate", "0 to 1")
        self.require(self.distance_weight >= 0, "distance_weight", "0 or more")
        self.require(self.trains == "both", "trains", "'both': encoder and decoder learn from each other's average")
        self.require(self.batchnorm == "pooled", "batchnorm", "'pooled'")

    @property
    def loss_names(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The terms that there are beside the whole."""
        return ("loss", "encoder_loss", "decoder_loss", *(("distance",) if self.distance_weight else ()))

    def wrap(self, network: Network, num_sources: int, num_classes: int) -> "Twins":
        return Twins(network, self)

    def losses(self, network: "Twins", episode: Episode) -> dict[str, Tensor]:
        images, labels = episode.batch.images, episode.batch.labels
        learning, average = network.network, network.average
        encoder_loss = cross_entropy(run(learning, learning.encoder, average.decoder, images), labels)
        decoder_loss = cross_entropy(run(learning, average.encoder, learning.decoder, images, detach=True), labels)
        losses = {
            "loss": encoder_loss + decoder_loss,
            "encoder_loss": encoder_loss.detach(),
            "decoder_loss": decoder_loss.detach(),
        }
        if network.anchor is not None and self.distance_weight:
            distance = network.anchor.distance(learning)
            losses |= {"loss": losses["loss"] + self.distance_weight * distance, "distance": distance.detach()}
        return losses

    def after_step(self, model: "Twins", episodes: Sequence[Episode], total: Total) -> None:
        learning, average = model.network, model.average
        move(average.parameters(), learning.parameters(), self.ema_rate)
        if self.buffers == "average":
            follow(average, learning, self.ema_rate)
        elif self.buffers == "follow":
            follow(average.decoder, learning.decoder, self.ema_rate)

    def measurements(self, model: Network | Extended) -> dict[str, float]:
        """The three distances of Figure 3, of the final model, if they are to be measured."""
        return distances(cast(Twins, model)) if self.measure_distances else {}


class Twins(Extended):
    """The network that learns, and the average of its past; both start as the network is."""

    def __init__(self, network: Network, method: DeFT) -> None:
        super().__init__(network)
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.anchor = Anchor(network) if method.distance_weight or method.measure_distances else None
        self.method = method

    def train(self, mode: bool = True) -> "Twins":
        """The averages stay in evaluation mode where they normalise with running statistics, or keep theirs."""
        super().train(mode)
        buffers = self.method.buffers
        if self.method.average_normalises_with == "running" or buffers == "fixed":
            self.average.eval()
        else:
            tracked = {"follow": [self.average.encoder], "own": [self.average], "average": []}[buffers]
            track(self.average, False)
            for part in tracked:
                track(part, True)
        return self


def distances(twins: Twins) -> dict[str, float]:
    """How far the two averages are from where the stage began: see `Anchor.distances`.

    Raises:
        ValueError: the weights at the start were not kept.
    """
    if twins.anchor is None:
        raise ValueError("The weights at the start were not kept: train with DeFT.measure_distances=True.")
    return twins.anchor.distances(twins.average)


def run(network: Network, encoder: nn.Module, decoder: nn.Module, images: Tensor, detach: bool = False) -> Tensor:
    """Logits (b, k, h, w) or (b, k) of an encoder and a decoder that need not be the network's own; `detach` runs the
    encoder without a graph."""
    with torch.set_grad_enabled(torch.is_grad_enabled() and not detach):
        features = encoder((images - network.mean) / network.std)
    logits = decoder(features)
    return logits if network.upsample is None else network.upsample(logits, images.shape[-2:])


def move(average: Iterable[Tensor], towards: Iterable[Tensor], rate: float) -> None:
    """average <- rate average + (1 - rate) towards, all tensors in few kernels."""
    get_ema_multi_avg_fn(rate)(list(average), [tensor.detach() for tensor in towards], None)


@torch.no_grad()
def follow(average: nn.Module, learning: nn.Module, rate: float) -> None:
    """Average the buffers of a module towards those of another; BatchNorm's counters, being integers, are copied."""
    pairs = list(zip(average.buffers(), learning.buffers(), strict=True))
    for ours, theirs in pairs:
        if not ours.is_floating_point():
            ours.copy_(theirs)
    if moving := [pair for pair in pairs if pair[0].is_floating_point()]:
        move(*zip(*moving, strict=True), rate)  # pyright: ignore[reportCallIssue]


def track(module: nn.Module, tracks: bool) -> None:
    """Whether BatchNorm layers in training mode move their running statistics; they normalise with the batch's."""
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.track_running_stats = tracks
