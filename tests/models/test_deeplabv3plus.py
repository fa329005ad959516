"""DeepLabV3+ against its definition, written out without our layers."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models
from torchvision.models.segmentation import deeplabv3

from raydg.domains.labels import CITYSCAPES_19, IDD_LEVEL1, PACS_7
from raydg.models import AlexNet, Classifier, DeepLabV3Plus, DilatableBackbone, Network, ResNet, SmallNet, SqueezeNet

NARROW = {"aspp_channels": 8, "low_level_channels": 4, "decoder_channels": 8}


def test_parameters_of_resnet50_add_up_to_the_papers() -> None:
    """Counted by hand, convolution by convolution; with the auxiliary head it is Pin the Memory's Table 8, 45.08 M."""

    def conv(inputs: int, outputs: int, kernel: int = 1) -> int:
        return inputs * outputs * kernel * kernel + 2 * outputs  # BatchNorm's scale and shift, no bias

    def stage(inputs: int, width: int, num_blocks: int) -> int:
        first = conv(inputs, width) + conv(width, width, 3) + conv(width, 4 * width) + conv(inputs, 4 * width)
        later = conv(4 * width, width) + conv(width, width, 3) + conv(width, 4 * width)
        return first + (num_blocks - 1) * later

    encoder = conv(3, 64, 7) + stage(64, 64, 3) + stage(256, 128, 4) + stage(512, 256, 6) + stage(1024, 512, 3)
    aspp = 2 * conv(2048, 256) + 3 * conv(2048, 256, 3) + conv(5 * 256, 256)
    decoder = aspp + conv(256, 48) + conv(48 + 256, 256, 3) + conv(256, 256, 3) + (256 * 19 + 19)
    auxiliary = conv(1024, 512, 3) + 512 + (512 * 19 + 19)  # its 3x3 has a bias

    with torch.device("meta"):
        network = DeepLabV3Plus(ResNet(50), output_stride=16).build(CITYSCAPES_19)
        with_auxiliary = DeepLabV3Plus.pin_the_memory(ResNet(50)).build(CITYSCAPES_19)
    assert count(network.encoder) == encoder == 23_508_032
    assert count(network.decoder) == decoder
    assert count(with_auxiliary) == encoder + decoder + auxiliary
    assert round(count(with_auxiliary) / 1e6, 2) == 45.08


def test_multiplications_of_a_forward_add_up_to_the_papers() -> None:
    """Of the convolutions alone, at 1024 x 1024, the auxiliary head not computed: 276.9 thousand million. Pin the
    Memory's Table 8 has 277.16 and says that the image was twice as large, which would be 553.7."""
    with torch.device("meta"), torch.no_grad():
        network = DeepLabV3Plus.pin_the_memory(ResNet(50)).build(CITYSCAPES_19).eval()
        with FlopCounterMode(display=False) as counter:
            network(torch.rand(1, 3, 1024, 1024))
    # The counter sees an addition with every multiplication.
    assert round(counter.get_total_flops() / 2 / 1e9, 1) == 276.9


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("backbone", [ResNet(18), ResNet(50, stem="3x3", stride_on="1x1"), SmallNet()], ids=str)
@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("dilation", ["uniform", "lagging", "reset"])
def test_the_deepest_map_has_the_output_stride(backbone: DilatableBackbone, output_stride, dilation) -> None:
    with torch.device("meta"):
        encoder = backbone.dilated(output_stride, dilation)
        features = encoder(torch.rand(1, 3, 193, 257))
    assert features[0].shape[-2:] == (49, 65)
    assert features[-1].shape[-2:] == (192 // output_stride + 1, 256 // output_stride + 1)
    assert tuple(maps.shape[1] for maps in features) == encoder.channels


def by_phases(stage: nn.Module, dilation: int, maps: Tensor) -> Tensor:
    """What an undilated stage, or a part of one, without stride says to each of the dilation² subgrids of the maps, put
    together again.

    A dilated convolution never mixes two such subgrids, and within one it is an undilated one, borders included.
    """
    for module in stage.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
    offsets = [(row, column) for row in range(dilation) for column in range(dilation)]
    phases = {at: stage(maps[:, :, at[0] :: dilation, at[1] :: dilation]) for at in offsets}
    together = maps.new_empty(len(maps), phases[0, 0].shape[1], *maps.shape[-2:])
    for (row, column), phase in phases.items():
        together[:, :, row::dilation, column::dilation] = phase
    return together


@pytest.mark.parametrize(
    ("depth", "output_stride", "dilation", "dilations"),
    [
        (50, 16, "uniform", {"layer4": (2, 2)}),
        (18, 8, "uniform", {"layer3": (2, 2), "layer4": (4, 4)}),
        (18, 16, "lagging", {"layer4": (1, 2)}),
        (18, 8, "lagging", {"layer3": (1, 2), "layer4": (2, 4)}),
        (18, 8, "reset", {"layer3": (1, 2), "layer4": (1, 4)}),
    ],
)
@torch.no_grad()
def test_the_3x3_of_dilated_stages_and_nothing_else_are_dilated(depth, output_stride, dilation, dilations) -> None:
    """The first block of a stage, and the others. Against torchvision's network, whose keys load as they are."""
    torch.manual_seed(0)
    reference = {18: models.resnet18, 50: models.resnet50}[depth]().double().eval()
    encoder = ResNet(depth).dilated(output_stride, dilation).double().eval()
    encoder.load_state_dict({key: value for key, value in reference.state_dict().items() if not key.startswith("fc.")})
    images = torch.rand(1, 3, 49, 97, dtype=torch.float64)

    expected = []
    maps = reference.maxpool(reference.relu(reference.bn1(reference.conv1(images))))
    for name in ("layer1", "layer2", "layer3", "layer4"):
        stage = getattr(reference, name)
        if name in dilations:
            first, others = dilations[name]
            maps = by_phases(stage[1:], others, by_phases(stage[:1], first, maps))
        else:
            maps = stage(maps)
        expected.append(maps)

    for ours, theirs in zip(encoder(images), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def written_out(state: dict[str, Tensor], images: Tensor, output_stride: int) -> Tensor:
    """SmallNet and the DeepLabV3+ decoder in evaluation mode, as formulas over the state dict."""

    def conv(maps: Tensor, name: str, stride: int = 1, dilation: int = 1, relu: bool = True) -> Tensor:
        weight = state[f"{name}.0.weight"]
        maps = F.conv2d(maps, weight, stride=stride, dilation=dilation, padding=dilation * (weight.shape[-1] // 2))
        mean, var, scale, shift = (
            state[f"{name}.1.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        maps = (maps - mean) / (var + 1e-5).sqrt() * scale + shift
        return maps.clamp(min=0) if relu else maps

    def block(maps: Tensor, name: str, stride: int = 2, dilation: int = 1) -> Tensor:
        residual = conv(maps, f"{name}.residual.0", stride, dilation)
        residual = conv(residual, f"{name}.residual.1", dilation=dilation, relu=False)
        return (residual + conv(maps, f"{name}.shortcut", stride, relu=False)).clamp(min=0)

    def enlarge(maps: Tensor, height: int, width: int) -> Tensor:
        """Bilinear, aligned corners: position i of n reads at i (m - 1) / (n - 1), one axis after the other."""

        def matrix(size: int, length: int) -> Tensor:
            at = torch.linspace(0, length - 1, size, dtype=maps.dtype)
            return (1 - (at[:, None] - torch.arange(length)).abs()).clamp(min=0)

        return matrix(height, maps.shape[2]) @ maps @ matrix(width, maps.shape[3]).T

    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    stem = conv((images - mean[:, None, None]) / std[:, None, None], "encoder.stem", stride=2)
    fine = block(stem, "encoder.block1")
    middle = block(fine, "encoder.block2")
    deep = block(middle, "encoder.block3", *((2, 1) if output_stride == 16 else (1, 2)))

    branches = [
        conv(deep.mean((2, 3), keepdim=True), "decoder.aspp.branches.0.project").expand(-1, -1, *deep.shape[2:])
    ]
    branches.append(conv(deep, "decoder.aspp.branches.1"))
    for index, rate in enumerate((6, 12, 18), start=2):
        branches.append(conv(deep, f"decoder.aspp.branches.{index}", dilation=rate * 16 // output_stride))
    context = conv(torch.cat(branches, dim=1), "decoder.aspp.project")
    maps = torch.cat([conv(fine, "decoder.low_level"), enlarge(context, *fine.shape[2:])], dim=1)
    maps = conv(conv(maps, "decoder.fuse.0"), "decoder.fuse.1")
    weight, bias = state["decoder.classifier.weight"], state["decoder.classifier.bias"]
    return enlarge(F.conv2d(maps, weight, bias), *images.shape[2:])


def randomise(network: Network) -> None:
    """Move biases, scales and statistics off 0 and 1, so that none can be mistaken."""
    for tensor in (*network.encoder.state_dict().values(), *network.decoder.state_dict().values()):
        if tensor.ndim == 1:
            tensor.uniform_(0.5, 1.5)


@pytest.mark.parametrize("output_stride", [8, 16])
@torch.no_grad()
def test_logits_equal_the_definition(output_stride) -> None:
    torch.manual_seed(0)
    network = DeepLabV3Plus(SmallNet(width=4), output_stride=output_stride, **NARROW).build(IDD_LEVEL1).double().eval()
    randomise(network)
    images = torch.rand(2, 3, 145, 321, dtype=torch.float64)  # 10 x 21 positions at stride 16: all rates reach
    expected = written_out(network.state_dict(), images, output_stride)
    torch.testing.assert_close(network(images), expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))


@torch.no_grad()
def test_self_adaptations_network_equals_its_definition() -> None:
    """From the encoder on, with torchvision's ASPP, which pools last."""
    torch.manual_seed(0)
    architecture = DeepLabV3Plus.self_adaptation(SmallNet(width=4))
    assert (architecture.output_stride, architecture.dilation) == (8, "lagging")
    network = architecture.build(IDD_LEVEL1).double().eval()
    randomise(network)
    aspp = load_aspp(deeplabv3.ASPP(32, [12, 24, 36], 256), network.decoder.aspp)
    state = network.decoder.state_dict()

    def conv(maps: Tensor, name: str, padding: int) -> Tensor:
        maps = F.conv2d(maps, state[f"{name}.0.weight"], padding=padding)
        parts = [state[f"{name}.1.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(maps, *parts).relu()

    images = torch.rand(1, 3, 97, 345, dtype=torch.float64)  # 13 x 44 positions at stride 8: all rates reach
    fine, _, deep = network.encoder((images - network.mean) / network.std)
    context = F.interpolate(aspp(deep), size=(25, 87), mode="bilinear", align_corners=False)
    maps = conv(torch.cat([conv(fine, "low_level", 0), context], dim=1), "fuse.0", 1)
    logits = F.conv2d(maps, state["classifier.weight"], state["classifier.bias"])
    expected = F.interpolate(logits, size=(97, 345), mode="bilinear", align_corners=False)
    torch.testing.assert_close(network(images), expected)

    assert not [key for key in state if key.startswith("fuse.1")]
    assert [module.p for module in network.modules() if isinstance(module, nn.Dropout)] == [0.1]
    with torch.device("meta"):
        at16 = DeepLabV3Plus.self_adaptation(ResNet(50), output_stride=16).build(CITYSCAPES_19)
    assert [branch[0].dilation[0] for branch in at16.decoder.aspp.branches[1:]] == [1, 6, 12, 18]


def load_aspp(theirs: nn.Module, ours: nn.Module) -> nn.Module:
    """torchvision's module with the weights of our ASPP, in evaluation mode."""
    state = {}
    for key, value in ours.state_dict().items():
        if key.startswith("branches.0."):  # image pooling; theirs has the pooling itself before the convolution
            rest = key.removeprefix("branches.0.project.")
            state[f"convs.4.{int(rest[0]) + 1}{rest[1:]}"] = value
        elif key.startswith("branches."):
            state[f"convs.{int(key[9]) - 1}{key[10:]}"] = value
        else:
            state[key] = value.roll(-len(value), dims=1) if value.ndim == 4 else value
    theirs.double().load_state_dict(state)
    return theirs.eval()


def test_the_auxiliary_head_is_computed_only_on_request() -> None:
    torch.manual_seed(0)
    network = DeepLabV3Plus(SmallNet(width=4), output_stride=8, **NARROW, auxiliary=True).build(IDD_LEVEL1).double()
    images = torch.rand(2, 3, 49, 65, dtype=torch.float64)
    randomise(network.eval())
    logits, auxiliary = network.with_auxiliary(images)
    torch.testing.assert_close(logits, network(images), rtol=0, atol=0)

    state = network.decoder.auxiliary.layers.state_dict()
    maps = network.encoder((images - network.mean) / network.std)[1]
    maps = F.conv2d(maps, state["0.weight"], state["0.bias"], padding=1)
    maps = F.batch_norm(maps, *(state[f"1.{part}"] for part in ("running_mean", "running_var", "weight", "bias")))
    expected = F.conv2d(maps.relu(), state["4.weight"], state["4.bias"])
    assert state["0.weight"].shape == (8, 16, 3, 3)  # half of block2's channels
    torch.testing.assert_close(auxiliary, F.interpolate(expected, size=(49, 65), mode="bilinear", align_corners=True))

    own = list(network.decoder.auxiliary.parameters())
    assert torch.autograd.grad(logits.sum(), own, allow_unused=True, retain_graph=True) == (None,) * len(own)
    assert all(gradient.any() for gradient in torch.autograd.grad(auxiliary.square().sum(), own))

    network.decoder.auxiliary.layers[0].register_forward_pre_hook(lambda *_: pytest.fail("computed"))
    network(images)


def test_without_an_auxiliary_head_its_logits_are_refused() -> None:
    network = DeepLabV3Plus(SmallNet(width=2), **NARROW).build(IDD_LEVEL1)
    with pytest.raises(ValueError, match=r"no auxiliary head: .* auxiliary=True"):
        network.with_auxiliary(torch.rand(2, 3, 33, 33))
    with pytest.raises(ValueError, match=r"no auxiliary head"):
        Classifier(SmallNet(2)).build(PACS_7).with_auxiliary(torch.rand(2, 3, 33, 33))


def test_new_convolutions_start_as_kaiming_says() -> None:
    torch.manual_seed(0)
    network = DeepLabV3Plus(SmallNet(), aspp_channels=64, decoder_channels=64).build(CITYSCAPES_19)
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 1 + 3 * 3 + 6 + 1 + 2 + 1
    for conv in convolutions:
        spread = conv.weight.std().item() * (conv.weight[0].numel() / 2) ** 0.5
        assert spread == pytest.approx(1, abs=6 / (2 * conv.weight.numel()) ** 0.5)  # six standard errors
        assert conv.bias is None or not conv.bias.any()


def test_one_image_on_batch_statistics_is_refused() -> None:
    network = DeepLabV3Plus(SmallNet(width=2), **NARROW).build(IDD_LEVEL1)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        network(torch.rand(1, 3, 33, 33))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DeepLabV3Plus(AlexNet()), r"one of ResNet, SmallNet; AlexNet cannot be dilated"),
        (lambda: DeepLabV3Plus(SqueezeNet("1.1")), r"one of ResNet, SmallNet; SqueezeNet cannot be dilated"),
        (lambda: DeepLabV3Plus(SmallNet(), output_stride=32), r"output_stride is 32: it must be one of 8, 16"),
        (lambda: DeepLabV3Plus(SmallNet(), aspp_channels=0), r"aspp_channels is 0: it must be at least 1"),
        (lambda: DeepLabV3Plus(SmallNet(), dilation="every"), r"dilation is 'every': .*'uniform', 'lagging', 'reset'"),
        (lambda: DeepLabV3Plus(SmallNet(), aspp_rates=()), r"aspp_rates is \(\): it must be at least one dilation"),
        (lambda: DeepLabV3Plus(SmallNet(), aspp_rates=(6, 0)), r"aspp_rates is \(6, 0\): it must be"),
        (lambda: DeepLabV3Plus(SmallNet(), dropout=1.0), r"dropout is 1.0: it must be at least 0 and below 1"),
        (lambda: DeepLabV3Plus(SmallNet(), decoder_convolutions=3), r"decoder_convolutions is 3: .* one of 1, 2"),
        (lambda: DeepLabV3Plus(SmallNet(width=0)), r"SmallNet.width is 0: it must be at least 1"),
    ],
)
def test_illegal_combinations_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
