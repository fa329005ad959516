"""Instance whitening and instance-selective whitening against their definitions, pair by pair."""

from itertools import combinations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from raydg.domains.labels import PACS_7
from raydg.methods import ISW, IW, Method, Objective
from raydg.methods.isw import Selective, evaluating, lowest_of_three, recoloured
from raydg.models import Classifier, Network, ResNet, SmallNet
from raydg.types import Batch, Episode

SITES = ("standardised_stem", "standardised_block1", "standardised_block2")
SHORT = ISW(penalty_weight=2.0, warmup_steps=6, trials=2, trial_steps=2, clustered="pairs")


@pytest.fixture
def network() -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Classifier(SmallNet(3, norm="robustnet")).build(PACS_7).double()


def episode(seed: int = 1) -> Episode:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(4, 3, 32, 32, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 7, (4,), generator=generator)
    return Episode(0, 0, Batch(images, labels, torch.tensor([0, 0, 1, 1])), ("meta-train",) * 2)


def correlations(network: Network, images: Tensor) -> list[Tensor]:
    """Of every site, (b, c, c), from the maps before the standardisation, by the textbook."""
    before: dict[str, Tensor] = {}
    handles = [
        network.sites[name].register_forward_pre_hook(lambda _, args, name=name: before.__setitem__(name, args[0]))
        for name in SITES
    ]
    network(images)
    for handle in handles:
        handle.remove()
    found = []
    for name in SITES:
        maps = before[name].flatten(2)
        n = maps.shape[2]
        z = (maps - maps.mean(2, keepdim=True)) / (maps.var(2, correction=0, keepdim=True) + 1e-5) ** 0.5
        found.append(torch.stack([each @ each.T / (n - 1) for each in z]))
    return found


def mean_of_pairs(matrix: Tensor) -> Tensor:
    pairs = list(combinations(range(len(matrix)), 2))
    return sum(matrix[i, j].abs() for i, j in pairs) / len(pairs)


@pytest.mark.parametrize("tolerance", [0.0, 0.3])
def test_iw_is_the_mean_size_of_the_correlations_between_channels(network: Network, tolerance: float) -> None:
    batch = episode().batch
    per_site = []
    for matrices in correlations(network.eval(), batch.images):
        per_site.append(sum(max(mean_of_pairs(m) - tolerance, torch.tensor(0.0).double()) for m in matrices) / 4)
    expected = sum(per_site) / 3
    losses = IW(penalty_weight=2.0, tolerance=tolerance).losses(network, episode())
    torch.testing.assert_close(losses["penalty"], expected.detach())
    torch.testing.assert_close(losses["loss"], F.cross_entropy(network(batch.images), batch.labels) + 2 * expected)


@pytest.mark.parametrize("method", [IW(penalty_weight=2.0), SHORT], ids=lambda method: type(method).__name__)
def test_gradients_are_those_of_finite_differences(network: Network, method: Method) -> None:
    model = method.wrap(network, 2, 3).double().eval()
    if isinstance(model, Selective):
        model.steps.fill_(6)
        model.mask("standardised_block1")[3:] = False
    weight = network.encoder.get_submodule("block1.residual.0.0").weight
    objective = Objective(method, model)
    objective(episode())["loss"].backward()
    for i in ((0, 0, 0, 0), (2, 1, 1, 2)):
        values = []
        for shift in (1e-5, -1e-5):
            with torch.no_grad():
                weight[i] += shift
                values.append(objective(episode())["loss"].item())
                weight[i] -= shift
        assert weight.grad[i].item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-4, abs=1e-8)


def test_three_clusters_are_the_best_of_all_by_brute_force() -> None:
    generator = torch.Generator().manual_seed(0)
    for n in (*range(3, 20), 33):
        values = torch.rand(n, generator=generator) ** 3
        if n % 4 == 0:
            values = (values * 3).round()  # with ties
        for zeros in (0, 2):
            ordered = sorted([0.0] * zeros + values.tolist())

            def spread(part: list[float]) -> float:
                return sum((x - sum(part) / len(part)) ** 2 for x in part)

            def cost(i: int, j: int, ordered: list[float] = ordered) -> float:
                return spread(ordered[:i]) + spread(ordered[i:j]) + spread(ordered[j:])

            splits = list(combinations(range(1, len(ordered)), 2))
            least = min(cost(i, j) for i, j in splits)
            best = [ordered[i - 1] for i, j in splits if cost(i, j) <= least + 1e-9]
            assert any(lowest_of_three(values, zeros) == pytest.approx(b, abs=1e-9) for b in best)


def test_clusters_of_many_numbers_are_found() -> None:
    generator = torch.Generator().manual_seed(0)
    low, middle, high = (torch.rand(30_000, generator=generator) * 0.1 + at for at in (0, 1, 5))
    values = torch.cat([high, low, middle])[torch.randperm(90_000, generator=generator)]
    assert lowest_of_three(values) == pytest.approx(low.max().item())


def run(network: Network, method: ISW, steps: int, model: Selective | None = None, start: int = 0) -> Selective:
    model = model or method.wrap(network, 2, 3).double()
    objective = Objective(method, model)
    for step in range(start, steps):
        objective.train()
        torch.manual_seed(step)
        objective(episode(step))["loss"].backward()
        method.after_step(model, (), lambda tensor: tensor)
    return model


def test_isw_measures_then_clusters_then_whitens_what_it_selected(network: Network) -> None:
    """The weights stand still, so V can be written out from the twins that the same seeds give."""
    network.eval()
    images = [episode(step).batch.images for step in range(6)]
    variances: list[list[Tensor]] = []
    state = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    for trial in ((2, 3), (4, 5)):
        sums = [torch.zeros(1)] * 3
        for step in trial:
            # What BatchNorm had tracked by then: the step's own forward comes before its measurement.
            network.load_state_dict(state)
            network.train()
            with torch.no_grad():
                for earlier in range(step + 1):
                    network(images[earlier])
            network.eval()
            torch.manual_seed(step)
            twins = recoloured(images[step])
            pairs = zip(correlations(network, images[step]), correlations(network, twins), strict=True)
            # torch's variance of the two, over n - 1, is a definition written by others
            sums = [s + torch.stack(p).var(dim=0).mean(0).detach() / 2 for s, p in zip(sums, pairs, strict=True)]
        variances.append(sums)
    network.load_state_dict(state)

    model = run(network, SHORT, 6)
    for s, site in enumerate(SITES):
        channels = network.sites[site].channels
        for k, (i, j) in enumerate(combinations(range(channels), 2)):
            upper = [v[s][torch.triu_indices(channels, channels, 1).unbind()] for v in variances]
            selected = all(v[s][i, j] > lowest_of_three(u) for v, u in zip(variances, upper, strict=True))
            assert model.mask(site)[k].item() == selected
        assert model.variance(site).eq(0).all()
    assert any(0 < model.mask(site).sum() < len(model.mask(site)) for site in SITES)

    losses = SHORT.losses(model.eval(), episode())
    penalties = []
    for site, matrices in zip(SITES, correlations(network, episode().batch.images), strict=True):
        channels = network.sites[site].channels
        chosen = [p for k, p in enumerate(combinations(range(channels), 2)) if model.mask(site)[k]]
        penalties.append(sum(m[i, j].abs() for m in matrices for i, j in chosen) / max(1, len(chosen)) / 4)
    torch.testing.assert_close(losses["penalty"], (sum(penalties) / 3).detach())
    torch.testing.assert_close(losses["loss"], losses["cross_entropy"] + 2 * losses["penalty"], check_stride=False)


def test_the_penalty_waits_for_the_mask(network: Network) -> None:
    model = SHORT.wrap(network, 2, 3).double()
    for steps, waits in ((0, True), (5, True), (6, False)):
        model.steps.fill_(steps)
        assert (SHORT.losses(model, episode())["penalty"] == 0) == waits


def test_zeros_of_the_matrix_lengthen_the_mask() -> None:
    values = torch.tensor([0.9, 1.0, 2.0, 2.1, 3.0, 3.1])
    assert lowest_of_three(values) == pytest.approx(1.0)
    assert lowest_of_three(values, zeros=21) == 0


def test_it_goes_on_bit_for_bit_from_its_state(network: Network) -> None:
    whole = run(network, SHORT, 6)
    state = {key: tensor.clone() for key, tensor in whole.state_dict().items()}
    torch.manual_seed(0)
    fresh = Classifier(SmallNet(3, norm="robustnet")).build(PACS_7).double()
    half = run(fresh, SHORT, 3)
    saved = {key: tensor.clone() for key, tensor in half.state_dict().items()}
    torch.manual_seed(5)
    other = SHORT.wrap(Classifier(SmallNet(3, norm="robustnet")).build(PACS_7), 2, 3).double()
    other.load_state_dict(saved)
    rest = run(fresh, SHORT, 6, other, start=3)
    assert all(torch.equal(tensor, state[key]) for key, tensor in rest.state_dict().items())


def test_measuring_leaves_mode_and_statistics_alone(network: Network) -> None:
    network.train().encoder.eval()
    modes = [module.training for module in network.modules()]
    with evaluating(network):
        assert not any(module.training for module in network.modules())
    assert [module.training for module in network.modules()] == modes
    model = SHORT.wrap(network, 2, 3).double()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    SHORT.measure(model.train(), episode().batch.images)
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())
    assert model.variance(SITES[0]).any()


def test_a_resnet_learns_by_it() -> None:
    torch.manual_seed(0)
    model = SHORT.wrap(Classifier(ResNet(18, norm="robustnet")).build(PACS_7), 2, 3)
    model.steps.fill_(6)
    batch = episode().batch
    small = Episode(0, 0, Batch(batch.images.float(), batch.labels, batch.domains), ("meta-train",) * 2)
    losses = Objective(SHORT, model).train()(small)
    assert set(losses) == set(SHORT.loss_names)
    losses["loss"].backward()
    assert all(p.grad is not None and p.grad.any() for p in model.network.parameters())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: IW(penalty_weight=-1.0), r"IW\.penalty_weight"),
        (lambda: IW(tolerance=-1.0), r"IW\.tolerance"),
        (lambda: IW(batchnorm="per-domain"), r"IW\.batchnorm"),
        (lambda: IW(trains="decoder"), r"IW\.trains is 'decoder'"),
        (lambda: IW().check_model(Classifier(ResNet(18))), "IW whitens .*ResNet has none: take .*norm='robustnet'"),
        (lambda: ISW().check_model(Classifier(ResNet(18, norm="ibn-b"))), "ISW whitens"),
        (lambda: ISW(penalty_weight=-1.0), r"ISW\.penalty_weight"),
        (lambda: ISW(trials=0), r"ISW\.trials"),
        (lambda: ISW(trial_steps=0), r"ISW\.trial_steps"),
        (lambda: ISW(warmup_steps=319), r"ISW\.warmup_steps is 319: it must be at least trials x trial_steps = 320"),
        (lambda: ISW(batchnorm="per-domain"), r"ISW\.batchnorm"),
        (lambda: ISW(trains="decoder"), r"ISW\.trains"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
