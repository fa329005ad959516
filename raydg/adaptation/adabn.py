"""AdaBN: BatchNorm's statistics measured on the whole target."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from raydg.adaptation.adaptation import Sees
from raydg.adaptation.batchnorm import (
    BatchNorm,
    BatchNormAdaptation,
    Renormalization,
    per_channel,
    require_running_statistics,
    running_statistics,
)


@dataclass(frozen=True)
class AdaBN(BatchNormAdaptation):
    """AdaBN (Li et al., 2017, "Revisiting batch normalization for practical domain adaptation", as self-adaptation
    section 3 describes it): the statistics of training are replaced by those of the target, all images of it.

    One pass over the images measures, layer by layer, mean and biased variance over all images and positions, every
    value weighing alike whatever batches it came in. During the pass a batch is normalised with its own statistics, so
    that deep layers see features such as they will be; those therefore hang a little on which images share a batch
    (a network with one BatchNorm layer: not at all). `target_weight` blends with training's, as IaBN does for an image.

    Raises:
        ValueError: a setting out of range; a layer without running statistics, unless nothing is left of them. From a
            predictor: a prediction before `fit`, a fit without images, or features of a single value a channel.
    """

    needs_fit: ClassVar[bool] = True

    batch_size: int = 16
    """Images that share a forward while measuring."""
    target_weight: float = 1.0
    """Share of the target in the statistics; 0 is t-BN."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(0 <= self.target_weight <= 1, "target_weight", "between 0 and 1")
        self.require(self.batch_size >= 1, "batch_size", "at least 1")

    @property
    def label(self) -> str:
        batch = "" if self.batch_size == 16 else f", batch_size={self.batch_size}"
        return f"AdaBN(target_weight={self.target_weight:g}{batch})"

    @property
    def sees(self) -> Sees:
        return "the whole target"

    def check(self, name: str, layer: BatchNorm) -> None:
        if self.target_weight < 1:
            require_running_statistics(name, layer)

    def statistics(self, features: Tensor, layer: Renormalization) -> tuple[Tensor, Tensor]:
        if not isinstance(layer.measured, Moments):
            raise ValueError(f"{self.label} predicts with the target's statistics: call fit with its images first.")
        if layer.measured.count == 0:
            raise ValueError(f"The BatchNorm layer {layer.name!r} was passed by no image of the fit.")
        variance, mean = (per_channel(s.to(features), features) for s in layer.measured.statistics())
        if self.target_weight == 1:
            return variance, mean
        own_variance, own_mean = running_statistics(features, layer)
        blend = self.target_weight
        return (1 - blend) * own_variance + blend * variance, (1 - blend) * own_mean + blend * mean

    @torch.no_grad()
    def fit(self, network: nn.Module, batches: Iterable[Tensor]) -> None:
        layers = [module for module in network.modules() if isinstance(module, Renormalization)]
        measured = {layer: Moments() for layer in layers}

        def measure(x: Tensor, layer: Renormalization) -> Tensor:
            measured[layer].add(x)
            dim = tuple(d for d in range(x.ndim) if d != 1)
            if x.ndim < 3 and len(x) < 2:
                raise ValueError(
                    f"The BatchNorm layer {layer.name!r} normalises vectors {tuple(x.shape)}: statistics of a single "
                    "image are undefined there. Fit with batches of at least 2 images."
                )
            return layer.normalised(x, *torch.var_mean(x, dim=dim, correction=0, keepdim=True))

        num_batches = 0
        try:
            for layer in layers:
                layer.instead = measure
            for images in batches:
                network(images)
                num_batches += 1
        finally:
            for layer in layers:
                layer.instead = None
        if num_batches == 0:
            raise ValueError("AdaBN was fitted on no images: it takes all of a domain's.")
        for layer in layers:
            layer.measured = measured[layer]


class Moments:
    """Mean and variance of what came in parts, exact to rounding in whatever parts it came."""

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0, torch.zeros(()), torch.zeros(())

    def add(self, features: Tensor) -> None:
        """Count features (b, c, ...), every value once. Sums are float64 where the device has it."""
        values = features.detach().transpose(0, 1).flatten(1)
        values = values if values.device.type == "mps" else values.double()
        variance, mean = torch.var_mean(values, 1, correction=0)
        count, total = values.shape[1], self.count + values.shape[1]
        difference = mean - self.mean.to(mean)
        self.mean = self.mean.to(mean) + difference * (count / total)
        self.squares = self.squares.to(mean) + count * (variance + difference**2 * (self.count / total))
        self.count = total

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Biased variance and mean, (c,)."""
        return self.squares / self.count, self.mean
