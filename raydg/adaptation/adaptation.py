"""What an adaptation is: a value that makes a predictor of a network, and says what it sees and needs."""

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from raydg.values import Value

Sees = Literal["one image", "a batch", "a stream", "the whole target"]


class Predictor:
    """A private copy of a network, in evaluation mode, that maps images to probabilities.

    Images (b, 3, h, w) float in [0, 1] become probabilities (b, k, h, w) or (b, k), which sum to 1 over the classes
    and carry no gradient.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = copy.deepcopy(network).eval()

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        return self.network(images).softmax(dim=1)


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
    """Whether it works through BatchNorm layers, and refuses a network without."""

    @property
    @abstractmethod
    def label(self) -> str:
        """Short text for tables: what it is and how it is set."""

    @property
    @abstractmethod
    def sees(self) -> Sees:
        """What of the target a prediction depends on."""

    @property
    def num_orders(self) -> int:
        """Random orders of the images that a score is averaged over; 1 where the order changes nothing."""
        return 1

    @abstractmethod
    def predictor(self, network: nn.Module) -> Predictor:
        """A predictor on a private copy; `network` keeps its parameters, buffers, mode and hooks as they are.

        Raises:
            ValueError: the network does not fit; the message names the layer, or the adaptations that fit.
        """
