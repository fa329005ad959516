import pytest
import torch
from torch import Tensor, nn


class Segmenter(nn.Module):
    """Two BatchNorm layers, one of them after global pooling as in an image-level branch, and dropout; 4 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5))
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8))
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        features = self.stem(images)
        return self.head(features + self.pool(features))


class Classifier(nn.Module):
    """Convolution, BatchNorm, dropout and pooling; 5 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5))
        self.classify = nn.Linear(6, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.stem(images).mean(dim=(2, 3)))


def randomise(network: nn.Module) -> nn.Module:
    """Float64, with every weight and every running statistic at some random, legal value."""
    draw = torch.Generator().manual_seed(1)
    network.double()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                positive = name.endswith("running_var")
                tensor.copy_(
                    torch.rand(tensor.shape, generator=draw) + 0.5
                    if positive
                    else torch.randn(tensor.shape, generator=draw)
                )
    return network


@pytest.fixture(params=[Segmenter, Classifier])
def network(request) -> nn.Module:
    return randomise(request.param())


@pytest.fixture
def layer() -> nn.Module:
    """BatchNorm alone as a network, so that its output is the logits."""
    return randomise(nn.Sequential(nn.BatchNorm2d(3)))


@pytest.fixture
def vectors() -> nn.Module:
    """A network with BatchNorm over vectors (b, c)."""
    return randomise(nn.Sequential(nn.Flatten(), nn.Linear(3 * 7 * 9, 6), nn.BatchNorm1d(6)))


@pytest.fixture
def images() -> Tensor:
    """Four images (4, 3, 7, 9) of different brightness and contrast, float64 in [0, 1]."""
    noise = torch.rand(4, 3, 7, 9, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return noise * torch.tensor([0.2, 0.4, 0.6, 0.3]).view(4, 1, 1, 1) + torch.tensor([0, 0.1, 0.4, 0.7]).view(
        4, 1, 1, 1
    )
