"""Every way to predict, against the predictions written out one by one."""

import pytest
import torch
from torch import Tensor

from raydg.adaptation import Adaptation, IaBN, TargetNorm
from raydg.domains.labels import IDD_LEVEL1, PACS_7
from raydg.methods import (
    DMG,
    ERM,
    DeFT,
    DeFTConfiguration,
    Greedy,
    Inference,
    KnownDomain,
    KnownHead,
    MaskEns,
    Method,
    MultiHeaded,
    OneMask,
    Plain,
    PredEns,
    WeightedPredEns,
)
from raydg.methods.inference import positions
from raydg.methods.masked import Masked
from raydg.models import AlexNet, Backbone, Classifier, DeepLabV3Plus, Network, ResNet, SmallNet, SqueezeNet
from raydg.values import subclasses

SITES = ("before_block2", "before_block3", "before_last")
SOURCES = ("art", "photo", "photo:2")
IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture
def masked() -> Masked:
    """Three sources with masks that differ, some below a half, and a domain classifier."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Classifier(SmallNet(8)).build(PACS_7)
        model = DMG(domain_classifier=True).wrap(network, 3, 3).double().eval()
        with torch.no_grad():
            for logits in model.masks.values():
                logits.normal_()
    return model


def under(network: Network, masks: dict[str, Tensor]) -> Tensor:
    """Logits with one mask (c,) a site, layer by layer."""
    encoder, head = network.encoder, network.decoder
    maps = encoder.block1(encoder.stem((IMAGES - network.mean) / network.std))
    maps = encoder.block2(maps * masks["before_block2"][:, None, None])
    maps = encoder.block3(maps * masks["before_block3"][:, None, None])
    return head.last(head.pool(maps) * masks["before_last"])


def soft(model: Masked, source: int) -> dict[str, Tensor]:
    return {name: logits[source].sigmoid() for name, logits in model.masks.items()}


def hard(model: Masked, source: int) -> dict[str, Tensor]:
    return {name: (logits[source] > 0).double() for name, logits in model.masks.items()}


def probabilities(model: Masked, inference: Inference, domain: str | None = "sketch") -> Tensor:
    with torch.no_grad():
        return inference.module(model, SOURCES, domain).eval()(IMAGES).softmax(1)


def test_predictions_under_each_sources_masks_are_averaged(masked: Masked) -> None:
    logits = torch.stack([under(masked.network, soft(masked, source)) for source in range(3)])
    torch.testing.assert_close(probabilities(masked, PredEns()), logits.softmax(2).mean(0))
    with torch.no_grad():
        found = PredEns(averages="logits").module(masked, SOURCES, None)(IMAGES)
    torch.testing.assert_close(found, logits.mean(0))
    assert not torch.allclose(found.softmax(1), logits.softmax(2).mean(0))
    assert all(site.transform is None for site in masked.network.sites.values())


def test_averaged_masks_make_one_prediction(masked: Masked) -> None:
    mean = {name: logits.sigmoid().mean(0) for name, logits in masked.masks.items()}
    torch.testing.assert_close(probabilities(masked, MaskEns()), under(masked.network, mean).softmax(1))


@pytest.mark.parametrize(("source", "number"), [("art", 0), ("photo", 1), ("photo:2", 2)])
def test_one_mask_is_that_of_the_source_that_was_chosen(masked: Masked, source: str, number: int) -> None:
    expected = under(masked.network, soft(masked, number)).softmax(1)
    torch.testing.assert_close(probabilities(masked, OneMask(source=source)), expected)


def test_a_known_domain_has_its_own_masks_and_all_of_them(masked: Masked) -> None:
    expected = under(masked.network, soft(masked, 0)).softmax(1)
    torch.testing.assert_close(probabilities(masked, KnownDomain(), "art"), expected)
    both = torch.stack([under(masked.network, soft(masked, source)).softmax(1) for source in (1, 2)])
    torch.testing.assert_close(probabilities(masked, KnownDomain(), "photo"), both.mean(0))
    for stranger in ("sketch", None):
        with pytest.raises(ValueError, match="is no source: it predicts on art, photo, photo:2 only"):
            probabilities(masked, KnownDomain(), stranger)
    assert KnownDomain().predicts(SOURCES, "art") and not KnownDomain().predicts(SOURCES, "sketch")


def test_greedy_masks_are_hard_a_sources_own_and_elsewhere_everybodys(masked: Masked) -> None:
    by_source = torch.stack([under(masked.network, hard(masked, source)) for source in range(3)])
    torch.testing.assert_close(probabilities(masked, Greedy(), "art"), by_source[0].softmax(1))
    for unseen in ("sketch", None):
        torch.testing.assert_close(probabilities(masked, Greedy(), unseen), by_source.softmax(2).mean(0))


@pytest.mark.parametrize("averages", ["probabilities", "logits"])
def test_a_domain_classifier_weighs_the_sources_image_by_image(masked: Masked, averages) -> None:
    network = masked.network
    maps = network.encoder.block1(network.encoder.stem((IMAGES - network.mean) / network.std))
    weights = masked.domain_classifier(maps.mean((2, 3))).softmax(1)
    assert not torch.allclose(weights[0], weights[1])
    expected = torch.zeros(2, 7, dtype=torch.float64)
    for source in range(3):
        logits = under(network, soft(masked, source))
        for image in range(2):
            member = logits[image].softmax(0) if averages == "probabilities" else logits[image]
            expected[image] += weights[image, source] * member
    expected = expected if averages == "probabilities" else expected.softmax(1)
    torch.testing.assert_close(probabilities(masked, WeightedPredEns(averages=averages)), expected)


def test_where_all_masks_are_alike_so_are_all_inferences(masked: Masked) -> None:
    with torch.no_grad():
        for logits in masked.masks.values():
            logits.copy_(logits[:1].expand_as(logits))
    expected = under(masked.network, soft(masked, 1)).softmax(1)
    for inference in (PredEns(), PredEns(averages="logits"), MaskEns(), OneMask(source="photo"), WeightedPredEns()):
        torch.testing.assert_close(probabilities(masked, inference), expected)


def test_with_one_source_there_is_one_prediction(masked: Masked) -> None:
    alone = DMG(domain_classifier=True).wrap(masked.network, 1, 3).double().eval()
    expected = under(masked.network, soft(alone, 0)).softmax(1)
    for inference in (PredEns(), MaskEns(), KnownDomain(), OneMask(source="art"), WeightedPredEns()):
        found = inference.module(alone, ("art",), "art")(IMAGES).softmax(1)
        torch.testing.assert_close(found, expected)


def test_the_trunk_before_the_first_mask_sees_the_images_once(masked: Masked) -> None:
    encoder, sizes = masked.network.encoder, []
    encoder.block1.register_forward_hook(lambda module, inputs, output: sizes.append(tuple(inputs[0].shape)))
    full = tuple(encoder.stem(IMAGES).shape)
    for inference, others in ((PredEns(), 2), (WeightedPredEns(), 2), (MaskEns(), 0)):
        sizes.clear()
        probabilities(masked, inference)
        assert sizes[0] == full and len(sizes) == 1 + others
        assert all(b == 1 and h * w < full[2] * full[3] for b, _, h, w in sizes[1:])


@pytest.mark.parametrize("adaptation", [TargetNorm(batch_size=2), TargetNorm(batch_size=1), IaBN(0.3)], ids=str)
def test_statistics_of_the_target_are_each_masks_own(masked: Masked, adaptation: Adaptation) -> None:
    """TN's batch stays its batch: members do not share statistics, nor are they too many for it."""
    members = []
    for source in SOURCES:
        module = OneMask(source=source).module(masked, SOURCES, None)
        members.append(adaptation.predictor(module)(IMAGES))
    together = adaptation.predictor(PredEns().module(masked, SOURCES, None))(IMAGES)
    torch.testing.assert_close(together, torch.stack(members).mean(0))


@pytest.mark.parametrize("backbone", [ResNet(18), AlexNet(), SqueezeNet("1.1"), SmallNet(8)], ids=str)
def test_whatever_the_names_of_its_sites_the_masks_begin_at_the_first(backbone: Backbone) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = DMG().wrap(Classifier(backbone).build(PACS_7), 3, 7).double().eval()
        images = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    reached = []
    for name, site in model.network.sites.items():
        if not site.early:  # where no mask is
            site.register_forward_hook(lambda *_, name=name: reached.append(name))
    with torch.no_grad():
        members = torch.stack([OneMask(source=s).module(model, SOURCES, None)(images).softmax(1) for s in SOURCES])
        found = PredEns().module(model, SOURCES, None)(images).exp()
    assert model.first_site == reached[0]
    torch.testing.assert_close(found, members.mean(0))


def test_a_network_that_segments_averages_at_every_pixel() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = DeepLabV3Plus(SmallNet(8), aspp_channels=8, low_level_channels=8, decoder_channels=8).build(
            IDD_LEVEL1
        )
        model = DMG(domain_classifier=True).wrap(network, 3, 3).double().eval()
        with torch.no_grad():
            for logits in model.masks.values():
                logits.normal_()
    members = torch.stack([probabilities(model, OneMask(source=source)) for source in SOURCES])
    torch.testing.assert_close(probabilities(model, PredEns()), members.mean(0))
    maps = network.encoder.block1(network.encoder.stem((IMAGES - network.mean) / network.std))
    weights = model.domain_classifier(maps.mean((2, 3))).softmax(1).T[:, :, None, None, None]
    torch.testing.assert_close(probabilities(model, WeightedPredEns()), (weights * members).sum(0))


def test_what_is_evaluated_is_a_snapshot_of_the_masks(masked: Masked) -> None:
    module = PredEns().module(masked, SOURCES, None)
    before = module(IMAGES)
    assert not before.requires_grad or all(not mask.requires_grad for mask in module.masks.values())
    with torch.no_grad():
        for logits in masked.masks.values():
            logits.zero_()
    torch.testing.assert_close(module(IMAGES), before)


def test_a_name_stands_for_all_its_pseudo_domains() -> None:
    assert positions(SOURCES, "photo") == [1, 2] and positions(SOURCES, "photo:2") == [2]
    assert positions(SOURCES, "phot") == [] == positions((), "art")


@pytest.mark.parametrize(
    ("inference", "method", "message"),
    [
        (PredEns(), ERM(), "PredEns does not fit ERM, which can be evaluated by Plain"),
        (Plain(), DeFT(), "Plain does not fit DeFT, which can be evaluated by DeFTConfiguration"),
        (KnownHead(), DMG(), "KnownHead does not fit DMG, .*PredEns, MaskEns, KnownDomain, OneMask, Greedy, Weighted"),
        (MaskEns(), MultiHeaded(), "MaskEns does not fit MultiHeaded, .* HeadEns, KnownHead"),
        (OneMask(source="sketch"), DMG(), "source is 'sketch': it must be one of the sources art, photo, photo:2"),
        (WeightedPredEns(), DMG(), "DMG.domain_classifier is False: train with it, or take PredEns"),
    ],
)
def test_what_does_not_fit_is_refused(inference: Inference, method: Method, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inference.check(method, SOURCES)


def test_a_training_without_a_domain_classifier_has_none_to_weigh_by(masked: Masked) -> None:
    plain = DMG().wrap(masked.network, 3, 3)
    with pytest.raises(ValueError, match=r"train with DMG.domain_classifier=True"):
        WeightedPredEns().module(plain, SOURCES, None)


def test_every_method_says_how_it_is_evaluated_in_one_place() -> None:
    for cls in subclasses(Method):
        if cls.__module__.startswith("raydg."):
            assert cls.inferences and not hasattr(cls, "inference"), cls
    for method in (ERM(), DMG(), DMG.reference(), DeFT(), MultiHeaded()):
        for own in (method.default_inference(), method.validation_inference()):
            own.check(method, SOURCES)
    assert DMG.reference().default_inference() == PredEns(averages="logits")
    assert DMG.reference().validation_inference() == Greedy(averages="logits")
    assert DMG().validation_inference() == DMG().default_inference() == PredEns()


def test_labels_tell_inferences_apart() -> None:
    ways = [PredEns(), PredEns(averages="logits"), MaskEns(), KnownDomain(), Greedy(), Greedy(averages="logits")]
    ways += [OneMask(source="art"), OneMask(source="photo"), WeightedPredEns(), WeightedPredEns(averages="logits")]
    ways += [DeFTConfiguration(configuration=row) for row in ("I", "II", "III", "IV")]
    assert len({way.label for way in ways}) == len(ways)
