"""SegFormer: the tests of every network, transformers' own forward, known figures, weights under three namings."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_network import (  # noqa: F401 (what every network must do; here since importing transformers takes seconds)
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
from torch import Tensor

from raydg.adaptation import TrainBN
from raydg.domains.labels import CITYSCAPES_19, IDD_LEVEL1, PACS_7
from raydg.experiment import Experiment
from raydg.models import Classifier, MiT, ResNet, SegFormer
from raydg.models.pretrained_backbone import recognise

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def architecture() -> SegFormer:
    return SegFormer(MiT("B0"))


@pytest.fixture(scope="module")
def published():
    """transformers' SegFormer B0 with 7 classes; the defaults of its config are B0's."""
    torch.manual_seed(3)
    config = transformers.SegformerConfig(num_labels=7)
    net = transformers.SegformerForSemanticSegmentation(config).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return net


def authors_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's weights as the authors' files have them: stages from 1, keys and values in one matrix."""
    renamed = {}
    for key, tensor in state.items():
        stage, rest = re.fullmatch(r"stages\.(\d)\.(.*)", key).groups()
        stage = int(stage) + 1
        rest = rest.replace("patch_embeddings.proj", f"patch_embed{stage}.proj")
        rest = rest.replace("patch_embeddings.layer_norm", f"patch_embed{stage}.norm")
        rest = re.sub(r"^layer_norm", f"norm{stage}", rest)
        rest = re.sub(r"^blocks", f"block{stage}", rest)
        rest = rest.replace("layernorm_before", "norm1").replace("layernorm_after", "norm2")
        rest = rest.replace("attention.sequence_reduction.sequence_reduction", "attn.sr")
        rest = rest.replace("attention.sequence_reduction.layer_norm", "attn.norm")
        rest = rest.replace("attention.q_proj", "attn.q").replace("attention.o_proj", "attn.proj")
        if "k_proj" in rest:
            tensor = torch.cat([tensor, state[key.replace("k_proj", "v_proj")]])
        if "v_proj" not in rest:
            renamed[rest.replace("attention.k_proj", "attn.kv")] = tensor
    return renamed | {"head.weight": torch.zeros(1000, 256), "head.bias": torch.zeros(1000)}


def hub_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As the hub's nvidia/mit-b0 has them, which was saved by an earlier transformers."""
    renamed = {}
    for key, tensor in state.items():
        for old, new in (
            (r"^stages\.(\d)\.patch_embeddings", r"segformer.encoder.patch_embeddings.\1"),
            (r"^stages\.(\d)\.blocks", r"segformer.encoder.block.\1"),
            (r"^stages\.(\d)\.layer_norm", r"segformer.encoder.layer_norm.\1"),
            ("layernorm_before", "layer_norm_1"),
            ("layernorm_after", "layer_norm_2"),
            (r"attention\.sequence_reduction\.sequence_reduction", "attention.self.sr"),
            (r"attention\.sequence_reduction\.layer_norm", "attention.self.layer_norm"),
            (r"attention\.q_proj", "attention.self.query"),
            (r"attention\.k_proj", "attention.self.key"),
            (r"attention\.v_proj", "attention.self.value"),
            (r"attention\.o_proj", "attention.output.dense"),
            (r"mlp\.fc", "mlp.dense"),
        ):
            key = re.sub(old, new, key)
        renamed[key] = tensor
    return renamed | {"classifier.weight": torch.zeros(1000, 256)}


@pytest.mark.parametrize("names", [dict, hub_names, authors_names], ids=["transformers 5", "hub", "authors"])
def test_weights_from_a_file(names, published, tmp_path: Path) -> None:
    wanted = published.segformer.state_dict()
    torch.save(names(wanted), tmp_path / "mit_b0.pth")
    encoder = SegFormer(MiT("B0", weights=str(tmp_path / "mit_b0.pth"))).build(IDD_LEVEL1).encoder
    assert encoder.state_dict().keys() == wanted.keys()
    assert all(torch.equal(tensor, wanted[key]) for key, tensor in encoder.state_dict().items())


@torch.no_grad()
def test_logits_are_those_of_transformers(published) -> None:
    """Whose head concatenates the stages before its 1x1 convolution."""
    ours = SegFormer(MiT("B0")).build(IDD_LEVEL1).eval()
    ours.encoder.load_state_dict(published.segformer.state_dict())
    head = published.decode_head
    for layer, theirs in zip(ours.decoder.linear, head.linear_projections, strict=True):
        layer.weight.copy_(theirs.proj.weight[:, :, None, None])
        layer.bias.copy_(theirs.proj.bias)
    ours.decoder.fuse.load_state_dict(head.linear_fuse.state_dict())
    ours.decoder.norm.load_state_dict(head.batch_norm.state_dict())
    ours.decoder.classifier.load_state_dict(head.classifier.state_dict())
    pixels = torch.randn(2, 3, 65, 97)
    logits = published(pixels).logits
    assert logits.shape == (2, 7, 17, 25)
    torch.testing.assert_close(ours.decoder(ours.encoder(pixels)), logits, rtol=1e-4, atol=1e-4 * float(logits.std()))


@torch.no_grad()
def test_the_classifier_pools_the_last_stage(published) -> None:
    ours = Classifier(MiT("B0")).build(PACS_7).eval()
    ours.encoder.load_state_dict(published.segformer.state_dict())
    theirs = transformers.SegformerForImageClassification(published.config).eval()
    theirs.segformer, theirs.classifier = published.segformer, ours.decoder.last
    pixels = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(ours(pixels), theirs((pixels - ours.mean) / ours.std).logits)


@pytest.mark.parametrize(
    ("size", "encoder", "decoder"),
    [("B0", 3_319_392, 399_635), ("B1", 13_151_424, 530_707), ("B5", 81_443_008, 3_164_947)],
)
def test_parameters_sites_and_groups(size, encoder: int, decoder: int) -> None:
    """Encoders are those of SegFormer's Table 1: 3.4 (with decoder 3.8), 13.1, 81.4 million."""
    with torch.device("meta"):
        ours = SegFormer(MiT(size)).build(CITYSCAPES_19, pretrained=False)
    assert sum(p.numel() for p in ours.encoder.parameters()) == encoder
    channels = 256 if size in ("B0", "B1") else 768
    by_hand = sum(c * channels + channels for c in ours.encoder.channels) + 4 * channels**2 + 2 * channels
    assert sum(p.numel() for p in ours.decoder.parameters()) == decoder == by_hand + 19 * channels + 19
    groups = ours.encoder.groups
    assert [name for name, _ in groups] == ["stage1", "stage2", "stage3", "stage4"]
    grouped = [id(p) for _, names in groups for n in names for p in ours.encoder.get_submodule(n).parameters()]
    assert sorted(grouped) == sorted(id(p) for p in ours.encoder.parameters())
    seen = {}
    with ours.transformed(
        {name: lambda maps, name=name: seen.update({name: maps.shape[1]}) or maps for name in ours.sites}
    ):
        ours(torch.rand(2, 3, 64, 64, device="meta"))
    assert seen == {name: site.channels for name, site in ours.sites.items()}
    assert seen.keys() == {"before_stage3", "before_stage4", "context"}


def test_published_weights_come_through_transformers(published, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def from_here(name: str):
        asked.append(name)
        return published.segformer

    monkeypatch.setattr(transformers.SegformerModel, "from_pretrained", from_here)
    encoder = SegFormer(MiT("B0", weights="imagenet")).build(IDD_LEVEL1).encoder
    assert asked == ["nvidia/mit-b0"]
    wanted = published.segformer.state_dict()
    assert all(torch.equal(tensor, wanted[key]) for key, tensor in encoder.state_dict().items())

    def offline(name: str):
        raise OSError("no route to host")

    monkeypatch.setattr(transformers.SegformerModel, "from_pretrained", offline)
    with pytest.raises(ValueError, match=r"nvidia/mit-b0 cannot be downloaded .* no route to host; put it into"):
        SegFormer(MiT("B0", weights="imagenet")).build(IDD_LEVEL1)


def test_weights_of_another_size_are_recognised(published) -> None:
    assert recognise(published.segformer.state_dict(), "transformers") == " They look like the weights of MiT('B0')."


def test_adaptations_to_statistics_are_refused(experiment: Experiment) -> None:
    """Although the decoder has BatchNorm: the encoder has none."""
    with pytest.raises(ValueError, match=r"BatchNorm"):
        replace(experiment, model=SegFormer(MiT("B0")))
    replace(experiment, model=SegFormer(MiT("B0")), adaptations=(TrainBN(),))


def test_what_is_missing_or_illegal_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"MiT\.size is 'B6': it must be one of 'B0', "):
        MiT("B6")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"SegFormer\.backbone .* it must be MiT"):
        SegFormer(ResNet(18))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"SegFormer\.dropout is 1\.0: it must be at least 0 and less than 1"):
        SegFormer(MiT("B0"), dropout=1.0)
    assert MiT("B5", weights="imagenet").licences[0].commercial_use == "no"
    assert "non-commercial" in MiT("B5", weights="mit_b5.pth").licences[0].terms
    assert MiT("B5").licences == ()
    monkeypatch.setitem(sys.modules, "transformers.models.segformer", None)
    with pytest.raises(ValueError, match=r"MiT\('B0'\) is built by transformers, .*raydg\[transformers\]"):
        SegFormer(MiT("B0")).build(IDD_LEVEL1)
