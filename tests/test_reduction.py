"""One worker, two and three take the same step: the promise that sets raydg apart, over gloo and without Ray."""

import itertools
import multiprocessing
import os
import socket
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from raydg.methods import DMG, ERM, MLDG, DeFT, Method, Objective, PinTheMemory
from raydg.models import Network
from raydg.models.dense import DenseHead
from raydg.models.network import Encoder, Features, Site, bilinear_aligned
from raydg.reduction import DDPReduction, ExactReduction, Reduction, all_reduce, episodes_of_rank
from raydg.types import Batch, Episode

METHODS: dict[str, Method] = {
    "ERM": ERM(),
    "first-order MLDG": MLDG(inner_lr=0.01),
    "second-order MLDG": MLDG(inner_lr=0.01, second_order=True),
    "DMG": DMG(sparsity_weight=0.1),
    "DeFT": DeFT(ema_rate=0.9),
    "Pin the Memory": PinTheMemory(auxiliary_weight=0.0, inner_lr=0.01, inner_lr_relative=False, second_order=True),
}
REDUCTIONS: dict[tuple[type[Reduction], torch.dtype], str] = {
    (DDPReduction, torch.float64): "ddp float64",
    (ExactReduction, torch.float32): "exact float32",
}
CASES = list(itertools.product(METHODS, REDUCTIONS.values(), (6, 5)))
STEPS = 20

Outcome = dict[str, Tensor | list[float]]


class ConvBN(Encoder):
    """Two convolutions with BatchNorm: all that the test needs, and nothing that takes time."""

    channels = (8,)

    def __init__(self) -> None:
        super().__init__()
        layers = [
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, 1, 1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
        ]
        self.layers, self.middle = nn.Sequential(*layers), Site(8)

    def forward(self, images: Tensor) -> Features:
        return (self.layers[3:](self.middle(self.layers[:3](images))),)


def build_network() -> Network:
    torch.manual_seed(0)
    return Network(ConvBN(), DenseHead(nn.Identity(), 8, nn.Conv2d(8, 3, 1)), upsample=bilinear_aligned)


def run_case(method: Method, reduction: type[Reduction], dtype: torch.dtype, num_episodes: int) -> Outcome:
    """Train for STEPS steps as this process's rank; weights, buffers and losses at the end."""
    torch.set_num_threads(1)
    model = method.wrap(build_network(), 3, 3).to(dtype)
    objective = Objective(method, model).train()
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(learning, lr=0.05, momentum=0.9, weight_decay=5e-4)
    reducer = reduction(objective, num_episodes)
    rank, world_size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    losses = []
    for step in range(STEPS):
        seen: list[Episode] = []

        def episodes(step: int = step, seen: list[Episode] = seen) -> Iterator[Episode]:
            # One by one, since making one seeds torch for its forward, as the loop does.
            for index in episodes_of_rank(num_episodes, rank, world_size):
                seen.append(make_episode(step, index, method.roles(3, 0, step, 0), dtype))
                yield seen[-1]

        means = reducer.step(episodes())
        optimizer.step()
        method.after_step(model, seen, all_reduce)
        losses += means.values()
    return {"losses": losses} | model.state_dict()


def make_episode(step: int, index: int, roles: tuple, dtype: torch.dtype) -> Episode:
    torch.manual_seed(1000 * step + index)  # as the loop does before it hands an episode out: DMG samples masks
    draw = torch.Generator().manual_seed(1000 * step + index)
    images = torch.rand(6, 3, 16, 16, generator=draw, dtype=torch.float64).to(dtype)
    labels = torch.randint(0, 3, (6, 16, 16), generator=draw)
    labels[0, : index + 1] = 255
    return Episode(step, index, Batch(images, labels, torch.tensor([0, 0, 1, 1, 2, 2])), roles)


def run_all() -> dict[tuple[str, str, int], Outcome]:
    named = {name: key for key, name in REDUCTIONS.items()}
    return {(m, r, e): run_case(METHODS[m], *named[r], e) for m, r, e in CASES}


def rank_main(rank: int, world_size: int, port: int, output: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    dist.init_process_group("gloo", rank=rank, world_size=world_size)
    torch.save(run_all(), Path(output) / f"rank{rank}.pt")
    dist.destroy_process_group()


@cache
def outcomes(world_size: int, folder: Path) -> list[dict[tuple[str, str, int], Outcome]]:
    """What every rank of a group ends with; a single worker needs no group."""
    if world_size == 1:
        return [run_all()]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    output = folder / f"world{world_size}"
    output.mkdir()
    multiprocessing.set_forkserver_preload(["pytest", "raydg.methods"])  # imported once, not by every rank
    mp.start_processes(rank_main, args=(world_size, port, str(output)), nprocs=world_size, start_method="forkserver")
    return [torch.load(output / f"rank{rank}.pt", weights_only=True) for rank in range(world_size)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranks")


@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join(map(str, case)))
@pytest.mark.parametrize("world_size", [2, 3])
def test_any_number_of_workers_takes_the_same_steps(case: tuple[str, str, int], world_size: int, folder: Path) -> None:
    expected = outcomes(1, folder)[0][case]
    for rank in outcomes(world_size, folder):
        for name, value in expected.items():
            got, wanted = torch.as_tensor(rank[case][name]), torch.as_tensor(value)
            if case[1] == "exact float32":
                assert torch.equal(got, wanted), f"{name} differs by {(got - wanted).abs().max()}"
            else:
                torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-12, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("reduction", [DDPReduction, ExactReduction])
def test_the_reduced_gradient_is_the_mean_over_episodes(method: Method, reduction: type[Reduction]) -> None:
    network = method.wrap(build_network(), 3, 3).double()
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    objective = Objective(method, network).train()
    learning = [p for p in network.parameters() if p.requires_grad]
    roles = ("meta-train", "meta-test", "meta-train")
    gradients, buffers, losses = [], [], []
    for index in range(4):
        network.load_state_dict(start)
        objective.zero_grad()
        loss = objective(make_episode(0, index, roles, torch.float64))["loss"]
        loss.backward()
        losses.append(loss.item())
        gradients.append([p.grad.clone() for p in learning])
        buffers.append([b.clone() for b in network.buffers()])

    network.load_state_dict(start)
    means = reduction(objective, 4).step(make_episode(0, i, roles, torch.float64) for i in range(4))
    assert means["loss"] == pytest.approx(sum(losses) / 4, rel=1e-12)
    for p, *each in zip(learning, *gradients, strict=True):
        torch.testing.assert_close(p.grad, torch.stack(each).mean(0), rtol=1e-10, atol=1e-14)
    for buffer, *each in zip(network.buffers(), *buffers, strict=True):
        torch.testing.assert_close(buffer.double(), torch.stack(each).double().mean(0), rtol=1e-12, atol=0)


def test_buffers_are_not_sent_before_a_forward(tmp_path: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1)
    try:
        parallel = DDPReduction(Objective(ERM(), build_network()).train(), 1).parallel
        assert parallel and parallel.modules_buffers and not parallel.will_sync_module_buffers()
    finally:
        dist.destroy_process_group()


def test_slices_cover_every_episode_once_and_none_is_empty() -> None:
    for num_episodes in range(1, 9):
        for world_size in range(1, num_episodes + 1):
            slices = [episodes_of_rank(num_episodes, rank, world_size) for rank in range(world_size)]
            assert [e for own in slices for e in own] == list(range(num_episodes))
            assert max(map(len, slices)) - min(map(len, slices)) <= 1 and min(map(len, slices)) >= 1
    with pytest.raises(ValueError, match=r"3 workers for 2 episodes a step.*at most 2 workers"):
        episodes_of_rank(2, 0, 3)
