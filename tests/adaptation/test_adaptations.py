"""What holds for every adaptation: the members of the table get these tests for free."""

import copy

import cloudpickle
import pytest
import torch
from torch import Tensor, nn

from raydg.adaptation import (
    ETA,
    SHOT,
    T3A,
    TTA,
    AdaBN,
    Adaptation,
    CoTTA,
    IaBN,
    MCDropout,
    Predictor,
    SegTTT,
    TargetNorm,
    Tent,
    TrainBN,
    Views,
)
from raydg.values import decode, encode, subclasses

MILD = {"learning_rate": 1e-3, "iterations": 2}
SMALL = Views((0.5, 1.0), together=False)

SEGMENTS = [
    TrainBN(),
    TargetNorm(batch_size=4),
    TargetNorm(batch_size=1),
    IaBN(),
    AdaBN(target_weight=0.5, batch_size=2),
    TTA(IaBN(), SMALL),
    TTA(TargetNorm(batch_size=4)),
    SegTTT(also_after=(0, 1), **MILD),
    SegTTT(AdaBN(batch_size=2), SMALL, relabels=True, learns_from="views", layers=("stem",), momentum=0.9, **MILD),
    SegTTT(normalises_with="running", class_thresholds=False, confidence=0.4, **MILD),
    SegTTT.reference(norm=TrainBN(), layers=0, also_after=(1,), **MILD),
    Tent(TargetNorm(batch_size=4), iterations=2, momentum=0.9),
    Tent(IaBN(), mode="online", iterations=1),
    ETA(TargetNorm(batch_size=4)),
    CoTTA(IaBN(), SMALL, confidence=1.1),
    MCDropout(AdaBN(batch_size=2), samples=2),
]
CLASSIFIES = [
    IaBN(instance_weight=1),
    TTA(AdaBN(batch_size=2), SMALL),
    Tent(AdaBN(batch_size=2), mode="online", iterations=1),
    ETA(IaBN()),
    CoTTA(TargetNorm(batch_size=4), SMALL, labels="hard"),
    MCDropout(samples=2, seed=1),
    T3A(),
    T3A.reference(TargetNorm(batch_size=4), supports=None),
    SHOT(epochs=2, images_per_step=3),
    SHOT(AdaBN(batch_size=2), epochs=1),
]
ADAPTATIONS = SEGMENTS + CLASSIFIES


def name_of(value) -> str:
    return value.label if isinstance(value, Adaptation) else value


PAIRS = [(adaptation, "segments") for adaptation in SEGMENTS] + [
    (adaptation, "classifies") for adaptation in CLASSIFIES
]

every = pytest.mark.parametrize(("adaptation", "network"), PAIRS, ids=name_of, indirect=["network"])
forgetful = pytest.mark.parametrize(
    ("adaptation", "network"), [p for p in PAIRS if not p[0].keeps_state], ids=name_of, indirect=["network"]
)
of_any_module = pytest.mark.parametrize(
    "adaptation", [a for a in ADAPTATIONS if not isinstance(a, SegTTT | MCDropout | CoTTA | T3A | SHOT)], ids=name_of
)


def ready(adaptation: Adaptation, network: nn.Module, images: Tensor) -> Predictor:
    """A predictor that has seen the images, if it must, as the whole target."""
    predictor = adaptation.predictor(network)
    if adaptation.needs_fit:
        predictor.fit(iter(images.split(2)))
    return predictor


def test_the_table_has_every_adaptation():
    shipped = {cls for cls in subclasses(Adaptation) if cls.__module__.startswith("raydg.")}
    assert {type(adaptation) for adaptation in ADAPTATIONS} == shipped


@every
def test_the_network_stays_as_it_was(adaptation, network, images):
    network.train()
    network.get_submodule("encoder.stem.1").eval()
    network.get_parameter("encoder.stem.0.weight").requires_grad_(False)
    calls = []
    hook = network.register_forward_hook(lambda *_: calls.append(1))
    weights = {name: tensor.clone() for name, tensor in network.state_dict(keep_vars=True).items()}
    flags = {name: module.training for name, module in network.named_modules()}
    modules = dict(network.named_modules())
    grads = {name: parameter.requires_grad for name, parameter in network.named_parameters()}

    predictor = ready(adaptation, network, images)
    predictor(images)
    predictor.all(images[:2])

    assert {name: module.training for name, module in network.named_modules()} == flags
    assert all(modules[name] is module for name, module in network.named_modules())
    assert not any("forward" in vars(module) for module in network.modules())
    assert {name: parameter.requires_grad for name, parameter in network.named_parameters()} == grads
    assert all(parameter.grad is None for parameter in network.parameters())
    assert list(network._forward_hooks) == [hook.id]
    assert all(torch.equal(tensor, weights[name]) for name, tensor in network.state_dict().items())


@every
def test_the_copy_is_private_both_ways(adaptation, network, images):
    before = ready(adaptation, network, images)(images)
    predictor = ready(adaptation, network, images)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert torch.equal(predictor(images), before)
    owned = {tensor.data_ptr() for tensor in network.state_dict().values()}
    assert owned.isdisjoint(tensor.data_ptr() for tensor in predictor.network.state_dict().values())


@every
def test_variants_are_probabilities_with_labels_and_the_last_is_the_call(adaptation, network, images):
    probabilities = ready(adaptation, network, images)(images)
    variants = ready(adaptation, network, images).all(images)
    assert variants.shape == (len(adaptation.variants), *network.eval()(images).shape)
    assert not variants.requires_grad and variants.dtype == torch.float64
    torch.testing.assert_close(variants.sum(dim=2), torch.ones_like(variants[:, :, 0]))
    assert torch.equal(variants[-1], probabilities)
    assert adaptation.variants[-1] == adaptation.label and len(set(adaptation.variants)) == len(adaptation.variants)


@forgetful
def test_dropout_is_off_or_seeded_and_no_batch_is_remembered(adaptation, network, images):
    predictor = ready(adaptation, network.train(), images)
    fitted = {name: tensor.clone() for name, tensor in predictor.network.state_dict().items()}
    first = predictor(images)
    predictor(images.flip(0)[:3] * 0.1)
    assert torch.equal(predictor(images), first)
    after = predictor.network.state_dict()
    assert list(after) == list(network.state_dict())
    trained = fitted if isinstance(adaptation, SHOT) else network.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in trained.items())


@every
def test_two_runs_are_equal_and_draw_no_global_numbers(adaptation, network, images):
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = ready(adaptation, network, images)
    second = ready(adaptation, network, images)
    assert all(torch.equal(first.all(part), second.all(part)) for part in images.split(2))
    assert torch.equal(torch.get_rng_state(), state)


@forgetful
def test_one_image_means_one_image(adaptation, network, images):
    predictor = ready(adaptation, network, images)
    singles = torch.cat([predictor(image[None]) for image in images])
    if adaptation.sees == "a batch":
        assert (predictor(images) - singles).abs().max() > 1e-3
    else:
        torch.testing.assert_close(predictor(images), singles, rtol=1e-12, atol=1e-12)


@every
def test_any_mode_of_autograd_gives_the_same(adaptation, network, images):
    expected = ready(adaptation, network, images).all(images)
    with torch.inference_mode():
        assert torch.equal(ready(adaptation, network, images).all(images.clone()), expected)
    with torch.no_grad():
        assert torch.equal(ready(adaptation, network, images).all(images), expected)


@every
def test_float32_agrees_with_float64_and_autocast_with_float32(adaptation, network, images):
    exact = ready(adaptation, network, images)(images)
    network, images = network.float(), images.float()
    single = ready(adaptation, network, images)(images)
    torch.testing.assert_close(single.double(), exact, rtol=1e-3, atol=1e-3)
    predictor = ready(adaptation, network, images)
    with torch.autocast("cpu", torch.bfloat16):
        half = predictor(images)
    torch.testing.assert_close(half.float(), single, rtol=0, atol=0.1)


@every
def test_a_half_precision_network_stays_one(adaptation, network, images):
    exact = ready(adaptation, network, images)(images)
    half = ready(adaptation, network.bfloat16(), images.bfloat16())(images.bfloat16())
    assert half.dtype == torch.bfloat16
    assert (half.double() - exact).abs().mean() < 0.03


@every
def test_a_predictor_can_be_copied_and_sent_elsewhere(adaptation, network, images):
    predictor = ready(adaptation, network, images)
    others = copy.deepcopy(predictor), cloudpickle.loads(cloudpickle.dumps(predictor))
    expected = predictor(images)
    assert all(torch.equal(other(images), expected) for other in others)


def test_settings_survive_json():
    for adaptation in ADAPTATIONS:
        assert decode(Adaptation, encode(adaptation)) == adaptation


def test_labels_tell_adaptations_apart():
    labels = [label for adaptation in ADAPTATIONS for label in adaptation.variants]
    assert len(set(labels)) == len(labels)


@of_any_module
def test_a_network_without_batchnorm(adaptation, images):
    plain = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, track_running_stats=True)
    ).double()
    if adaptation.needs_batchnorm:
        with pytest.raises(ValueError, match=r"works through BatchNorm layers and Sequential has none: .*\bTrainBN\b"):
            adaptation.predictor(plain)
    elif isinstance(adaptation, TrainBN):
        torch.testing.assert_close(adaptation.predictor(plain)(images), plain.eval()(images).softmax(1))
    else:
        assert adaptation.predictor(plain)(images).isfinite().all()


@pytest.mark.parametrize(
    "adaptation",
    [TargetNorm(), AdaBN(), TTA(IaBN()), Tent(), ETA(), CoTTA(IaBN()), SegTTT.reference(norm=TrainBN())],
)
@pytest.mark.parametrize("network", ["segments"], indirect=True)
def test_batchnorm_in_the_head_alone_is_not_enough(adaptation, network):
    network.float()
    network.encoder.stem[1] = network.encoder.block[1] = nn.Identity()
    with pytest.raises(ValueError, match=r"and its encoder TinyEncoder has none"):
        adaptation.predictor(network)
    assert TrainBN().predictor(network)(torch.rand(1, 3, 9, 9)).isfinite().all()
    assert SegTTT(TrainBN(), iterations=1).predictor(network)(torch.rand(1, 3, 9, 9)).isfinite().all()


@of_any_module
def test_a_batchnorm_layer_without_running_statistics(adaptation, images):
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)).double()
    norm = getattr(adaptation, "norm", adaptation)
    if isinstance(norm, TargetNorm) or norm == AdaBN(batch_size=2):  # which is all of the target's
        assert ready(adaptation, network, images)(images).isfinite().all()
    else:
        with pytest.raises(ValueError, match="BatchNorm layer '1' keeps no running statistics"):
            adaptation.predictor(network)


@of_any_module
def test_layers_without_weights_and_layers_used_twice(adaptation, images):
    shared = nn.BatchNorm2d(3, affine=False)
    once = nn.Sequential(nn.BatchNorm2d(3, affine=False), nn.BatchNorm2d(3, affine=False)).double()
    twice = nn.Sequential(shared, shared).double()
    if isinstance(adaptation, Tent | ETA):
        with pytest.raises(ValueError, match=f"{type(adaptation).__name__} learns scale and shift"):
            adaptation.predictor(twice)
    else:
        torch.testing.assert_close(ready(adaptation, twice, images)(images), ready(adaptation, once, images)(images))


@of_any_module
def test_hooks_on_batchnorm_layers_still_run_in_the_copy(adaptation, layer, images):
    seen = []
    layer[0].register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    predictor = ready(adaptation, layer, images)
    seen.clear()
    predictor(images)
    assert seen and all(shape[1] == 3 for shape in seen)


@pytest.mark.parametrize("adaptation", [IaBN(), TTA(), Tent(mode="online"), CoTTA(), T3A()], ids=name_of)
def test_only_what_needs_a_fit_has_one(adaptation, classifying, images):
    with pytest.raises(ValueError, match="has nothing to fit: only adaptations with needs_fit do"):
        adaptation.predictor(classifying).fit([images])
