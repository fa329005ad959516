"""Backbones: the values that say which encoder a network has."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from raydg.licence import Licence
from raydg.models.network import Encoder
from raydg.values import Value

Normalisation = Literal["batch", "none"]
OutputStride = Literal[8, 16]


@dataclass(frozen=True)
class Backbone(Value, ABC):
    """An encoder's value. Random weights come from torch's global generator, which the caller seeds."""

    normalisation: ClassVar[Normalisation]
    """Whether the encoder has BatchNorm layers, which adaptations to a domain's statistics need."""

    @abstractmethod
    def classifier(self, num_classes: int) -> tuple[Encoder, nn.Module]:
        """Encoder and decoder of the network as a classifier, with random weights.

        The cut follows one rule: pretrained weights fill the encoder, what is new for every label space is the decoder.
        """

    @property
    def licences(self) -> tuple[Licence, ...]:
        """Terms of the pretrained weights; none for random ones."""
        return ()

    @abstractmethod
    def load_weights(self, encoder: Encoder) -> None:
        """Replace the random weights of `encoder`, which this value built, by the pretrained ones it names, if any.

        Raises:
            ValueError: they cannot be read or are not exactly the encoder's, or it is on the meta device.
        """


@dataclass(frozen=True)
class DilatableBackbone(Backbone):
    """A convolutional backbone whose last stages can trade stride for dilation."""

    @abstractmethod
    def dilated(self, output_stride: OutputStride) -> Encoder:
        """Encoder, with random weights, whose first features have stride 4 and whose last have `output_stride`."""


def dilate(stage: nn.Module, dilation: int) -> None:
    """Give every convolution of a residual stage stride 1, and every 3x3 one, the first block's included, `dilation`.

    The weights keep their shapes. This is the pattern of Pin the Memory's networks (network/deepv3plus.py, variants D
    and D16); torchvision's `replace_stride_with_dilation` leaves the first block at the dilation of the stage before.
    """
    for conv in stage.modules():
        if isinstance(conv, nn.Conv2d):
            conv.stride = (1, 1)
            if conv.kernel_size == (3, 3):
                conv.dilation = conv.padding = (dilation, dilation)
