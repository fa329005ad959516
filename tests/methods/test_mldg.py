"""MLDG against its definition: finite differences of an objective written here, and the closed form of its first
order."""

import copy

import pytest
import torch
from torch import Tensor, nn

from raydg.domains.labels import LabelSpace
from raydg.methods import ERM, MLDG, Objective
from raydg.methods.method import cross_entropy
from raydg.models import DeepLabV3Plus, Network, SmallNet
from raydg.types import IGNORE, Batch, Episode

SPACE = LabelSpace(
    name="three", task="segmentation", classes=("a", "b", "c"), palette=((0, 0, 0), (1, 1, 1), (2, 2, 2))
)
ROLES = ("meta-train", "meta-test", "meta-train")
INNER_LR, W_TRAIN, W_TEST = 0.05, 0.7, 1.3


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    architecture = DeepLabV3Plus(SmallNet(8), aspp_channels=4, low_level_channels=4, decoder_channels=4)
    return architecture.build(SPACE).double().train()


@pytest.fixture
def episode() -> Episode:
    torch.manual_seed(1)
    labels = torch.randint(0, 3, (6, 32, 32))
    labels[0, :10] = IGNORE
    images = torch.rand(6, 3, 32, 32, dtype=torch.float64)
    return Episode(0, 0, Batch(images, labels, torch.tensor([0, 0, 1, 1, 2, 2])), ROLES)


def pooled_loss(network: nn.Module, episode: Episode, domains: tuple[int, ...]) -> Tensor:
    """Mean cross-entropy over the labelled pixels of some domains, without a line of the package's loss."""
    chosen = [i for i, domain in enumerate(episode.batch.domains.tolist()) if domain in domains]
    log_p = network(episode.batch.images[chosen]).log_softmax(1)
    labels = episode.batch.labels[chosen]
    valid = labels != IGNORE
    return -log_p.movedim(1, -1)[valid].gather(1, labels[valid][:, None]).mean()


def meta_objective(network: Network, episode: Episode) -> float:
    """W_TRAIN L_ds(θ) + W_TEST L_dg(θ - INNER_LR ∇L_ds(θ)), by an update written into a copy."""
    stepped = copy.deepcopy(network)
    meta_train_loss = pooled_loss(stepped, episode, (0, 2))
    gradients = torch.autograd.grad(meta_train_loss, list(stepped.parameters()))
    with torch.no_grad():
        for p, g in zip(stepped.parameters(), gradients, strict=True):
            p -= INNER_LR * g
    return W_TRAIN * meta_train_loss.item() + W_TEST * pooled_loss(stepped, episode, (1,)).item()


def gradient_of(method: ERM | MLDG, network: Network, episode: Episode) -> list[Tensor]:
    objective = Objective(method, network).train()
    objective.zero_grad()
    objective(episode)["loss"].backward()
    return [p.grad.clone() for p in network.parameters() if p.grad is not None]


def mldg(**changes: object) -> MLDG:
    return MLDG(**{"inner_lr": INNER_LR, "meta_train_weight": W_TRAIN, "meta_test_weight": W_TEST} | changes)


def test_second_order_gradient_is_that_of_finite_differences(network: Network, episode: Episode) -> None:
    gradient = gradient_of(mldg(second_order=True), network, episode)
    first_order = gradient_of(mldg(), network, episode)
    torch.manual_seed(2)
    for _ in range(3):
        # Random directions of unit length: a central difference along each must equal its product with the gradient.
        direction = [torch.randn_like(p) for p in network.parameters()]
        length = sum((d**2).sum() for d in direction).sqrt()
        values = []
        for sign in (1, -1):
            moved = copy.deepcopy(network)
            with torch.no_grad():
                for p, d in zip(moved.parameters(), direction, strict=True):
                    p += sign * 1e-5 * d / length
            values.append(meta_objective(moved, episode))
        numeric = (values[0] - values[1]) / 2e-5
        analytic = float(sum((g * d).sum() for g, d in zip(gradient, direction, strict=True)) / length)
        wrong = float(sum((g * d).sum() for g, d in zip(first_order, direction, strict=True)) / length)
        assert numeric == pytest.approx(analytic, rel=1e-5, abs=1e-8)
        assert abs(numeric - wrong) > 10 * abs(numeric - analytic), "the test must tell second order from first"


def test_first_order_gradient_is_the_sum_at_both_points(network: Network, episode: Episode) -> None:
    g_train = torch.autograd.grad(
        pooled_loss(copy_ := copy.deepcopy(network), episode, (0, 2)), list(copy_.parameters())
    )
    moved = copy.deepcopy(network)
    with torch.no_grad():
        for p, g in zip(moved.parameters(), g_train, strict=True):
            p -= INNER_LR * g
    g_test = torch.autograd.grad(pooled_loss(moved, episode, (1,)), list(moved.parameters()))
    for g, a, b in zip(gradient_of(mldg(), network, episode), g_train, g_test, strict=True):
        torch.testing.assert_close(g, W_TRAIN * a + W_TEST * b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("second_order", [False, True])
def test_meta_test_term_reaches_the_parameters(network: Network, episode: Episode, second_order: bool) -> None:
    with_term = gradient_of(mldg(second_order=second_order), network, episode)
    without = gradient_of(mldg(second_order=second_order, meta_test_weight=0.0), network, episode)
    assert all((a - b).abs().max() > 0 for a, b in zip(with_term, without, strict=True))


@pytest.mark.parametrize("second_order", [False, True])
def test_without_a_look_ahead_both_orders_are_the_sum_of_the_losses(
    network: Network, episode: Episode, second_order: bool
) -> None:
    total = W_TRAIN * pooled_loss(network, episode, (0, 2)) + W_TEST * pooled_loss(network, episode, (1,))
    expected = torch.autograd.grad(total, list(network.parameters()))
    for g, e in zip(
        gradient_of(mldg(inner_lr=0.0, second_order=second_order), network, episode), expected, strict=True
    ):
        torch.testing.assert_close(g, e, rtol=1e-9, atol=1e-12)


def test_frozen_batchnorm_and_no_look_ahead_is_erm_on_the_union(network: Network, episode: Episode) -> None:
    """With losses weighted by their share of labelled pixels, as issue and paper define ERM's mean over the union."""
    valid = (episode.batch.labels != IGNORE).flatten(1).sum(1)
    share = int(valid[[0, 1, 4, 5]].sum()) / int(valid.sum())

    def frozen_gradient(method: ERM | MLDG) -> list[Tensor]:
        objective = Objective(method, network).eval()
        objective.zero_grad()
        objective(episode)["loss"].backward()
        return [p.grad.clone() for p in network.parameters()]

    meta = frozen_gradient(MLDG(inner_lr=0.0, meta_train_weight=share, meta_test_weight=1 - share))
    for g, e in zip(meta, frozen_gradient(ERM()), strict=True):
        torch.testing.assert_close(g, e, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("second_order", [False, True])
def test_running_statistics_move_by_the_meta_train_forward_alone(
    network: Network, episode: Episode, second_order: bool
) -> None:
    reference = copy.deepcopy(network)
    reference(episode.batch.images[[0, 1, 4, 5]])
    gradient_of(mldg(second_order=second_order), network, episode)
    for (name, moved), expected in zip(network.named_buffers(), reference.buffers(), strict=True):
        torch.testing.assert_close(moved, expected, rtol=1e-12, atol=0, msg=name)


@pytest.mark.parametrize("trains", ["encoder", "decoder"])
def test_a_frozen_part_has_no_gradient_and_keeps_its_statistics(
    network: Network, episode: Episode, trains: str
) -> None:
    frozen = network.decoder if trains == "encoder" else network.encoder
    learning = network.encoder if trains == "encoder" else network.decoder
    before = copy.deepcopy(frozen.state_dict())
    for method in (ERM(trains=trains), mldg(trains=trains, second_order=True)):
        gradient_of(method, network, episode)
        assert all(p.grad is None for p in frozen.parameters())
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in learning.parameters())
        assert all(torch.equal(before[name], tensor) for name, tensor in frozen.state_dict().items())


def test_loss_scaling_scales_the_gradient(network: Network, episode: Episode) -> None:
    """What accumulation and DistributedDataParallel rely on."""
    objective = Objective(mldg(), network).train()
    plain = gradient_of(mldg(), network, episode)
    objective.zero_grad()
    (0.25 * objective(episode)["loss"]).backward()
    for p, g in zip(network.parameters(), plain, strict=True):
        torch.testing.assert_close(p.grad, 0.25 * g, rtol=1e-9, atol=1e-12)


def test_per_domain_batchnorm_equals_forwards_of_each_domain(network: Network, episode: Episode) -> None:
    separate = copy.deepcopy(network)
    batch = episode.batch
    logits = torch.cat([separate(batch.images[batch.domains == d]) for d in (0, 1, 2)])
    expected = torch.autograd.grad(cross_entropy(logits, batch.labels), list(separate.parameters()))
    per_domain = gradient_of(ERM(batchnorm="per-domain"), network, episode)
    pooled = gradient_of(ERM(), network, episode)
    assert all(torch.allclose(g, e, rtol=1e-9, atol=1e-12) for g, e in zip(per_domain, expected, strict=True))
    assert not all(torch.allclose(g, e) for g, e in zip(pooled, expected, strict=True))


def test_splits() -> None:
    """Drawn once per step, from 1 to D-1 domains, every domain in both roles; n:m keeps its n."""
    drawn = [MLDG().roles(4, 0, step, episode) for step in range(300) for episode in (0, 1)]
    assert drawn[0::2] == drawn[1::2]
    counts = [roles.count("meta-train") for roles in drawn[0::2]]
    assert {counts.count(n) > 60 for n in (1, 2, 3)} == {True}
    assert set(counts) == {1, 2, 3}
    assert all(60 < sum(roles[d] == "meta-test" for roles in drawn[0::2]) < 240 for d in range(4))
    assert {MLDG(num_meta_train=3).roles(4, 0, step, 0).count("meta-train") for step in range(50)} == {3}
    per_episode = [MLDG(split_per="episode").roles(4, 0, step, e) for step in range(50) for e in (0, 1)]
    assert per_episode[0::2] != per_episode[1::2]


def test_one_source_is_refused_with_the_way_out() -> None:
    with pytest.raises(ValueError, match=r"at least 2 source domains, it has 1.*list it twice.*meta_test"):
        MLDG().check_sources(1)
    with pytest.raises(ValueError, match=r"num_meta_train is 2.*1 to 1"):
        MLDG(num_meta_train=2).check_sources(2)
    with pytest.raises(ValueError, match=r"inner_lr is -1\.0"):
        MLDG(inner_lr=-1)


def test_a_batch_without_labels_costs_nothing(network: Network, episode: Episode) -> None:
    unlabelled = torch.full_like(episode.batch.labels, IGNORE)
    assert cross_entropy(network(episode.batch.images), unlabelled).item() == 0.0
