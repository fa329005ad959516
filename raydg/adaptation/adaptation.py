"""What an adaptation is: a value that makes a predictor of a network, and says what it sees and needs."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from raydg.types import Task
from raydg.values import Value

Sees = Literal["one image", "a batch", "a stream", "the whole target"]


class Predictor:
    """A private copy of a network, in evaluation mode, that maps images to probabilities.

    Images (b, 3, h, w) float in [0, 1] become probabilities (b, k, h, w) or (b, k), which sum to 1 over the classes
    and carry no gradient.
    """

    def __init__(self, network: nn.Module) -> None:
        # In whatever mode the caller is: tensors made in inference mode could never learn.
        with torch.inference_mode(False):
            self.network = copy.deepcopy(network).eval()

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Probabilities of the adaptation's last variant."""
        return self.network(images).softmax(dim=1)

    def all(self, images: Tensor) -> Tensor:
        """Probabilities of every variant of the adaptation, from one run: (v, b, k, h, w) or (v, b, k)."""
        return self(images)[None]

    @property
    def members(self) -> tuple["Predictor", ...]:
        """Those that an ensemble averages, each to be fitted by itself; of any other predictor itself."""
        return (self,)

    def fit(self, batches: Iterable[Tensor]) -> None:
        """See all images of the domain that is to be predicted, once and before, where the adaptation `needs_fit`.

        Raises:
            ValueError: the adaptation has nothing to fit, or there are no images.
        """
        raise ValueError(f"{type(self).__name__} has nothing to fit: only adaptations with needs_fit do.")


@dataclass(frozen=True)
class Adaptation(Value, ABC):
    """A way of meeting an unseen domain; its fields are its hyper-parameters.

    A prediction of an adaptation that sees one image does not depend on what else is in the batch.
    """

    batch_size: ClassVar[int] = 1
    """Images that must share a forward for the adaptation to be itself; 1 where each image is met by itself."""
    keeps_state: ClassVar[bool] = False
    """Whether a predictor remembers its batches: then they must come in order, to one predictor."""
    needs_batchnorm: ClassVar[bool] = False
    """Whether it works through BatchNorm layers, and refuses a network whose encoder has none."""
    tasks: ClassVar[tuple[Task, ...]] = ("segmentation", "classification")
    """What the networks that it fits do."""
    needs_fit: ClassVar[bool] = False
    """Whether `Predictor.fit` must see all images of a domain, never labels, before the first prediction there."""

    @property
    @abstractmethod
    def label(self) -> str:
        """Short text for tables: what it is and how it is set."""

    @property
    @abstractmethod
    def sees(self) -> Sees:
        """What of the target a prediction depends on."""

    @property
    def variants(self) -> tuple[str, ...]:
        """Labels of the results that one run gives (`Predictor.all`); the last is what a call gives."""
        return (self.label,)

    @property
    def num_orders(self) -> int:
        """Random orders of the images that a score is averaged over; 1 where the order changes nothing, and of a
        stream, of which every seed draws one."""
        return 1

    def check_parts(self, network: nn.Module) -> None:
        """Raise a ValueError if the network lacks a part that this works on, other than BatchNorm; read from its
        modules alone, which may be on the meta device. Every predictor asks, and experiments before anything runs."""

    @abstractmethod
    def predictor(self, network: nn.Module) -> Predictor:
        """A predictor on a private copy; `network` keeps its parameters, buffers, mode and hooks as they are.

        Raises:
            ValueError: the network does not fit; the message names the layer, or the adaptations that fit.
        """
