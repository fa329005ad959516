"""Tent: BatchNorm's scale and shift learn to make predictions certain."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from raydg.adaptation.adaptation import Predictor, Sees
from raydg.adaptation.batchnorm import require_batchnorm, scale_and_shift
from raydg.adaptation.learning import entropies, learnable, uncached
from raydg.adaptation.normalization import Normalization, NormalizedPredictor, OnNormalization, settings
from raydg.adaptation.snapshot import Snapshot
from raydg.adaptation.target_norm import TargetNorm

ONE_IMAGE = TargetNorm(batch_size=1)


@dataclass(frozen=True)
class Tent(OnNormalization):
    """Tent (Wang et al., ICLR 2021), as self-adaptation section 5.3 describes it: steps on the mean entropy of the
    prediction, over pixels or images, that move nothing but the scale and shift of BatchNorm layers; one scale.

    "episodic": every image, or every batch where `norm` sees one, starts from the trained network; that paper compares
    with 10 steps on each image. "online": what was learnt stays, batch after batch, so a prediction hangs on all images
    before. The prediction follows the steps. Dropout is off. Neither paper here gives the optimiser or its step size:
    ours is SGD, and both want choosing on a development domain.

    Raises:
        ValueError: a setting out of range. From a predictor: no BatchNorm, or BatchNorm without scale and shift.
    """

    norm: Normalization = ONE_IMAGE
    """What BatchNorm layers normalise with, gradients of the statistics included; its batch is what a step sees."""
    mode: Literal["episodic", "online"] = "episodic"
    """Whether what was learnt is discarded after each image (batch), or kept."""
    iterations: int = 10
    """Steps for each image (batch)."""
    learning_rate: float = 0.001
    """Step size."""
    momentum: float = 0.0
    """Momentum of SGD; "online", it is carried along too."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.iterations >= 1, "iterations", "1 or more")
        self.require(self.learning_rate > 0, "learning_rate", "above 0")
        self.require(0 <= self.momentum < 1, "momentum", "at least 0 and below 1")

    @property
    def keeps_state(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether it learns online."""
        return self.mode == "online"

    @property
    def needs_batchnorm(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Always: there is nothing else that learns."""
        return True

    @property
    def sees(self) -> Sees:
        return "a stream" if self.mode == "online" and not self.needs_fit else self.norm.sees

    @property
    def num_orders(self) -> int:
        return 1 if self.mode == "online" else self.norm.num_orders

    @property
    def label(self) -> str:
        others = settings(self, hidden=("norm", "mode", "iterations"))
        steps = f"{self.iterations} iteration{'s' * (self.iterations > 1)}"
        return f"Tent({', '.join([self.norm.label, self.mode, steps, *others])})"

    def predictor(self, network: nn.Module) -> Predictor:
        return TentPredictor(network, self)


class TentPredictor(NormalizedPredictor):
    """Learns from each image or batch, and predicts it."""

    def __init__(self, network: nn.Module, tent: Tent) -> None:
        require_batchnorm(tent, network)
        super().__init__(network, tent.norm)
        self.tent = tent
        self.learning = scale_and_shift(tent, self.network)
        self.start = Snapshot(self.learning)
        self.optimizer = self._optimizer()

    def _optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.learning, lr=self.tent.learning_rate, momentum=self.tent.momentum)

    def _forget(self) -> None:
        self.start.restore()
        self.optimizer = self._optimizer()

    def fit(self, batches: Iterable[Tensor]) -> None:
        self._forget()
        super().fit(batches)

    def __call__(self, images: Tensor) -> Tensor:
        # Learning needs tensors that autograd may keep, in whatever mode the caller is.
        with torch.inference_mode(False), torch.enable_grad():
            return torch.cat([self._met(part) for part in self.parts(learnable(images))])

    def _met(self, images: Tensor) -> Tensor:
        """Probabilities after the steps on these images together."""
        try:
            for _ in range(self.tent.iterations):
                entropies(uncached(self.network, images)).mean().backward()
                self.optimizer.step()
                self.optimizer.zero_grad(set_to_none=True)
            with torch.no_grad():
                return uncached(self.network, images).softmax(1)
        finally:
            if self.tent.mode == "episodic":
                self._forget()
