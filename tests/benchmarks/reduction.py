"""What `reduction="exact"` costs beside "ddp": a ratio of seconds a step, on one and on two gloo workers of one thread.

    python tests/benchmarks/reduction.py --depth 18 --episodes 4

Both reductions run in turn in the same processes, on the same episodes; the median of `--repeats` steps counts.
"""

import argparse
import os
import socket
import statistics
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from raydg.domains.labels import CITYSCAPES_19
from raydg.methods import ERM, Objective
from raydg.models import DeepLabV3Plus, ResNet, SmallNet
from raydg.reduction import DDPReduction, ExactReduction, episodes_of_rank
from raydg.types import Batch, Episode


def measure(rank: int, world_size: int, port: int, given: argparse.Namespace) -> None:
    if world_size > 1:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
        dist.init_process_group("gloo", rank=rank, world_size=world_size)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = DeepLabV3Plus(ResNet(given.depth) if given.depth else SmallNet()).build(CITYSCAPES_19)
    network.to(memory_format=torch.channels_last)
    images = torch.rand(3, 3, given.crop, given.crop).contiguous(memory_format=torch.channels_last)
    batch = Batch(images, torch.randint(0, 19, (3, given.crop, given.crop)), torch.arange(3))
    own = episodes_of_rank(given.episodes, rank, world_size)
    reductions = {
        "ddp": DDPReduction(Objective(ERM(), network).train(), given.episodes),
        "exact": ExactReduction(Objective(ERM(), network).train(), given.episodes),
    }
    seconds: dict[str, list[float]] = {name: [] for name in reductions}
    for repeat in range(given.repeats + 1):  # the first one warms up
        for name, reduction in reductions.items():
            began = time.perf_counter()
            reduction.step(Episode(0, index, batch, ("meta-train",) * 3) for index in own)
            if repeat:
                seconds[name].append(time.perf_counter() - began)
    if rank == 0:
        ddp, exact = (statistics.median(seconds[name]) for name in ("ddp", "exact"))
        million = sum(p.numel() for p in network.parameters()) / 1e6
        what = f"{million:.1f} M parameters, {given.episodes} episodes of 3 images of {given.crop}²"
        print(
            f"{world_size} workers, {what}: ddp {1e3 * ddp:.0f} ms, "
            f"exact {1e3 * exact:.0f} ms, exact / ddp {exact / ddp:.2f}"
        )
    if world_size > 1:
        dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, default=0, help="ResNet depth; 0 is SmallNet")
    parser.add_argument("--crop", type=int, default=96)
    parser.add_argument("--episodes", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    measure(0, 1, 0, given)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.start_processes(measure, args=(2, port, given), nprocs=2, start_method="spawn")


if __name__ == "__main__":
    main()
