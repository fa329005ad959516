"""TSMLDG's network, deep stem included, against its definition."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models

from raydg.domains.labels import CITYSCAPES_19, IDD_LEVEL1, PACS_7
from raydg.models import FCN, Classifier, ResNet


def deep_resnet50() -> models.ResNet:
    """The "encoding" ResNet-50 at output stride 8: torchvision's, its dilation included, with another beginning."""
    net = models.resnet50(replace_stride_with_dilation=[False, True, True])
    stem = []
    for inputs, outputs, stride in ((3, 64, 2), (64, 64, 1), (64, 128, 1)):
        stem += [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    net.conv1 = nn.Sequential(*stem[:-2])
    net.bn1 = stem[-2]
    net.layer1[0].conv1 = nn.Conv2d(128, 64, 1, bias=False)
    net.layer1[0].downsample[0] = nn.Conv2d(128, 256, 1, bias=False)
    return net


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    state = dict(deep_resnet50().state_dict())
    for tensor in state.values():
        if tensor.ndim == 1:
            tensor.uniform_(0.5, 1.5)
    return state


@torch.no_grad()
def test_logits_equal_the_definition_from_weights_under_their_own_keys(weights: dict, tmp_path: Path) -> None:
    torch.save(weights, tmp_path / "resnet50.pth")
    with torch.device("meta"):
        net = deep_resnet50()
    net.load_state_dict(weights, assign=True)
    net.double().eval()
    network = FCN(ResNet(50, stem="3x3", weights=str(tmp_path / "resnet50.pth"))).build(IDD_LEVEL1).double().eval()

    images = torch.rand(1, 3, 65, 97, dtype=torch.float64)
    maps = net.maxpool(net.relu(net.bn1(net.conv1((images - network.mean) / network.std))))
    maps = net.layer4(net.layer3(net.layer2(net.layer1(maps))))
    assert maps.shape == (1, 2048, 9, 13)
    state: dict[str, Tensor] = network.decoder.state_dict()
    parts = [state[f"body.1.{part}"].uniform_(0.5, 1.5) for part in ("running_mean", "running_var", "weight", "bias")]
    context = F.batch_norm(F.conv2d(maps, state["body.0.weight"], padding=1), *parts).relu()
    logits = F.conv2d(context, state["classifier.weight"], state["classifier.bias"])
    expected = F.interpolate(logits, size=(65, 97), mode="bilinear", align_corners=True)
    torch.testing.assert_close(network(images), expected)
    assert network.sites["context"].channels == 512
    assert [module.p for module in network.modules() if isinstance(module, nn.Dropout2d)] == [0.1]


def test_parameters_add_up() -> None:
    """By hand, from torchvision's encoder: another stem, and 64 more inputs of layer1's first block and shortcut."""
    encoder = 23_508_032 - (3 * 64 * 49 + 2 * 64)
    encoder += 3 * 64 * 9 + 2 * 64 + 64 * 64 * 9 + 2 * 64 + 64 * 128 * 9 + 2 * 128 + 64 * (64 + 256)
    decoder = 2048 * 512 * 9 + 2 * 512 + 512 * 19 + 19
    with torch.device("meta"):
        network = FCN(ResNet(50, stem="3x3")).build(CITYSCAPES_19)
    assert [sum(p.numel() for p in part.parameters()) for part in (network.encoder, network.decoder)] == [
        encoder,
        decoder,
    ]


def test_the_deep_stem_starts_as_torchvision_does_the_rest() -> None:
    torch.manual_seed(0)
    encoder = ResNet(50, stem="3x3").dilated(8)
    for name, conv in encoder.named_modules():
        if isinstance(conv, nn.Conv2d) and name.startswith(("conv1", "layer1.0")):
            fan_out = conv.weight[:, 0].numel()
            tolerance = 6 / (2 * conv.weight.numel()) ** 0.5  # six standard errors
            assert conv.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=tolerance)


def test_the_groups_cover_the_deep_stem() -> None:
    with torch.device("meta"):
        encoder = ResNet(101, stem="3x3").dilated(8)
    grouped = [id(p) for _, names in encoder.groups for n in names for p in encoder.get_submodule(n).parameters()]
    assert sorted(grouped) == sorted(id(p) for p in encoder.parameters())


def test_weights_with_the_other_stem_are_recognised(weights: dict, tmp_path: Path) -> None:
    torch.save(weights, tmp_path / "deep.pth")
    with pytest.raises(ValueError, match=r"do not fit ResNet\(50\).* weights of ResNet\(50, stem='3x3'\)\."):
        Classifier(ResNet(50, weights=str(tmp_path / "deep.pth"))).build(PACS_7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ResNet(18, stem="3x3"), r"ResNet.stem is '3x3': it must be '7x7' for depth 18"),
        (lambda: ResNet(50, stem="3x3", weights="imagenet"), r"stem is '3x3': it must be '7x7' for weights 'imagenet'"),
        (lambda: ResNet(50, stem="deep"), r"stem is 'deep': it must be one of '7x7', '3x3'"),
    ],
)
def test_illegal_combinations_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
