"""Time and peak memory of a step of each method, beside an ERM step on the same images and beside the published MLDG
routine.

    python tests/benchmarks/meta_step.py --device cuda --depth 50 --crop 768 --images 4

Published routine: TSMLDG's code accumulates the meta-train gradient with `retain_graph=True`, builds the fast weights
from it and adds the meta-test gradient. Naive second order: one graph through the look-ahead, differentiated at once.
Each variant runs in the same process, in turn, `--repeats` times; the median counts. Memory is the peak above what
model and images take (CUDA only).
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.func import functional_call

from raydg.domains.labels import CITYSCAPES_19
from raydg.methods import ERM, MLDG, Objective
from raydg.methods.method import cross_entropy
from raydg.models import DeepLabV3Plus, ResNet, SmallNet
from raydg.types import Batch, Episode

INNER_LR = 1e-3


def published_mldg(network: nn.Module, episode: Episode) -> None:
    train, test = episode.of_role("meta-train"), episode.of_role("meta-test")
    cross_entropy(network(train.images), train.labels).backward(retain_graph=True)
    fast = {name: p - INNER_LR * p.grad for name, p in network.named_parameters()}
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    cross_entropy(functional_call(network, fast | buffers, test.images), test.labels).backward()


def naive_second_order(network: nn.Module, episode: Episode) -> None:
    train, test = episode.of_role("meta-train"), episode.of_role("meta-test")
    parameters = dict(network.named_parameters())
    meta_train_loss = cross_entropy(network(train.images), train.labels)
    gradients = torch.autograd.grad(meta_train_loss, list(parameters.values()), create_graph=True)
    fast = {name: p - INNER_LR * g for (name, p), g in zip(parameters.items(), gradients, strict=True)}
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    meta_test_loss = cross_entropy(functional_call(network, fast | buffers, test.images), test.labels)
    (meta_train_loss + meta_test_loss).backward()


def objective_step(objective: Objective, episode: Episode) -> None:
    objective(episode)["loss"].backward()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--depth", type=int, default=0, help="ResNet depth; 0 is SmallNet")
    parser.add_argument("--crop", type=int, default=96)
    parser.add_argument(
        "--images", type=int, default=2, help="per domain; there are two meta-train and two meta-test domains"
    )
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--bf16", action="store_true")
    given = parser.parse_args()

    device = torch.device(given.device)
    torch.manual_seed(0)
    backbone = ResNet(given.depth) if given.depth else SmallNet()
    network = DeepLabV3Plus(backbone).build(CITYSCAPES_19).to(device).train()
    domains = torch.arange(4, device=device).repeat_interleave(given.images)
    images = torch.rand(len(domains), 3, given.crop, given.crop, device=device)
    labels = torch.randint(0, 19, (len(domains), given.crop, given.crop), device=device)
    episode = Episode(0, 0, Batch(images, labels, domains), ("meta-train", "meta-train", "meta-test", "meta-test"))
    variants: dict[str, Callable[[], None]] = {
        "ERM": partial(objective_step, Objective(ERM(), network).train(), episode),
        "MLDG first order, published routine": partial(published_mldg, network, episode),
        "MLDG first order, raydg": partial(
            objective_step, Objective(MLDG(inner_lr=INNER_LR), network).train(), episode
        ),
        "MLDG second order, naive": partial(naive_second_order, network, episode),
        "MLDG second order, raydg": partial(
            objective_step, Objective(MLDG(inner_lr=INNER_LR, second_order=True), network).train(), episode
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    peak = dict.fromkeys(variants, 0.0)
    for repeat in range(given.repeats + 1):  # the first one warms up
        for name, variant in variants.items():
            network.zero_grad(set_to_none=True)
            took, memory = measure(variant, device, given.bf16)
            if repeat:
                seconds[name].append(took)
                peak[name] = max(peak[name], memory)

    precision = "bf16 autocast" if given.bf16 else "float32"
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(
        f"{where}, torch {torch.__version__}, {precision}, {len(domains)} images of {given.crop}², "
        f"{type(backbone).__name__}{given.depth}"
    )
    base = "MLDG first order, published routine"
    print(f"{'':38}{'ms':>9}{'/ ERM':>8}{'/ publ.':>9}{'GiB':>8}{'/ ERM':>8}{'/ publ.':>9}")
    for name in variants:
        times = [statistics.median(seconds[other]) for other in (name, "ERM", base)]
        memory = [peak[other] for other in (name, "ERM", base)]
        line = f"{name:38}{1e3 * times[0]:9.1f}{times[0] / times[1]:8.2f}{times[0] / times[2]:9.2f}"
        if memory[1]:
            line += f"{memory[0] / 2**30:8.2f}{memory[0] / memory[1]:8.2f}{memory[0] / memory[2]:9.2f}"
        print(line)


def measure(variant: Callable[[], None], device: torch.device, bf16: bool) -> tuple[float, float]:
    """Seconds of one call, and bytes of its peak above what is allocated before it."""
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if on_gpu else 0
    began = time.perf_counter()
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        variant()
    if on_gpu:
        torch.cuda.synchronize()
    took = time.perf_counter() - began
    return took, (torch.cuda.max_memory_allocated() - before if on_gpu else 0)


if __name__ == "__main__":
    main()
