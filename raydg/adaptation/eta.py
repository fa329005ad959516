"""ETA: BatchNorm's scale and shift learn, on a stream, from predictions that are certain and unlike those before."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raydg.adaptation.adaptation import Predictor, Sees
from raydg.adaptation.batchnorm import require_batchnorm, scale_and_shift
from raydg.adaptation.learning import entropies, learnable, probabilities, uncached
from raydg.adaptation.normalization import Normalization, NormalizedPredictor, OnNormalization, settings
from raydg.adaptation.snapshot import Snapshot
from raydg.adaptation.target_norm import TargetNorm

BATCH = TargetNorm()


@dataclass(frozen=True)
class ETA(OnNormalization):
    """ETA: EATA (Niu et al., "Efficient Test-Time Model Adaptation without Forgetting", ICML 2022, section 4.1) without
    its Fisher regulariser, as that paper calls it. The regulariser (section 4.2) needs images of the source domains,
    and an adaptation sees none.

    Of each batch of the stream, with H the entropy of a prediction p and H0 = `entropy_share` ln k,

        kept     where H(p) < H0 and, after the first, |cos(p, m)| < `similarity`
        loss     = mean over those kept of exp(H0 - H(p)) H(p), the weight without a gradient
        m       <- (1 - `average_rate`) m + `average_rate` * mean of p over those kept; the first time that mean itself

    and one step of SGD with momentum moves scale and shift of BatchNorm layers, if any is kept. What is returned is the
    prediction before the step, from the very forward that is differentiated. Dropout is off.

    The paper classifies; in a segmentation every pixel is a prediction p. It takes H0 = 0.4 ln k, and as similarity
    0.05 of ImageNet's 1000 classes and 0.4 of CIFAR's 10: ours is the latter, for label spaces of that size. Its m is
    of the filtered predictions in the published code (mr-eggplant/EATA), which is followed; batches are of 64 there.

    Raises:
        ValueError: a setting out of range. From a predictor: no BatchNorm, or BatchNorm without scale and shift.
    """

    norm: Normalization = BATCH
    """What BatchNorm layers normalise with, gradients of the statistics included; its batch is what a step sees."""
    entropy_share: float = 0.4
    """Entropy below which a prediction is kept, as a share of the largest possible, ln k."""
    similarity: float = 0.4
    """Cosine to the average prediction from which on a prediction is redundant; 1 keeps all but the very average."""
    average_rate: float = 0.1
    """Share of a batch in the moving average of predictions."""
    learning_rate: float = 0.00025
    """Step size."""
    momentum: float = 0.9
    """Momentum of SGD."""

    keeps_state: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(0 < self.entropy_share <= 1, "entropy_share", "above 0 and at most 1")
        self.require(0 < self.similarity <= 1, "similarity", "above 0 and at most 1")
        self.require(0 < self.average_rate <= 1, "average_rate", "above 0 and at most 1")
        self.require(self.learning_rate > 0, "learning_rate", "above 0")
        self.require(0 <= self.momentum < 1, "momentum", "at least 0 and below 1")

    @property
    def needs_batchnorm(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Always: there is nothing else that learns."""
        return True

    @property
    def label(self) -> str:
        return f"ETA({', '.join([self.norm.label, *settings(self, hidden=('norm',))])})"

    @property
    def sees(self) -> Sees:
        return "the whole target" if self.needs_fit else "a stream"

    @property
    def num_orders(self) -> int:
        return 1

    def predictor(self, network: nn.Module) -> Predictor:
        return ETAPredictor(network, self)


class ETAPredictor(NormalizedPredictor):
    """Predicts each image or batch, and learns from it."""

    def __init__(self, network: nn.Module, eta: ETA) -> None:
        require_batchnorm(eta, network)
        super().__init__(network, eta.norm)
        self.eta = eta
        self.learning = scale_and_shift(eta, self.network)
        self.start = Snapshot(self.learning)
        self._begin()

    def _begin(self) -> None:
        self.start.restore()
        self.optimizer = torch.optim.SGD(self.learning, self.eta.learning_rate, self.eta.momentum)
        self.average: Tensor | None = None
        """m, (k,), of the predictions that were kept so far."""

    def fit(self, batches: Iterable[Tensor]) -> None:
        self._begin()
        super().fit(batches)

    def __call__(self, images: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            return torch.cat([self._met(part) for part in self.parts(learnable(images))]).to(images.dtype)

    def _met(self, images: Tensor) -> Tensor:
        """Probabilities before the step on these images together."""
        logits = uncached(self.network, images)
        predicted = probabilities(logits.detach())
        kept = self.kept(predicted)
        if kept.any():
            uncertain = entropies(logits)[kept]
            largest = self.eta.entropy_share * math.log(logits.shape[1])
            ((largest - uncertain.detach()).exp() * uncertain).mean().backward()
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            mean, rate = predicted.movedim(1, -1)[kept].mean(0), self.eta.average_rate
            self.average = mean if self.average is None else (1 - rate) * self.average + rate * mean
        return predicted

    def kept(self, predicted: Tensor) -> Tensor:
        """Which predictions (b, k, ...) are learnt from: (b, ...) bool."""
        uncertain = torch.special.entr(predicted).sum(1)
        certain = uncertain < self.eta.entropy_share * math.log(predicted.shape[1])
        if self.average is None:
            return certain
        average = self.average.view(-1, *(1 for _ in predicted.shape[2:]))
        return certain & (F.cosine_similarity(predicted, average[None], dim=1) < self.eta.similarity)
