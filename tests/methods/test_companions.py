"""The field's small methods against their definitions, written out source by source."""

import pytest
import torch
import torch.nn.functional as F

from raydg.domains.labels import PACS_7
from raydg.methods import CORAL, ERM, IRM, IW, Averaged, FourierMix, GroupDRO, Method, MixStyle, Objective, VREx
from raydg.models import Classifier, Network, SmallNet
from raydg.types import Batch, Episode

METHODS = [
    VREx(),
    IRM(),
    GroupDRO(),
    CORAL(),
    MixStyle(sites=("before_block2",)),
    FourierMix(),
    IW(),
    Averaged(method=ERM()),
]


@pytest.fixture
def network() -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Classifier(SmallNet(4, norm="robustnet")).build(PACS_7).double().eval()


def episode(seed: int = 1) -> Episode:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(6, 3, 32, 32, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 7, (6,), generator=generator)
    return Episode(0, 0, Batch(images, labels, torch.tensor([0, 0, 1, 1, 2, 2])), ("meta-train",) * 3)


def risks(network: Network, scale: float = 1.0) -> torch.Tensor:
    batch = episode().batch
    parts = [batch.domains == d for d in range(3)]
    return torch.stack([F.cross_entropy(scale * network(batch.images[p]), batch.labels[p]) for p in parts])


def test_vrex_adds_the_variance_of_the_risks(network: Network) -> None:
    r = risks(network)
    mean = (r[0] + r[1] + r[2]) / 3
    variance = ((r[0] - mean) ** 2 + (r[1] - mean) ** 2 + (r[2] - mean) ** 2) / 3
    torch.testing.assert_close(VREx(variance_weight=2.0).losses(network, episode())["loss"], mean + 2 * variance)


def test_irm_penalises_the_slope_of_each_risk_in_the_scale_of_the_logits(network: Network) -> None:
    slopes = (risks(network, 1 + 1e-5) - risks(network, 1 - 1e-5)) / 2e-5
    losses = IRM(penalty_weight=3.0).losses(network, episode())
    torch.testing.assert_close(losses["penalty"], slopes.square().mean(), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(losses["loss"], risks(network).mean() + 3 * losses["penalty"])
    weight = network.decoder.last.bias
    (gradient,) = torch.autograd.grad(losses["loss"], weight)
    values = []
    for shift in (1e-5, -1e-5):
        with torch.no_grad():
            weight[2] += shift
        values.append(IRM(penalty_weight=3.0).losses(network, episode())["loss"].item())
        with torch.no_grad():
            weight[2] -= shift
    assert gradient[2].item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-5)


def test_group_dro_follows_algorithm_1(network: Network) -> None:
    method = GroupDRO(step_size=0.5)
    model = method.wrap(network, 3, 3).double().eval()
    q = torch.full((3,), 1 / 3, dtype=torch.float64)
    for _ in range(3):
        r = risks(network).detach()
        q = q * (0.5 * r).exp()
        q = q / q.sum()
        losses = method.losses(model, episode())
        torch.testing.assert_close(losses["loss"].detach(), (q * r).sum())
        torch.testing.assert_close(model.weights, q)
    assert model.state_dict()["weights"].sum() == pytest.approx(1)


def test_coral_compares_means_and_covariances(network: Network) -> None:
    batch = episode().batch
    features = network.decoder.pool(network.encoder((batch.images - network.mean) / network.std)[-1])
    penalties = []
    for a, b in ((0, 1), (0, 2), (1, 2)):
        x, y = features[batch.domains == a], features[batch.domains == b]
        mean_x, mean_y = x.sum(0) / 2, y.sum(0) / 2
        cov_x, cov_y = (x - mean_x).T @ (x - mean_x), (y - mean_y).T @ (y - mean_y)  # two images: n - 1 is 1
        penalties.append(((mean_x - mean_y) ** 2).mean() + ((cov_x - cov_y) ** 2).mean())
    losses = CORAL(penalty_weight=2.0).losses(network, episode())
    torch.testing.assert_close(losses["penalty"], torch.stack(penalties).mean())
    error = F.cross_entropy(network(batch.images), batch.labels)
    torch.testing.assert_close(losses["loss"], error + 2 * losses["penalty"])
    few = Episode(0, 0, Batch(batch.images[:3], batch.labels[:3], torch.tensor([0, 0, 1])), ("meta-train",) * 2)
    with pytest.raises(ValueError, match="CORAL needs 2 images of every source in an episode, one has 1"):
        CORAL().losses(network, few)


def test_mixstyle_gives_maps_the_statistics_in_between() -> None:
    torch.manual_seed(0)
    maps = torch.rand(4, 2, 5, 5, dtype=torch.float64)
    method = MixStyle(sites=("here",), probability=1.0, beta=0.5)
    torch.manual_seed(3)
    mixed = method.mix(maps)
    torch.manual_seed(3)
    torch.rand(())
    m = torch.distributions.Beta(0.5, 0.5).sample((4, 1, 1, 1)).double().view(4, 1)
    other = torch.randperm(4)
    mean, deviation = maps.mean((2, 3)), maps.std((2, 3))
    torch.testing.assert_close(mixed.mean((2, 3)), m * mean + (1 - m) * mean[other])
    torch.testing.assert_close(mixed.std((2, 3)), m * deviation + (1 - m) * deviation[other], rtol=1e-4, atol=1e-6)
    assert torch.equal(MixStyle(sites=("here",), probability=0.0).mix(maps), maps)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_with_nothing_added_it_is_erm_on_the_sources(network: Network, method: Method) -> None:
    plain = {
        VREx: VREx(variance_weight=0.0),
        IRM: IRM(penalty_weight=0.0),
        GroupDRO: GroupDRO(step_size=0.0),
        CORAL: CORAL(penalty_weight=0.0),
        MixStyle: MixStyle(sites=("before_block2",), probability=0.0),
        FourierMix: FourierMix(probability=0.0),
        IW: IW(penalty_weight=0.0),
        Averaged: Averaged(method=ERM()),
    }[type(method)]
    ours = plain.losses(plain.wrap(network, 3, 3).double().eval(), episode())["loss"]
    torch.testing.assert_close(ours, ERM().losses(network, episode())["loss"])


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_everything_that_learns_receives_a_gradient(network: Network, method: Method) -> None:
    objective = Objective(method, method.wrap(network, 3, 3).double()).train()
    losses = objective(episode())
    assert set(losses) == set(method.loss_names)
    losses["loss"].backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VREx(variance_weight=-1.0), "variance_weight"),
        (lambda: IRM(penalty_weight=-1.0), "penalty_weight"),
        (lambda: GroupDRO(step_size=-1.0), "step_size"),
        (lambda: CORAL(penalty_weight=-1.0), "penalty_weight"),
        (lambda: CORAL(batchnorm="per-domain"), "batchnorm"),
        (lambda: CORAL(site="context").check_model(Classifier(SmallNet())), "CORAL.sites names context"),
        (lambda: MixStyle(sites=()), "sites"),
        (lambda: MixStyle(sites=("a",), probability=2.0), "probability"),
        (lambda: MixStyle(sites=("a",), beta=0.0), "beta"),
        (
            lambda: MixStyle(sites=("fc",)).check_model(Classifier(SmallNet())),
            "MixStyle.sites names fc",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make, message) -> None:
    with pytest.raises(ValueError, match=message):
        make()
