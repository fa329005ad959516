"""Weight averaging: what is evaluated is the mean of the weights along the way, for any method."""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from raydg.methods.inference import Inference, Plain
from raydg.methods.method import Extended, Method, Total
from raydg.models import Architecture, Network
from raydg.types import Episode, Role


@dataclass(frozen=True, kw_only=True)
class OfAverage(Inference):
    """A way to predict of the method that is averaged, by the average of what it learnt."""

    of: Inference
    """How the method predicts."""

    @property
    def knows_domain(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As the method's way does."""
        return self.of.knows_domain

    @property
    def label(self) -> str:
        return f"{self.of.label}, averaged"

    def check(self, method: Method, sources: Sequence[str]) -> None:
        super().check(method, sources)
        self.of.check(cast(Averaged, method).method, sources)

    def predicts(self, sources: Sequence[str], domain: str) -> bool:
        return self.of.predicts(sources, domain)

    def module(self, model: Network | Extended, sources: Sequence[str], domain: str | None) -> nn.Module:
        return self.of.module(cast(WithAverage, model).average, sources, domain)


@dataclass(frozen=True, kw_only=True)
class Averaged(Method):
    """Another method, with an average of all that it learns; the average is validated, evaluated and exported.

        after a step that counts:  average <- rate average + (1 - rate) weights
        ema_rate a number: rate is that, an exponential moving average (EMA)
        ema_rate None: rate = n / (n + 1) after n that counted, so all count alike: stochastic weight averaging (SWA;
            Izmailov et al., UAI 2018; with `every` 1 the dense averaging of SWAD, Cha et al., NeurIPS 2021, without its
            search for start and end)

    The first step that counts is number `start_step` + `every` of the stage; until then the average is what learns. The
    method trains as without. A following stage goes on from the weights, not from their average.

    **BatchNorm.** The running statistics of an average are not those of averaged weights: `statistics`.

    Raises:
        ValueError: a rate outside [0, 1], `start_step` or `every` too small; `trains` or `batchnorm` other than the
            method's, or per-domain BatchNorm where the average measures its own statistics.
    """

    inferences: ClassVar[tuple[type[Inference], ...]] = (OfAverage,)

    method: Method
    """What trains; `trains` and `batchnorm` are to be the same as its own."""
    ema_rate: float | None = 0.999
    """Share of the average that stays; None: all steps that count weigh alike (SWA)."""
    start_step: int = 0
    """Steps of the stage before averaging."""
    every: int = 1
    """Which steps count from there: every first, second, ..."""
    statistics: Literal["average", "own"] = "average"
    """BatchNorm's running statistics of the average. "average": averaged like the weights, at no cost, as most EMA
    code does. "own": those of its own activations on the images that the method trains on, tracked with BatchNorm's
    momentum by one more forward without gradients an episode; SWA's paper makes a pass over the data at the end
    instead, which a method cannot."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.ema_rate is None or 0 <= self.ema_rate <= 1, "ema_rate", "None or 0 to 1")
        self.require(self.start_step >= 0, "start_step", "0 or more")
        self.require(self.every >= 1, "every", "1 or more")
        self.require(self.trains == self.method.trains, "trains", f"its method's, {self.method.trains!r}")
        self.require(self.batchnorm == self.method.batchnorm, "batchnorm", f"its method's, {self.method.batchnorm!r}")
        plain = self.batchnorm == "pooled" and self.trains == "both"
        plain = plain and isinstance(self.method.default_inference(), Plain)
        legal = "'average' unless the method trains a whole network that predicts by itself, with pooled BatchNorm"
        self.require(self.statistics == "average" or plain, "statistics", legal)

    @property
    def loss_names(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Those of the method."""
        return self.method.loss_names

    @property
    def minimum_sources(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of the method."""
        return self.method.minimum_sources

    @property
    def revisits_episodes(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As the method does."""
        return self.method.revisits_episodes

    @property
    def needs_every_source(self) -> bool:
        return self.method.needs_every_source

    @property
    def smallest_forward(self) -> Literal["one domain", "all domains"]:
        return self.method.smallest_forward

    def roles(self, num_sources: int, seed: int, step: int, episode: int) -> tuple[Role, ...]:
        return self.method.roles(num_sources, seed, step, episode)

    def check_sources(self, num_sources: int) -> None:
        self.method.check_sources(num_sources)

    def check_model(self, model: Architecture) -> None:
        self.method.check_model(model)

    def wrap(self, network: Network, num_sources: int, num_classes: int) -> "WithAverage":
        return WithAverage(self.method.wrap(network, num_sources, num_classes), self.statistics == "own")

    def initial_steps(self, steps_of_a_pass: int) -> int:
        return self.method.initial_steps(steps_of_a_pass)

    def start(self, model: Network | Extended, episodes: Iterable[Episode], total: Total) -> None:
        averaging = cast(WithAverage, model)
        self.method.start(averaging.learning, episodes, total)
        averaging.move(0.0)

    def losses(self, network: nn.Module, episode: Episode) -> dict[str, Tensor]:
        model = cast(WithAverage, network)
        losses = self.method.losses(model.learning, episode)
        if self.statistics == "own":
            with torch.no_grad():
                model.averaged_network(episode.batch.images)
        return losses

    def after_step(self, model: Network | Extended, episodes: Sequence[Episode], total: Total) -> None:
        averaging = cast(WithAverage, model)
        self.method.after_step(averaging.learning, episodes, total)
        averaging.steps += 1
        counted, rest = divmod(int(averaging.steps) - self.start_step, self.every)
        if counted < 1:
            rate = 0.0
        elif rest:
            return
        else:
            rate = 1 - 1 / counted if self.ema_rate is None else self.ema_rate
        averaging.move(rate)

    def default_inference(self) -> Inference:
        return OfAverage(of=self.method.default_inference())

    def validation_inference(self) -> Inference:
        return OfAverage(of=self.method.validation_inference())

    def measurements(self, model: Network | Extended) -> dict[str, float]:
        return self.method.measurements(cast(WithAverage, model).average)


class WithAverage(Extended):
    """What a method trains, and the average of it, which takes no gradient."""

    steps: Tensor

    def __init__(self, learning: Network | Extended, own_statistics: bool) -> None:
        # Not Extended's own: the network is inside `learning`, and a second name would save it twice.
        nn.Module.__init__(self)
        self.learning = learning
        self.average = copy.deepcopy(learning).requires_grad_(False)
        self.own_statistics = own_statistics
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @property
    def network(self) -> Network:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The network that learns."""
        return network_of(self.learning)

    @property
    def averaged_network(self) -> Network:
        return network_of(self.average)

    def extras(self) -> list[nn.Parameter]:
        """Those of what learns: of a network alone none."""
        return self.learning.extras() if isinstance(self.learning, Extended) else []

    def train(self, mode: bool = True) -> "WithAverage":
        """The average stays in evaluation mode, but for BatchNorm layers that measure statistics of their own."""
        super().train(mode)
        self.average.eval()
        if self.own_statistics:
            for layer in batchnorm_layers(self.averaged_network):
                layer.train(mode)
        return self

    @torch.no_grad()
    def move(self, rate: float) -> None:
        """average <- rate average + (1 - rate) what learns, buffers included; those of integers or switches are
        copied, and statistics that are the average's own stay."""
        own = {id(b) for layer in batchnorm_layers(self.averaged_network) for b in layer.buffers(recurse=False)}
        keep = own if self.own_statistics else set()
        pairs = [*zip(self.average.parameters(), self.learning.parameters(), strict=True)]
        pairs += [*zip(self.average.buffers(), self.learning.buffers(), strict=True)]
        moving = [(ours, theirs.detach()) for ours, theirs in pairs if id(ours) not in keep]
        for ours, theirs in moving:
            if rate == 0 or not ours.is_floating_point():
                ours.copy_(theirs)
        floating = [pair for pair in moving if pair[0].is_floating_point()]
        if rate > 0 and floating:
            averages, targets = zip(*floating, strict=True)
            get_ema_multi_avg_fn(rate)(list(averages), list(targets), None)


def network_of(model: nn.Module) -> Network:
    return cast(Network, model.network if isinstance(model, Extended) else model)


def batchnorm_layers(network: nn.Module) -> list[nn.Module]:
    return [layer for layer in network.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
