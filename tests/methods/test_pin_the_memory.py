"""Pin the Memory against its equations: a reference written class by class and step by step, and finite differences."""

import copy
import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from raydg.domains.labels import CITYSCAPES_19, LabelSpace
from raydg.methods import MLDG, Objective, PinTheMemory
from raydg.methods.memory import Remembering, class_shares
from raydg.methods.pin_the_memory import cohesion, overlap
from raydg.models import DeepLabV3Plus, Network, ResNet, SmallNet
from raydg.types import IGNORE, Batch, Episode

SPACE = LabelSpace(
    name="four",
    task="segmentation",
    classes=("a", "b", "c", "d"),
    palette=((0, 0, 0), (1, 1, 1), (2, 2, 2), (3, 3, 3)),
)
K, C = 4, 6
ROLES = ("meta-train", "meta-test", "meta-train")
LR = 0.08


def architecture(auxiliary: bool = False) -> DeepLabV3Plus:
    narrow = {"aspp_channels": C, "low_level_channels": 4, "decoder_channels": 4}
    return DeepLabV3Plus(SmallNet(8), auxiliary=auxiliary, **narrow)


def pin(**changes: Any) -> PinTheMemory:
    """With weights large enough that every term shows in the gradient."""
    given = {"auxiliary_weight": 0.0, "cohesion_weight": 0.3, "divergence_weight": 0.4, "inner_lr": 0.5}
    if changes.get("training", "meta") == "meta":
        given["meta_train_weight"] = 0.0
    return PinTheMemory(**given | changes)


def build(method: PinTheMemory) -> Remembering:
    torch.manual_seed(0)
    network = architecture(method.auxiliary_weight > 0).build(SPACE)
    model = method.wrap(network, 3, K).double()
    assert isinstance(model, Remembering)
    with torch.no_grad():
        model.memory.copy_(F.normalize(torch.rand(K, C, dtype=torch.float64), dim=1))
        if model.classifier is not None:  # its 1e-4 would hide whether its gradient reaches the writer
            model.classifier.weight.normal_()
    return model.train()


def episode(index: int = 0) -> Episode:
    torch.manual_seed(index + 1)
    labels = torch.randint(0, 3, (6, 4, 4)).repeat_interleave(8, 1).repeat_interleave(8, 2)  # class 3 never shows
    labels[0, :10] = IGNORE
    images = torch.rand(6, 3, 32, 32, dtype=torch.float64)
    return Episode(0, index, Batch(images, labels, torch.tensor([0, 0, 1, 1, 2, 2])), ROLES, lr=LR)


# --- the reference: one class after the other, from the text of the paper and of network/memory.py


def masks(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """One-hot labels, ignored ones left out, resized as the published code does."""
    one_hot = torch.stack([(labels == c) for c in range(K)], 1).double()
    return F.interpolate(one_hot, size, mode="bilinear", align_corners=True)


def written(method: PinTheMemory, model: Remembering, features: Tensor) -> Tensor:
    unit = features / features.norm(dim=1, keepdim=True).clamp(min=1e-12)
    if method.writer == "none":
        return unit
    assert model.writer is not None
    if method.writer == "paper":
        return unit + model.writer[0](unit)
    z = torch.relu(features + model.writer(features))
    return z / z.norm(dim=1, keepdim=True).clamp(min=1e-12)


def update(method: PinTheMemory, model: Remembering, memory: Tensor, features: Tensor, labels: Tensor) -> Tensor:
    z, mask = written(method, model, features), masks(labels, features.shape[-2:])
    rows = []
    for c in range(K):
        count = mask[:, c].sum()
        row = memory[c]
        if count > 0:
            mean = (z * mask[:, c : c + 1]).sum((0, 2, 3)) / count
            row = method.momentum * memory[c] + (1 - method.momentum) * mean
        rows.append(row / row.norm().clamp(min=1e-12) if method.normalise_memory else row)
    return torch.stack(rows)


def forward(model: Remembering, images: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Features, cosines and logits; the decoder of DeepLabV3+ is spelt out to put the memory into it."""
    network = model.network
    encoded = network.encoder((images - network.mean) / network.std)
    decoder: Any = network.decoder
    features = decoder.aspp(encoded[-1])
    unit = features / features.norm(dim=1, keepdim=True).clamp(min=1e-12)
    rows = memory / memory.norm(dim=1, keepdim=True).clamp(min=1e-12)
    scores = torch.stack([(unit * row[None, :, None, None]).sum(1) for row in rows], 1)
    attention = scores.exp() / scores.exp().sum(1, keepdim=True)
    recalled = sum(attention[:, c : c + 1] * memory[c][None, :, None, None] for c in range(K))
    joined = model.output(torch.cat([unit, recalled], 1))
    fine = decoder.low_level(encoded[0])
    up = F.interpolate(joined, fine.shape[-2:], mode="bilinear", align_corners=True)
    logits = decoder.classifier(decoder.fuse(torch.cat([fine, up], 1)))
    return features, scores, F.interpolate(logits, images.shape[-2:], mode="bilinear", align_corners=True)


def read_loss(method: PinTheMemory, scores: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    segmentation = F.cross_entropy(logits, labels, ignore_index=IGNORE)
    if method.cohesion_at == "image":
        full = F.interpolate(scores, labels.shape[-2:], mode="bilinear", align_corners=True)
        return segmentation + method.cohesion_weight * F.cross_entropy(full, labels, ignore_index=IGNORE)
    mask, log_w = masks(labels, scores.shape[-2:]), (scores.exp() / scores.exp().sum(1, keepdim=True)).log()
    total = -sum((mask[:, c] * log_w[:, c]).sum() for c in range(K))
    return segmentation + method.cohesion_weight * total / mask.sum()


def update_loss(method: PinTheMemory, model: Remembering, memory: Tensor) -> Tensor:
    """Eq. 7, over ordered pairs."""
    assert model.classifier is not None
    errors = torch.stack([-model.classifier(memory[n]).log_softmax(0)[n] for n in range(K)])
    pairs = [torch.relu(memory[n] @ memory[m]) for n, m in itertools.permutations(range(K), 2)]
    error = errors.sum() if method.classification == "sum" else errors.mean()
    return method.divergence_weight * (error + 2 * sum(pairs) / (K * (K - 1)))


class Reference:
    """The meta-objective by plain double backward: fast weights that keep their graph."""

    def __init__(self, method: PinTheMemory, model: Remembering) -> None:
        self.method, self.model = method, copy.deepcopy(model)

    def call(self, state: dict[str, Tensor], function: Any) -> Any:
        buffers = {n: b.clone() for n, b in self.model.named_buffers()}

        class Run(torch.nn.Module):
            def __init__(self, model: Remembering) -> None:
                super().__init__()
                self.model = model

            def forward(self) -> Any:
                return function(self.model)

        return functional_call(Run(self.model), {f"model.{n}": t for n, t in (buffers | state).items()}, ())

    def gradients(self, given: Episode) -> dict[str, Tensor]:
        method, memory = self.method, self.model.memory.clone()
        train, test = given.of_role("meta-train"), given.of_role("meta-test")
        theta = {n: p.detach().clone().requires_grad_() for n, p in self.model.named_parameters()}

        def inner(model: Remembering) -> tuple[Tensor, Tensor]:
            features, scores, logits = forward(model, train.images, memory)
            estimated = update(method, model, memory, features, train.labels)
            loss = read_loss(method, scores, logits, train.labels) + update_loss(method, model, estimated)
            return loss, estimated.detach()

        def outer(model: Remembering) -> Tensor:
            rewritten = estimated
            if method.rewrite != "off":
                features = forward(model, train.images, memory)[0]
                features = features if method.rewrite == "nothing fixed" else features.detach()
                rewritten = update(method, model, memory, features, train.labels)
                rewritten = rewritten.detach() if method.rewrite == "all fixed" else rewritten
            _, scores, logits = forward(model, test.images, rewritten)
            return read_loss(method, scores, logits, test.labels)

        loss, estimated = self.call(theta, inner)
        g = torch.autograd.grad(loss, list(theta.values()), create_graph=True, materialize_grads=True)
        if not method.second_order:
            g = [each.detach() for each in g]
        step = method.inner_lr * LR if method.inner_lr_relative else method.inner_lr
        fast = {n: p - step * g_p for (n, p), g_p in zip(theta.items(), g, strict=True)}
        total = method.meta_test_weight * self.call(fast, outer)
        outer_g = torch.autograd.grad(total, list(theta.values()), materialize_grads=True, retain_graph=True)
        joined = {n: method.meta_train_weight * i.detach() + o for n, i, o in zip(theta, g, outer_g, strict=True)}
        if method.classifier_steps_with == "inner lr":
            joined |= {n: i.detach() for n, i in zip(theta, g, strict=True) if n.startswith("classifier.")}
        return joined


def gradients(method: PinTheMemory | MLDG, model: Any, given: Episode) -> dict[str, Tensor]:
    objective = Objective(method, model).train()
    objective.zero_grad()
    objective(given)["loss"].backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


CASES: dict[str, dict[str, Any]] = {
    "paper, first order": {},
    "paper, second order": {"second_order": True},
    "published": {
        "meta_train_weight": 1.0,
        "classification": "mean",
        "cohesion_at": "image",
        "classifier_steps_with": "optimizer",
    },
    "published, second order": {
        "meta_train_weight": 1.0,
        "second_order": True,
        "cohesion_at": "image",
        "classifier_steps_with": "optimizer",
    },
    "nothing fixed": {"rewrite": "nothing fixed", "second_order": True},
    "all fixed": {"rewrite": "all fixed", "second_order": True},
    "not rewritten": {"rewrite": "off", "meta_train_weight": 1.0},
    "writer of the paper": {"writer": "paper", "normalise_memory": False, "second_order": True},
    "no writer": {"writer": "none", "second_order": True},
    "own inner lr": {"inner_lr_relative": False, "inner_lr": 0.05, "meta_test_weight": 0.7},
}


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_that_of_a_plain_double_backward(case: str) -> None:
    method = pin(**CASES[case])
    model, given = build(method), episode()
    expected = Reference(method, model).gradients(given)
    for name, gradient in gradients(method, model, given).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-7, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")
    assert gradients(method, model, given).keys() == expected.keys()


def test_the_second_order_gradient_is_that_of_finite_differences() -> None:
    method = pin(second_order=True, rewrite="nothing fixed", classifier_steps_with="optimizer", meta_train_weight=0.5)
    model, given = build(method), episode()
    gradient = gradients(method, model, given)

    def value(moved: Remembering) -> float:
        with torch.no_grad():
            saved = copy.deepcopy(moved.state_dict())
        loss = method.losses(moved, given)["loss"].item()
        moved.load_state_dict(saved)
        return loss

    torch.manual_seed(3)
    for _ in range(3):
        direction = {n: torch.randn_like(p) for n, p in model.named_parameters()}
        length = torch.stack([d.square().sum() for d in direction.values()]).sum().sqrt()
        values = []
        for sign in (1, -1):
            moved = copy.deepcopy(model)
            with torch.no_grad():
                for n, p in moved.named_parameters():
                    p += sign * 1e-5 * direction[n] / length
            values.append(value(moved))
        along = sum((gradient[n] * d).sum() for n, d in direction.items()) / length
        assert (values[0] - values[1]) / 2e-5 == pytest.approx(float(along), rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("training", ["aggregate", "episodic"])
def test_without_a_look_ahead_the_losses_are_plain_sums(training: Any) -> None:
    method = pin(training=training)
    model, given = build(method), episode()
    roles = method.roles(3, 0, 0, 0)
    assert set(roles) == ({"meta-train"} if training == "aggregate" else {"meta-train", "meta-test"})
    given = replace(given, roles=roles if training == "aggregate" else ROLES)
    found = gradients(method, copy.deepcopy(model), given)
    train, test = given.of_role("meta-train"), given.of_role("meta-test")
    features, scores, logits = forward(model, train.images, model.memory)
    memory = update(method, model, model.memory, features, train.labels)
    if training == "aggregate":
        loss = read_loss(method, scores, logits, train.labels)
    else:
        _, scores, logits = forward(model, test.images, memory)
        loss = read_loss(method, scores, logits, test.labels)
    (loss + update_loss(method, model, memory)).backward()
    for name, p in model.named_parameters():
        torch.testing.assert_close(found[name], p.grad, rtol=1e-7, atol=1e-10)
        assert p.grad is not None and p.grad.any(), f"{name} does not learn"


def test_without_memory_it_is_mldg() -> None:
    given = episode()
    for second_order in (False, True):
        shared = {"inner_lr": 0.5, "inner_lr_relative": True, "second_order": second_order, "auxiliary_weight": 0.4}
        torch.manual_seed(0)
        network = architecture(auxiliary=True).build(SPACE).double()
        network.decoder.get_submodule("auxiliary").layers[3].p = 0.0  # its dropout would draw twice
        ours = gradients(PinTheMemory(memory=False, meta_train_weight=1.0, **shared), copy.deepcopy(network), given)
        mldg = gradients(MLDG(**shared), copy.deepcopy(network), given)
        assert ours.keys() == mldg.keys() and all(torch.equal(ours[n], mldg[n]) for n in ours)


@pytest.mark.parametrize("auxiliary_weight", [0.0, 0.4])
@pytest.mark.parametrize("preset", ["paper", "reference"])
def test_every_parameter_learns(preset: str, auxiliary_weight: float) -> None:
    method = PinTheMemory.paper() if preset == "paper" else PinTheMemory.reference()
    method = replace(method, auxiliary_weight=auxiliary_weight)
    model = build(method)
    torch.manual_seed(5)
    found = gradients(method, model, episode())
    assert set(found) == {n for n, _ in model.named_parameters()}
    # Cosines leave a BatchNorm's shift that feeds them a gradient, so nothing is flat by construction.
    assert [n for n, g in found.items() if not g.any()] == []


def test_relative_and_absolute_inner_rates_agree() -> None:
    model, given = build(pin()), episode()
    relative = gradients(pin(inner_lr=0.5), copy.deepcopy(model), given)
    absolute = gradients(pin(inner_lr=0.5 * LR, inner_lr_relative=False), copy.deepcopy(model), given)
    assert all(torch.equal(relative[n], absolute[n]) for n in relative)


def test_shares_of_classes_are_the_resized_one_hot_map() -> None:
    torch.manual_seed(0)
    labels = torch.randint(0, K, (3, 17, 30))
    labels[torch.rand(3, 17, 30) < 0.2] = IGNORE
    for size in [(5, 8), (17, 30), (1, 4), (9, 1), (34, 60)]:
        maps = torch.empty(3, 1, *size, dtype=torch.float64)
        torch.testing.assert_close(class_shares(labels, maps, K), masks(labels, size), rtol=1e-10, atol=1e-12)


def test_cohesion_and_overlap_of_known_memories() -> None:
    labels = torch.zeros(1, 4, 4, dtype=torch.long)
    flat = torch.zeros(1, K, 2, 2)
    assert cohesion(flat, labels) == pytest.approx(torch.tensor(K).log().item())
    assert cohesion(flat, torch.full_like(labels, IGNORE)) == 0
    assert overlap(torch.eye(K)) == 0 and overlap(-torch.ones(1, 3)) == 0
    assert overlap(torch.ones(K, 1)) == pytest.approx(1.0)
    assert overlap(torch.tensor([[1.0], [-1.0]])) == 0


def test_the_memory_starts_as_the_mean_of_all_pixels_and_is_written_after_the_step() -> None:
    """Eq. 12 with the moved parameters, sums over episodes before the division, and Eq. 9's step of G."""
    method = pin()
    model = build(method)
    given = [episode(0), episode(1)]
    twin = copy.deepcopy(model).eval()
    sums, counts = torch.zeros(K, C, dtype=torch.float64), torch.zeros(K, dtype=torch.float64)
    for each in given:
        features = forward(twin, each.batch.images, twin.memory)[0]
        unit, mask = F.normalize(features, dim=1), masks(each.batch.labels, features.shape[-2:])
        for c in range(K):
            sums[c] += (unit * mask[:, c : c + 1]).sum((0, 2, 3)).detach()
            counts[c] += mask[:, c].sum()
    method.start(model, given, lambda tensor: tensor)
    torch.testing.assert_close(model.memory[:3], F.normalize(sums[:3] / counts[:3, None], dim=1), rtol=1e-5, atol=1e-6)
    assert not model.memory[3].any(), "a class that never showed has an empty row"

    gradients(method, model, given[0])
    assert model.classifier is not None
    before, g = model.classifier.weight.detach().clone(), model.classifier.weight.grad.clone()
    twin = copy.deepcopy(model).eval()
    features, labels = [], []
    for each in given:
        train = each.of_role("meta-train")
        features.append(forward(twin, train.images, twin.memory)[0])
        labels.append(train.labels)
    expected = update(method, twin, twin.memory, torch.cat(features), torch.cat(labels))
    method.after_step(model, given, lambda tensor: tensor)
    torch.testing.assert_close(model.memory, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model.classifier.weight, before - 0.5 * LR * g)
    assert {id(p) for p in model.extras()}.isdisjoint(map(id, model.classifier.parameters()))


def test_two_ranks_fill_and_write_the_memory_as_one_does() -> None:
    method, given = pin(), [episode(0), episode(1), episode(2)]
    alone = build(method)
    method.start(alone, given, lambda tensor: tensor)
    parts: list[Tensor] = []

    def first_rank(sums: Tensor) -> Tensor:
        parts.append(sums.clone())
        return sums

    method.start(build(method), given[2:], first_rank)
    together = build(method)
    method.start(together, given[:2], lambda sums: sums + parts[0])
    torch.testing.assert_close(together.memory, alone.memory, rtol=1e-12, atol=1e-12)


def test_a_momentum_of_1_leaves_the_memory_as_it_is() -> None:
    method = pin(momentum=1.0)
    model = build(method)
    before = model.memory.clone()
    gradients(method, model, episode())
    method.after_step(model, [episode()], lambda tensor: tensor)
    torch.testing.assert_close(model.memory, before, rtol=1e-14, atol=1e-14)


def test_predictions_read_the_memory_and_do_not_write_it() -> None:
    method = pin()
    model = build(method).eval()
    before, images = model.memory.clone(), episode().batch.images
    logits = method.default_inference().module(model, ("a", "b"), "c")(images)
    torch.testing.assert_close(logits, forward(model, images, model.memory)[2])
    assert torch.equal(model.memory, before)
    model.memory.zero_()
    assert not torch.allclose(model(images), logits)


def test_gumbel_attention_is_random_and_on_average_the_plain_one_less_sharp() -> None:
    model = build(pin(gumbel=True))
    scores = torch.tensor([2.0, 0.0, -1.0, 0.5]).view(1, K, 1, 1).expand(20000, K, 1, 1)
    torch.manual_seed(0)
    drawn = model.attention(scores)
    assert not torch.equal(drawn[0], drawn[1])
    torch.testing.assert_close(drawn.sum(1), torch.ones(20000, 1, 1))
    # The Gumbel-max property: the largest share falls on a row as often as softmax says.
    often = F.one_hot(drawn[:, :, 0, 0].argmax(1), K).double().mean(0)
    torch.testing.assert_close(often, scores[0, :, 0, 0].double().softmax(0), atol=0.02, rtol=0)


def test_gumbel_predictions_are_a_function_of_the_image() -> None:
    model = build(pin(gumbel=True)).eval()
    images = episode().batch.images
    together = model(images)
    torch.manual_seed(1)
    torch.testing.assert_close(torch.cat([model(image[None]) for image in images]), together)
    assert not torch.allclose(together, build(pin()).eval()(images))


def test_parameters_and_multiplications_are_the_papers() -> None:
    """Table 8: 45.22 M parameters without the writing network, 45.28 M in all; 277.4 thousand million multiplications
    at 1024 x 1024."""
    with torch.device("meta"), torch.no_grad():
        network: Network = DeepLabV3Plus.pin_the_memory(ResNet(50)).build(CITYSCAPES_19)
        model = PinTheMemory.reference().wrap(network, 2, 19)
        assert isinstance(model, Remembering) and model.writer is not None
        with FlopCounterMode(display=False) as counter:
            model.eval()(torch.rand(1, 3, 1024, 1024))
    parameters = sum(p.numel() for p in model.parameters())
    assert round(parameters / 1e6, 2) == 45.28
    assert round((parameters - sum(p.numel() for p in model.writer.parameters())) / 1e6, 2) == 45.22
    assert round(counter.get_total_flops() / 2 / 1e9, 1) == 277.4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"momentum": 1.5}, "PinTheMemory.momentum is 1.5: it must be 0 to 1"),
        ({"training": "aggregate", "second_order": True}, "second_order is True.*no look-ahead"),
        ({"training": "episodic", "rewrite": "off"}, "rewrite is 'off'.*no look-ahead"),
        ({"rewrite": "off", "divergence_weight": 0.0}, "writer is 'published'.*no gradient reaches it"),
        ({"rewrite": "all fixed", "meta_train_weight": 0.0}, "writer is 'published'.*no gradient reaches it"),
        (
            {"classifier_steps_with": "optimizer", "meta_train_weight": 0.0},
            "classifier_steps_with is 'optimizer'.*no gradient reaches G",
        ),
        ({"training": "aggregate", "num_meta_train": 1}, "num_meta_train is 1.*nothing is split"),
        ({"memory": False, "momentum": 0.5}, "momentum is 0.5: it must be 0.8, its default, where memory is False"),
        ({"divergence_weight": 0.0, "classification": "mean"}, "classification is 'mean'.*divergence_weight is 0"),
        ({"trains": "decoder"}, "trains is 'decoder'"),
        ({"batchnorm": "per-domain", "auxiliary_weight": 0.0}, "batchnorm is 'per-domain'"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PinTheMemory(**changes)


def test_networks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"auxiliary_weight is 0\.4, but DeepLabV3Plus has no auxiliary head"):
        PinTheMemory().check_model(architecture())
    with pytest.raises(ValueError, match="needs at least 2 source domains"):
        PinTheMemory().check_sources(1)
    PinTheMemory(training="aggregate").check_sources(1)
