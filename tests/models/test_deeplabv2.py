"""Both networks that go by the name DeepLabV2, against their definitions."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raydg.domains.labels import CITYSCAPES_19, IDD_LEVEL1
from raydg.models import DeepLabV2, Network, ResNet, SmallNet

RATES = (6, 12, 18, 24)
SIZE = (209, 401)  # 27 x 51 positions at stride 8: every rate reaches


def build(architecture: DeepLabV2) -> tuple[Network, dict[str, Tensor], Tensor, Tensor]:
    """The network with its vectors off 0 and 1, its decoder's state, images, and their deepest map."""
    torch.manual_seed(0)
    network = architecture.build(IDD_LEVEL1).double().eval()
    for tensor in network.decoder.state_dict().values():
        if tensor.ndim == 1:
            tensor.uniform_(0.5, 1.5)
    images = torch.rand(1, 3, *SIZE, dtype=torch.float64)
    return network, network.decoder.state_dict(), images, network.encoder((images - network.mean) / network.std)[-1]


def enlarged(logits: Tensor) -> Tensor:
    return F.interpolate(logits, size=SIZE, mode="bilinear", align_corners=True)


@torch.no_grad()
def test_the_papers_head_sums_dilated_convolutions_to_the_classes() -> None:
    network, state, images, deepest = build(DeepLabV2(SmallNet(width=2)))
    assert deepest.shape[2:] == (27, 51)
    logits = torch.zeros(())
    for index, rate in enumerate(RATES):
        name = f"classifier.branches.{index}"
        weight, bias = state.pop(f"{name}.weight"), state.pop(f"{name}.bias")
        logits = logits + F.conv2d(deepest, weight, bias, padding=rate, dilation=rate)
    assert not state
    torch.testing.assert_close(network(images), enlarged(logits))


@torch.no_grad()
def test_pin_the_memorys_head_sums_features() -> None:
    network, state, images, deepest = build(DeepLabV2(SmallNet(width=2), head="pin", aspp_channels=6))

    def conv(maps: Tensor, name: str, rate: int) -> Tensor:
        maps = F.conv2d(maps, state[f"{name}.0.weight"], padding=rate, dilation=rate)
        parts = [state[f"{name}.1.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(maps, *parts).clamp(min=0)

    context = torch.stack([conv(deepest, f"body.branches.{index}", rate) for index, rate in enumerate(RATES)]).sum(0)
    maps = conv(context, "classifier.0", 1)
    logits = F.conv2d(maps, state["classifier.1.weight"], state["classifier.1.bias"])
    torch.testing.assert_close(network(images), enlarged(logits))

    seen = []
    with network.transformed({"context": lambda maps: seen.append(maps) or maps}):
        network(images)
    torch.testing.assert_close(seen, [context])
    assert network.sites["context"].channels == 6


def test_parameters_add_up() -> None:
    """Of the decoders on ResNet-101 with 19 classes, counted by hand."""
    with torch.device("meta"):
        paper = DeepLabV2(ResNet(101)).build(CITYSCAPES_19)
        pin = DeepLabV2.pin_the_memory(ResNet(101)).build(CITYSCAPES_19)
    count = [sum(parameter.numel() for parameter in network.decoder.parameters()) for network in (paper, pin)]
    auxiliary = 1024 * 512 * 9 + 512 + 2 * 512 + 512 * 19 + 19
    branches = 4 * (2048 * 256 * 9 + 2 * 256)
    assert count == [4 * (2048 * 19 * 9 + 19), branches + 256 * 256 * 9 + 2 * 256 + 256 * 19 + 19 + auxiliary]


def test_the_papers_head_starts_narrow_and_pin_the_memorys_as_kaiming_says() -> None:
    torch.manual_seed(0)
    paper, pin = (DeepLabV2(SmallNet(), head=head).build(CITYSCAPES_19).decoder for head in ("paper", "pin"))
    for decoder, spread in ((paper, lambda weight: 0.01), (pin, lambda weight: (2 / weight[0].numel()) ** 0.5)):
        for conv in decoder.modules():
            if isinstance(conv, nn.Conv2d):
                tolerance = 6 / (2 * conv.weight.numel()) ** 0.5  # six standard errors
                assert conv.weight.std().item() == pytest.approx(spread(conv.weight), rel=tolerance)
                assert conv.bias is None or not conv.bias.any()


def test_pin_the_memorys_stride_sits_on_a_1x1() -> None:
    """On the first of layer2 and on its shortcut, and nowhere else after the stem; the 3x3 dilated as at stride 8."""
    with torch.device("meta"):
        encoder = DeepLabV2.pin_the_memory(ResNet(50, stride_on="1x1")).build(CITYSCAPES_19).encoder
        plain = ResNet(50, stride_on="1x1").classifier(7)[0]
    strided = [name for name, conv in convolutions(encoder) if conv.stride == (2, 2)]
    assert strided == ["conv1", "layer2.0.conv1", "layer2.0.downsample.0"]
    dilated = {name: conv.dilation[0] for name, conv in convolutions(encoder) if conv.dilation != (1, 1)}
    layer3, layer4 = (
        {f"layer{n}.{i}.conv2": rate for i in range(blocks)} for n, blocks, rate in ((3, 6, 2), (4, 3, 4))
    )
    assert dilated == layer3 | layer4
    strided = [name for name, conv in convolutions(plain) if conv.stride == (2, 2)]
    blocks = [f"layer{number}.0.{name}" for number in (2, 3, 4) for name in ("conv1", "downsample.0")]
    assert strided == ["conv1", *blocks]


def convolutions(module: nn.Module) -> list[tuple[str, nn.Conv2d]]:
    return [(name, conv) for name, conv in module.named_modules() if isinstance(conv, nn.Conv2d)]


@pytest.mark.parametrize("head", ["paper", "pin"])
def test_the_auxiliary_head_of_both(head) -> None:
    with torch.device("meta"):
        network = DeepLabV2(SmallNet(width=4), head=head, auxiliary=True).build(IDD_LEVEL1, pretrained=False)
        logits, auxiliary = network.with_auxiliary(torch.rand(2, 3, 65, 97))
    assert logits.shape == auxiliary.shape == (2, 7, 65, 97)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DeepLabV2(SmallNet(), head="code"), r"DeepLabV2.head is 'code': it must be one of 'paper', 'pin'"),
        (lambda: DeepLabV2(SmallNet(), aspp_rates=()), r"aspp_rates is \(\): it must be at least one dilation"),
        (lambda: DeepLabV2(SmallNet(), aspp_channels=0), r"aspp_channels is 0: it must be at least 1"),
        (lambda: ResNet(18, stride_on="1x1"), r"ResNet.stride_on is '1x1': it must be '3x3' for depth 18"),
    ],
)
def test_illegal_combinations_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
