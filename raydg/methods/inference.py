"""How to predict with what a method trained: one training may be evaluated in several ways."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from torch import Tensor, nn

from raydg.models import Network
from raydg.values import Value

if TYPE_CHECKING:
    from raydg.methods.method import Extended, Method

Averages = Literal["probabilities", "logits"]
"""What an ensemble averages over its members."""


@dataclass(frozen=True, kw_only=True)
class Inference(Value, ABC):
    """A way to predict with what a method trained; its fields are its hyper-parameters.

    A method lists the classes that fit it in `Method.inferences`, its own way first. Sources go by
    `Experiment.source_names`: a domain that is listed twice is `gtav` and `gtav:2`.
    """

    knows_domain: ClassVar[bool] = False
    """Whether a prediction depends on the name of the domain that is scored."""

    @property
    @abstractmethod
    def label(self) -> str:
        """Short text for tables: what it is and how it is set."""

    def check(self, method: "Method", sources: Sequence[str]) -> None:
        """Raise a ValueError if this is no way to predict with what `method` trains on `sources`."""
        if not isinstance(self, method.inferences):
            fitting = ", ".join(cls.__name__ for cls in method.inferences)
            raise ValueError(
                f"{type(self).__name__} does not fit {type(method).__name__}, which can be evaluated by {fitting}."
            )

    def predicts(self, sources: Sequence[str], domain: str) -> bool:
        """Whether it is defined on `domain`, be it a source or not."""
        return True

    @abstractmethod
    def module(self, model: "Network | Extended", sources: Sequence[str], domain: str | None) -> nn.Module:
        """Images (b, 3, h, w) to logits or log-probabilities (b, k, h, w) or (b, k).

        Args:
            model: what `Method.wrap` made, trained; it stays as it is, and the module may share its parts.
            sources: names of the source domains, in the order of training.
            domain: name of the domain that is scored; None where it is not known.

        Raises:
            ValueError: it is not defined on that domain.
        """


@dataclass(frozen=True, kw_only=True)
class Plain(Inference):
    """The network itself, without what the method has beside it."""

    @property
    def label(self) -> str:
        return "plain"

    def module(self, model: "Network | Extended", sources: Sequence[str], domain: str | None) -> nn.Module:
        return model if isinstance(model, Network) else model.network


@dataclass(frozen=True, kw_only=True)
class OfKnownDomain(Inference, ABC):
    """What was learnt on the very domain that is scored; so it is defined on sources only."""

    knows_domain: ClassVar[bool] = True

    def predicts(self, sources: Sequence[str], domain: str) -> bool:
        return bool(positions(sources, domain))

    def own(self, sources: Sequence[str], domain: str | None) -> list[int]:
        """Positions of the domain among the sources: several where it was listed more than once.

        Raises:
            ValueError: it is none of them.
        """
        found = [] if domain is None else positions(sources, domain)
        if not found:
            raise ValueError(
                f"{type(self).__name__} uses what was learnt on the domain that is scored, and {domain!r} is no "
                f"source: it predicts on {', '.join(sources)} only."
            )
        return found


def positions(sources: Sequence[str], domain: str) -> list[int]:
    """Where a domain stands among the names of the sources, be it once or as several pseudo-domains."""
    return [i for i, name in enumerate(sources) if name == domain or name.startswith(f"{domain}:")]


def average(logits: Tensor, averages: Averages, weights: Tensor | None = None) -> Tensor:
    """The prediction of an ensemble from its members': log-probabilities, or logits where those are averaged.

    Args:
        logits: (m, b, k, ...) of m members.
        averages: probabilities or logits.
        weights: (m, b) of every member for every image, adding up to 1 over the members; None: all alike.
    """
    if weights is not None:
        weights = weights.view(*weights.shape, *(1 for _ in logits.shape[2:]))
    if averages == "logits":
        return logits.mean(0) if weights is None else (weights * logits).sum(0)
    by_member = logits.log_softmax(2)
    if weights is None:
        return by_member.logsumexp(0) - math.log(len(logits))
    return (by_member + weights.log()).logsumexp(0)
