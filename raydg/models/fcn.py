"""FCN: a dilated backbone, one 3x3 convolution and a 1x1."""

from dataclasses import dataclass

from torch import nn

from raydg.models.backbone import Dilation
from raydg.models.dense import DenseHead, DilatedArchitecture
from raydg.models.layers import conv_norm_relu
from raydg.models.network import Network, bilinear_aligned


@dataclass(frozen=True)
class FCN(DilatedArchitecture):
    """Long et al., "Fully Convolutional Networks for Semantic Segmentation", without skip connections.

    As in TSMLDG's code (resnet.py, network/backbone/resnet.py), on a `ResNet(50, stem="3x3")`: output stride 8,
    dilation 1 in the first block of layer3 and 2 in that of layer4, a 3x3 convolution to a quarter of the channels
    (512) with BatchNorm, ReLU and Dropout2d 0.1, a 1x1 to the classes; PyTorch's own initialisation; bilinear
    upsampling with aligned corners. That paper says none of this. What the 1x1 gets is the site `context`.
    """

    dilation: Dilation = "lagging"
    """Dilation of the first block of a dilated stage: the stage's own (uniform), that of the stage before (lagging) or
    1 (reset)."""

    def assemble(self, num_classes: int) -> Network:
        encoder = self.encoder()
        channels = encoder.channels[-1] // 4
        body = conv_norm_relu(encoder.channels[-1], channels, 3).append(nn.Dropout2d(0.1))
        decoder = DenseHead(body, channels, nn.Conv2d(channels, num_classes, 1))
        return Network(encoder, decoder, upsample=bilinear_aligned)
