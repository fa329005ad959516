"""What holds for every adaptation: the members of the table get these tests for free."""

import copy
import pickle

import pytest
import torch
from torch import nn

from raydg.adaptation import Adaptation, IaBN, TargetNorm, TrainBN
from raydg.values import decode, encode, subclasses

ADAPTATIONS = [
    TrainBN(),
    TargetNorm(),
    TargetNorm(batch_size=4),
    TargetNorm(batch_size=1),
    IaBN(),
    IaBN(instance_weight=1),
]

every = pytest.mark.parametrize("adaptation", ADAPTATIONS, ids=lambda a: a.label)


def test_the_table_has_every_adaptation():
    shipped = {cls for cls in subclasses(Adaptation) if cls.__module__.startswith("raydg.")}
    assert {type(adaptation) for adaptation in ADAPTATIONS} == shipped


@every
@pytest.mark.parametrize("training", [True, False])
def test_the_network_stays_as_it_was(adaptation, network, images, training):
    network.train(training)
    network.get_submodule("stem.1").eval()
    calls = []
    hook = network.register_forward_hook(lambda *_: calls.append(1))
    weights = copy.deepcopy(network.state_dict())
    flags = {name: module.training for name, module in network.named_modules()}
    modules = dict(network.named_modules())
    grads = {name: parameter.requires_grad for name, parameter in network.named_parameters()}

    predictor = adaptation.predictor(network)
    predictor(images)
    predictor(images[:2])

    assert {name: module.training for name, module in network.named_modules()} == flags
    assert all(modules[name] is module for name, module in network.named_modules())
    assert {name: parameter.requires_grad for name, parameter in network.named_parameters()} == grads
    assert list(network._forward_hooks) == [hook.id]
    assert all(torch.equal(tensor, weights[name]) for name, tensor in network.state_dict().items())


@every
def test_the_copy_is_private_both_ways(adaptation, network, images):
    predictor = adaptation.predictor(network)
    before = predictor(images)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert torch.equal(predictor(images), before)
    owned = {tensor.data_ptr() for tensor in network.state_dict().values()}
    assert owned.isdisjoint(tensor.data_ptr() for tensor in predictor.network.state_dict().values())


@every
def test_probabilities_are_of_the_right_shape_and_sum_to_one(adaptation, network, images):
    probabilities = adaptation.predictor(network)(images)
    assert probabilities.shape == (network.eval()(images)).shape
    assert not probabilities.requires_grad and probabilities.dtype == torch.float64
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones_like(probabilities[:, 0]))


@every
def test_dropout_is_off_and_no_batch_is_remembered(adaptation, network, images):
    predictor = adaptation.predictor(network.train())
    first = predictor(images)
    predictor(images.flip(0)[:3] * 0.1)
    assert torch.equal(predictor(images), first)


@every
def test_weights_and_statistics_keep_names_and_values(adaptation, network, images):
    predictor = adaptation.predictor(network)
    predictor(images)
    adapted = predictor.network.state_dict()
    assert list(adapted) == list(network.state_dict())
    assert all(torch.equal(adapted[name], tensor) for name, tensor in network.state_dict().items())


@every
def test_one_image_means_one_image(adaptation, network, images):
    predictor = adaptation.predictor(network)
    singles = torch.cat([predictor(image[None]) for image in images])
    if adaptation.sees == "one image":
        torch.testing.assert_close(predictor(images), singles, rtol=1e-12, atol=1e-12)
    else:
        assert (predictor(images) - singles).abs().max() > 1e-3


@every
def test_float32_agrees_with_float64_and_autocast_with_float32(adaptation, network, images):
    exact = adaptation.predictor(network)(images)
    predictor, images = adaptation.predictor(network.float()), images.float()
    single = predictor(images)
    torch.testing.assert_close(single.double(), exact, rtol=1e-4, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        half = predictor(images)
    torch.testing.assert_close(half.float(), single, rtol=0, atol=0.1)


@every
def test_a_half_precision_network_stays_one(adaptation, network, images):
    exact = adaptation.predictor(network)(images)
    half = adaptation.predictor(network.bfloat16())(images.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.double(), exact, rtol=0, atol=0.1)


@every
def test_a_predictor_can_be_copied_and_sent_elsewhere(adaptation, layer, images):
    predictor = adaptation.predictor(layer)
    for other in (copy.deepcopy(predictor), pickle.loads(pickle.dumps(predictor))):
        assert torch.equal(other(images), predictor(images))


@every
def test_settings_survive_json(adaptation):
    assert decode(Adaptation, encode(adaptation)) == adaptation


def test_labels_tell_adaptations_apart():
    assert len({adaptation.label for adaptation in ADAPTATIONS}) == len(ADAPTATIONS)


@every
def test_a_network_without_batchnorm(adaptation, images):
    plain = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, track_running_stats=True)
    ).double()
    if adaptation.needs_batchnorm:
        with pytest.raises(ValueError, match=r"works through BatchNorm layers and Sequential has none: .*\(TrainBN\)"):
            adaptation.predictor(plain)
    else:
        torch.testing.assert_close(adaptation.predictor(plain)(images), plain.eval()(images).softmax(1))


@every
def test_a_batchnorm_layer_without_running_statistics(adaptation, images):
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)).double()
    if isinstance(adaptation, TargetNorm):
        assert adaptation.predictor(network)(images).isfinite().all()
    else:
        with pytest.raises(ValueError, match="BatchNorm layer '1' keeps no running statistics"):
            adaptation.predictor(network)


@every
def test_layers_without_weights_and_layers_used_twice(adaptation, images):
    shared = nn.BatchNorm2d(3, affine=False)
    once = nn.Sequential(nn.BatchNorm2d(3, affine=False), nn.BatchNorm2d(3, affine=False)).double()
    twice = nn.Sequential(shared, shared).double()
    torch.testing.assert_close(adaptation.predictor(twice)(images), adaptation.predictor(once)(images))


@every
def test_hooks_on_batchnorm_layers_still_run_in_the_copy(adaptation, layer, images):
    seen = []
    layer[0].register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    adaptation.predictor(layer)(images)
    assert seen == [images.shape]
