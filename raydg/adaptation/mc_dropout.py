"""MC-Dropout: the mean of the predictions of several networks that dropout thins out."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from raydg.adaptation.adaptation import Predictor
from raydg.adaptation.normalization import Normalization, NormalizedPredictor, OnNormalization
from raydg.adaptation.train_bn import T_BN
from raydg.seeds import fold

Dropout = nn.Dropout | nn.Dropout1d | nn.Dropout2d | nn.Dropout3d


@dataclass(frozen=True)
class MCDropout(OnNormalization):
    """MC-Dropout (Gal and Ghahramani, ICML 2016; self-adaptation Tables 1b and 5b): dropout stays on, and the
    probabilities of several samples are averaged.

    What a sample drops follows from `seed`, the number of the sample, the place of the layer and the shape of its
    features, and is the same for every image of that shape: a prediction depends neither on what shares its batch nor
    on what came before. Dropout layers act with their own probabilities and kinds: single values, or whole channels
    (Dropout2d). Self-adaptation does not say how many samples; its networks have dropout of 0.1 after every ReLU
    (`DeepLabV1(dropout=0.1)`).

    Raises:
        ValueError: a setting out of range. From a predictor: a network without dropout.
    """

    norm: Normalization = T_BN
    """What BatchNorm layers normalise with."""
    samples: int = 10
    """Predictions that are averaged."""
    seed: int = 0
    """What the samples are drawn from."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.samples >= 1, "samples", "1 or more")

    @property
    def label(self) -> str:
        seed = f", seed={self.seed}" if self.seed else ""
        return f"MC-Dropout({self.norm.label}, {self.samples} sample{'s' * (self.samples > 1)}{seed})"

    def check_parts(self, network: nn.Module) -> None:
        if next(dropout_layers(network), None) is None:
            raise ValueError(
                f"{self.label} needs dropout layers, and {type(network).__name__} has none that drops: take a "
                "network that has, such as DeepLabV1(dropout=0.1), or another adaptation."
            )

    def predictor(self, network: nn.Module) -> Predictor:
        return MCDropoutPredictor(network, self)


class MCDropoutPredictor(NormalizedPredictor):
    """Predicts by the mean over samples."""

    def __init__(self, network: nn.Module, settings: MCDropout) -> None:
        settings.check_parts(network)
        super().__init__(network, settings.norm)
        self.settings = settings
        self.layers = []
        for name, layer in list(dropout_layers(self.network)):
            parent, _, leaf = name.rpartition(".")
            self.layers.append(SeededDropout(layer))
            setattr(self.network.get_submodule(parent), leaf, self.layers[-1])

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        total = torch.zeros(())
        for sample in range(self.settings.samples):
            for place, layer in enumerate(self.layers):
                seed = fold(self.settings.seed, "mc-dropout", sample, place)
                layer.generator = torch.Generator(images.device).manual_seed(seed % 2**63)
            logits = self.network(images)
            probabilities = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(1)
            total = probabilities if sample == 0 else total.add_(probabilities)
        for layer in self.layers:
            layer.generator = None
        return (total / self.settings.samples).to(images.dtype)


class SeededDropout(nn.Module):
    """Stands in for a dropout layer: drops as its generator says, the same for every image of a batch, or nothing while
    it has none."""

    def __init__(self, layer: Dropout) -> None:
        super().__init__()
        self.probability, self.whole_channels = layer.p, not isinstance(layer, nn.Dropout)
        self.generator: torch.Generator | None = None

    def forward(self, features: Tensor) -> Tensor:
        if self.generator is None:
            return features
        shape = (1, features.shape[1], *(1 for _ in features.shape[2:])) if self.whole_channels else features[:1].shape
        draws = torch.rand(shape, generator=self.generator, device=features.device)
        kept = (draws >= self.probability).to(features.dtype)
        return features * kept / (1 - self.probability) if self.probability < 1 else features * kept


def dropout_layers(network: nn.Module) -> Iterator[tuple[str, Dropout]]:
    """Every layer that drops anything, by every name that it goes by."""
    for name, module in network.named_modules(remove_duplicate=False):
        if isinstance(module, Dropout) and module.p > 0:
            yield name, module
