"""BatchNorm with other statistics than those of training: what TN and IaBN share."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from raydg.adaptation.adaptation import Adaptation, Predictor
from raydg.values import subclasses

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm


class Renormalization(nn.Module):
    """Stands in for a BatchNorm layer: its parameters and running statistics by their names, other statistics to use.

    `statistics` maps features (b, c, ...) and this layer to variance and mean that broadcast against the features. The
    output is (x - mean) / sqrt(variance + eps) * weight + bias, computed in float32 at least and returned in the
    features' own type. Where the variance is 0, a channel being constant or a single value, it is the bias.
    """

    weight: Tensor | None
    bias: Tensor | None
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

    def forward(self, features: Tensor) -> Tensor:
        x = features.to(torch.promote_types(features.dtype, torch.float32))
        variance, mean = self.statistics(x, self)
        scale = torch.rsqrt(variance + self.eps)
        if self.weight is not None:
            scale = scale * per_channel(self.weight, x)
        bias = x.new_zeros(()) if self.bias is None else per_channel(self.bias, x)
        # x * scale + (bias - mean * scale) saves a pass but cancels in near-constant channels, whose scale is large.
        return torch.addcmul(bias, x - mean, scale).to(features.dtype)


@dataclass(frozen=True)
class BatchNormAdaptation(Adaptation):
    """An adaptation that changes nothing but the statistics that BatchNorm layers normalise with."""

    needs_batchnorm: ClassVar[bool] = True

    @abstractmethod
    def check(self, name: str, layer: BatchNorm) -> None:
        """Raise a ValueError if this layer cannot be adapted."""

    @abstractmethod
    def statistics(self, features: Tensor, layer: Renormalization) -> tuple[Tensor, Tensor]:
        """Variance and mean to normalise features (b, c, ...) with; both broadcast against them."""

    def predictor(self, network: nn.Module) -> Predictor:
        predictor = Predictor(network)
        layers = list(batchnorm_layers(predictor.network))
        if not layers:
            fitting = sorted(cls.__name__ for cls in subclasses(Adaptation) if not cls.needs_batchnorm)
            raise ValueError(
                f"{self.label} works through BatchNorm layers and {type(network).__name__} has none: "
                f"take an adaptation that fits any network ({', '.join(fitting)}), or a network with BatchNorm."
            )
        for name, layer in layers:
            self.check(name, layer)
            parent, _, leaf = name.rpartition(".")
            setattr(predictor.network.get_submodule(parent), leaf, Renormalization(layer, name, self.statistics))
        return predictor


def batchnorm_layers(network: nn.Module) -> Iterator[tuple[str, BatchNorm]]:
    """Every BatchNorm layer inside a network, by every name that it goes by."""
    for name, module in network.named_modules(remove_duplicate=False):
        if isinstance(module, BatchNorm):
            yield name, module


def require_running_statistics(name: str, layer: BatchNorm) -> None:
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
