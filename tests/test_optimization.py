import io
import math
from itertools import pairwise

import pytest
import torch
from torch.nn import Parameter

from raydg.optimization import (
    SGD,
    Adam,
    AdamW,
    Constant,
    Cosine,
    Exponential,
    Inverse,
    Optimizer,
    Poly,
    Schedule,
    set_lr,
)
from raydg.values import Value, decode, encode

OPTIMIZERS = (SGD(0.1), SGD(0.1, momentum=0.5, nesterov=True, weight_decay=0.0), Adam(0.1), AdamW(0.1))
HORIZON_LAWS = (Poly, Exponential, Cosine)
SCHEDULES = (Constant(), Poly(), Poly(2.0), Exponential(), Inverse(1e-2, 0.75), Cosine())


def parameters(count: int, requires_grad: bool = True) -> list[Parameter]:
    return [Parameter(torch.full((3,), 1.0 + i, dtype=torch.float64), requires_grad) for i in range(count)]


def ids(group: dict) -> list[int]:
    return [id(parameter) for parameter in group["params"]]


# Optimisers.


@pytest.mark.parametrize("settings", OPTIMIZERS, ids=repr)
def test_encoder_and_decoder_have_their_own_rates_and_frozen_parameters_none(settings: Optimizer) -> None:
    encoder, decoder, frozen = parameters(2), parameters(3), parameters(2, requires_grad=False)
    values = encode(settings)
    assert isinstance(values, dict)
    settings = decode(Optimizer, values | {"decoder_lr_factor": 10.0})
    groups = settings.build(iter([*encoder, frozen[0]]), iter([frozen[1], *decoder])).param_groups
    assert [ids(group) for group in groups] == [[id(p) for p in encoder], [id(p) for p in decoder]]
    assert [(group["lr"], group["base_lr"]) for group in groups] == [(0.1, 0.1), (1.0, 1.0)]


@pytest.mark.parametrize("settings", OPTIMIZERS, ids=repr)
def test_a_frozen_part_has_no_group(settings: Optimizer) -> None:
    encoder, decoder = parameters(2, requires_grad=False), parameters(1)
    assert [ids(group) for group in settings.build(encoder, decoder).param_groups] == [[id(decoder[0])]]
    assert [ids(group) for group in settings.build(decoder, ()).param_groups] == [[id(decoder[0])]]
    with pytest.raises(ValueError, match=r"no parameter that requires a gradient.* unfreeze"):
        settings.build(encoder, parameters(1, requires_grad=False))


def steps_of(settings: Optimizer, gradients: list[float]) -> list[float]:
    """Where one weight, 1 at first, is after each step."""
    weight = Parameter(torch.ones((), dtype=torch.float64))
    optimizer, path = settings.build([weight], []), []
    for gradient in gradients:
        weight.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
        path.append(weight.item())
    return path


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_follows_its_recurrence(nesterov: bool) -> None:
    gradients, weight, velocity, expected = [0.3, -0.7, 0.2], 1.0, 0.0, []
    for gradient in gradients:
        gradient += 0.05 * weight
        velocity = 0.8 * velocity + gradient
        weight -= 0.1 * (gradient + 0.8 * velocity if nesterov else velocity)
        expected.append(weight)
    settings = SGD(0.1, momentum=0.8, weight_decay=0.05, nesterov=nesterov)
    assert steps_of(settings, gradients) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("decoupled", [False, True])
def test_adam_follows_its_recurrence(decoupled: bool) -> None:
    gradients, weight, mean, square, expected = [0.3, -0.7, 0.2], 1.0, 0.0, 0.0, []
    for t, gradient in enumerate(gradients, 1):
        if decoupled:
            weight -= 0.1 * 0.05 * weight
        else:
            gradient += 0.05 * weight
        mean = 0.7 * mean + 0.3 * gradient
        square = 0.9 * square + 0.1 * gradient**2
        weight -= 0.1 * (mean / (1 - 0.7**t)) / (math.sqrt(square / (1 - 0.9**t)) + 1e-8)
        expected.append(weight)
    settings = (AdamW if decoupled else Adam)(0.1, momentum_decay=0.7, square_decay=0.9, weight_decay=0.05)
    assert steps_of(settings, gradients) == pytest.approx(expected, rel=1e-12)


def test_set_lr_scales_every_group_from_its_base() -> None:
    optimizer = SGD(0.2, decoder_lr_factor=5.0).build(parameters(1), parameters(1))
    for factor in (0.5, 0.25, 1.0):  # from the base, not from what was set last
        set_lr(optimizer, factor)
        assert [group["lr"] for group in optimizer.param_groups] == [0.2 * factor, 1.0 * factor]


@pytest.mark.parametrize("settings", OPTIMIZERS, ids=repr)
def test_a_restored_optimiser_goes_on_as_the_saved_one(settings: Optimizer) -> None:
    def advance(weights: list[Parameter], optimizer: torch.optim.Optimizer, seed: int) -> None:
        set_lr(optimizer, 0.3)
        for i, weight in enumerate(weights):
            weight.grad = torch.randn(3, generator=torch.Generator().manual_seed(seed + i)).double()
        optimizer.step()

    saved = parameters(2)
    optimizer = settings.build(saved[:1], saved[1:])
    advance(saved, optimizer, 0)
    stored = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "weights": saved}, stored)
    stored.seek(0)
    state = torch.load(stored, weights_only=True)
    restored = state["weights"]
    other = settings.build(restored[:1], restored[1:])
    other.load_state_dict(state["optimizer"])
    assert [(g["lr"], g["base_lr"]) for g in other.param_groups] == [(0.1 * 0.3, 0.1)] * 2
    for weights, continued in ((saved, optimizer), (restored, other)):
        advance(weights, continued, 7)
    assert all(torch.equal(one, two) for one, two in zip(saved, restored, strict=True))


# Schedules.


@pytest.mark.parametrize(
    "schedule, law",
    [
        (Constant(), lambda t: 1.0),
        (Poly(), lambda t: (1 - t / 50) ** 0.9),
        (Poly(power=1), lambda t: 1 - t / 50),
        (Exponential(), lambda t: math.exp(-9 * t / 50)),
        (Exponential(decay=math.log(2)), lambda t: 2 ** (-t / 50)),
        (Inverse(decay=1e-4, power=0.75), lambda t: 1 / (1 + 1e-4 * t) ** 0.75),
        (Cosine(), lambda t: math.cos(math.pi * t / 100) ** 2),
    ],
    ids=lambda value: repr(value) if isinstance(value, Schedule) else "",
)
def test_laws_have_their_closed_form(schedule: Schedule, law) -> None:
    for step in range(50):
        assert schedule.factor(step, 50) == pytest.approx(law(step), rel=1e-12)


def test_published_rates() -> None:
    # Pin the Memory, G+S: the rate is at 0.102 of its base after 30,463 steps. DMG counts its steps from 1.
    assert Exponential(9.0, horizon=120_000).factor(30_462, 30_463) == pytest.approx(0.102, abs=5e-4)
    lr_of_step = [1e-4 / (1 + 1e-4 * (t - 1)) ** 0.75 for t in range(1, 30)]
    assert [1e-4 * Inverse(1e-4, 0.75).factor(t, 29) for t in range(29)] == pytest.approx(lr_of_step, rel=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_factors_fall_from_1_and_stay_positive(schedule: Schedule) -> None:
    factors = [schedule.factor(step, 40) for step in range(40)]
    assert factors[0] == 1 and factors[-1] > 0
    if isinstance(schedule, Constant):
        assert set(factors) == {1.0}
    else:
        assert all(later < earlier for earlier, later in pairwise(factors))


@pytest.mark.parametrize("cls", HORIZON_LAWS)
def test_a_longer_horizon_is_the_start_of_the_longer_stage(cls: type[Schedule]) -> None:
    whole, started = cls(), decode(cls, {"class": cls.__name__, "horizon": 100})
    assert [started.factor(t, 30) for t in range(30)] == [whole.factor(t, 100) for t in range(30)]
    assert started.factor(29, 30) > whole.factor(29, 30)
    assert started.factor(99, 100) == whole.factor(99, 100)


@pytest.mark.parametrize("cls", HORIZON_LAWS)
def test_a_horizon_shorter_than_the_stage_is_refused(cls: type[Schedule]) -> None:
    schedule = decode(cls, {"class": cls.__name__, "horizon": 99})
    message = rf"{cls.__name__}.horizon is 99: it must be at least 100, the steps of its stage, or None"
    with pytest.raises(ValueError, match=message):
        schedule.check(100)
    with pytest.raises(ValueError, match=message):
        schedule.factor(0, 100)
    schedule.check(99)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_warm_up_is_linear_and_the_law_runs_on_beneath(schedule: Schedule) -> None:
    values = encode(schedule)
    assert isinstance(values, dict)
    warmed = decode(Schedule, values | {"warmup_steps": 8})
    for step in range(40):
        share = (step + 1) / 8 if step < 8 else 1
        assert warmed.factor(step, 40) == pytest.approx(share * schedule.factor(step, 40), rel=1e-12)


def test_a_warm_up_longer_than_the_stage_is_refused() -> None:
    Constant(warmup_steps=10).check(10)
    with pytest.raises(ValueError, match=r"Constant.warmup_steps is 11: it must be at most 10, the steps of its stage"):
        Constant(warmup_steps=11).factor(0, 10)


@pytest.mark.parametrize("step", [-1, 10])
def test_a_stage_has_no_other_steps(step: int) -> None:
    with pytest.raises(ValueError, match=rf"step is {step}: a stage of 10 steps has the steps 0 to 9"):
        Poly().factor(step, 10)


@pytest.mark.parametrize("value", [*OPTIMIZERS, *SCHEDULES, Poly(0.9, warmup_steps=5, horizon=70)], ids=repr)
def test_settings_travel_as_json(value: Value) -> None:
    assert decode(Optimizer if isinstance(value, Optimizer) else Schedule, encode(value)) == value


@pytest.mark.parametrize(
    "cls, settings, field",
    [
        (SGD, {"lr": 0.0}, "lr"),
        (SGD, {"lr": math.nan}, "lr"),
        (Adam, {"lr": math.inf}, "lr"),
        (AdamW, {"lr": 0.1, "decoder_lr_factor": -1.0}, "decoder_lr_factor"),
        (SGD, {"lr": 0.1, "weight_decay": -1e-4}, "weight_decay"),
        (SGD, {"lr": 0.1, "momentum": 1.0}, "momentum"),
        (SGD, {"lr": 0.1, "momentum": 0.0, "nesterov": True}, "nesterov"),
        (Adam, {"lr": 0.1, "momentum_decay": 1.0}, "momentum_decay"),
        (AdamW, {"lr": 0.1, "square_decay": -0.1}, "square_decay"),
        (Constant, {"warmup_steps": -1}, "warmup_steps"),
        (Poly, {"power": -1.0}, "power"),
        (Poly, {"horizon": 0}, "horizon"),
        (Exponential, {"decay": math.inf}, "decay"),
        (Inverse, {"decay": -1.0, "power": 1.0}, "decay"),
        (Inverse, {"decay": 1.0, "power": math.nan}, "power"),
    ],
)
def test_values_out_of_range_are_refused_by_name(cls: type[Value], settings: dict, field: str) -> None:
    with pytest.raises(ValueError, match=rf"^{cls.__name__}\.{field} is .*: it must be "):
        cls(**settings)


@pytest.mark.parametrize("cls", [Constant, Inverse])
def test_a_law_without_a_horizon_takes_none(cls: type[Schedule]) -> None:
    with pytest.raises(ValueError, match=rf"{cls.__name__} has no field 'horizon'"):
        decode(Schedule, {"class": cls.__name__, "horizon": 100})
