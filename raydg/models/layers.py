"""The layers that raydg's own networks and heads are made of; torchvision's networks bring theirs."""

from collections.abc import Callable

from torch import Tensor, nn

from raydg.models.network import Features, Site


class Head(nn.Module):
    """The decoder of a classifier: layers that make a vector of the deepest features, and the last one.

    The input of the last one is a site.
    """

    def __init__(self, pool: nn.Module, last: nn.Module, channels: int) -> None:
        super().__init__()
        self.pool, self.before_last, self.last = pool, Site(channels), last

    def forward(self, features: Features) -> Tensor:
        return self.last(self.before_last(self.pool(features[-1])))


def conv_norm(
    inputs: int,
    outputs: int,
    kernel_size: int,
    stride: int = 1,
    dilation: int = 1,
    norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
) -> nn.Sequential:
    """Convolution without bias, and BatchNorm or what `norm` makes of a number of channels; the size stays but for the
    stride."""
    padding = dilation * (kernel_size // 2)
    conv = nn.Conv2d(inputs, outputs, kernel_size, stride, padding, dilation, bias=False)
    return nn.Sequential(conv, norm(outputs))


def conv_norm_relu(
    inputs: int,
    outputs: int,
    kernel_size: int,
    stride: int = 1,
    dilation: int = 1,
    norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
) -> nn.Sequential:
    return conv_norm(inputs, outputs, kernel_size, stride, dilation, norm).append(nn.ReLU(inplace=True))


def drop_after_relus(module: nn.Module, probability: float) -> None:
    """Put element-wise dropout behind every ReLU in `module`; a ReLU that is used several times drops at each use."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.ReLU):
                parent.add_module(name, nn.Sequential(child, nn.Dropout(probability)))


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


def initialise_narrowly(module: nn.Module) -> None:
    """N(0, 0.01) for every convolution in `module`, and biases 0: how the first DeepLabs begin their last layer."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.01)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
