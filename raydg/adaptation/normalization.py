"""Adaptations that settle what BatchNorm layers normalise with, and those that are built on one."""

from abc import abstractmethod
from dataclasses import dataclass, fields

from torch import nn

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

    def predictor(self, network: nn.Module) -> Predictor:
        predictor = Predictor(network)
        self.normalise(predictor.network)
        return predictor


@dataclass(frozen=True)
class OnNormalization(Adaptation):
    """An adaptation that runs on top of a normalisation, and sees and needs at least what that does.

    Raises:
        ValueError: a normalisation that needs a fit of its own.
    """

    norm: Normalization
    """What BatchNorm layers normalise with."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(not self.norm.needs_fit, "norm", "one that needs no fit, such as TrainBN, IaBN or TargetNorm")

    @property
    def batch_size(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Images that must share a forward: those of the normalisation."""
        return self.norm.batch_size

    @property
    def needs_batchnorm(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As the normalisation does."""
        return self.norm.needs_batchnorm

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
