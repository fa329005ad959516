"""Classifiers against torchvision's own networks."""

import pytest
import torch
from torch import nn
from torchvision import models

from raydg.domains.labels import PACS_7
from raydg.models import AlexNet, Classifier, ResNet, SqueezeNet
from raydg.models.torchvision_backbone import TorchvisionBackbone

CASES = [
    (ResNet(18), models.resnet18, "fc."),
    (ResNet(50), models.resnet50, "fc."),
    (SqueezeNet("1.0"), models.squeezenet1_0, "classifier."),
    (SqueezeNet("1.1"), models.squeezenet1_1, "classifier."),
    (AlexNet(), models.alexnet, "classifier.6."),
]


@pytest.mark.parametrize(("backbone", "builder", "head"), CASES, ids=[backbone.name for backbone, _, _ in CASES])
@torch.no_grad()
def test_logits_equal_torchvisions_for_shared_weights(backbone: TorchvisionBackbone, builder, head: str) -> None:
    network = Classifier(backbone).build(PACS_7)
    with torch.device("meta"):
        reference: nn.Module = builder(num_classes=7)
    last = [key for key in reference.state_dict() if key.startswith(head)]
    state = network.encoder.state_dict() | dict(zip(last, network.decoder.state_dict().values(), strict=True))
    reference.load_state_dict(state, assign=True)

    images = torch.rand(2, 3, 75, 99)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalised = (images - mean[:, None, None]) / std[:, None, None]
    for training in (False, True):  # Training draws dropout's masks, and comes last since it moves BatchNorm's buffers.
        torch.manual_seed(0)
        expected = reference.train(training)(normalised)
        torch.manual_seed(0)
        torch.testing.assert_close(network.train(training)(images), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backbone", [SqueezeNet("1.0"), SqueezeNet("1.1"), AlexNet()], ids=lambda b: b.name)
def test_the_minimum_size_is_what_torchvisions_network_can_take(backbone: TorchvisionBackbone) -> None:
    with torch.device("meta"):
        features = backbone.builder().get_submodule("features")
        smallest = Classifier(backbone).build(PACS_7).encoder.minimum_size
        features(torch.rand(1, 3, smallest, smallest))
        with pytest.raises(RuntimeError, match=r"(?i)too small|kernel size"):
            features(torch.rand(1, 3, smallest - 1, smallest - 1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ResNet(34), r"ResNet.depth is 34: it must be one of 18, 50, 101"),
        (lambda: SqueezeNet("1.2"), r"SqueezeNet.version is '1.2': it must be one of '1.0', '1.1'"),
        (lambda: ResNet(18, weights="imagnet"), r"ResNet.weights is 'imagnet': .*'imagenet' or a path"),
        (lambda: AlexNet(weights="alexnet.tar"), r"AlexNet.weights is 'alexnet.tar': .*\.pth, \.safetensors, \.npz"),
    ],
)
def test_illegal_backbones_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
