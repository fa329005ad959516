"""Atrous spatial pyramid pooling: context at several scales from one map."""

import torch
from torch import Tensor, nn

from raydg.models.backbone import OutputStride
from raydg.models.layers import conv_norm_relu

RATES: dict[OutputStride, tuple[int, ...]] = {16: (6, 12, 18), 8: (12, 24, 36)}
"""Dilations of the 3x3 branches: the same reach in pixels of the image at either output stride."""


class ASPP(nn.Module):
    """Image pooling, a 1x1 and three dilated 3x3 convolutions, concatenated in this order and projected by a 1x1.

    (b, inputs, h, w) to (b, channels, h, w). Source: Chen et al., "Rethinking Atrous Convolution for Semantic Image
    Segmentation", Section 3.3; the order of the branches is that of Pin the Memory's code (network/deepv3plus.py).
    torchvision and self-adaptation's code put the pooling last: the weights of their projection fit once its inputs are
    rolled by `channels`. `dropout` is element-wise and comes last, as there; Pin the Memory has none.
    """

    def __init__(self, inputs: int, channels: int, rates: tuple[int, ...], dropout: float = 0.0) -> None:
        super().__init__()
        self.branches = nn.ModuleList([ImagePooling(inputs, channels), conv_norm_relu(inputs, channels, 1)])
        self.branches.extend(conv_norm_relu(inputs, channels, 3, dilation=rate) for rate in rates)
        self.project = conv_norm_relu(len(self.branches) * channels, channels, 1)
        if dropout:
            self.project.append(nn.Dropout(dropout))

    def forward(self, maps: Tensor) -> Tensor:
        return self.project(torch.cat([branch(maps) for branch in self.branches], dim=1))


class ImagePooling(nn.Module):
    """The mean of the whole map through a 1x1 convolution, at every position.

    Its BatchNorm sees one value per image and channel: on batch statistics one image is too few, and torch refuses it.
    """

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.project = conv_norm_relu(inputs, channels, 1)

    def forward(self, maps: Tensor) -> Tensor:
        return self.project(maps.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, *maps.shape[-2:])
