"""T3A: the rows of the last layer become means of what the stream has shown of each class."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from raydg.adaptation.adaptation import Predictor, Sees
from raydg.adaptation.learning import entropies, precise
from raydg.adaptation.linear_head import LinearHead
from raydg.adaptation.normalization import Normalization, NormalizedPredictor, OnNormalization, settings
from raydg.adaptation.train_bn import T_BN
from raydg.types import Task


@dataclass(frozen=True)
class T3A(OnNormalization):
    """T3A (Iwasawa and Matsuo, "Test-Time Classifier Adjustment Module for Model-Agnostic Domain Generalization",
    NeurIPS 2021, section 3), for classifiers with a linear last layer of rows w_k on vectors z:

        S_k  begins as {w_k / |w_k|}, and gets z / |z| of every image that the network itself assigns to class k
        c_k  = mean of the `supports` members of S_k whose predictions had the lowest entropies
        p_k  proportional to exp(z · c_k)

    An image enters before it is predicted, those of a batch that `norm` sees together. Entropy and class are those of
    the network itself, of w_k too; its bias serves for them only. Nothing learns by gradients, but all that is kept
    stays, so a prediction hangs on all images before.

    **Paper and code** (matsuolab/T3A, adapt_algorithms.py): the paper has means, the code gives them length 1, which
    changes the softmax's temperature class by class (`prototypes`); in the paper w_k belongs to class k, in the code to
    the class that the network assigns it to (`first_supports`). The paper's are our defaults. M is chosen in
    validation from 1, 5, 20, 50, 100 and all; the code's M of -1, meant as all, drops a support of each class at every
    batch, which is not followed. Both feed batches of 32.

    Raises:
        ValueError: a setting out of range. From a predictor: a network that segments, an ensemble, or a classifier
            whose last layer is not linear.
    """

    norm: Normalization = T_BN
    """What BatchNorm layers normalise with."""
    supports: int | None = 20
    """M: how many supports a class keeps, those of the lowest entropy; None: all."""
    prototypes: Literal["mean", "unit length"] = "mean"
    """Whether the mean of a class's supports is taken as it is, or brought to length 1."""
    first_supports: Literal["own class", "predicted class"] = "own class"
    """Which class a row of the last layer supports at the start."""

    keeps_state: ClassVar[bool] = True
    tasks: ClassVar[tuple[Task, ...]] = ("classification",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.supports is None or self.supports >= 1, "supports", "None or 1 or more")

    @classmethod
    def reference(cls, norm: Normalization = T_BN, supports: int | None = 20) -> Self:
        """The published code."""
        return cls(norm, supports, "unit length", "predicted class")

    @property
    def label(self) -> str:
        others = settings(self, hidden=("norm", "supports"))
        kept = "all supports" if self.supports is None else f"{self.supports} supports"
        return f"T3A({', '.join([self.norm.label, kept, *others])})"

    @property
    def sees(self) -> Sees:
        return "the whole target" if self.needs_fit else "a stream"

    @property
    def num_orders(self) -> int:
        return 1

    def check_parts(self, network: nn.Module) -> None:
        LinearHead(network, "T3A")

    def predictor(self, network: nn.Module) -> Predictor:
        return T3APredictor(network, self)


class T3APredictor(NormalizedPredictor):
    """Lets images in among the supports, and predicts them."""

    def __init__(self, network: nn.Module, t3a: T3A) -> None:
        t3a.check_parts(network)
        super().__init__(network, t3a.norm)
        self.t3a = t3a
        self.head = LinearHead(self.network, "T3A")
        self._begin()

    def _begin(self) -> None:
        with torch.inference_mode(False), torch.no_grad():
            rows = self.head.last.weight.detach()
            logits = self.head.last(rows)
            own = self.t3a.first_supports == "own class"
            classes = torch.arange(len(rows), device=rows.device) if own else logits.argmax(1)
            self.of_class = [Supports(self.t3a, precise(rows[:0])) for _ in rows]
            self._enter(rows, logits, classes)

    def fit(self, batches: Iterable[Tensor]) -> None:
        super().fit(batches)
        self._begin()

    def _enter(self, vectors: Tensor, logits: Tensor, classes: Tensor) -> None:
        units, uncertain = nn.functional.normalize(precise(vectors), dim=1), entropies(logits)
        for number in classes.unique().tolist():
            chosen = classes == number
            self.of_class[number].add(units[chosen], uncertain[chosen])

    def __call__(self, images: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.no_grad():
            # All share a forward, since what enters does so behind the network.
            vectors, logits = self.head(images.clone() if images.is_inference() else images)
            found = []
            for of_images, own in zip(self.parts(vectors), self.parts(logits), strict=True):
                self._enter(of_images, own, own.argmax(1))
                prototypes = torch.stack([supports.prototype() for supports in self.of_class])
                found.append((precise(of_images) @ prototypes.T).softmax(1))
            return torch.cat(found).to(images.dtype)


class Supports:
    """The supports of one class, (n, c) of length 1, and what they come to."""

    def __init__(self, t3a: T3A, none: Tensor) -> None:
        self.t3a = t3a
        self.kept, self.entropies = none, none.new_zeros(0)
        self.total, self.count = none.new_zeros(none.shape[1]), 0

    def add(self, units: Tensor, entropies: Tensor) -> None:
        """Let in supports (n, c) whose predictions had these entropies (n,)."""
        if self.t3a.supports is None:
            # A sum is all that their mean needs, and a stream may be long.
            self.total, self.count = self.total + units.sum(0), self.count + len(units)
            return
        units, entropies = torch.cat([self.kept, units]), torch.cat([self.entropies, entropies])
        first = entropies.argsort(stable=True)[: self.t3a.supports]
        self.kept, self.entropies = units[first], entropies[first]
        self.total, self.count = self.kept.sum(0), len(first)

    def prototype(self) -> Tensor:
        """What a vector is compared with, (c,); zeros without supports."""
        if self.t3a.prototypes == "unit length":
            return nn.functional.normalize(self.total, dim=0)
        return self.total / max(self.count, 1)
