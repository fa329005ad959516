"""What every method owes, whatever its mathematics: it learns all that it says it learns, in half precision too, and
what it was comes back from what is saved."""

import copy
import inspect

import pytest
import torch
from torch import Tensor

from raydg.domains.labels import IDD_LEVEL1, PACS_7, LabelSpace
from raydg.methods import (
    CORAL,
    DMG,
    ERM,
    IRM,
    ISW,
    IW,
    MLDG,
    Averaged,
    DeFT,
    Extended,
    FourierMix,
    GroupDRO,
    Method,
    MixStyle,
    MultiHeaded,
    Objective,
    PinTheMemory,
    VREx,
)
from raydg.models import Architecture, Classifier, DeepLabV3Plus, Network, ResNet, SmallNet
from raydg.types import Batch, Episode
from raydg.values import subclasses

STREETS = DeepLabV3Plus(SmallNet(8), aspp_channels=8, low_level_channels=4, decoder_channels=8)
WHITENED = DeepLabV3Plus(SmallNet(8, norm="robustnet"), aspp_channels=8, low_level_channels=4, decoder_channels=8)
OBJECTS = Classifier(SmallNet(8))
CASES: dict[str, tuple[Method, Architecture]] = {
    "ERM": (ERM(), STREETS),
    "first-order MLDG": (MLDG(), STREETS),
    "second-order MLDG": (MLDG(second_order=True), STREETS),
    "Pin the Memory": (PinTheMemory(auxiliary_weight=0.0, second_order=True, inner_lr_relative=False), STREETS),
    "DeFT": (DeFT(), STREETS),
    "IW": (IW(), WHITENED),
    "ISW": (ISW(warmup_steps=1, trials=1, trial_steps=1), WHITENED),
    "DMG": (DMG(domain_classifier=True), OBJECTS),
    "Multi-Headed": (MultiHeaded(), OBJECTS),
    "VREx": (VREx(), OBJECTS),
    "IRM": (IRM(), OBJECTS),
    "GroupDRO": (GroupDRO(), OBJECTS),
    "CORAL": (CORAL(), OBJECTS),
    "MixStyle": (MixStyle(sites=("before_block2",)), OBJECTS),
    "FourierMix": (FourierMix(), OBJECTS),
    "Averaged": (Averaged(method=ERM(), ema_rate=0.5), OBJECTS),
}


def test_no_method_is_left_out() -> None:
    assert {type(method) for method, _ in CASES.values()} == {
        c for c in subclasses(Method) if not inspect.isabstract(c) and c.__module__.startswith("raydg.")
    }


def space_of(architecture: Architecture) -> LabelSpace:
    return IDD_LEVEL1 if architecture.task == "segmentation" else PACS_7


def build(method: Method, architecture: Architecture) -> Network | Extended:
    torch.manual_seed(0)
    return method.wrap(architecture.build(space_of(architecture)), 3, 7)


def episode(architecture: Architecture) -> Episode:
    torch.manual_seed(1)
    shape = (12, 32, 32) if architecture.task == "segmentation" else (12,)
    domains = torch.arange(3).repeat_interleave(4)
    batch = Batch(torch.rand(12, 3, 32, 32), torch.randint(0, 7, shape), domains)
    return Episode(0, 0, batch, ("meta-train", "meta-test", "meta-train"), lr=0.01)


def gradients(method: Method, model: Network | Extended, given: Episode, bf16: bool = False) -> dict[str, Tensor]:
    objective = Objective(method, copy.deepcopy(model)).train()
    torch.manual_seed(2)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        losses = objective(given)
    assert tuple(losses) == method.loss_names and all(loss.isfinite() for loss in losses.values())
    losses["loss"].backward()
    return {name: p.grad for name, p in objective.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("case", CASES)
def test_an_auxiliary_head_that_would_never_learn_is_refused(case: str) -> None:
    method, architecture = CASES[case]
    backbone = SmallNet(8, norm="robustnet") if architecture is WHITENED else SmallNet(8)
    with pytest.raises(ValueError, match=r"auxiliary is True, but \w+ has no loss for that head"):
        method.check_model(DeepLabV3Plus(backbone, auxiliary=True))


@pytest.mark.parametrize("case", CASES)
def test_what_learns_receives_a_gradient_and_nothing_else_does(case: str) -> None:
    method, architecture = CASES[case]
    model = build(method, architecture)
    learning = {name for name, p in Objective(method, model).model.named_parameters() if p.requires_grad}
    found = gradients(method, model, episode(architecture))
    assert found.keys() == learning
    assert all(gradient.isfinite().all() for gradient in found.values())


@pytest.mark.parametrize("case", CASES)
def test_bf16_points_where_float32_does(case: str) -> None:
    method, architecture = CASES[case]
    model, given = build(method, architecture), episode(architecture)
    precise, rough = (gradients(method, model, given, bf16) for bf16 in (False, True))
    assert precise.keys() == rough.keys()
    flat, flat_rough = (torch.cat([g.flatten().float() for g in all_.values()]) for all_ in (precise, rough))
    # A memory reads features at length 1: of an untrained network they differ little, and rounding shows.
    least = 0.7 if isinstance(method, PinTheMemory) else 0.95
    assert torch.cosine_similarity(flat, flat_rough, dim=0) > least


@pytest.mark.parametrize("case", CASES)
def test_all_that_it_is_lies_in_its_state(case: str) -> None:
    """A second model, filled from the first one's state after a step, takes the same next step."""
    method, architecture = CASES[case]
    model, given = build(method, architecture), episode(architecture)
    method.start(model, [given], lambda tensor: tensor)
    objective = Objective(method, model).train()
    torch.manual_seed(3)
    objective(given)["loss"].backward()
    with torch.no_grad():
        for p in objective.parameters():
            if p.requires_grad and p.grad is not None:
                p -= 0.01 * p.grad
    method.after_step(model, [given] if method.revisits_episodes else [], lambda tensor: tensor)
    torch.manual_seed(4)
    other = method.wrap(architecture.build(space_of(architecture)), 3, 7)
    other.load_state_dict(model.state_dict())
    one, two = gradients(method, model, given), gradients(method, other, given)
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_a_real_resnet_50_takes_a_step_of_each() -> None:
    """Of the papers' methods on the papers' backbone, at a size that a test can afford; tests/benchmarks/method_step.py
    has the others and what they cost."""
    narrow = {"aspp_channels": 8, "low_level_channels": 4, "decoder_channels": 8}
    for name in ("ERM", "second-order MLDG", "Pin the Memory", "DeFT", "DMG"):
        method, architecture = CASES[name]
        classifies = architecture.task == "classification"
        deep = Classifier(ResNet(50)) if classifies else DeepLabV3Plus(ResNet(50), **narrow)
        found = gradients(method, build(method, deep), episode(deep))
        assert any(gradient.any() for gradient in found.values())
