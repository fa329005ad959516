"""SHOT: what makes the vectors of a classifier learns from the whole target until they suit its last layer."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raydg.adaptation.adaptation import Predictor, Sees
from raydg.adaptation.learning import entropies, learnable, precise, uncached
from raydg.adaptation.linear_head import LinearHead
from raydg.adaptation.normalization import Normalization, NormalizedPredictor, OnNormalization, settings
from raydg.adaptation.snapshot import Snapshot
from raydg.adaptation.train_bn import T_BN
from raydg.seeds import generator
from raydg.types import Task


@dataclass(frozen=True)
class SHOT(OnNormalization):
    """SHOT-like adaptation (Liang et al., "Do We Really Need to Access the Source Data? Source Hypothesis Transfer for
    Unsupervised Domain Adaptation", ICML 2020, section 3), for classifiers with a linear last layer. That is frozen;
    all before it learns, in `epochs` passes over the target, by SGD with momentum on

        L = mean over images of H(p(x)) - H(mean over the step's images of p(x))      information maximisation
            + pseudo_label_weight * cross-entropy with labels made before each epoch

    Labels are the classes whose centroids are nearest by cosine, of vectors with a 1 appended: centroids are first the
    means of all vectors weighted by the probability of the class, then once more of those that were given it; classes
    that no image has got in the round before stand aside. Step sizes fall as (1 + 10 t)^-0.75, t the share of steps
    done. Predictions are the network's, with all it learnt; they hang on the whole target and not on their batch.

    "SHOT-like", since the network comes as a method trained it: no bottleneck and weight normalisation before and in
    the last layer, no label smoothing in its training. The published code (tim-learn/SHOT) has, besides, random crops
    and flips of the target's images, dropout, and BatchNorm that learns under its batch's statistics while its running
    ones move there; here are plain images, no dropout, and `norm` throughout (`AdaBN()` is nearest to the code's end).

    All images of the fit are held in memory, as they come: 12 bytes a pixel in float32.

    Raises:
        ValueError: a setting out of range. From a predictor: a network that segments, an ensemble, or a classifier
            whose last layer is not linear; a fit on no images or on several sizes, or a prediction before it.
    """

    norm: Normalization = T_BN
    """What BatchNorm layers normalise with, gradients of an image's statistics included; none that sees a batch, on
    which predictions would hang."""
    epochs: int = 15
    """Passes over the target; labels are made anew before each."""
    learning_rate: float = 0.001
    """First step size: the published code's of what was trained before, a tenth of that of its new layers."""
    pseudo_label_weight: float = 0.3
    """The paper's beta; 0 is SHOT-IM, information maximisation alone."""
    momentum: float = 0.9
    """Nesterov's, of SGD."""
    weight_decay: float = 0.001
    """Weight decay of SGD."""
    images_per_step: int = 64
    """Images of a step, and of a forward."""
    seed: int = 0
    """What the order of the images in each epoch is drawn from."""

    tasks: ClassVar[tuple[Task, ...]] = ("classification",)
    needs_fit: ClassVar[bool] = True  # pyright: ignore[reportIncompatibleVariableOverride]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.epochs >= 1, "epochs", "1 or more")
        self.require(self.learning_rate > 0, "learning_rate", "above 0")
        self.require(self.pseudo_label_weight >= 0, "pseudo_label_weight", "0 or more")
        self.require(0 < self.momentum < 1, "momentum", "between 0 and 1")
        self.require(self.weight_decay >= 0, "weight_decay", "0 or more")
        self.require(self.images_per_step >= 1, "images_per_step", "1 or more")
        # Its predictions would hang on their batch, which is in the order of the data.
        self.require(self.norm.sees != "a batch", "norm", "one that does not see a batch, such as TrainBN or AdaBN")

    @property
    def batch_size(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Images that share a forward."""
        return self.images_per_step

    @property
    def label(self) -> str:
        others = settings(self, hidden=("norm", "epochs"))
        return f"SHOT({', '.join([self.norm.label, f'{self.epochs} epoch' + 's' * (self.epochs > 1), *others])})"

    @property
    def sees(self) -> Sees:
        return "the whole target"

    @property
    def num_orders(self) -> int:
        return 1

    def check_parts(self, network: nn.Module) -> None:
        LinearHead(network, "SHOT")

    def predictor(self, network: nn.Module) -> Predictor:
        return SHOTPredictor(network, self)


class SHOTPredictor(NormalizedPredictor):
    """Learns from all images of a domain, then predicts."""

    def __init__(self, network: nn.Module, shot: SHOT) -> None:
        shot.check_parts(network)
        super().__init__(network, shot.norm)
        self.shot, self.fitted = shot, False
        self.head = LinearHead(self.network, "SHOT")
        self.network.requires_grad_(True)
        self.head.last.requires_grad_(False)
        self.learning = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self.start = Snapshot(self.learning)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        if not self.fitted:
            raise ValueError("SHOT predicts with what it learnt from the whole target: call fit with its images first.")
        return self.network(images).softmax(1)

    def fit(self, batches: Iterable[Tensor]) -> None:
        with torch.inference_mode(False), torch.enable_grad():
            images = self._held(batches)
            self.start.restore()
            if self.norm.needs_fit:
                self.norm.fit(self.network, images.split(self.norm.batch_size))
            self._learn(images)
        self.fitted = True

    def _held(self, batches: Iterable[Tensor]) -> Tensor:
        parts = [learnable(batch) for batch in batches]
        if not parts:
            raise ValueError("SHOT was fitted on no images: it takes all of a domain's.")
        sizes = {tuple(part.shape[-2:]) for part in parts}
        if len(sizes) > 1:
            listed = ", ".join(f"{height} x {width}" for height, width in sorted(sizes))
            raise ValueError(f"SHOT was fitted on images of several sizes ({listed}): bring them to one.")
        return torch.cat(parts)

    def _learn(self, images: Tensor) -> None:
        shot = self.shot
        optimizer = torch.optim.SGD(
            self.learning, shot.learning_rate, shot.momentum, weight_decay=shot.weight_decay, nesterov=True
        )
        steps, step = shot.epochs * -(-len(images) // shot.images_per_step), 0
        for epoch in range(shot.epochs):
            labels = self._labels(images)
            order = torch.from_numpy(generator(shot.seed, "shot", epoch).permutation(len(images)))
            for chosen in order.to(images.device).split(shot.images_per_step):
                step += 1
                optimizer.param_groups[0]["lr"] = shot.learning_rate * (1 + 10 * step / steps) ** -0.75
                logits = precise(uncached(self.network, images[chosen]))
                loss = information(logits)
                if shot.pseudo_label_weight:
                    loss = loss + shot.pseudo_label_weight * F.cross_entropy(logits, labels[chosen])
                loss.backward()
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def _labels(self, images: Tensor) -> Tensor:
        pairs = [self.head(part) for part in images.split(self.shot.images_per_step)]
        vectors, logits = (precise(torch.cat(each)) for each in zip(*pairs, strict=True))
        return pseudo_labels(vectors, logits.softmax(1))


def information(logits: Tensor) -> Tensor:
    """Mean entropy of the predictions that logits (b, k) stand for, less the entropy of their mean, in nats."""
    # In logarithms, so that a class that nothing is likely to be has a gradient.
    mean = precise(logits).log_softmax(1).logsumexp(0) - math.log(len(logits))
    return entropies(logits).mean() + (mean.exp() * mean).sum()


def pseudo_labels(vectors: Tensor, probabilities: Tensor) -> Tensor:
    """Labels (n,) int64 by the nearest centroid, of vectors (n, c) and probabilities (n, k)."""
    units = F.normalize(torch.cat([vectors, torch.ones_like(vectors[:, :1])], 1), dim=1)
    labels, weights = probabilities.argmax(1), probabilities
    for _ in range(2):
        # Their length does not matter to a cosine: sums serve as means.
        cosines = units @ F.normalize(weights.T @ units, dim=1).T
        absent = torch.bincount(labels, minlength=weights.shape[1]) == 0
        labels = cosines.masked_fill(absent, -torch.inf).argmax(1)
        weights = F.one_hot(labels, weights.shape[1]).to(units.dtype)
    return labels
