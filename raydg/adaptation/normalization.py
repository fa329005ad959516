"""Adaptations that settle what BatchNorm layers normalise with, and those that are built on one."""

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, fields

from torch import Tensor, nn

from raydg.adaptation.adaptation import Adaptation, Predictor, Sees
from raydg.values import Value


@dataclass(frozen=True)
class Normalization(Adaptation):
    """An adaptation that settles which statistics BatchNorm layers normalise with, and nothing else.

    Others take one as `norm`: `TTA(norm=IaBN(0.1))`.
    """

    @abstractmethod
    def normalise(self, network: nn.Module) -> None:
        """Change a private network, in place, so that it normalises as this says.

        Raises:
            ValueError: the network does not fit; the message names the layer, or the adaptations that fit.
        """

    def fit(self, network: nn.Module, batches: Iterable[Tensor]) -> None:
        """Measure all images of a domain in a network that `normalise` has changed, where this `needs_fit`.

        Raises:
            ValueError: there is nothing to fit, or there are no images.
        """
        raise ValueError(f"{self.label} has nothing to fit: only adaptations with needs_fit do.")

    def predictor(self, network: nn.Module) -> Predictor:
        return NormalizedPredictor(network, self)


class NormalizedPredictor(Predictor):
    """Predicts with a network that normalises as a `Normalization` says, fitted where that needs it."""

    def __init__(self, network: nn.Module, norm: Normalization) -> None:
        super().__init__(network)
        self.norm = norm
        norm.normalise(self.network)

    def fit(self, batches: Iterable[Tensor]) -> None:
        self.norm.fit(self.network, batches)

    def parts(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images (b, 3, h, w) as an adaptation that learns meets them: all at once where statistics of the batch
        normalise them, else one by one, since then no image hangs on another."""
        return (images,) if self.norm.sees == "a batch" else images.split(1)


@dataclass(frozen=True)
class OnNormalization(Adaptation):
    """An adaptation that runs on top of a normalisation, and sees and needs at least what that does.

    Statistics that need a fit are measured once, on the images as they are and with the network as it was trained;
    views and learning come on top of them.
    """

    norm: Normalization
    """What BatchNorm layers normalise with."""

    @property
    def batch_size(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Images that must share a forward: those of the normalisation."""
        return self.norm.batch_size

    @property
    def needs_batchnorm(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As the normalisation does."""
        return self.norm.needs_batchnorm

    @property
    def needs_fit(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As the normalisation does."""
        return self.norm.needs_fit

    @property
    def sees(self) -> Sees:
        return self.norm.sees

    @property
    def num_orders(self) -> int:
        return self.norm.num_orders


def settings(value: Value, hidden: tuple[str, ...] = ()) -> list[str]:
    """The fields of a value that are not at their defaults, `hidden` ones left out, as parts of its label."""
    shown = []
    for field in fields(value):
        setting = getattr(value, field.name)
        if field.name not in hidden and setting != field.default:
            text = getattr(setting, "label", None) or (f"{setting:g}" if isinstance(setting, float) else str(setting))
            shown.append(f"{field.name}={text}")
    return shown
