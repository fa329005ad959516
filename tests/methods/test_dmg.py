"""DMG against its definition, written out without its masks' machinery."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from raydg.domains.labels import PACS_7
from raydg.methods import DMG, ERM, Objective
from raydg.methods.dmg import Masked, PredictionEnsemble, soft_iou, straight_through
from raydg.models import Classifier, Network, SmallNet
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


def test_the_ensemble_averages_the_predictions_under_each_sources_mask(masked: Masked) -> None:
    masked.eval()
    images = episode(2).batch.images
    by_source = []
    for source in range(3):
        soft = {name: masked.masks[name].sigmoid()[source].expand(2, -1) for name in SITES}
        by_source.append(by_hand(masked.network, soft, images).softmax(1))
    ensemble = DMG().inference(masked)
    assert isinstance(ensemble, PredictionEnsemble)
    torch.testing.assert_close(ensemble(images).softmax(1), torch.stack(by_source).mean(0))
    assert all(site.transform is None for site in masked.network.sites.values())


def test_one_forward_after_the_other_says_the_same(masked: Masked) -> None:
    ensemble, images = PredictionEnsemble(masked.eval()), episode(2).batch.images
    torch.testing.assert_close(ensemble.together(images), ensemble.in_turn(images))


def test_the_trunk_before_the_first_mask_runs_once(masked: Masked) -> None:
    sizes = []
    for part in (masked.network.encoder.block1, masked.network.encoder.block2, masked.network.decoder):
        part.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    DMG().inference(masked.eval())(episode(2).batch.images)
    assert sizes == [2, 6, 6]


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
