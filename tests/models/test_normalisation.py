"""The normalisations that may stand in BatchNorm's place, against their formulas, and where they stand."""

import copy
from pathlib import Path
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models

from raydg.adaptation import IaBN, TargetNorm
from raydg.augmentation import Augmentation, Resize
from raydg.domains.labels import PACS_7
from raydg.experiment import Experiment, Stage
from raydg.methods import ERM, Objective
from raydg.methods.deft import track
from raydg.models import Classifier, ResNet, SmallNet
from raydg.models.network import Encoder
from raydg.models.normalisation import (
    BatchInstanceNorm,
    InstanceBatchNorm,
    InstanceStandardisation,
    Norm,
    SwitchableNorm,
)
from raydg.models.pretrained_backbone import recognise
from raydg.optimization import SGD
from raydg.plan import Sampling


def maps(seed: int = 0) -> Tensor:
    return torch.randn(3, 4, 5, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 + 1


def disturbed(layer: nn.Module) -> nn.Module:
    """With parameters that are not at their start, and running statistics that are not either."""
    generator = torch.Generator().manual_seed(7)
    layer.double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator, dtype=torch.float64) * 0.8 + 0.1)
        for buffer in layer.buffers():
            if buffer.is_floating_point():
                buffer.copy_(torch.rand(buffer.shape, generator=generator, dtype=torch.float64) + 0.5)
    return layer


@pytest.mark.parametrize("training", [True, False])
def test_switchable_norm_mixes_three_means_and_three_variances(training: bool) -> None:
    layer, x = disturbed(SwitchableNorm(4)).train(training), maps()
    running_mean, running_var = layer.running_mean.clone(), layer.running_var.clone()
    y = layer(x)
    m = [v.item() for v in layer.mean_weight.exp() / layer.mean_weight.exp().sum()]
    v = [v.item() for v in layer.var_weight.exp() / layer.var_weight.exp().sum()]
    for b in range(3):
        for c in range(4):
            pools = [x[b, c], x[b], x[:, c]]
            means = [pool.sum() / pool.numel() for pool in pools]
            variances = [((pool - mean) ** 2).sum() / pool.numel() for pool, mean in zip(pools, means, strict=True)]
            if not training:
                means[2], variances[2] = running_mean[c], running_var[c]
            mean = sum(w * each for w, each in zip(m, means, strict=True))
            variance = sum(w * each for w, each in zip(v, variances, strict=True))
            expected = layer.weight[c] * (x[b, c] - mean) / (variance + layer.eps) ** 0.5 + layer.bias[c]
            torch.testing.assert_close(y[b, c], expected)


@pytest.mark.parametrize("layer", [SwitchableNorm(4), BatchInstanceNorm(4)], ids=lambda layer: type(layer).__name__)
def test_the_mixtures_track_what_batch_norm_tracks(layer: nn.Module) -> None:
    ours, theirs = copy.deepcopy(layer).double(), nn.BatchNorm2d(4).double()
    for seed in range(3):
        ours(maps(seed)), theirs(maps(seed))
    for name, buffer in theirs.named_buffers():
        torch.testing.assert_close(dict(ours.named_buffers())[name], buffer)
    track(ours, False)
    before = {name: buffer.clone() for name, buffer in ours.named_buffers()}
    ours.train()(maps(9))
    assert all(torch.equal(buffer, before[name]) for name, buffer in ours.named_buffers())


@pytest.mark.parametrize("training", [True, False])
def test_batch_instance_norm_mixes_two_normalised_maps(training: bool) -> None:
    layer, x = disturbed(BatchInstanceNorm(4)).train(training), maps()
    gate, running_mean, running_var = layer.gate.clone(), layer.running_mean.clone(), layer.running_var.clone()
    y = layer(x)
    for b in range(3):
        for c in range(4):
            mean = x[:, c].mean() if training else running_mean[c]
            variance = x[:, c].var(correction=0) if training else running_var[c]
            batch = (x[b, c] - mean) / (variance + layer.eps) ** 0.5
            instance = (x[b, c] - x[b, c].mean()) / (x[b, c].var(correction=0) + layer.eps) ** 0.5
            expected = layer.weight[c] * (gate[c] * batch + (1 - gate[c]) * instance) + layer.bias[c]
            torch.testing.assert_close(y[b, c], expected)


@pytest.mark.parametrize("layer", [SwitchableNorm(4), BatchInstanceNorm(4)], ids=lambda layer: type(layer).__name__)
def test_the_mixtures_have_the_gradients_of_finite_differences(layer: nn.Module) -> None:
    layer = disturbed(copy.deepcopy(layer)).train()
    parameters = tuple(p.detach().clone().requires_grad_() for p in layer.parameters())
    names = [name for name, _ in layer.named_parameters()]

    def run(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (maps().requires_grad_(), *parameters))


def test_gates_stay_in_bounds_and_come_back() -> None:
    layer = BatchInstanceNorm(4)
    with torch.no_grad():
        layer.gate.copy_(torch.tensor([1.0, 1.3, -0.2, 0.0]))
    inside = copy.deepcopy(layer)
    with torch.no_grad():
        inside.gate.clamp_(0, 1)
    assert torch.equal(layer(maps().float()), inside(maps().float()))
    x = maps().float()
    free = (F.batch_norm(x, None, None, training=True) - F.instance_norm(x)).detach()
    for sign in (1, -1):
        layer.zero_grad()
        (sign * (layer(x) * free).sum()).backward()  # d/d gate is sign times the sum of squares of `free`
        assert layer.gate.grad is not None
        moves = (-layer.gate.grad).sign().tolist()  # where descent goes
        assert moves == ([-1, -1, 0, 0] if sign == 1 else [0, 0, 1, 1])


def test_half_of_an_instance_batch_norm_is_of_each_kind() -> None:
    layer, x = disturbed(InstanceBatchNorm(5)).train(), torch.cat([maps(), maps(1)[:, :1]], dim=1)
    y = layer(x)
    first = (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), correction=0, keepdim=True) + 1e-5) ** 0.5
    second = (x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), correction=0, keepdim=True) + 1e-5) ** 0.5
    for c in range(5):
        part, i = (layer.IN, c) if c < 2 else (layer.BN, c - 2)
        torch.testing.assert_close(y[:, c], part.weight[i] * (first if c < 2 else second)[:, c] + part.bias[i])


def places(net: nn.Module, kind: type) -> list[str]:
    return [name for name, module in net.named_modules() if isinstance(module, kind)]


@pytest.mark.parametrize(("depth", "blocks"), [(18, (2, 2, 2, 2)), (50, (3, 4, 6, 3)), (101, (3, 4, 23, 3))])
def test_where_the_layers_stand(depth: int, blocks: tuple[int, ...]) -> None:
    with torch.device("meta"):
        ibn_a, ibn_b, robustnet = (ResNet(depth, norm=n).dilated(16) for n in ("ibn-a", "ibn-b", "robustnet"))
    firsts = [f"layer{s}.{i}.bn1" for s in (1, 2, 3) for i in range(blocks[s - 1])]
    assert places(ibn_a, InstanceBatchNorm) == firsts
    sums = [f"layer{s}.{blocks[s - 1] - 1}.IN" for s in (1, 2)]
    assert places(ibn_b, nn.InstanceNorm2d) == ["bn1", *sums]
    sites = ["bn1.standardised_stem", *(f"{name}.standardised_{name[:6]}" for name in sums)]
    assert places(robustnet, InstanceStandardisation) == sites
    assert [net.get_submodule("bn1").weight.numel() for net in (ibn_a, ibn_b)] == [64, 64]


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """Weights of a plain ResNet-18, none of them at its start."""
    generator = torch.Generator().manual_seed(3)
    with torch.device("meta"):
        shapes = models.resnet18().state_dict()
    return {
        key: torch.rand(t.shape, generator=generator) * 0.1 + (0.5 if t.ndim == 1 else -0.05)
        if t.is_floating_point()
        else torch.tensor(5)
        for key, t in shapes.items()
    }


def filled(norm: Norm, state: dict[str, Tensor], folder: Path) -> Encoder:
    torch.save(state, folder / "weights.pth")
    backbone = ResNet(18, norm=norm, weights=str(folder / "weights.pth"))
    with torch.device("meta"):
        encoder = backbone.dilated(16)
    encoder.to_empty(device="cpu")
    backbone.load_weights(encoder)
    return encoder.eval()


def test_plain_weights_split_over_the_halves(state: dict[str, Tensor], tmp_path: Path) -> None:
    ours = filled("ibn-a", state, tmp_path).state_dict()
    for name in ("weight", "bias"):
        both = torch.cat([ours[f"layer2.1.bn1.IN.{name}"], ours[f"layer2.1.bn1.BN.{name}"]])
        assert torch.equal(both, state[f"layer2.1.bn1.{name}"])
    assert torch.equal(ours["layer3.0.bn1.BN.running_var"], state["layer3.0.bn1.running_var"][128:])
    assert torch.equal(ours["layer4.0.bn1.running_mean"], state["layer4.0.bn1.running_mean"])


@pytest.mark.parametrize("norm", ["ibn-b", "robustnet", "switchable", "batch-instance"])
def test_plain_weights_fit_every_normalisation(norm: Norm, state: dict[str, Tensor], tmp_path: Path) -> None:
    ours = filled(norm, state, tmp_path).state_dict()
    new = {key for key in ours if key not in state}
    missed = {key for key in state if key not in ours and not key.startswith("fc.")}
    assert all(torch.equal(ours[key], state[key]) for key in ours.keys() - new)
    stem = {key for key in state if key.startswith("bn1.")}
    if norm == "ibn-b":
        assert missed == stem - {"bn1.weight", "bn1.bias"}
        assert new == {f"layer{s}.1.IN.{name}" for s in (1, 2) for name in ("weight", "bias")}
        assert all(ours[key].eq(key.endswith("weight")).all() for key in new)
    elif norm == "robustnet":
        assert (new, missed) == (set(), stem)
    else:
        assert missed == set()
        assert all(ours[key].eq(1).all() for key in new)


@pytest.mark.parametrize("depth", [50, 101])
def test_plain_keys_become_those_of_ibn_b_at_every_depth(depth: Literal[50, 101]) -> None:
    with torch.device("meta"):
        ours, plain = (ResNet(depth, norm=norm).dilated(16).state_dict() for norm in ("ibn-b", "batch"))
    translated = ResNet(depth, norm="ibn-b").translate(plain)
    assert {key: t.shape for key, t in translated.items()} == {key: t.shape for key, t in ours.items()}


def test_batch_instance_norm_with_plain_weights_predicts_like_the_plain_network(
    state: dict[str, Tensor], tmp_path: Path
) -> None:
    plain, mixture = (filled(norm, state, tmp_path) for norm in ("batch", "batch-instance"))
    images = torch.rand(2, 3, 32, 32)
    for theirs, ours in zip(plain(images), mixture(images), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm", ["ibn-a", "ibn-b"])
def test_files_of_ibn_net_fit_as_they_are_and_are_recognised(
    norm: Norm, state: dict[str, Tensor], tmp_path: Path
) -> None:
    theirs = filled(norm, state, tmp_path).state_dict() | {"fc.weight": torch.zeros(1000, 512)}
    again = filled(norm, theirs, tmp_path)
    assert all(torch.equal(tensor, theirs[key]) for key, tensor in again.state_dict().items())
    assert recognise(theirs, "torchvision") == f" They look like the weights of ResNet(18, norm={norm!r})."


@pytest.mark.parametrize("norm", ["switchable", "batch-instance"])
def test_adaptations_of_batch_norm_refuse_the_mixtures(norm: Literal["switchable", "batch-instance"]) -> None:
    model = Classifier(SmallNet(4, norm=norm))
    assert model.normalisation == "none"
    with pytest.raises(ValueError, match=r"IaBN.* SmallNet has no BatchNorm\. TrainBN\(\) fits every network"):
        Experiment(
            name="x",
            label_space=PACS_7,
            sources=("a", "b"),
            model=model,
            stages=(Stage(method=ERM(), optimizer=SGD(0.1), steps=1),),
            sampling=Sampling(images_per_domain=1, episodes_per_step=1),
            augmentation=Augmentation((Resize(32, 32),)),
            adaptations=(IaBN(),),
            evaluation_size=(32, 32),
        )
    network = model.build(PACS_7)
    with pytest.raises(ValueError, match=r"works through BatchNorm layers .*\bTrainBN\b"):
        TargetNorm().predictor(network)


def test_a_frozen_encoder_keeps_the_statistics_of_a_mixture() -> None:
    network = Classifier(SmallNet(4, norm="switchable")).build(PACS_7)
    Objective(ERM(trains="decoder"), network).train()
    before = {key: tensor.clone() for key, tensor in network.encoder.state_dict().items()}
    network(torch.rand(4, 3, 32, 32))
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.encoder.state_dict().items())
