"""Seg-TTT: a network that segments learns, for one image, from what its own views of that image agree on."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raydg.adaptation.adaptation import Predictor
from raydg.adaptation.batchnorm import (
    Renormalization,
    image_statistics,
    renormalise,
    require_batchnorm,
    require_running_statistics,
    running_statistics,
)
from raydg.adaptation.iabn import IABN
from raydg.adaptation.learning import (
    Layers,
    learning_groups,
    learning_parameters,
    network_inside,
    precise,
    probabilities,
    trunk_groups,
)
from raydg.adaptation.normalization import Normalization, NormalizedPredictor, OnNormalization, settings
from raydg.adaptation.snapshot import Snapshot
from raydg.adaptation.trunk import Trunk
from raydg.adaptation.views import PUBLISHED, Fusion, Size, View, Views
from raydg.types import Task

IGNORED = -100
"""Pseudo label of a pixel that nothing is learnt from."""


@dataclass(frozen=True)
class SegTTT(OnNormalization):
    """Seg-TTT (self-adaptation section 4, Eq. 5 to 8): for every image by itself,

        m      = mean over the views of the probabilities, at the image's size           (Eq. 5)
        t_c    = confidence * the largest m_c in the image                               (Eq. 6)
        u      = argmax of m where that is at least its class's t_c, else ignored        (Eq. 7, 8)
        N_t steps of SGD on the cross-entropy of the image's own prediction with u, averaged over the pixels kept
        the prediction; then all that was learnt is discarded, from memory

    Dropout is off. With a confidence below 1 and thresholds by class the most confident pixel of all is always kept;
    with one threshold for all classes there may be none, and then nothing is learnt and `norm` predicts.

    **Paper and code.** The paper says that IaBN and Seg-TTT are combined and not what normalises meanwhile: the default
    is `norm` throughout. In the published code the image's own statistics do, and every BatchNorm layer's running ones,
    those of frozen layers too, move towards them by 0.1 in each iteration, so that "training's" are 65 % target in the
    end: `normalises_with` and `drift`. Paper: kept from the threshold on; code: only above (`strict`). Text and code
    learn from the image itself, Figure 1 and README show the views: `learns_from`. The code labels once; "repeat this
    process" in Figure 1 may mean anew: `relabels`. ResNet-50 adapts conv4_x, conv5_x and the head in both; for
    ResNet-101 the paper has conv5_x and the head (`layers=1`), the code's default is as for ResNet-50. `reference` is
    the published code, with two differences that are not followed: dropout after DeepLabV3+'s ASPP is active there,
    and its image is doubled, which changes unbiased variances by 1 / (2 h w).

    **Speed.** Layers before the first that learns run once for the image, not in every iteration; under `norm` and
    "running" they see what does not change, under "image" their outputs do not either and their drift is replayed.
    A prediction after step i under `norm` is the forward of step i + 1.

    Raises:
        ValueError: a setting out of range, or several views to learn from with "image". From a predictor: a network
            that does not segment, an ensemble, `layers` that the encoder lacks.
    """

    norm: Normalization = IABN
    """What BatchNorm layers normalise with for the views and for the prediction; it must not see a batch."""
    views: Views = PUBLISHED
    """Which views vote on the pseudo labels."""
    iterations: int = 10
    """Steps N_t."""
    learning_rate: float = 0.05
    """Step size η."""
    momentum: float = 0.0
    """Momentum of SGD; it starts at nothing for every image."""
    weight_decay: float = 0.0
    """Weight decay of SGD."""
    layers: Layers = 2
    """What learns: so many of the encoder's last groups and the decoder (2 is conv4_x, conv5_x and head of a ResNet,
    Figure 2 has 2, 1 and 0), or names of the encoder's groups and "decoder"."""
    confidence: float = 0.7
    """ψ: share of a class's largest probability that a pixel must reach."""
    class_thresholds: bool = True
    """Whether every class has its own threshold t_c; if not, `confidence` itself is the threshold of all."""
    strict: bool = False
    """Whether a pixel at the threshold is dropped, as in the published code."""
    normalises_with: Literal["norm", "running", "image"] = "norm"
    """What normalises while learning: `norm`, running statistics, or the image's own."""
    drift: float = 0.0
    """Share by which running statistics move towards the image's in every iteration, with "image" only; the published
    code's is 0.1. They too are put back afterwards."""
    learns_from: Literal["image", "views"] = "image"
    """What is predicted in a step: the image, or every view, with pseudo labels flipped and resized alike."""
    relabels: bool = False
    """Whether the views vote anew before every step."""
    bf16: bool = False
    """Whether the layers that learn run under autocast to bfloat16 while they do, which is nearly all of the time. The
    views, the layers that run once and the predictions keep the network's precision, and so do losses, sums and
    weights. On the quickstart's network (300 steps, street/night, 10 iterations) 99.9 % of the labels are then those of
    float32; with all forwards in bfloat16 99.7 %."""
    also_after: tuple[int, ...] = ()
    """Earlier iterations, 0 among them, after which there is a prediction too: a variant each."""

    tasks: ClassVar[tuple[Task, ...]] = ("segmentation",)

    def __post_init__(self) -> None:
        super().__post_init__()
        legal = "a normalisation that does not see a batch, such as TrainBN, IaBN or AdaBN"
        self.require(self.norm.sees != "a batch", "norm", legal)
        self.require(self.iterations >= 0, "iterations", "0 or more")
        self.require(self.learning_rate > 0, "learning_rate", "above 0")
        self.require(0 <= self.momentum < 1, "momentum", "at least 0 and below 1")
        self.require(self.weight_decay >= 0, "weight_decay", "0 or more")
        ok = self.layers >= 0 if isinstance(self.layers, int) else len(self.layers) >= 1
        self.require(ok, "layers", "a number of groups, 0 or more, or at least one name")
        self.require(0 < self.confidence < 1, "confidence", "between 0 and 1")
        self.require(0 <= self.drift <= 1, "drift", "between 0 and 1")
        legal = "0 unless normalises_with is 'image'"
        self.require(self.drift == 0 or self.normalises_with == "image", "drift", legal)
        legal = "'image' where normalises_with is 'image'"
        self.require(self.learns_from == "image" or self.normalises_with != "image", "learns_from", legal)
        ok = all(0 <= a < self.iterations for a in self.also_after) and list(self.also_after) == sorted(
            set(self.also_after)
        )
        self.require(ok, "also_after", f"numbers from 0 to below iterations, {self.iterations}, in rising order")

    @classmethod
    def reference(cls, **changes: Any) -> Self:
        """The published code; `changes` are fields that are to be others, such as `norm` or `also_after`."""
        return cls(**{"strict": True, "normalises_with": "image", "drift": 0.1} | changes)

    @property
    def label(self) -> str:
        return self._label(self.iterations)

    def _label(self, iterations: int) -> str:
        others = settings(self, hidden=("norm", "iterations", "also_after"))
        return f"Seg-TTT({', '.join([self.norm.label, f'{iterations} iterations', *others])})"

    @property
    def variants(self) -> tuple[str, ...]:
        return tuple(self._label(number) for number in (*self.also_after, self.iterations))

    @property
    def needs_batchnorm(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether what normalises, while learning or else, works through BatchNorm layers."""
        return self.norm.needs_batchnorm or self.normalises_with == "image"

    def check_parts(self, network: nn.Module) -> None:
        inside = network_inside(network, "SegTTT")
        if inside.task != "segmentation":
            raise ValueError("SegTTT compares pixels of an image, and this network classifies: take Tent or TTA.")
        learning_groups(inside, self.layers, "SegTTT")

    def predictor(self, network: nn.Module) -> Predictor:
        return SegTTTPredictor(network, self)

    def pseudo_labels(self, mean: Tensor) -> Tensor:
        """Labels (1, h, w) int64, `IGNORED` where not confident, of mean probabilities (1, k, h, w) (Eq. 6 to 8)."""
        confidences, labels = mean.max(1)
        if self.class_thresholds:
            thresholds = (self.confidence * mean.amax((0, 2, 3)))[labels]
        else:
            thresholds = torch.full_like(confidences, self.confidence)
        kept = confidences > thresholds if self.strict else confidences >= thresholds
        return torch.where(kept, labels, IGNORED)


class SegTTTPredictor(NormalizedPredictor):
    """Learns from every image, predicts it, and is as before."""

    def __init__(self, network: nn.Module, ttt: SegTTT) -> None:
        ttt.check_parts(network)
        super().__init__(network, ttt.norm)
        self.ttt = ttt
        self.layers = self._normalising_layers()
        inside = network_inside(self.network, "SegTTT")
        groups = learning_groups(inside, ttt.layers, "SegTTT")
        self.learning = learning_parameters(self.network, inside, groups)
        self.network.requires_grad_(False)
        for parameter in self.learning:
            parameter.requires_grad_(True)
        frozen = trunk_groups(inside, groups)
        self.trunk = Trunk(inside.encoder, frozen, full_precision=ttt.bf16)
        self.seen: dict[Renormalization, list[tuple[Tensor, Tensor]]] = {}
        """Statistics of the image in every layer, in the last forward that went through it."""
        drifting = [b for layer in self.layers for b in (layer.running_mean, layer.running_var)] if ttt.drift else []
        self.start = Snapshot([*self.learning, *drifting])

    def _normalising_layers(self) -> list[Renormalization]:
        """The layers whose way to normalise changes for learning; none under "norm"."""
        if self.ttt.normalises_with == "norm":
            return []
        if not self.ttt.norm.needs_batchnorm:
            if self.ttt.normalises_with == "image":
                require_batchnorm(self.ttt, self.network)
            # BatchNorm layers as they are, in a form whose statistics can change for a while.
            renormalise(self.network, running_statistics)
        layers = [module for module in self.network.modules() if isinstance(module, Renormalization)]
        if self.ttt.normalises_with == "running" or self.ttt.drift:
            for layer in layers:
                require_running_statistics(layer.name, layer)
        return layers

    def __call__(self, images: Tensor) -> Tensor:
        return self.all(images)[-1]

    def all(self, images: Tensor) -> Tensor:
        # Learning needs tensors that autograd may keep, in whatever mode the caller is.
        with torch.inference_mode(False), torch.enable_grad():
            images = images.clone() if images.is_inference() else images.detach()
            return torch.stack([self._met(image[None]) for image in images], dim=1).to(images.dtype)

    def _met(self, image: Tensor) -> Tensor:
        """Predictions (v, k, h, w) for one image (1, 3, h, w), of every variant."""
        ttt = self.ttt
        optimizer = torch.optim.SGD(
            self.learning, lr=ttt.learning_rate, momentum=ttt.momentum, weight_decay=ttt.weight_decay
        )
        views = ttt.views.by_size(image)
        # What is predicted while learning is the prediction where nothing else normalises then.
        at_once = not self.layers and ttt.learns_from == "image" and not ttt.bf16
        results = []
        try:
            labels = self._labels(image, views)
            for step in range(ttt.iterations):
                if step and ttt.relabels:
                    labels = self._labels(image, views)
                learns = bool((labels != IGNORED).any())
                wanted = step in ttt.also_after
                if wanted and not (at_once and learns):
                    results.append(self._predicted(image))
                if learns:
                    logits = self._learn(image, views, labels)
                    optimizer.step()
                    optimizer.zero_grad(set_to_none=True)
                    if wanted and at_once:
                        results.append(probabilities(logits.detach()))
            results.append(self._predicted(image))
        finally:
            self.start.restore()
            self.trunk.forget()
            self.seen.clear()
        return torch.cat(results)

    @torch.no_grad()
    def _labels(self, image: Tensor, views: dict[Size, tuple[tuple[View, ...], Tensor]]) -> Tensor:
        height, width = image.shape[-2:]
        fusion = Fusion((height, width))
        again = self.ttt.relabels or (self.ttt.learns_from == "views" and not self.layers)
        for size, (group, batch) in views.items():
            fusion.add(group, self._forward(size, batch, again=again))
        return self.ttt.pseudo_labels(fusion.mean())

    @torch.no_grad()
    def _predicted(self, image: Tensor) -> Tensor:
        """Probabilities (1, k, h, w) of what has been learnt so far."""
        again = bool(self.ttt.also_after) or not self.layers
        return probabilities(self._forward("image", image, again=again))

    def _learn(self, image: Tensor, views: dict[Size, tuple[tuple[View, ...], Tensor]], labels: Tensor) -> Tensor:
        """Leave gradients of the mean cross-entropy with the labels (1, h, w), not all ignored; the last logits."""
        inputs: list[tuple[Any, Tensor, Tensor]]
        if self.ttt.learns_from == "image":
            inputs = [("image", image, labels)]
        else:
            inputs = [
                (size, batch, torch.cat([view.mirrored(smaller) for view in group]))
                for size, (group, batch) in views.items()
                for smaller in [F.interpolate(labels[None].double(), size, mode="nearest-exact")[0].long()]
            ]
        count = sum((targets != IGNORED).sum() for _, _, targets in inputs)
        logits = labels
        for key, batch, targets in inputs:
            logits = self._forward(key, batch, again=True, learning=True)
            loss = F.cross_entropy(precise(logits), targets, ignore_index=IGNORED, reduction="sum")
            (loss / torch.clamp(torch.as_tensor(count), min=1)).backward()
        self._move_statistics()
        return logits

    def _forward(self, key: Any, images: Tensor, again: bool, learning: bool = False) -> Tensor:
        """Logits of images that go by `key`, which come `again` for another forward."""
        changed = learning and bool(self.layers)
        # While learning, the image's own statistics do not hang on those that drift; `norm` looks at both.
        remembers = again and (changed or not self.ttt.drift)
        kind = images.device.type
        rough = self.ttt.bf16 and learning
        half = rough or torch.is_autocast_enabled(kind)
        dtype = torch.bfloat16 if rough else torch.get_autocast_dtype(kind)
        with (
            self.trunk.known_as((key, changed)) if remembers else nullcontext(False) as known,
            self._normalising_for_learning(known) if changed else nullcontext(),
            # Without its cache: that holds weights of before a step.
            torch.autocast(kind, dtype, enabled=half, cache_enabled=False),
        ):
            return self.network(images)

    @contextmanager
    def _normalising_for_learning(self, known: bool) -> Iterator[None]:
        of_trunk = set(self.trunk.modules) if known else set()
        for layer in self.layers:
            if layer not in of_trunk:
                self.seen[layer] = []
            layer.instead = by_training if self.ttt.normalises_with == "running" else self._by_image
        try:
            yield
        finally:
            for layer in self.layers:
                layer.instead = None

    def _by_image(self, x: Tensor, layer: Renormalization) -> Tensor:
        """Features (1, c, h, w) under their own statistics, which are kept for the drift."""
        positions = x[0, 0].numel()
        if positions == 1:
            variance, mean = image_statistics(x, layer)
            self.seen[layer].append((mean.flatten().detach(), variance.flatten().detach()))
            return layer.normalised(x, variance, mean)
        # Torch's own layer, told to keep all of the image's mean and unbiased variance.
        mean, unbiased = x.new_zeros(x.shape[1]), x.new_zeros(x.shape[1])
        weight, bias = (None if p is None else p.to(x.dtype) for p in (layer.weight, layer.bias))
        y = F.batch_norm(x, mean, unbiased, weight, bias, training=True, momentum=1.0, eps=layer.eps)
        self.seen[layer].append((mean, unbiased))
        return y

    @torch.no_grad()
    def _move_statistics(self) -> None:
        """One iteration's drift of every layer; a frozen one has seen the same image as ever."""
        if self.ttt.drift:
            for layer, seen in self.seen.items():
                for mean, variance in seen:
                    layer.running_mean.mul_(1 - self.ttt.drift).add_(self.ttt.drift * mean)
                    layer.running_var.mul_(1 - self.ttt.drift).add_(self.ttt.drift * variance)


def by_training(x: Tensor, layer: Renormalization) -> Tensor:
    """Features under the running statistics."""
    weight, bias = (None if p is None else p.to(x.dtype) for p in (layer.weight, layer.bias))
    mean, variance = layer.running_mean.to(x.dtype), layer.running_var.to(x.dtype)
    return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=layer.eps)
