"""DeepLabV1 against its definition, and its dropout."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision import models

from raydg.domains.labels import CITYSCAPES_19, IDD_LEVEL1
from raydg.models import DeepLabV1, ResNet, SmallNet, SqueezeNet


@torch.no_grad()
def test_logits_equal_the_definition() -> None:
    """On torchvision's ResNet-18, dilated by hand as self-adaptation does."""
    torch.manual_seed(0)
    network = DeepLabV1(ResNet(18)).build(IDD_LEVEL1).double().eval()
    network.decoder.classifier.bias.uniform_()
    resnet = models.resnet18().double().eval()
    resnet.load_state_dict(network.encoder.state_dict(), strict=False)
    for stage, rate in ((resnet.layer3, 2), (resnet.layer4, 4)):
        stage[0].conv1.stride = stage[0].downsample[0].stride = (1, 1)
        for conv in (stage[1].conv1, stage[1].conv2):
            conv.dilation = conv.padding = (rate, rate)

    images = torch.rand(2, 3, 97, 129, dtype=torch.float64)
    maps = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1((images - network.mean) / network.std))))
    maps = resnet.layer4(resnet.layer3(resnet.layer2(resnet.layer1(maps))))
    logits = F.conv2d(maps, network.decoder.classifier.weight, network.decoder.classifier.bias)
    assert logits.shape[2:] == (13, 17)
    expected = F.interpolate(logits, size=(97, 129), mode="bilinear", align_corners=True)
    torch.testing.assert_close(network(images), expected)


def test_the_last_layer_starts_narrow() -> None:
    torch.manual_seed(0)
    network = DeepLabV1(ResNet(18)).build(CITYSCAPES_19)
    weight, bias = network.decoder.parameters()
    assert weight.shape == (19, 512, 1, 1) and not bias.any()
    assert weight.std().item() == pytest.approx(0.01, rel=6 / (2 * weight.numel()) ** 0.5)


@pytest.mark.parametrize(("backbone", "num_relus"), [(ResNet(50), 1 + 16 * 3), (SmallNet(width=4), 1 + 3 * 2)], ids=str)
def test_dropout_follows_every_relu(backbone, num_relus: int) -> None:
    passed = []

    def note(relu: nn.Module, _, result: torch.Tensor) -> None:
        passed.append(type(relu))

    with torch.device("meta"):
        network = DeepLabV1(backbone, dropout=0.1).build(IDD_LEVEL1, pretrained=False)
        for module in network.modules():
            if isinstance(module, nn.ReLU | nn.Dropout):
                module.register_forward_hook(note)
        network(torch.rand(2, 3, 65, 65))
    assert passed == [nn.ReLU, nn.Dropout] * num_relus
    assert {module.p for module in network.modules() if isinstance(module, nn.Dropout)} == {0.1}


def test_dropout_leaves_weights_keys_and_predictions_as_they_are() -> None:
    networks = []
    for dropout in (0.0, 0.1):
        torch.manual_seed(0)
        networks.append(DeepLabV1(SmallNet(width=4), dropout=dropout).build(IDD_LEVEL1).eval())
    plain, dropping = networks
    assert plain.state_dict().keys() == dropping.state_dict().keys()
    images = torch.rand(2, 3, 65, 65)
    assert torch.equal(plain(images), dropping(images))
    for module in dropping.modules():
        if isinstance(module, nn.Dropout):
            module.train()  # MC-Dropout: samples, on running statistics
    assert not torch.equal(dropping(images), dropping(images))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DeepLabV1(SmallNet(), dropout=1.0), r"DeepLabV1.dropout is 1.0: it must be at least 0 and below 1"),
        (lambda: DeepLabV1(SmallNet(), output_stride=32), r"output_stride is 32: it must be one of 8, 16"),
        (lambda: DeepLabV1(SqueezeNet("1.1")), r"one of .*ResNet, SmallNet; SqueezeNet cannot be dilated"),
    ],
)
def test_illegal_combinations_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
