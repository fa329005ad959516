"""DMG against its definition, written out without its masks' machinery."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from raydg.domains.labels import PACS_7
from raydg.methods import DMG, ERM, Objective
from raydg.methods.dmg import straight_through
from raydg.methods.masked import Masked, soft_iou, statistics
from raydg.models import Classifier, Network, ResNet, SmallNet
from raydg.types import Batch, Episode

SITES = ("before_block2", "before_block3", "before_last")


def episode(num_images: int = 6) -> Episode:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(num_images, 3, 32, 32, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 7, (num_images,), generator=generator)
    return Episode(0, 0, Batch(images, labels, torch.arange(num_images) % 3), ("meta-train",) * 3)


@pytest.fixture
def network() -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Classifier(SmallNet(4)).build(PACS_7).double()


@pytest.fixture
def masked(network: Network) -> Masked:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return DMG().wrap(network, 3, 3).double()


def by_hand(network: Network, masks: dict[str, Tensor], images: Tensor) -> Tensor:
    """The network's layers one by one, with masks (b, c) in between."""
    encoder, head = network.encoder, network.decoder
    maps = encoder.block1(encoder.stem((images - network.mean) / network.std))
    maps = encoder.block2(maps * masks["before_block2"][:, :, None, None])
    maps = encoder.block3(maps * masks["before_block3"][:, :, None, None])
    return head.last(head.pool(maps) * masks["before_last"])


def test_masks_start_between_a_half_and_sigmoid_of_1(masked: Masked) -> None:
    assert {name: tuple(logits.shape) for name, logits in masked.masks.items()} == {
        "before_block2": (3, 8),
        "before_block3": (3, 16),
        "before_last": (3, 32),
    }
    values = torch.cat([logits.flatten() for logits in masked.masks.values()])
    assert 0 <= values.min() < 0.1 and 0.9 < values.max() < 1


def test_the_loss_is_that_of_the_paper(masked: Masked) -> None:
    """In evaluation mode, so that BatchNorm is fixed; the samples are drawn again from the same seed."""
    masked.eval()
    asked = episode()
    torch.manual_seed(5)
    losses = DMG(overlap_weight=0.3, sparsity_weight=0.2, pairs="sum").losses(masked, asked)
    torch.manual_seed(5)
    samples = {name: torch.bernoulli(masked.masks[name].sigmoid()[asked.batch.domains]) for name in SITES}
    error = F.cross_entropy(by_hand(masked.network, samples, asked.batch.images), asked.batch.labels)
    overlap = sparsity = 0.0
    for name in SITES:
        p = masked.masks[name].sigmoid()
        for a, b in ((0, 1), (0, 2), (1, 2)):
            overlap += ((p[a] * p[b]).sum() + 1e-6) / ((p[a] + p[b] - p[a] * p[b]).sum() + 1e-6)
        sparsity += p.mean()
    torch.testing.assert_close(losses["cross_entropy"], error)
    torch.testing.assert_close(losses["overlap"], overlap)
    torch.testing.assert_close(losses["loss"], error + 0.3 * overlap + 0.2 * sparsity)
    mean = DMG(overlap_weight=0.3).losses(masked, asked)["overlap"]
    torch.testing.assert_close(mean, overlap / 3)


def test_gradients_of_overlap_and_sparsity_are_finite_differences(masked: Masked) -> None:
    logits = masked.masks["before_block2"]
    (masked.overlap("mean") + masked.sparsity()).backward()
    for position in ((0, 0), (2, 5)):
        values = []
        for shift in (1e-5, -1e-5):
            with torch.no_grad():
                logits[position] += shift
                values.append(masked.overlap("mean") + masked.sparsity())
                logits[position] -= shift
        assert logits.grad[position].item() == pytest.approx(((values[0] - values[1]) / 2e-5).item(), rel=1e-6)


def test_samples_are_hard_and_their_gradient_is_that_of_p() -> None:
    torch.manual_seed(0)
    p = torch.full((20_000,), 0.3, dtype=torch.float64, requires_grad=True)
    sample = straight_through(p)
    assert set(sample.detach().unique().round(decimals=12).tolist()) == {0.0, 1.0}
    assert sample.mean().item() == pytest.approx(0.3, abs=0.01)
    (sample * torch.arange(20_000)).sum().backward()
    assert torch.equal(p.grad, torch.arange(20_000, dtype=torch.float64))


def test_soft_iou_of_hard_masks_is_their_iou() -> None:
    a, b = torch.tensor([1.0, 1, 0, 0]), torch.tensor([1.0, 0, 1, 0])
    assert soft_iou(a, b).item() == pytest.approx(1 / 3, abs=1e-5) and soft_iou(a, a).item() == pytest.approx(1)


def test_everything_that_learns_receives_a_gradient(masked: Masked) -> None:
    objective = Objective(DMG(), masked).train()
    objective(episode())["loss"].backward()
    assert all(p.grad is not None and p.grad.any() for p in objective.parameters() if p.requires_grad)
    frozen = Objective(DMG(trains="decoder"), masked).train()
    frozen.zero_grad()
    frozen(episode())["loss"].backward()
    assert all(p.grad is None for p in masked.network.encoder.parameters())
    assert all(logits.grad is not None for logits in masked.masks.values())


def test_with_all_masks_at_1_it_is_aggregate(masked: Masked) -> None:
    with torch.no_grad():
        for logits in masked.masks.values():
            logits.fill_(200.0)
    plain = copy.deepcopy(masked.network)
    losses = DMG(overlap_weight=0.0).losses(masked.train(), episode())
    expected = ERM().losses(plain.train(), episode())
    torch.testing.assert_close(losses["loss"], expected["loss"])
    losses["loss"].backward()
    expected["loss"].backward()
    for ours, theirs in zip(masked.network.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_with_batchnorm_per_domain_every_domain_has_a_forward_under_its_own_masks(masked: Masked) -> None:
    """In evaluation mode, where BatchNorm is fixed, that changes nothing but the order of the samples' drawing."""
    masked.eval()
    with torch.no_grad():
        for logits in masked.masks.values():  # masks that sample to 0 or 1 for certain
            logits.copy_(torch.where(logits > 0.5, 200.0, -200.0))
    pooled = DMG().losses(masked, episode())["cross_entropy"]
    torch.testing.assert_close(DMG(batchnorm="per-domain").losses(masked, episode())["cross_entropy"], pooled)


def gradients(model: Masked, method: DMG) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    torch.manual_seed(3)
    losses = method.losses(model.eval(), episode())
    losses["loss"].backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, losses


@pytest.mark.parametrize("batchnorm", ["pooled", "per-domain"])
def test_a_domain_classifier_learns_beside_and_touches_nothing(network: Network, batchnorm) -> None:
    torch.manual_seed(4)
    alone = DMG(batchnorm=batchnorm).wrap(copy.deepcopy(network), 3, 3).double()
    torch.manual_seed(4)
    method = DMG(batchnorm=batchnorm, domain_classifier=True)
    beside = method.wrap(copy.deepcopy(network), 3, 3).double()
    expected, _ = gradients(alone, DMG(batchnorm=batchnorm))
    found, losses = gradients(beside, method)
    assert found.keys() - expected.keys() == {"domain_classifier.weight", "domain_classifier.bias"}
    assert all(torch.equal(found[name], gradient) for name, gradient in expected.items())
    assert tuple(losses) == method.loss_names and "domain_loss" not in DMG().loss_names

    images, domains = episode().batch.images, episode().batch.domains
    maps = beside.network.encoder.block1(beside.network.encoder.stem((images - network.mean) / network.std))
    weight = beside.domain_classifier.weight.detach().clone().requires_grad_()
    error = F.cross_entropy(maps.mean((2, 3)).detach() @ weight.T + beside.domain_classifier.bias, domains)
    error.backward()
    torch.testing.assert_close(losses["domain_loss"], error.detach())
    torch.testing.assert_close(found["domain_classifier.weight"], weight.grad)


def test_thresholded_masks_are_counted() -> None:
    p = torch.tensor([[0.9, 0.9, 0.1, 0.1, 0.6], [0.9, 0.1, 0.8, 0.1, 0.6], [0.9, 0.1, 0.1, 0.1, 0.5]])
    found = statistics({"a": p, "b": torch.zeros(3, 2)})
    # On are {0, 1, 4}, {0, 2, 4} and {0}: a probability of 0.5 is not above it.
    expected = {
        "iou/a/0-1": 2 / 4,
        "iou/a/0-2": 1 / 3,
        "iou/a/1-2": 1 / 3,
        "iou/a": (1 / 2 + 2 / 3) / 3,
        "units/a/active": 7 / 15,
        "units/a/off-in-all": 1 / 5,
        "units/a/on-in-all": 1 / 5,
        "units/a/domain-specific": 3 / 5,
        "iou/b/0-1": 1.0,
        "iou/b/0-2": 1.0,
        "iou/b/1-2": 1.0,
        "iou/b": 1.0,
        "units/b/active": 0.0,
        "units/b/off-in-all": 1.0,
        "units/b/on-in-all": 0.0,
        "units/b/domain-specific": 0.0,
        "iou": ((1 / 2 + 2 / 3) / 3 + 1) / 2,
    }
    assert found == pytest.approx(expected)
    assert not any(name.startswith("iou") for name in statistics({"a": p[:1]}))


def test_masks_are_measured_at_every_site(masked: Masked) -> None:
    found = DMG().measurements(masked)
    assert {name.split("/")[1] for name in found if "/" in name} == set(SITES)
    assert found["iou"] == 1 and found["units/before_last/on-in-all"] == 1  # all logits start above 0


def test_the_published_code_is_a_preset() -> None:
    method = DMG.reference()
    assert (method.averages, method.validates_with, method.pairs) == ("logits", "greedy", "mean")
    assert (method.overlap_weight, method.sparsity_weight, method.dropout, method.sites) == (0.1, 0.0, False, None)


def test_early_sites_are_masked_only_where_they_are_named() -> None:
    with torch.device("meta"):
        network = Classifier(ResNet(18)).build(PACS_7, pretrained=False)
        assert list(DMG().wrap(network, 3, 7).masks) == ["before_layer3", "before_layer4", "before_last"]
        assert list(DMG(sites=("before_layer2",)).wrap(network, 3, 7).masks) == ["before_layer2"]


def test_sites_are_chosen_by_name(network: Network) -> None:
    assert list(DMG(sites=("before_last", "before_block3")).wrap(network, 2, 3).masks) == [
        "before_block3",
        "before_last",
    ]
    with pytest.raises(
        ValueError, match=r"DMG.sites names fc: the network has before_block2, before_block3, before_last"
    ):
        DMG(sites=("fc",)).wrap(network, 2, 3)
    for wrong in ({"overlap_weight": -1.0}, {"sparsity_weight": -1.0}, {"sites": ()}):
        with pytest.raises(ValueError, match="DMG"):
            DMG(**wrong)
