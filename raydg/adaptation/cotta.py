"""CoTTA: a network follows, on a stream, a slow average of itself that sees views, and is drawn back to where it
began."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from raydg.adaptation.adaptation import Predictor, Sees
from raydg.adaptation.learning import (
    group_names,
    learnable,
    learning_parameters,
    network_inside,
    precise,
    probabilities,
    uncached,
)
from raydg.adaptation.normalization import Normalization, NormalizedPredictor, OnNormalization, settings
from raydg.adaptation.snapshot import Snapshot
from raydg.adaptation.train_bn import T_BN
from raydg.adaptation.views import Views, fused
from raydg.seeds import fold

VIEWS = Views((0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0), grey=False)
"""The fourteen of the published code's segmentation."""


@dataclass(frozen=True)
class CoTTA(OnNormalization):
    """CoTTA (Wang et al., "Continual Test-Time Domain Adaptation", CVPR 2022, section 3, Algorithm 1). There are three
    networks: one that learns, a teacher that averages it, and the source, as it was trained. For each batch,

        y        = the teacher's prediction where the source's confidence is `confidence` or more, else the mean of
                   the teacher's predictions on the views; by image, or by pixel of a segmentation     (Eq. 3, 4)
        step     of Adam on the cross-entropy of the learner's prediction with y, over all its parameters  (Eq. 5)
        teacher <- `teacher_momentum` teacher + (1 - `teacher_momentum`) learner                           (Eq. 2)
        restore  every number of the learner is put back to the source's with the probability `restored`   (Eq. 6 to 8)

    The prediction is y. What is put back follows from `seed` and the number of the step. Dropout is off.

    **Published code** (qinenergy/cotta). Segmentation: these views, a confidence of 0.69, a momentum of 0.999, 0.01
    restored, Adam at 6e-5 / 8 and labels that are hard (`labels`; the paper's Eq. 5 is soft): our defaults but for the
    last. CIFAR: 32 random colour and affine changes, logits averaged, confidence 0.92 or 0.72 of the batch's mean,
    batch statistics (`norm=TargetNorm(200)`) and Adam at 1e-3. Views here are `Views`, and probabilities are averaged.

    Raises:
        ValueError: a setting out of range. From a predictor: an ensemble, or a view smaller than the encoder can see.
    """

    norm: Normalization = T_BN
    """What BatchNorm layers of all three networks normalise with; its batch is what a step sees."""
    views: Views = VIEWS
    """Which views the teacher sees."""
    confidence: float = 0.69
    """p_th: largest probability of the source from which on the teacher's plain prediction is taken; 0 always, above 1
    never."""
    labels: Literal["soft", "hard"] = "soft"
    """Whether the learner follows y, or its most probable class."""
    learning_rate: float = 7.5e-6
    """Step size."""
    teacher_momentum: float = 0.999
    """Share of the teacher that stays at a step."""
    restored: float = 0.01
    """Share of the learner's numbers that are put back after a step."""
    seed: int = 0
    """What that share is drawn from."""

    keeps_state: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.confidence >= 0, "confidence", "0 or more")
        self.require(self.learning_rate > 0, "learning_rate", "above 0")
        self.require(0 <= self.teacher_momentum <= 1, "teacher_momentum", "between 0 and 1")
        self.require(0 <= self.restored <= 1, "restored", "between 0 and 1")

    @property
    def label(self) -> str:
        return f"CoTTA({', '.join([self.norm.label, *settings(self, hidden=('norm',))])})"

    @property
    def sees(self) -> Sees:
        return "the whole target" if self.needs_fit else "a stream"

    @property
    def num_orders(self) -> int:
        return 1

    def check_parts(self, network: nn.Module) -> None:
        network_inside(network, "CoTTA")

    def predictor(self, network: nn.Module) -> Predictor:
        return CoTTAPredictor(network, self)


class CoTTAPredictor(NormalizedPredictor):
    """Predicts each image or batch by the teacher, and learns from it; `network` is what learns."""

    def __init__(self, network: nn.Module, cotta: CoTTA) -> None:
        cotta.check_parts(network)
        super().__init__(network, cotta.norm)
        self.cotta = cotta
        self.learning = self._parameters(self.network)
        self.start = Snapshot(self.learning)
        self._begin()

    def _parameters(self, module: nn.Module) -> list[nn.Parameter]:
        inside = network_inside(module, "CoTTA")
        return learning_parameters(module, inside, group_names(inside))

    def _begin(self) -> None:
        with torch.inference_mode(False):
            self.start.restore()
            self.network.requires_grad_(False)
            self.source = copy.deepcopy(self.network)
            self.teacher = copy.deepcopy(self.network)
            for parameter in self.learning:
                parameter.requires_grad_(True)
            self.optimizer = torch.optim.Adam(self.learning, lr=self.cotta.learning_rate)
            self.steps = 0

    def fit(self, batches: Iterable[Tensor]) -> None:
        self.start.restore()
        super().fit(batches)
        self._begin()

    def __call__(self, images: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            return torch.cat([self._met(part) for part in self.parts(learnable(images))]).to(images.dtype)

    def _met(self, images: Tensor) -> Tensor:
        """Probabilities by the teacher before the step on these images together."""
        predicted = self._voted(images)
        target = predicted
        if self.cotta.labels == "hard":
            target = torch.zeros_like(predicted).scatter_(1, predicted.argmax(1, keepdim=True), 1)
        logits = precise(uncached(self.network, images))
        (-(target * logits.log_softmax(1)).sum(1)).mean().backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for of_teacher, learnt in zip(self._parameters(self.teacher), self.learning, strict=True):
                of_teacher.lerp_(learnt, 1 - self.cotta.teacher_momentum)
            self._restore()
        self.steps += 1
        return predicted

    @torch.no_grad()
    def _voted(self, images: Tensor) -> Tensor:
        cotta = self.cotta
        confident = probabilities(uncached(self.source, images)).amax(1, keepdim=True) >= cotta.confidence

        def by_teacher(views: Tensor) -> Tensor:
            return uncached(self.teacher, views)

        if confident.all():
            return probabilities(by_teacher(images))
        voted = fused(by_teacher, images, cotta.views, together=self.norm.sees != "a batch")
        return torch.where(confident, probabilities(by_teacher(images)), voted) if confident.any() else voted

    def _restore(self) -> None:
        if not self.cotta.restored:
            return
        for place, (learnt, source) in enumerate(zip(self.learning, self.start.values, strict=True)):
            seed = fold(self.cotta.seed, "cotta", self.steps, place)
            draw = torch.Generator(learnt.device).manual_seed(seed % 2**63)
            back = torch.rand(learnt.shape, generator=draw, device=learnt.device) < self.cotta.restored
            learnt.copy_(torch.where(back, source, learnt))
