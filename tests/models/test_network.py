"""What every network must do, over a table of architectures: new ones get these tests by standing in it."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from raydg.domains.labels import IDD_LEVEL1, PACS_7, LabelSpace
from raydg.models import (
    FCN,
    AlexNet,
    Architecture,
    Classifier,
    DeepLabV1,
    DeepLabV2,
    DeepLabV3,
    DeepLabV3Plus,
    Network,
    ResNet,
    SmallNet,
    SqueezeNet,
)
from raydg.models.layers import Head
from raydg.models.network import Encoder
from raydg.values import decode, encode

NARROW = {"aspp_channels": 8, "low_level_channels": 4, "decoder_channels": 8}
ARCHITECTURES = [
    Classifier(ResNet(18)),
    Classifier(ResNet(18, norm="ibn-a")),
    Classifier(ResNet(18, norm="ibn-b")),
    Classifier(ResNet(18, norm="robustnet")),
    Classifier(ResNet(18, norm="switchable")),
    Classifier(ResNet(18, norm="batch-instance")),
    Classifier(SqueezeNet("1.1")),
    Classifier(AlexNet()),
    Classifier(SmallNet()),
    DeepLabV3Plus(ResNet(18), output_stride=8, **NARROW),
    DeepLabV3Plus(SmallNet(width=8), output_stride=8),
    DeepLabV3Plus(SmallNet(), **NARROW),
    DeepLabV3Plus(SmallNet(), **NARROW, decoder_convolutions=1, dropout=0.1, align_corners=False),
    DeepLabV1(SmallNet(width=8)),
    DeepLabV1(SmallNet(width=8, norm="robustnet"), dropout=0.1),
    DeepLabV1(SmallNet(width=8, norm="switchable")),
    DeepLabV1(SmallNet(width=8, norm="batch-instance")),
    DeepLabV1(SmallNet(width=8), dropout=0.1),
    DeepLabV2(SmallNet(width=8)),
    DeepLabV2(SmallNet(width=8), head="pin", aspp_channels=8),
    DeepLabV3(SmallNet(width=8), aspp_channels=8),
    FCN(SmallNet(width=8)),
]
HEIGHT, WIDTH = 65, 97
NUM_IMAGES = 3


def label_space(architecture: Architecture) -> LabelSpace:
    return PACS_7 if architecture.task == "classification" else IDD_LEVEL1


def build(architecture: Architecture) -> Network:
    torch.manual_seed(0)
    return architecture.build(label_space(architecture))


def labels(architecture: Architecture) -> torch.Tensor:
    shape = (NUM_IMAGES,) if architecture.task == "classification" else (NUM_IMAGES, HEIGHT, WIDTH)
    return torch.randint(label_space(architecture).num_classes, shape, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module", params=ARCHITECTURES, ids=lambda a: f"{type(a).__name__}-{a.backbone}")
def architecture(request: pytest.FixtureRequest) -> Architecture:
    return request.param


@pytest.fixture(scope="module")
def built(architecture: Architecture) -> Network:
    return build(architecture)


@pytest.fixture
def network(built: Network) -> Network:
    """In training mode, without gradients, its buffers as built; tests leave the parameters as they are."""
    return built.train()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(NUM_IMAGES, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))


def test_logits_have_the_shape_of_the_task(network: Network, architecture: Architecture, images: torch.Tensor) -> None:
    with torch.no_grad():
        logits = network.eval()(images)
    size = () if architecture.task == "classification" else (HEIGHT, WIDTH)
    assert logits.shape == (NUM_IMAGES, 7, *size)
    assert network.task == architecture.task
    assert logits.isfinite().all()
    assert logits.std(dim=0).max() > 0, "the logits do not depend on the image"


def test_every_parameter_and_saved_buffer_is_of_the_encoder_or_the_decoder(network: Network) -> None:
    encoder, decoder = set(network.encoder.parameters()), set(network.decoder.parameters())
    assert encoder and decoder
    assert not encoder & decoder
    assert encoder | decoder == set(network.parameters())
    assert {key.partition(".")[0] for key in network.state_dict()} == {"encoder", "decoder"}


def test_batch_norm_is_known_without_building(network: Network, architecture: Architecture) -> None:
    found = any(isinstance(module, nn.BatchNorm2d) for module in network.encoder.modules())
    assert architecture.normalisation == ("batch" if found else "none")


def test_gradients_reach_every_parameter(network: Network, architecture: Architecture, images: torch.Tensor) -> None:
    parameters = dict(network.named_parameters())
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    torch.manual_seed(0)
    loss = F.cross_entropy(functional_call(network, buffers, (images,)), labels(architecture))
    gradients = torch.autograd.grad(loss, list(parameters.values()))
    assert [name for name, gradient in zip(parameters, gradients, strict=True) if not gradient.any()] == []


def test_functional_call_sees_all_the_state(network: Network, images: torch.Tensor) -> None:
    """With another network's tensors it computes what that network computes, buffers included, and keeps its own."""
    own = {name: tensor.clone() for name, tensor in network.state_dict().items() if tensor.numel() < 100_000}
    other = copy.deepcopy(network)
    with torch.no_grad():
        for tensor in (*other.parameters(), *other.encoder.buffers(), *other.decoder.buffers()):
            tensor.mul_(2).add_(1e-3) if tensor.is_floating_point() else tensor.add_(1)
        state = {name: tensor.clone() for name, tensor in (*other.named_parameters(), *other.named_buffers())}
        torch.manual_seed(5)
        expected = other(images)
        torch.manual_seed(5)
        torch.testing.assert_close(functional_call(network, state, (images,)), expected, rtol=0, atol=0)
    for name, buffer in other.named_buffers():
        torch.testing.assert_close(state[name], buffer, rtol=0, atol=0)
    kept = network.state_dict()
    for name, tensor in own.items():
        torch.testing.assert_close(kept[name], tensor, rtol=0, atol=0)


def test_float64_refines_float32(network: Network, images: torch.Tensor) -> None:
    with torch.no_grad():
        logits = network.eval()(images)
        precise = copy.deepcopy(network).double()(images.double())
    assert precise.dtype == torch.float64
    torch.testing.assert_close(logits.double(), precise, rtol=1e-3, atol=1e-3 * float(precise.abs().max()))


def test_the_smallest_image_works_and_a_smaller_one_is_refused(network: Network) -> None:
    smallest = network.encoder.minimum_size
    network.eval()(torch.rand(1, 3, smallest, smallest + 1))
    with pytest.raises(ValueError, match=rf"{smallest} x {smallest - 1}: each side must be at least {smallest}"):
        network(torch.rand(1, 3, smallest, smallest - 1))


def test_built_on_the_meta_device(architecture: Architecture, images: torch.Tensor) -> None:
    with torch.device("meta"):
        network = architecture.build(label_space(architecture), pretrained=False)
    assert all(tensor.is_meta for tensor in (*network.parameters(), *network.buffers()))
    size = () if architecture.task == "classification" else (HEIGHT, WIDTH)
    assert network(images.to("meta")).shape == (NUM_IMAGES, 7, *size)


def test_the_global_seed_decides_the_weights(architecture: Architecture, built: Network) -> None:
    again = build(architecture)
    assert all(map(torch.equal, built.parameters(), again.parameters()))
    assert all(weight.std() > 0 for weight in again.parameters() if weight.ndim > 1), "drawn, not constant"


def test_json_round_trip(architecture: Architecture) -> None:
    assert decode(Architecture, encode(architecture)) == architecture


class Echo(Encoder):
    """Hands on what it is given."""

    channels = (3,)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (images,)


def test_images_are_normalised_with_imagenets_statistics() -> None:
    network = Network(Echo(), Head(nn.Identity(), nn.Identity(), 3))
    image = torch.tensor([[0.485, 0.456, 0.406], [1.0, 1.0, 1.0], [0.0, 0.5, 0.25]]).T.reshape(1, 3, 3, 1)
    expected = [
        [0, 0, 0],
        [0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225],
        [-0.485 / 0.229, 0.044 / 0.224, -0.156 / 0.225],
    ]
    torch.testing.assert_close(network(image), torch.tensor(expected).T.reshape(1, 3, 3, 1))
    assert network.state_dict() == {}


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.rand(3, 8, 8), r"shape \(3, 8, 8\): it must be \(b, 3, h, w\)"),
        (torch.rand(1, 1, 8, 8), r"shape \(1, 1, 8, 8\)"),
        (torch.rand(1, 8, 8, 3), r"shape \(1, 8, 8, 3\)"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), r"torch.uint8: they must be float in \[0, 1\]"),
    ],
)
def test_images_of_another_kind_are_refused(images: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Network(Echo(), Head(nn.Identity(), nn.Identity(), 3))(images)


def test_a_label_space_of_the_other_task_is_refused() -> None:
    with pytest.raises(ValueError, match=r"DeepLabV3Plus is for segmentation, but .* 'pacs7' .* Classifier"):
        DeepLabV3Plus(SmallNet()).build(PACS_7)
    with pytest.raises(ValueError, match=r"Classifier is for classification, but .* 'idd_level1' .* DeepLabV3Plus"):
        Classifier(SmallNet()).build(IDD_LEVEL1)


def test_second_derivatives_of_a_segmentation_network_agree_with_finite_differences() -> None:
    """A Hessian-vector product by double backward, batch statistics included: what second-order methods need."""
    torch.manual_seed(0)
    network = DeepLabV3Plus(SmallNet(width=2), output_stride=8, **NARROW).build(IDD_LEVEL1).double()
    images, target = torch.rand(2, 3, 33, 49, dtype=torch.float64), torch.randint(7, (2, 33, 49))
    names, values = zip(*network.named_parameters(), strict=True)
    direction = [torch.randn_like(value) for value in values]

    def gradient(shift: float, create_graph: bool = False) -> tuple[torch.Tensor, ...]:
        at = [value + shift * step for value, step in zip(values, direction, strict=True)]
        loss = F.cross_entropy(functional_call(network, dict(zip(names, at, strict=True)), (images,)), target)
        return torch.autograd.grad(loss, at, create_graph=create_graph)

    def dot(left: tuple[torch.Tensor, ...], right: list[torch.Tensor]) -> torch.Tensor:
        return torch.stack([(a * b).sum() for a, b in zip(left, right, strict=True)]).sum()

    product = torch.autograd.grad(dot(gradient(0.0, create_graph=True), direction), values)
    curvature = dot(product, direction).item()
    step = 1e-6
    numeric = (dot(gradient(step), direction) - dot(gradient(-step), direction)).item() / (2 * step)
    assert curvature == pytest.approx(numeric, rel=1e-3)


def test_a_site_changes_what_passes_while_a_method_asks_for_it() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Classifier(SmallNet(4)).build(PACS_7).eval()
    images = torch.rand(2, 3, 32, 32)
    plain = network(images)
    assert {name: site.channels for name, site in network.sites.items()} == {
        "before_block2": 8,
        "before_block3": 16,
        "before_last": 32,
    }
    with network.transformed({"before_last": torch.zeros_like}):
        assert torch.equal(network(images), network.decoder.last.bias.expand(2, 7))
    assert torch.equal(network(images), plain)
    with pytest.raises(ValueError, match=r"no site fc: it has before_block2, before_block3, before_last"):
        network.transformed({"fc": torch.zeros_like}).__enter__()
    with pytest.raises(RuntimeError), network.transformed({"before_last": torch.zeros_like}):
        raise RuntimeError
    assert torch.equal(network(images), plain)


FIRES = ("before_fire4", "before_fire6"), ("before_fire8", "before_fire9")


@pytest.mark.parametrize(
    ("backbone", "early", "late"),
    [
        (ResNet(18), ("before_layer2",), ("before_layer3", "before_layer4")),
        (AlexNet(), (), ("before_fc6", "before_fc7")),
        (SqueezeNet("1.0"), *FIRES),
        (SqueezeNet("1.1"), *FIRES),
        (SmallNet(), (), ("before_block2", "before_block3")),
    ],
    ids=str,
)
def test_sites_pass_what_they_say_and_groups_cover_the_encoder(backbone, early, late) -> None:
    seen = {}

    def look(name: str):
        def transform(activations):
            seen[name] = activations.shape[1]
            return activations

        return transform

    with torch.device("meta"):
        network = Classifier(backbone).build(PACS_7, pretrained=False)
        with network.transformed({name: look(name) for name in network.sites}):
            network(torch.rand(2, 3, 96, 96))
    assert seen == {name: site.channels for name, site in network.sites.items()}
    assert list(seen) == [*early, *late, "before_last"]
    assert tuple(name for name, site in network.sites.items() if site.early) == early
    encoder = network.encoder
    grouped = [id(p) for _, names in encoder.groups for n in names for p in encoder.get_submodule(n).parameters()]
    assert sorted(grouped) == sorted(id(p) for p in encoder.parameters())
