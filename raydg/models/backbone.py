"""Backbones: the values that say which encoder a network has."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from raydg.licence import Licence
from raydg.models.network import Encoder
from raydg.values import Value

Normalisation = Literal["batch", "none"]
OutputStride = Literal[8, 16]
Dilation = Literal["uniform", "lagging", "reset"]
"""Dilation of the first block of a dilated stage. The others have the stage's own: 2 in the first such stage, then 4.

uniform: the stage's own. Pin the Memory's networks (network/deepv3plus.py and deepv2.py, variants D and D16).
lagging: that of the stage before. torchvision's `replace_stride_with_dilation`, so self-adaptation's DeepLabV3+, and
    TSMLDG's network (network/backbone/resnet.py).
reset: 1. self-adaptation's DeepLabV1 (models/backbone/resnet.py), in both layer3 and layer4.
"""


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
    def dilated(self, output_stride: OutputStride, dilation: Dilation = "uniform") -> Encoder:
        """Encoder, with random weights, whose first features have stride 4 and whose last have `output_stride`.

        It has features of at least two depths; those before the deepest are where auxiliary heads sit.
        """


def dilate(blocks: Iterable[nn.Module], rate: int, dilation: Dilation) -> None:
    """Give every convolution of a residual stage's blocks stride 1, and every 3x3 one dilation `rate`, in the first
    block as `dilation` says. The weights keep their shapes."""
    first = {"uniform": rate, "lagging": rate // 2, "reset": 1}[dilation]
    for position, block in enumerate(blocks):
        of_block = rate if position else first
        for conv in block.modules():
            if isinstance(conv, nn.Conv2d):
                conv.stride = (1, 1)
                if conv.kernel_size == (3, 3):
                    conv.dilation = conv.padding = (of_block, of_block)
