"""DeepLabV3 against torchvision's."""

import pytest
import torch
from torch import nn
from torchvision.models.segmentation import deeplabv3_resnet50

from raydg.domains.labels import IDD_LEVEL1
from raydg.models import DeepLabV3, ResNet, SmallNet


@torch.no_grad()
def test_logits_equal_torchvisions() -> None:
    torch.manual_seed(0)
    theirs = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=7).double().eval()
    for tensor in theirs.state_dict().values():
        if tensor.ndim == 1:
            tensor.uniform_(0.5, 1.5)
    network = DeepLabV3(ResNet(50)).build(IDD_LEVEL1).double().eval()
    state = {}
    for key, value in theirs.state_dict().items():
        if key.startswith("classifier.0.convs.4."):  # image pooling, their last branch and our first
            index, _, rest = key.removeprefix("classifier.0.convs.4.").partition(".")
            key = f"decoder.body.branches.0.project.{int(index) - 1}.{rest}"
        elif key.startswith("classifier.0.convs."):
            index, _, rest = key.removeprefix("classifier.0.convs.").partition(".")
            key = f"decoder.body.branches.{int(index) + 1}.{rest}"
        elif key.startswith("classifier.0.project."):
            value = value.roll(256, dims=1) if value.ndim == 4 else value
            key = key.replace("classifier.0", "decoder.body")
        elif key.startswith("backbone."):
            key = key.replace("backbone", "encoder")
        else:
            place, _, rest = key.removeprefix("classifier.").partition(".")
            key = f"decoder.classifier.{({'1': '0.0', '2': '0.1', '4': '1'})[place]}.{rest}"
        state[key] = value
    network.load_state_dict(state)

    images = torch.rand(1, 3, 65, 97, dtype=torch.float64)
    expected = theirs((images - network.mean) / network.std)["out"]
    torch.testing.assert_close(network(images), expected)
    assert [module.p for module in network.modules() if isinstance(module, nn.Dropout)] == [0.5]
    assert network.sites["context"].channels == 256


def test_output_stride_and_rates_go_together() -> None:
    def rates(architecture: DeepLabV3) -> list[int]:
        with torch.device("meta"):
            branches = architecture.build(IDD_LEVEL1).decoder.body.branches
        return [branch[0].dilation[0] for branch in branches[2:]]

    assert rates(DeepLabV3(SmallNet())) == [12, 24, 36]
    assert rates(DeepLabV3(SmallNet(), output_stride=16)) == [6, 12, 18]
    assert rates(DeepLabV3(SmallNet(), aspp_rates=(2, 3))) == [2, 3]


def test_the_auxiliary_head() -> None:
    with torch.device("meta"):
        network = DeepLabV3(ResNet(50), auxiliary=True).build(IDD_LEVEL1, pretrained=False)
        logits, auxiliary = network.with_auxiliary(torch.rand(2, 3, 65, 97))
    assert logits.shape == auxiliary.shape == (2, 7, 65, 97)
    assert network.decoder.auxiliary.layers[0].weight.shape == (512, 1024, 3, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DeepLabV3(SmallNet(), aspp_rates=(0,)), r"DeepLabV3.aspp_rates is \(0,\): it must be at least one"),
        (lambda: DeepLabV3(SmallNet(), aspp_channels=0), r"aspp_channels is 0: it must be at least 1"),
        (lambda: DeepLabV3(SmallNet(), dropout=-0.1), r"dropout is -0.1: it must be at least 0 and below 1"),
    ],
)
def test_illegal_combinations_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
