"""How parameters move: the optimiser of a stage, and the law by which its learning rates change.

    optimizer = stage.optimizer.build(encoder_parameters, decoder_parameters)
    for step in range(steps):
        set_lr(optimizer, stage.schedule.factor(step, steps))

A schedule is a function of the step alone, so that a resumed run has no scheduler's state to restore.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch.nn import Parameter

from raydg.values import Value


@dataclass(frozen=True, kw_only=True)
class Optimizer(Value, ABC):
    """Settings of an optimiser, with a learning rate for the encoder and one for the decoder.

    Raises:
        ValueError: a learning rate or its factor is not positive and finite, or the weight decay is negative.
    """

    lr: float = field(kw_only=False)
    """Learning rate of the encoder, before the schedule."""
    decoder_lr_factor: float = 1.0
    """The decoder's learning rate as a multiple of the encoder's."""
    extras_lr_factor: float = 1.0
    """Likewise for what a method learns beside the network, such as DMG's masks."""
    weight_decay: float
    """Weight decay of every parameter."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("lr", "decoder_lr_factor", "extras_lr_factor"):
            self.require(0 < getattr(self, name) < math.inf, name, "above 0")
        self.require(0 <= self.weight_decay < math.inf, "weight_decay", "at least 0")

    def build(
        self,
        encoder_parameters: Iterable[Parameter],
        decoder_parameters: Iterable[Parameter],
        extras: Iterable[Parameter] = (),
    ) -> torch.optim.Optimizer:
        """torch's optimiser of those parameters that require a gradient.

        It has one group each for the encoder, the decoder and what a method learns beside them, called so in "part",
        unless all of it is frozen. A group's "base_lr" is its learning rate before the schedule, and travels in the
        state_dict.

        Raises:
            ValueError: no parameter requires a gradient.
        """
        groups = []
        for part, parameters, factor in (
            ("encoder", encoder_parameters, 1.0),
            ("decoder", decoder_parameters, self.decoder_lr_factor),
            ("extras", extras, self.extras_lr_factor),
        ):
            lr = self.lr * factor
            if trainable := [parameter for parameter in parameters if parameter.requires_grad]:
                groups.append({"params": trainable, "lr": lr, "base_lr": lr, "part": part})
        if not groups:
            raise ValueError(
                f"{type(self).__name__}.build got no parameter that requires a gradient: "
                "encoder and decoder are both frozen, so unfreeze the part that the stage is to train."
            )
        return self._build(groups)

    @abstractmethod
    def _build(self, groups: list[dict]) -> torch.optim.Optimizer:
        """torch's optimiser of parameter groups that carry their learning rates."""


@dataclass(frozen=True, kw_only=True)
class SGD(Optimizer):
    """Stochastic gradient descent with momentum; weight decay is added to the gradient.

    The defaults are TSMLDG's and Pin the Memory's; self-adaptation has a weight decay of 1e-4.

    Raises:
        ValueError: `momentum` is not in [0, 1), or `nesterov` without momentum.
    """

    weight_decay: float = 5e-4
    """Weight decay of every parameter."""
    momentum: float = 0.9
    """Share of the velocity that stays from step to step."""
    nesterov: bool = False
    """Whether the gradient is followed from where the velocity leads."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(0 <= self.momentum < 1, "momentum", "in [0, 1)")
        self.require(self.momentum > 0 or not self.nesterov, "nesterov", "False where momentum is 0")

    def _build(self, groups: list[dict]) -> torch.optim.Optimizer:
        return torch.optim.SGD(groups, momentum=self.momentum, weight_decay=self.weight_decay, nesterov=self.nesterov)


@dataclass(frozen=True, kw_only=True)
class Adaptive(Optimizer, ABC):
    """What Adam and AdamW share: running means of the gradient and of its square.

    Raises:
        ValueError: a decay is not in [0, 1).
    """

    momentum_decay: float = 0.9
    """Share of the mean gradient that stays from step to step; Adam's beta 1."""
    square_decay: float = 0.999
    """Share of the mean squared gradient that stays from step to step; Adam's beta 2."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("momentum_decay", "square_decay"):
            self.require(0 <= getattr(self, name) < 1, name, "in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class Adam(Adaptive):
    """Adam; weight decay is added to the gradient. DMG: 1e-5 on PACS, none on DomainNet."""

    weight_decay: float = 0.0
    """Weight decay of every parameter."""

    def _build(self, groups: list[dict]) -> torch.optim.Optimizer:
        betas = (self.momentum_decay, self.square_decay)
        return torch.optim.Adam(groups, betas=betas, weight_decay=self.weight_decay)


@dataclass(frozen=True, kw_only=True)
class AdamW(Adaptive):
    """Adam with decoupled weight decay: each step shrinks the weights by it times the learning rate."""

    weight_decay: float = 0.01
    """Weight decay of every parameter."""

    def _build(self, groups: list[dict]) -> torch.optim.Optimizer:
        betas = (self.momentum_decay, self.square_decay)
        return torch.optim.AdamW(groups, betas=betas, weight_decay=self.weight_decay)


def set_lr(optimizer: torch.optim.Optimizer, factor: float, extras_factor: float | None = None) -> None:
    """Give every group of a built optimiser its base learning rate times `factor`, the extras times their own."""
    for group in optimizer.param_groups:
        own = extras_factor is not None and group["part"] == "extras"
        group["lr"] = group["base_lr"] * (extras_factor if own else factor)


@dataclass(frozen=True, kw_only=True)
class Schedule(Value, ABC):
    """A law of the learning rate: a factor for each step of a stage, after an optional linear warm-up.

    The factor of step t is known before it is taken. TSMLDG's published code applies the law after the step, so that
    step t runs with the factor of t - 1 and the first two steps with the same. That lag is not followed: it is no part
    of the paper's law, and at its 45,000 steps it moves the rate by less than 1e-4 of the base.

    Raises:
        ValueError: `warmup_steps` is negative.
    """

    warmup_steps: int = 0
    """Steps t = 0, 1, ... over which the law is scaled by (t + 1) / warmup_steps; the law itself runs from t = 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.warmup_steps >= 0, "warmup_steps", "at least 0")

    def check(self, steps: int) -> None:
        """Make sure that the schedule fits a stage of `steps` steps.

        Raises:
            ValueError: the warm-up is longer than the stage, or the horizon of a law that has one is shorter.
        """
        self.require(self.warmup_steps <= steps, "warmup_steps", f"at most {steps}, the steps of its stage")

    def factor(self, step: int, steps: int) -> float:
        """What the base learning rates are multiplied by at `step`, 0 to steps - 1, of a stage of `steps`.

        Raises:
            ValueError: the schedule does not fit the stage, or the stage has no such step.
        """
        self.check(steps)
        if not 0 <= step < steps:
            raise ValueError(f"step is {step}: a stage of {steps} steps has the steps 0 to {steps - 1}.")
        warmup = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        return warmup * self._law(step, steps)

    @abstractmethod
    def _law(self, step: int, steps: int) -> float:
        """The factor without warm-up."""


@dataclass(frozen=True)
class Constant(Schedule):
    """The base learning rate throughout."""

    def _law(self, step: int, steps: int) -> float:
        return 1.0


@dataclass(frozen=True)
class Inverse(Schedule):
    """(1 + decay t)^-power at step t. DMG on DomainNet: decay 1e-4, power 0.75; the paper counts t from 1, so t - 1.

    Raises:
        ValueError: `decay` or `power` is negative or not finite.
    """

    decay: float
    """How fast it falls, per step."""
    power: float
    """Exponent."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("decay", "power"):
            self.require(0 <= getattr(self, name) < math.inf, name, "at least 0")

    def _law(self, step: int, steps: int) -> float:
        return (1 + self.decay * step) ** -self.power


@dataclass(frozen=True, kw_only=True)
class HorizonSchedule(Schedule, ABC):
    """A law of the progress x = t / horizon.

    Raises:
        ValueError: `horizon` is below 1.
    """

    horizon: int | None = None
    """Steps over which the law runs, at least those of the stage; None: just those."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.horizon is None or self.horizon >= 1, "horizon", "at least 1, or None for the stage's steps")

    def check(self, steps: int) -> None:
        super().check(steps)
        legal = f"at least {steps}, the steps of its stage, or None for just those"
        self.require(self.horizon is None or self.horizon >= steps, "horizon", legal)

    def _law(self, step: int, steps: int) -> float:
        return self._curve(step / (self.horizon or steps))

    @abstractmethod
    def _curve(self, progress: float) -> float:
        """The factor at a progress in [0, 1)."""


@dataclass(frozen=True)
class Poly(HorizonSchedule):
    """(1 - x)^power: TSMLDG, self-adaptation and DeFT with power 0.9.

    Raises:
        ValueError: `power` is negative or not finite.
    """

    power: float = 0.9
    """Exponent; 1 is a straight line."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(0 <= self.power < math.inf, "power", "at least 0")

    def _curve(self, progress: float) -> float:
        return (1 - progress) ** self.power


@dataclass(frozen=True)
class Exponential(HorizonSchedule):
    """exp(-decay x). Pin the Memory's code: decay 9 over a horizon of 120,000 steps, however few of them are taken.

    DMG's factor of 0.99 an epoch on PACS, 150 epochs long, is decay 1.51, here without its stairs.

    Raises:
        ValueError: `decay` is negative or not finite.
    """

    decay: float = 9.0
    """The factor falls to exp(-decay) over the horizon."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(0 <= self.decay < math.inf, "decay", "at least 0")

    def _curve(self, progress: float) -> float:
        return math.exp(-self.decay * progress)


@dataclass(frozen=True)
class Cosine(HorizonSchedule):
    """(1 + cos(pi x)) / 2, half a wave from 1 to 0."""

    def _curve(self, progress: float) -> float:
        return (1 + math.cos(math.pi * progress)) / 2
