"""BatchNorm with other statistics than those of training: what TN and IaBN share."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from raydg.adaptation.adaptation import Adaptation
from raydg.adaptation.normalization import Normalization
from raydg.models import Network
from raydg.values import subclasses

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm


class Renormalization(nn.Module):
    """Stands in for a BatchNorm layer: its parameters and running statistics by their names, other statistics to use.

    `statistics` maps features (b, c, ...) and this layer to variance and mean that broadcast against the features. The
    output is (x - mean) / sqrt(variance + eps) * weight + bias, computed in float32 at least and returned in the
    features' own type. Where the variance is 0, a channel being constant or a single value, it is the bias.
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None
    running_mean: Tensor
    running_var: Tensor
    eps: float

    def __init__(
        self, layer: BatchNorm, name: str, statistics: Callable[[Tensor, "Renormalization"], tuple[Tensor, Tensor]]
    ) -> None:
        super().__init__()
        # A module is what its __dict__ holds: parameters, buffers, hooks and mode come along under their names.
        self.__dict__.update(layer.__dict__)
        self.name = name
        self.statistics = statistics
        self.instead: Callable[[Tensor, Renormalization], Tensor] | None = None
        """What normalises for the time being, features (b, c, ...) of float32 at least to the same."""

        self.measured: object = None
        """What a fit has measured of the target here, for the statistics to use."""

    def forward(self, features: Tensor) -> Tensor:
        x = features.to(torch.promote_types(features.dtype, torch.float32))
        y = self.instead(x, self) if self.instead else self.normalised(x, *self.statistics(x, self))
        return y.to(features.dtype)

    def normalised(self, x: Tensor, variance: Tensor, mean: Tensor) -> Tensor:
        """Features with these statistics, and with the layer's weight and bias."""
        scale = torch.rsqrt(variance + self.eps)
        if self.weight is not None:
            scale = scale * per_channel(self.weight, x)
        bias = x.new_zeros(()) if self.bias is None else per_channel(self.bias, x)
        # x * scale + (bias - mean * scale) saves a pass but cancels in near-constant channels, whose scale is large.
        return torch.addcmul(bias, x - mean, scale)


@dataclass(frozen=True)
class BatchNormAdaptation(Normalization):
    """An adaptation that changes nothing but the statistics that BatchNorm layers normalise with."""

    needs_batchnorm: ClassVar[bool] = True

    @abstractmethod
    def check(self, name: str, layer: BatchNorm) -> None:
        """Raise a ValueError if this layer cannot be adapted."""

    @abstractmethod
    def statistics(self, features: Tensor, layer: Renormalization) -> tuple[Tensor, Tensor]:
        """Variance and mean to normalise features (b, c, ...) with; both broadcast against them."""

    def normalise(self, network: nn.Module) -> None:
        require_batchnorm(self, network)
        for name, layer in batchnorm_layers(network):
            self.check(name, layer)
        renormalise(network, self.statistics)


def renormalise(
    network: nn.Module, statistics: Callable[[Tensor, Renormalization], tuple[Tensor, Tensor]]
) -> list[Renormalization]:
    """Put a `Renormalization` in the place of every BatchNorm layer, in place, and return them."""
    layers = []
    for name, layer in list(batchnorm_layers(network)):
        parent, _, leaf = name.rpartition(".")
        layers.append(Renormalization(layer, name, statistics))
        setattr(network.get_submodule(parent), leaf, layers[-1])
    return layers


def require_batchnorm(adaptation: Adaptation, network: nn.Module) -> None:
    """Raise a ValueError if there is no BatchNorm layer, or none in the encoder of a `Network` that is inside: then
    the domain's statistics enter by other layers, and a lone BatchNorm in the head says little of them."""
    inside = [module for module in network.modules() if isinstance(module, Network)]
    for part in (network, *(module.encoder for module in inside)):
        if next(batchnorm_layers(part), None) is None:
            fitting = sorted(c.__name__ for c in subclasses(Adaptation) if c.needs_batchnorm is False)
            whose = type(network).__name__ if part is network else f"its encoder {type(part).__name__}"
            raise ValueError(
                f"{adaptation.label} works through BatchNorm layers and {whose} has none: "
                f"take an adaptation that fits any network ({', '.join(fitting)}), or a network with BatchNorm."
            )


def scale_and_shift(adaptation: Adaptation, network: nn.Module) -> list[nn.Parameter]:
    """Let nothing of a private network learn but scale and shift of its BatchNorm layers, and return those, each once.

    Raises:
        ValueError: there are none.
    """
    layers = [module for module in network.modules() if isinstance(module, BatchNorm | Renormalization)]
    found = list(dict.fromkeys(p for layer in layers for p in (layer.weight, layer.bias) if p is not None))
    if not found:
        raise ValueError(
            f"{type(adaptation).__name__} learns scale and shift of BatchNorm layers, and those here have none "
            "(affine=False)."
        )
    network.requires_grad_(False)
    for parameter in found:
        parameter.requires_grad_(True)
    return found


def batchnorm_layers(network: nn.Module) -> Iterator[tuple[str, BatchNorm]]:
    """Every BatchNorm layer inside a network, by every name that it goes by."""
    for name, module in network.named_modules(remove_duplicate=False):
        if isinstance(module, BatchNorm):
            yield name, module


def running_statistics(features: Tensor, layer: Renormalization) -> tuple[Tensor, Tensor]:
    """Variance and mean of training, (1, c, 1, ...)."""
    return per_channel(layer.running_var, features), per_channel(layer.running_mean, features)


def require_running_statistics(name: str, layer: BatchNorm | Renormalization) -> None:
    """Raise a ValueError unless the layer keeps the statistics of its training."""
    if layer.running_mean is None:
        raise ValueError(
            f"The BatchNorm layer {name!r} keeps no running statistics (track_running_stats=False): "
            "take TargetNorm, which needs none, or train the network with them."
        )


def per_channel(vector: Tensor, features: Tensor) -> Tensor:
    """A vector (c,) in a shape that broadcasts against features (b, c, ...)."""
    return vector.view(1, -1, *(1 for _ in features.shape[2:]))


def image_statistics(features: Tensor, layer: Renormalization) -> tuple[Tensor, Tensor]:
    """Biased variance and mean over the positions of every image and channel, (b, c, 1, ...).

    Raises:
        ValueError: features (b, c) have no positions; the message names the layer.
    """
    if features.ndim < 3:
        raise ValueError(
            f"The BatchNorm layer {layer.name!r} normalises vectors {tuple(features.shape)}: statistics of a single "
            "image are undefined there. Take TrainBN, or TargetNorm with batches of at least 2 images."
        )
    return torch.var_mean(features, dim=tuple(range(2, features.ndim)), correction=0, keepdim=True)
