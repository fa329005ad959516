"""DINOv2: the tests of every network, timm's own forward, known figures, weights from a file, sizes of any kind."""

import sys
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from test_network import (  # noqa: F401 (what every network must do; here since importing timm takes seconds)
    built,
    images,
    network,
    test_batch_norm_is_known_without_building,
    test_built_on_the_meta_device,
    test_every_parameter_and_saved_buffer_is_of_the_encoder_or_the_decoder,
    test_float64_refines_float32,
    test_functional_call_sees_all_the_state,
    test_gradients_reach_every_parameter,
    test_json_round_trip,
    test_logits_have_the_shape_of_the_task,
    test_the_global_seed_decides_the_weights,
    test_the_smallest_image_works_and_a_smaller_one_is_refused,
)

from raydg.domains.labels import CITYSCAPES_19, IDD_LEVEL1, PACS_7
from raydg.models import Classifier, DINOv2, LinearSegmentation, ResNet
from raydg.models.pretrained_backbone import recognise

timm = pytest.importorskip("timm")


@dataclass(frozen=True)
class ShallowDINOv2(DINOv2):
    """Four blocks: quick to build."""

    def create(self, **options):
        return super().create(**options, depth=4)


@pytest.fixture(scope="module")
def architecture() -> LinearSegmentation:
    return LinearSegmentation(ShallowDINOv2("S"))


@pytest.fixture(scope="module")
def published():
    torch.manual_seed(3)
    net = timm.create_model("vit_small_patch14_dinov2", depth=4).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return net


@pytest.fixture(scope="module")
def file(published, tmp_path_factory: pytest.TempPathFactory) -> str:
    """With the token of masked patches, which the authors' files have."""
    path = tmp_path_factory.mktemp("weights") / "dinov2_vits14_pretrain.pth"
    torch.save(published.state_dict() | {"mask_token": torch.zeros(1, 384)}, path)
    return str(path)


@torch.no_grad()
def test_features_are_those_of_the_library(published, file: str) -> None:
    """At the size it was trained for, where positions need no interpolation."""
    encoder = LinearSegmentation(ShallowDINOv2("S", weights=file)).build(IDD_LEVEL1).encoder.eval()
    pixels = torch.randn(1, 3, 518, 518)
    expected = published.forward_features(pixels)
    (maps,) = encoder(pixels)
    assert maps.shape == (1, 384, 37, 37)
    torch.testing.assert_close(maps, expected[:, 1:].reshape(1, 37, 37, 384).permute(0, 3, 1, 2))
    torch.testing.assert_close(encoder(pixels[:, :, :517])[0], encoder(enlarged(pixels[:, :, :517], (518, 518)))[0])


def enlarged(pixels: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(pixels, size=size, mode="bilinear", align_corners=False)


@torch.no_grad()
def test_positions_are_interpolated_and_sizes_rounded_up(published) -> None:
    ours = LinearSegmentation(ShallowDINOv2("S")).build(IDD_LEVEL1).eval()
    ours.encoder.load_state_dict(ShallowDINOv2("S").translate(published.state_dict()))
    pixels = torch.randn(2, 3, 43, 70)
    (maps,) = ours.encoder(pixels)
    assert maps.shape == (2, 384, 4, 5)
    grid = published.pos_embed[:, 1:].reshape(1, 37, 37, 384).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(4, 5), mode="bicubic", align_corners=False).permute(0, 2, 3, 1).reshape(1, 20, 384)
    patches = F.conv2d(enlarged(pixels, (56, 70)), *published.patch_embed.proj.parameters(), stride=14)
    tokens = patches.reshape(2, 384, 20).transpose(1, 2) + grid
    tokens = torch.cat([(published.cls_token + published.pos_embed[:, :1]).expand(2, 1, 384), tokens], dim=1)
    tokens = published.norm(published.blocks(tokens))[:, 1:]
    torch.testing.assert_close(maps.flatten(2).transpose(1, 2), tokens)

    weight, bias = ours.decoder.classifier.weight[:, :, 0, 0], ours.decoder.classifier.bias
    logits = (tokens / (1 + ours.decoder.norm.eps) ** 0.5) @ weight.T + bias
    logits = enlarged(logits.transpose(1, 2).reshape(2, 7, 4, 5), (43, 70))
    torch.testing.assert_close(ours.upsample(ours.decoder((maps,)), (43, 70)), logits)


@torch.no_grad()
def test_the_classifier_sees_the_class_token_and_the_mean_patch(published, file: str) -> None:
    ours = Classifier(ShallowDINOv2("S", weights=file)).build(PACS_7).eval()
    pixels = torch.rand(1, 3, 518, 518)
    tokens = published.forward_features((pixels - ours.mean) / ours.std)
    vector = torch.cat([tokens[:, 0], tokens[:, 1:].mean(dim=1)], dim=1)
    torch.testing.assert_close(ours(pixels), ours.decoder.last(vector))


@pytest.mark.parametrize(("size", "parameters"), [("S", 22_056_192), ("B", 86_579_712), ("L", 304_367_616)])
def test_parameters_and_groups(size, parameters: int) -> None:
    """By hand: a block has 12 c² + 15 c parameters, two of the c from LayerScale."""
    with torch.device("meta"):
        ours = LinearSegmentation(DINOv2(size)).build(CITYSCAPES_19, pretrained=False)
    encoder = ours.encoder
    (channels,) = encoder.channels
    blocks = {"S": 12, "B": 12, "L": 24}[size] * (12 * channels**2 + 15 * channels)
    by_hand = blocks + 14 * 14 * 3 * channels + channels + channels + (1 + 37 * 37) * channels + 2 * channels
    assert sum(p.numel() for p in encoder.parameters()) == parameters == by_hand
    assert sum(p.numel() for p in ours.decoder.parameters()) == 2 * channels + 19 * channels + 19
    assert [name for name, _ in encoder.groups] == ["embedding", "blocks1", "blocks2", "blocks3", "blocks4"]
    grouped = [id(p) for _, names in encoder.groups for n in names for p in encoder.get_submodule(n).parameters()]
    assert sorted(grouped) == sorted(id(p) for p in encoder.parameters())
    assert ours.sites.keys() == {"context"} and ours.sites["context"].channels == channels


def test_published_weights_come_through_the_library(published, monkeypatch: pytest.MonkeyPatch) -> None:
    create, asked = timm.create_model, []

    def from_here(name: str, pretrained: bool = False, **options):
        asked.append((name, pretrained))
        return published if pretrained else create(name, **options)

    monkeypatch.setattr(timm, "create_model", from_here)
    ours = LinearSegmentation(ShallowDINOv2("S", weights="pretrained")).build(IDD_LEVEL1)
    assert asked[-1] == ("vit_small_patch14_dinov2.lvd142m", True)
    assert torch.equal(ours.encoder.embedding.cls_token, published.cls_token)
    assert torch.equal(ours.encoder.blocks[3].mlp.fc2.weight, published.blocks[3].mlp.fc2.weight)


def test_weights_of_another_size_are_recognised() -> None:
    with torch.device("meta"):
        state = DINOv2("B").translate(timm.create_model("vit_base_patch14_dinov2").state_dict())
        assert recognise(state, "timm") == " They look like the weights of DINOv2('B')."


def test_what_is_missing_or_illegal_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"DINOv2\.size is 'G': it must be one of 'S', 'B', 'L'"):
        DINOv2("G")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"LinearSegmentation\.backbone .* it must be DINOv2"):
        LinearSegmentation(ResNet(18))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"DINOv2\.weights is 'imagenet': it must be None, 'pretrained' or a path"):
        DINOv2("S", weights="imagenet")
    (licence,) = DINOv2("S", weights="pretrained").licences
    assert (licence.terms, licence.commercial_use) == ("Apache-2.0", "yes")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"DINOv2\('S'\) is built by timm, .*raydg\[transformers\]"):
        LinearSegmentation(DINOv2("S")).build(IDD_LEVEL1)
