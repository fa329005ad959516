"""DeepLabV1: a dilated backbone and one 1x1 convolution."""

from dataclasses import dataclass

from torch import nn

from raydg.models.backbone import Dilation
from raydg.models.dense import DenseHead, DilatedArchitecture
from raydg.models.layers import drop_after_relus, initialise_narrowly
from raydg.models.network import Network, bilinear_aligned


@dataclass(frozen=True)
class DeepLabV1(DilatedArchitecture):
    """Chen et al., "Semantic Image Segmentation with Deep Convolutional Nets and Fully Connected CRFs", without CRF.

    As in self-adaptation's code (models/deeplab.py, models/backbone/resnet.py), whose baseline it is: output stride 8,
    dilation 1 in the first blocks of layer3 and of layer4, 2 and 4 in the others; a 1x1 convolution with bias, of
    N(0, 0.01) and bias 0; bilinear upsampling with aligned corners. That paper names neither the dilations nor
    the upsampling. The site
    `context` is the deepest map itself.
    """

    dilation: Dilation = "reset"
    """Dilation of the first block of a dilated stage: the stage's own (uniform), that of the stage before (lagging) or
    1 (reset)."""
    dropout: float = 0.0
    """Probability of element-wise dropout after every ReLU; MC-Dropout trains and samples with 0.1 (that code's
    utils/dropout.py)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_probability("dropout")

    def assemble(self, num_classes: int) -> Network:
        encoder = self.encoder()
        if self.dropout:
            drop_after_relus(encoder, self.dropout)
        channels = encoder.channels[-1]
        classifier = nn.Conv2d(channels, num_classes, 1)
        initialise_narrowly(classifier)
        return Network(encoder, DenseHead(nn.Identity(), channels, classifier), upsample=bilinear_aligned)
