"""SmallNet: a residual network small enough to train on a CPU, for the quickstart and the tests."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from raydg.models.backbone import DilatableBackbone, Dilation, Normalisation, OutputStride, dilate
from raydg.models.layers import Head, conv_norm, conv_norm_relu, initialise
from raydg.models.network import Encoder, Features, Site
from raydg.models.normalisation import layer_of, normalisation_of, standardisation


@dataclass(frozen=True)
class SmallNet(DilatableBackbone):
    """A stem and three residual blocks, each with half the size and twice the channels of what comes before.

    Output stride 16. Dilated to 8, the last block, which is its stage's first, has dilation 2 if uniform and else 1.
    There are no pretrained weights. A classifier's decoder is global pooling and a linear layer.
    """

    width: int = 16
    """Channels of the stem. The blocks have 2, 4 and 8 times as many; 16 makes 0.3 million parameters."""

    norm: Literal["batch", "robustnet", "switchable", "batch-instance"] = "batch"
    """Which layers normalise (see `raydg.models.normalisation.Norm`); robustnet: those of the stem and at the end of
    the first two blocks."""

    @property
    def normalisation(self) -> Normalisation:  # pyright: ignore[reportIncompatibleVariableOverride]
        return normalisation_of(self.norm)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.width >= 1, "width", "at least 1")

    def encoder(self) -> "SmallNetEncoder":
        return SmallNetEncoder(self.width, layer_of(self.norm), self.norm == "robustnet")

    def classifier(self, num_classes: int) -> tuple[Encoder, nn.Module]:
        encoder = self.encoder()
        return encoder, Head(
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            nn.Linear(encoder.channels[-1], num_classes),
            encoder.channels[-1],
        )

    def load_weights(self, encoder: Encoder) -> None:
        """Nothing to do: there are none."""

    def dilated(self, output_stride: OutputStride, dilation: Dilation = "uniform") -> Encoder:
        encoder = self.encoder()
        if output_stride == 8:
            dilate([encoder.block3], 2, dilation)
        return encoder


class SmallNetEncoder(Encoder):
    """Features of the blocks: strides 4, 8 and 16 unless dilated. The inputs of the last two are sites."""

    groups = (("stem", ("stem",)), ("block1", ("block1",)), ("block2", ("block2",)), ("block3", ("block3",)))

    def __init__(
        self, width: int, norm: Callable[[int], nn.Module] = nn.BatchNorm2d, standardised: bool = False
    ) -> None:
        """`standardised` puts instance normalisation where RobustNet has it."""
        super().__init__()
        self.channels = (2 * width, 4 * width, 8 * width)
        self.stem = conv_norm_relu(3, width, 3, stride=2, norm=norm)
        self.block1 = Block(width, 2 * width, norm)
        self.block2 = Block(2 * width, 4 * width, norm)
        self.block3 = Block(4 * width, 8 * width, norm)
        if standardised:
            # What looks at a site must not find it changed by a ReLU in place.
            self.stem = nn.Sequential(self.stem[0], standardisation("stem", width), nn.ReLU())
            self.block1.sum = standardisation("block1", 2 * width)
            self.block2.sum = standardisation("block2", 4 * width)
        self.before_block2, self.before_block3 = Site(2 * width), Site(4 * width)
        initialise(self)

    def forward(self, images: Tensor) -> Features:
        maps1 = self.block1(self.stem(images))
        maps2 = self.block2(self.before_block2(maps1))
        return maps1, maps2, self.block3(self.before_block3(maps2))


class Block(nn.Module):
    """The basic block of ResNet at stride 2: two 3x3 convolutions beside a 1x1 one."""

    def __init__(self, inputs: int, outputs: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            conv_norm_relu(inputs, outputs, 3, stride=2, norm=norm), conv_norm(outputs, outputs, 3, norm=norm)
        )
        self.shortcut = conv_norm(inputs, outputs, 1, stride=2, norm=norm)
        self.sum = nn.Sequential()
        self.relu = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        return self.relu(self.sum(self.residual(maps) + self.shortcut(maps)))
