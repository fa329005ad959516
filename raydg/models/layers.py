"""The layers that raydg's own networks and heads are made of; torchvision's networks bring theirs."""

from torch import Tensor, nn

from raydg.models.network import Features


class Head(nn.Sequential):
    """Layers applied to the deepest features: the decoder of a classifier."""

    def forward(self, features: Features) -> Tensor:
        return super().forward(features[-1])


def conv_norm(inputs: int, outputs: int, kernel_size: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Convolution without bias, and BatchNorm; the size stays but for the stride."""
    padding = dilation * (kernel_size // 2)
    conv = nn.Conv2d(inputs, outputs, kernel_size, stride, padding, dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


def conv_norm_relu(inputs: int, outputs: int, kernel_size: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    return conv_norm(inputs, outputs, kernel_size, stride, dilation).append(nn.ReLU(inplace=True))


def initialise(module: nn.Module) -> None:
    """Kaiming's normal initialisation of every convolution in `module`, by fan-in, and biases 0.

    BatchNorm starts at scale 1 and shift 0 by itself. Source: He et al., "Delving Deep into Rectifiers", eq. 10; it is
    what Pin the Memory's code does with its new layers.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
