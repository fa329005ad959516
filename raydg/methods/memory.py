"""The categorical memory of Pin the Memory: one row a class, read at every position, written with class means."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raydg.methods.method import Extended, precise
from raydg.models import Network

Writer = Literal["published", "paper", "none"]
Classifier = Literal["optimizer", "method", "none"]

SITE = "context"
"""Where a network is read from and given the memory: after ASPP in DeepLabs v3 and v3+."""


@dataclass(frozen=True)
class Reading:
    """A forward with the memory: `features` (b, c, h', w') as they came, `scores` (b, k, h', w') their cosines with
    the memory's rows, `logits` and, where asked for, `auxiliary_logits` (b, k, h, w)."""

    features: Tensor
    scores: Tensor
    logits: Tensor
    auxiliary_logits: Tensor | None


class Remembering(Extended):
    """A network with a memory (k, c) at its site `context`, what reads it and what writes it.

    Called with images it gives the logits that it predicts from the memory as it is.

        output       concatenated features and recollection (2c) -> features (c): 1x1 convolution, BatchNorm, ReLU
                     (Eq. 5; BatchNorm as in the published code)
        writer       U, features -> what is written, see `written`
        classifier   G, rows of the memory -> their classes

    Convolutions start from Kaiming's initialisation, BatchNorm's shift at 1e-4, G's weights at N(0, 1e-4²): the
    published code's. The memory starts empty; see PinTheMemory.start.

    Args:
        network: has the site.
        num_classes: k.
        writer: which U; "none" writes the normalised features (Table 9).
        normalised: whether the memory's rows have length 1.
        gumbel: whether attention is drawn by Gumbel-softmax.
        classifier: whether there is a G, and whether it is the optimiser's to move or the method's.
    """

    memory: Tensor

    def __init__(
        self, network: Network, num_classes: int, writer: Writer, normalised: bool, gumbel: bool, classifier: Classifier
    ) -> None:
        super().__init__(network)
        channels = network.sites[SITE].channels
        self.register_buffer("memory", torch.zeros(num_classes, channels))
        self.output = nn.Sequential(
            nn.Conv2d(2 * channels, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        )
        self.writer: nn.Module | None = None
        if writer != "none":
            self.writer = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False))
            if writer == "published":
                self.writer.append(nn.BatchNorm2d(channels))
        self.classifier = None if classifier == "none" else nn.Linear(channels, num_classes)
        self.moves_classifier = classifier == "method"
        self.kind, self.normalised, self.gumbel = writer, normalised, gumbel
        for layer in [*self.output, *(self.writer or [])]:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            elif isinstance(layer, nn.BatchNorm2d):
                nn.init.constant_(layer.bias, 1e-4)
        if self.classifier is not None:
            nn.init.normal_(self.classifier.weight, std=1e-4)
            nn.init.zeros_(self.classifier.bias)

    def extras(self) -> list[nn.Parameter]:
        """The optimiser's: all but a classifier that the method moves."""
        own = set(self.classifier.parameters()) if self.moves_classifier and self.classifier is not None else set()
        return [parameter for parameter in super().extras() if parameter not in own]

    def forward(self, images: Tensor) -> Tensor:
        return self.read(images, self.memory).logits

    def read(self, images: Tensor, memory: Tensor, auxiliary: bool = False) -> Reading:
        """Logits from features that the memory (k, c) has joined, and what went on at the site."""
        seen: dict[str, Tensor] = {}

        def recall(features: Tensor) -> Tensor:
            seen["features"], seen["scores"] = features, self.scores(features, memory)
            recollection = torch.einsum("bkhw,kc->bchw", self.attention(seen["scores"]), memory.to(features.dtype))
            return self.output(torch.cat([F.normalize(features, dim=1), recollection], dim=1))

        with self.network.transformed({SITE: recall}):
            logits = self.network.with_auxiliary(images) if auxiliary else (self.network(images), None)
        return Reading(seen["features"], seen["scores"], *logits)

    def features(self, images: Tensor) -> Tensor:
        """What the memory is written from, (b, c, h', w'): the encoder and all of the decoder before the site."""
        return self.network.activations_at(SITE, images)

    def scores(self, features: Tensor, memory: Tensor) -> Tensor:
        """Cosine of the features (b, c, h', w') at every position with the rows of the memory: (b, k, h', w')."""
        rows = F.normalize(memory, dim=1).to(features.dtype)
        return torch.einsum("bchw,kc->bkhw", F.normalize(features, dim=1), rows)

    def attention(self, scores: Tensor) -> Tensor:
        """The share of every row at every position (Eq. 4): softmax of the cosines, or a draw from it that Gumbel noise
        makes (published code).

        In evaluation that is one draw for all images of a size, so that a prediction is a function of the image.
        """
        if not self.gumbel:
            return scores.softmax(1)
        if self.training:
            return F.gumbel_softmax(scores, dim=1)
        draw = torch.Generator().manual_seed(0)
        uniform = torch.rand(scores.shape[1:], generator=draw, dtype=torch.float64).clamp(min=1e-12)
        return (scores - (-uniform.log()).log().to(scores)).softmax(1)

    def written(self, features: Tensor) -> Tensor:
        """What is averaged into the memory, (b, c, h', w').

        "published": ReLU(F + BN(W F)), then of length 1. "paper" (Section 3.2): Z = F̂ + W F̂, F̂ the features at length
        1. "none": F̂.
        """
        if self.writer is None:
            return F.normalize(features, dim=1)
        if self.kind == "paper":
            unit = F.normalize(features, dim=1)
            return unit + self.writer(unit)
        return F.normalize(F.relu(features + self.writer(features)), dim=1)

    def sums(self, features: Tensor, labels: Tensor, write: bool = True) -> Tensor:
        """Sum of what is written (of normalised features, without `write`) over the pixels of each class, and behind it
        how many those are: (k, c + 1), float32 at least."""
        # Sums over thousands of positions want more than bf16.
        with torch.autocast(features.device.type, enabled=False):
            vectors = self.written(precise(features)) if write else F.normalize(precise(features), dim=1)
            shares = class_shares(labels, vectors, len(self.memory))
            counted = torch.cat([vectors, torch.ones_like(vectors[:, :1])], dim=1)
            return torch.einsum("bkhw,bchw->kc", shares, counted)

    def updated(self, memory: Tensor, sums: Tensor, momentum: float) -> Tensor:
        """The memory (k, c) moved towards the class means (Eq. 1 and 2) of `sums`; absent classes stay.

        Rows then get length 1 again (published code) where the memory is normalised.
        """
        totals, counts = sums[:, :-1], sums[:, -1:]
        means = totals / torch.where(counts > 0, counts, 1)
        moved = torch.where(counts > 0, momentum * memory + (1 - momentum) * means, memory)
        return F.normalize(moved, dim=1) if self.normalised else moved


def class_shares(labels: Tensor, maps: Tensor, num_classes: int) -> Tensor:
    """How much of each class there is at every position of smaller maps (b, c, h', w'): (b, h, w) labels -> (b, k, h',
    w') in [0, 1], in the maps' type.

    It is the one-hot label map resized bilinearly with aligned corners, the published code's mask, of which ignored
    labels have no part; computed from the four labels around each position, without the one-hot map.
    """
    (b, height, width), size = labels.shape, maps.shape[-2:]
    rows, row_weight = _neighbours(height, size[0], maps)
    columns, column_weight = _neighbours(width, size[1], maps)
    corners = labels[:, rows[:, None, :, None], columns[None, :, None, :]]  # (b, h', w', 2, 2)
    weights = row_weight[:, None, :, None] * column_weight[None, :, None, :]
    shares = maps.new_zeros(b, *size, num_classes + 1)
    # Whatever is no class goes into one column more, which is dropped.
    slots = torch.where((corners >= 0) & (corners < num_classes), corners, num_classes).flatten(3)
    shares.scatter_add_(3, slots, weights.flatten(2).expand(b, -1, -1, -1))
    return shares[..., :num_classes].permute(0, 3, 1, 2)


def _neighbours(length: int, positions: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Of each position, the two indices in 0..length-1 that it lies between, and their weights: (positions, 2) each."""
    at = torch.arange(positions, device=like.device, dtype=like.dtype) * ((length - 1) / max(positions - 1, 1))
    low = at.floor().clamp(max=length - 1)
    share, below = at - low, low.long()
    return torch.stack([below, (below + 1).clamp(max=length - 1)], 1), torch.stack([1 - share, share], 1)
