import pytest
import torch
from torch import Tensor, nn

from raydg.models import Network
from raydg.models.layers import Head
from raydg.models.network import Encoder, Features, bilinear_aligned


class TinyEncoder(Encoder):
    """Two groups, each with BatchNorm, the second at half the size; dropout in the first."""

    groups = (("stem", ("stem",)), ("block", ("block",)))
    channels = (8, 6)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Dropout(0.5)
        )
        self.block = nn.Sequential(nn.Conv2d(8, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True))

    def forward(self, images: Tensor) -> Features:
        maps = self.stem(images)
        return maps, self.block(maps)


class SegmentingHead(nn.Module):
    """Adds a branch of the whole image, whose BatchNorm sees one value an image and channel."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6))
        self.last = nn.Conv2d(6, 4, 1)

    def forward(self, features: Features) -> Tensor:
        return self.last(features[-1] + self.pool(features[-1]))


def segmenter() -> Network:
    """Three BatchNorm layers, one of them after global pooling, and dropout; 4 classes."""
    return Network(TinyEncoder(), SegmentingHead(), upsample=bilinear_aligned)


def classifier() -> Network:
    """Two BatchNorm layers and dropout; 5 classes."""
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Network(TinyEncoder(), Head(pool, nn.Linear(6, 5), 6))


def randomise(network):
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


@pytest.fixture
def classifying() -> Network:
    return randomise(classifier())


@pytest.fixture
def segmenting() -> Network:
    return randomise(segmenter())


@pytest.fixture(params=["segments", "classifies"])
def network(request) -> nn.Module:
    return randomise(segmenter() if request.param == "segments" else classifier())


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
