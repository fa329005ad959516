"""HRNet: the tests of every network, timm's own forward, known figures, weights from a file and from the library."""

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

# What every network must do. They stand here and not in the table there since importing timm takes seconds.
from test_network import (  # noqa: F401
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
from torch import nn

from raydg.domains.labels import CITYSCAPES_19, IDD_LEVEL1, PACS_7
from raydg.models import Classifier, HRNet, HRNetV2, ResNet
from raydg.models.pretrained_backbone import recognise

timm = pytest.importorskip("timm")


SHALLOW = {
    f"stage{stage}": {
        "num_modules": 1,
        "num_branches": stage,
        "block_type": "BASIC",
        "num_blocks": (1,) * stage,
        "num_channels": (18, 36, 72, 144)[:stage],
        "fuse_method": "SUM",
    }
    for stage in (2, 3, 4)
}


@dataclass(frozen=True)
class ShallowHRNet(HRNet):
    """One module a stage and one block a branch: quick to build."""

    def create(self, **options):
        return super().create(**options, **SHALLOW)


@pytest.fixture(scope="module")
def architecture() -> HRNetV2:
    return HRNetV2(ShallowHRNet(18))


def library_net() -> nn.Module:
    """timm's network, upsampling made bilinear as in the segmentation code, and BatchNorms not at their start."""
    torch.manual_seed(3)
    net = timm.create_model("hrnet_w18", **SHALLOW)
    for module in list(net.modules()):
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.8, 1.2)
        if isinstance(module, nn.Upsample):
            module.mode, module.align_corners = "bilinear", True
    return net.eval()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "hrnetv2_w18.pth"
    torch.save(library_net().state_dict(), path)
    return path


@torch.no_grad()
def test_branches_are_those_of_the_library(file: Path) -> None:
    torch.manual_seed(0)
    ours = HRNetV2(ShallowHRNet(18, weights=str(file))).build(IDD_LEVEL1).eval()
    pixels = torch.randn(2, 3, 64, 96)
    features = ours.encoder(pixels)
    whole = library_net()
    stem = whole.act2(whole.bn2(whole.conv2(whole.act1(whole.bn1(whole.conv1(pixels))))))
    expected = whole.stages(stem)
    assert [tuple(maps.shape[1:]) for maps in features] == [(18, 16, 24), (36, 8, 12), (72, 4, 6), (144, 2, 3)]
    assert [maps.shape[1] for maps in features] == list(ours.encoder.channels)
    for maps, of_library in zip(features, expected, strict=True):
        torch.testing.assert_close(maps, of_library)


@torch.no_grad()
def test_the_head_written_out() -> None:
    torch.manual_seed(0)
    decoder = HRNetV2(ShallowHRNet(18)).build(IDD_LEVEL1).decoder.eval()
    features = [torch.randn(2, 18 * 2**n, -(-17 // 2**n), -(-25 // 2**n)) for n in range(4)]
    big = torch.cat([F.interpolate(maps, size=(17, 25), mode="bilinear", align_corners=False) for maps in features], 1)
    conv, norm, _ = decoder.project
    hidden = torch.einsum("oi,bihw->bohw", conv.weight[:, :, 0, 0], big) + conv.bias[:, None, None]
    hidden = torch.relu(hidden / (1 + norm.eps) ** 0.5)
    logits = torch.einsum("oi,bihw->bohw", decoder.classifier.weight[:, :, 0, 0], hidden)
    torch.testing.assert_close(decoder(tuple(features)), logits + decoder.classifier.bias[:, None, None])


@torch.no_grad()
def test_the_classifier_is_the_library_s(file: Path) -> None:
    ours = Classifier(ShallowHRNet(18, weights=str(file))).build(PACS_7).eval()
    reference = library_net()
    ours.decoder.last = reference.classifier
    pixels = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(ours(pixels), reference((pixels - ours.mean) / ours.std))
    assert covers(ours.encoder)


def covers(encoder) -> bool:
    grouped = [id(p) for _, names in encoder.groups for n in names for p in encoder.get_submodule(n).parameters()]
    return sorted(grouped) == sorted(id(p) for p in encoder.parameters())


@pytest.mark.parametrize(("width", "parameters"), [(18, 9_641_119), (48, 65_859_379)])
def test_parameters_and_groups(width, parameters: int) -> None:
    """65,859,379 is what the authors' segmentation code counts for width 48 and 19 classes."""
    with torch.device("meta"):
        ours = HRNetV2(HRNet(width)).build(CITYSCAPES_19, pretrained=False)
    assert sum(p.numel() for p in ours.parameters()) == parameters
    assert [name for name, _ in ours.encoder.groups] == ["stem", "stage1", "stage2", "stage3", "stage4"]
    assert covers(ours.encoder)
    assert ours.sites.keys() == {"context"} and ours.sites["context"].channels == 15 * width


def test_published_weights_come_through_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    create, asked = timm.create_model, []

    def from_here(name: str, pretrained: bool = False, **options):
        if not pretrained:
            return create(name, **options)
        asked.append(name)
        return library_net()

    monkeypatch.setattr(timm, "create_model", from_here)
    ours = HRNetV2(ShallowHRNet(18, weights="imagenet")).build(IDD_LEVEL1)
    assert asked == ["hrnet_w18.ms_in1k"]
    monkeypatch.setattr(timm, "create_model", create)
    wanted = library_net().state_dict()
    assert all(torch.equal(tensor, wanted[key]) for key, tensor in ours.encoder.state_dict().items())

    def offline(name: str, pretrained: bool = False, **options):
        if pretrained:
            raise RuntimeError("no route to host")
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ValueError, match=r"timm's hrnet_w18\.ms_in1k cannot be downloaded .* no route to host; put it"):
        HRNetV2(ShallowHRNet(18, weights="imagenet")).build(IDD_LEVEL1)


def test_weights_of_another_width_are_recognised() -> None:
    with torch.device("meta"):
        assert (
            recognise(timm.create_model("hrnet_w18").state_dict(), "timm")
            == " They look like the weights of HRNet(18)."
        )


def test_what_is_missing_or_illegal_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"HRNet\.width is 32: it must be one of 18, 48"):
        HRNet(32)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"HRNetV2\.backbone .* it must be HRNet"):
        HRNetV2(ResNet(18))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"HRNet\.weights is 'pretrained': it must be None, 'imagenet' or a path"):
        HRNet(18, weights="pretrained")
    (licence,) = HRNet(18, weights="imagenet").licences
    assert licence.commercial_use == "unknown" and licence.of == "ImageNet weights of HRNet(18)"
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(
        ValueError, match=r"HRNet\(18\) is built by timm, which cannot be imported .*raydg\[transformers\]"
    ):
        HRNetV2(HRNet(18)).build(IDD_LEVEL1)
