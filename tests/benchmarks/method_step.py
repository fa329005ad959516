"""Time and peak memory of a training step of each method beside an ERM step on the same images; the published routines
of MLDG and of Pin the Memory beside ours; and what their inference costs.

    python tests/benchmarks/method_step.py
    python tests/benchmarks/method_step.py --device cuda --precision bf16 --crop 768 --images 4 --repeats 9

A step is `objective(episode)["loss"].backward()` and `after_step`, without optimiser and data. In every round each
variant takes one step; what counts is the median over rounds of its time divided by that of its base in the same round.
On the CPU time is what this process's only thread used, so that neighbours only disturb caches and clock.

**Memory** is the peak during a step above what the built model holds, gradients included. On CUDA it is the
allocator's. On the CPU it is that of the resident set of a forked child, one for each variant: there malloc maps every
tensor by itself and unmaps it when it is freed (M_MMAP_THRESHOLD), for glibc's heap would keep freed tensors and the
peak would then depend on their order; it has taken a step on small images before (kernels, imports), and the kernel's
high-water mark was then reset. In the process that is timed malloc does the opposite: it never gives memory back, as
CUDA's allocator does, since page faults of freed and mapped again tensors would cost up to a tenth of a step, and not
the same for all.

**Published routines.** MLDG: TSMLDG's code accumulates the meta-train gradient with `retain_graph=True`, builds the
fast weights from it and adds the meta-test gradient. Pin the Memory (train.py:493-632): four whole forwards, of which
two are only there to write the memory, and two backwards; without its anomaly mode, and with its loop over classes
written as one matrix product. "Naive" second order: one graph through the look-ahead, differentiated at once.

**Measured** with `--crop 128` on one thread of an AVX2 EPYC, torch 2.15, in float32, medians, on two cores that many
others shared: single ratios are 5 to 15 % off. MLDG took 1.22 ERM steps in first order, 0.96 to 1.03 of the published
routine, and 2.62 in second, 0.90 of the naive one. Pin the Memory's reference took 0.97 (0.86 to 1.02 over 3 rounds) of
the published passes. What differs in first order is passes over the 40 million parameters: 95 ms of a step of 3 s, of
the published routine's 119. Memory with `--crop 256`, 4 images: first order 0.98 of ERM's and 0.65 of the published
routine's, second 1.88 of ERM's and 0.94 of the naive one's.

Classifiers (`--task classification --crop 224`, 6 images) were measured earlier, on a Xeon, when the second order still
used torch's second derivative of BatchNorm: MLDG 1.11 ERM steps at 0.76 of the memory, second order 5.55 at 1.94, DMG
1.10, Multi-Headed 1.06; Pred-Ens of 3 masks 2.09 predictions, its FLOPs being 2.11.
"""

import argparse
import ctypes
import multiprocessing
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from raydg.domains.labels import CITYSCAPES_19, PACS_7
from raydg.methods import (
    CORAL,
    DMG,
    ERM,
    IRM,
    ISW,
    IW,
    MLDG,
    Averaged,
    DeFT,
    FourierMix,
    GroupDRO,
    Method,
    MixStyle,
    MultiHeaded,
    Objective,
    PinTheMemory,
    PredEns,
    VREx,
)
from raydg.methods.isw import Selective
from raydg.methods.memory import SITE, Remembering
from raydg.methods.method import cross_entropy, precise
from raydg.methods.mldg import look_ahead
from raydg.models import Architecture, Classifier, DeepLabV3Plus, Network, ResNet
from raydg.models.network import bilinear_aligned
from raydg.types import Batch, Episode, Role

INNER_LR, LR = 1e-3, 1e-2
Step = Callable[[Episode], None]
Precision = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True)
class Variant:
    """What is measured beside the variants named in `beside`; `build` makes the model, and what takes a step of it."""

    name: str
    beside: tuple[str, ...]
    build: Callable[[], tuple[nn.Module, Step]]
    predicts: bool = False
    """Whether its step is a prediction, whose FLOPs are counted too."""


@cache
def network(architecture: Architecture, device: torch.device) -> Network:
    """Built once, laid out as training does: what a method puts around a network leaves it as it is."""
    torch.manual_seed(0)
    labels = CITYSCAPES_19 if architecture.task == "segmentation" else PACS_7
    built = architecture.build(labels, pretrained=False).to(device)
    return built.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


@dataclass(frozen=True)
class Bench:
    """The flags, and what the variants are built from."""

    device: torch.device
    precision: Precision
    depth: int
    crop: int
    images: int
    sources: int

    def network(self, architecture: Architecture) -> Network:
        return network(architecture, self.device)

    def episode(self, architecture: Architecture, crop: int) -> Episode:
        """Random images and labels; the first half of the sources, or one more, is meta-train."""
        drawn = torch.Generator().manual_seed(0)
        dense = architecture.task == "segmentation"
        domains = torch.arange(self.sources).repeat_interleave(self.images)
        images = torch.randint(0, 256, (len(domains), 3, crop, crop), dtype=torch.uint8, generator=drawn)
        shape = (len(domains), crop, crop) if dense else (len(domains),)
        labels = torch.randint(0, 19 if dense else 7, shape, generator=drawn)
        num_train = (self.sources + 1) // 2
        roles: tuple[Role, ...] = ("meta-train",) * num_train + ("meta-test",) * (self.sources - num_train)
        return Episode(0, 0, Batch(images, labels, domains), roles, lr=LR).to(self.device)

    def wrapped(self, architecture: Architecture, method: Method) -> nn.Module:
        """What the method trains, begun as a stage begins."""
        method.check_model(architecture)
        method.check_sources(self.sources)
        torch.manual_seed(0)
        network = self.network(architecture)
        model = method.wrap(network, self.sources, 19 if network.task == "segmentation" else 7).to(self.device)
        if method.initial_steps(1):
            method.start(model, [self.episode(architecture, 64)], lambda total: total)
        return model

    def of_method(self, name: str, architecture: Architecture, method: Method, base: str, steps: int = 0) -> Variant:
        """`steps` of the method have been taken, where it counts them."""

        def build() -> tuple[nn.Module, Step]:
            model = self.wrapped(architecture, method)
            objective = Objective(method, model)  # pyright: ignore[reportArgumentType]

            def step(episode: Episode) -> None:
                if isinstance(model, Selective):
                    model.steps.fill_(steps)
                objective.train()
                with self.precision():
                    loss = objective(episode)["loss"]
                loss.backward()
                with self.precision():
                    seen = [episode] if method.revisits_episodes else []
                    method.after_step(model, seen, lambda total: total)  # pyright: ignore[reportArgumentType]

            return model, step

        return Variant(name, (base,) if base != name else (), build)

    def of_routine(
        self,
        name: str,
        architecture: Architecture,
        method: Method,
        routine: Callable[[nn.Module, Episode], None],
        beside: str,
    ) -> Variant:
        """`routine` steps on what the method trains."""

        def build() -> tuple[nn.Module, Step]:
            model = self.wrapped(architecture, method)

            def step(episode: Episode) -> None:
                with self.precision():
                    routine(model.train(), episode)

            return model, step

        return Variant(name, (beside,), build)


def segmentation(bench: Bench) -> dict[Architecture, list[Variant]]:
    """The variants of each network; the first of each is ERM's."""
    with_head = DeepLabV3Plus.pin_the_memory(ResNet(bench.depth))  # pyright: ignore[reportArgumentType]
    plain = replace(with_head, auxiliary=False)
    whitened = replace(plain, backbone=replace(plain.backbone, norm="robustnet"))  # pyright: ignore[reportCallIssue]
    mldg = MLDG(inner_lr=INNER_LR)
    isw = ISW()
    erm_measuring = isw.warmup_steps - isw.trials * isw.trial_steps

    def of(name: str, method: Method, architecture: Architecture = plain, base: str = "ERM", steps: int = 0) -> Variant:
        return bench.of_method(name, architecture, method, base, steps)

    published_mldg_ = bench.of_routine("MLDG first order, published routine", plain, mldg, published_mldg, "ERM")
    naive = bench.of_routine("MLDG second order, naive", plain, mldg, naive_second_order, "ERM")
    erm_with = "ERM, auxiliary head"
    published_pin_ = bench.of_routine(
        "Pin the Memory, published passes", with_head, PinTheMemory.reference(), published_pin, erm_with
    )
    erm_whitened = "ERM, norm robustnet"
    return {
        plain: [
            of("ERM", ERM()),
            published_mldg_,
            also(of("MLDG first order", mldg), published_mldg_.name),
            naive,
            also(of("MLDG second order", replace(mldg, second_order=True)), naive.name),
            of("DeFT", DeFT()),
            of("CORAL", CORAL(site="context")),
            of("VREx", VREx()),
            of("GroupDRO", GroupDRO()),
            of("IRM", IRM()),
            of("MixStyle, at one site", MixStyle(sites=("before_layer3",), probability=1.0)),
            of("FourierMix, all images", FourierMix(probability=1.0)),
            of("Averaged ERM", Averaged(method=ERM())),
            of("Averaged ERM, own statistics", Averaged(method=ERM(), statistics="own")),
        ],
        with_head: [
            of(erm_with, ERM(auxiliary_weight=0.4), with_head, erm_with),
            published_pin_,
            also(of("Pin the Memory, reference", PinTheMemory.reference(), with_head, erm_with), published_pin_.name),
            also(of("Pin the Memory, paper, first order", PinTheMemory(), with_head, erm_with), published_pin_.name),
            of("Pin the Memory, paper, second order", PinTheMemory(second_order=True), with_head, erm_with),
        ],
        whitened: [
            of(erm_whitened, ERM(), whitened, erm_whitened),
            of("IW", IW(), whitened, erm_whitened),
            of("ISW", isw, whitened, erm_whitened, steps=isw.warmup_steps),
            of("ISW, while it measures", isw, whitened, erm_whitened, steps=erm_measuring),
        ],
    }


def classification(bench: Bench) -> dict[Architecture, list[Variant]]:
    architecture = Classifier(ResNet(bench.depth))  # pyright: ignore[reportArgumentType]
    methods = {
        "ERM": ERM(),
        "MLDG first order": MLDG(inner_lr=INNER_LR),
        "MLDG second order": MLDG(inner_lr=INNER_LR, second_order=True),
        "DMG": DMG(),
        "MultiHeaded": MultiHeaded(),
    }
    return {architecture: [bench.of_method(name, architecture, method, "ERM") for name, method in methods.items()]}


def also(variant: Variant, other: str) -> Variant:
    return replace(variant, beside=(*variant.beside, other))


def published_mldg(network: nn.Module, episode: Episode) -> None:
    train, test = episode.of_role("meta-train"), episode.of_role("meta-test")
    meta_train_loss = cross_entropy(network(train.images), train.labels)
    meta_train_loss.backward(retain_graph=True)
    fast = {name: p - INNER_LR * p.grad for name, p in network.named_parameters() if p.grad is not None}
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


def published_pin(model: nn.Module, episode: Episode) -> None:
    assert isinstance(model, Remembering)
    train, test = episode.of_role("meta-train"), episode.of_role("meta-test")
    memory = model.memory.clone()
    inner_loss, _ = published_pass(model, train, memory, writes=True)
    inner_loss.backward(retain_graph=True)
    fast = {n: p - LR / 4 * p.grad for n, p in model.named_parameters() if p.grad is not None}
    # Everything that is not the memory's module is detached; the losses of this pass are thrown away.
    fixed = {n: p.detach() if n.startswith("network.") else p for n, p in fast.items()}
    state = fixed | copied_buffers(model)
    unused, written = look_ahead(model, state, lambda m: published_pass(m, train, memory, writes=True))  # pyright: ignore
    state = fast | copied_buffers(model)
    outer_loss, _ = look_ahead(model, state, lambda m: published_pass(m, test, written, writes=False))  # pyright: ignore
    outer_loss.backward()
    model.eval()
    with torch.no_grad():
        _, written = published_pass(model, train, memory, writes=True)
        model.memory.copy_(written)
    del unused


def copied_buffers(model: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


def published_pass(model: Remembering, batch: Batch, memory: Tensor, writes: bool) -> tuple[Tensor, Tensor]:
    """Reads at every pixel, predicts, writes where asked; the loss (zero in evaluation) and the memory after."""
    network, labels = model.network, batch.labels
    size = batch.images.shape[-2:]
    seen: dict[str, Tensor] = {}

    def recall(features: Tensor) -> Tensor:
        unit = F.normalize(features, dim=1)
        scores = torch.einsum("bchw,kc->bkhw", unit, memory.to(unit.dtype))
        attention = F.gumbel_softmax(scores, dim=1)
        seen["features"], seen["scores"] = features, scores
        return model.output(torch.cat([unit, torch.einsum("bkhw,kc->bchw", attention, memory.to(unit.dtype))], dim=1))

    with network.transformed({SITE: recall}):
        maps = network.encoder((batch.images - network.mean) / network.std)
        logits = bilinear_aligned(network.decoder(maps), size)
    loss = logits.new_zeros(())
    if model.training:
        auxiliary = network.decoder.get_submodule("auxiliary")(maps)
        small = F.interpolate(labels[:, None].float(), auxiliary.shape[-2:], mode="nearest")[:, 0].long()
        read = cross_entropy(bilinear_aligned(seen["scores"], size), labels)
        loss = cross_entropy(logits, labels) + 0.4 * cross_entropy(auxiliary, small) + 0.02 * read
    if not writes:
        return loss, memory
    features = precise(seen["features"])
    assert model.writer is not None and model.classifier is not None
    vectors = F.normalize(F.relu(features + model.writer(features)), dim=1)
    one_hot = F.one_hot(torch.where(labels < 19, labels, 19), 20).permute(0, 3, 1, 2).to(vectors.dtype)
    mask = bilinear_aligned(one_hot, features.shape[-2:])[:, :19]
    mass = mask.sum((0, 2, 3))[:, None]
    means = torch.einsum("bkhw,bchw->kc", mask, vectors) / mass.clamp(min=1e-12)
    written = F.normalize(torch.where(mass > 0, 0.8 * memory + 0.2 * means, memory), dim=1)
    if model.training:
        cosines = (written @ written.T).clamp(min=0)
        overlap = (cosines.sum() - cosines.trace()) / (19 * 18)
        classes = torch.arange(19, device=written.device)
        loss = loss + 0.4 * overlap + 0.2 * F.cross_entropy(model.classifier(written), classes)
    return loss, written


def inferences(bench: Bench, task: str) -> list[Variant]:
    """Predictions without a gradient, in evaluation mode."""

    def of(name: str, module: Callable[[], nn.Module], beside: tuple[str, ...]) -> Variant:
        def build() -> tuple[nn.Module, Step]:
            model = module()

            def predict(episode: Episode) -> None:
                model.eval()
                with torch.no_grad(), bench.precision():
                    model(episode.batch.images)

            return model, predict

        return Variant(name, beside, build, predicts=True)

    if task == "segmentation":
        architecture = DeepLabV3Plus.pin_the_memory(ResNet(bench.depth))  # pyright: ignore[reportArgumentType]
        return [
            of("prediction without memory", lambda: bench.network(architecture), ()),
            of(
                "prediction with memory",
                lambda: bench.wrapped(architecture, PinTheMemory()),
                ("prediction without memory",),
            ),
        ]
    classifier = Classifier(ResNet(bench.depth))  # pyright: ignore[reportArgumentType]

    def ensemble() -> nn.Module:
        model = bench.wrapped(classifier, DMG())
        return PredEns().module(model, [str(i) for i in range(bench.sources)], None)  # pyright: ignore

    return [
        of("one prediction", lambda: bench.network(classifier), ()),
        of(f"Pred-Ens of {bench.sources} masks", ensemble, ("one prediction",)),
    ]


@dataclass
class Measured:
    seconds: list[float]
    """Of each round."""
    bytes: float
    flops: float = 0.0


def measure(
    bench: Bench, variants: list[Variant], architecture: Architecture, repeats: int, peaks: dict[str, float]
) -> dict[str, Measured]:
    """Time of every variant, and its peak memory where `peaks` does not have it."""
    episode = bench.episode(architecture, bench.crop)
    built = {variant.name: variant.build() for variant in variants}
    found = {name: Measured([], peaks.get(name, 0.0)) for name in built}
    for repeat in range(repeats + 1 if repeats else 0):  # the first one warms up
        for name, (model, step) in built.items():
            model.zero_grad(set_to_none=True)
            if bench.device.type == "cuda":
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
                before, began = torch.cuda.memory_allocated(), time.perf_counter()
                step(episode)
                torch.cuda.synchronize()
                took = time.perf_counter() - began
                peak = torch.cuda.max_memory_allocated() - before
            else:
                began = time.process_time()
                step(episode)
                took, peak = time.process_time() - began, 0.0
            model.zero_grad(set_to_none=True)
            if repeat:
                found[name].seconds.append(took)
                found[name].bytes = max(found[name].bytes, peak)
    return found


def peak_of_child(bench: Bench, variant: Variant, architecture: Architecture) -> float:
    """Peak resident memory, in bytes, of a step in a process of its own, above what it holds before."""

    def child(answer: Connection) -> None:
        allocator(M_MMAP_THRESHOLD, 1 << 16)
        model, step = variant.build()
        step(bench.episode(architecture, 64))
        model.zero_grad(set_to_none=True)
        episode = bench.episode(architecture, bench.crop)
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again from here
        before = resident("VmRSS")
        step(episode)
        answer.send(resident("VmHWM") - before)

    context = multiprocessing.get_context("fork")  # one import of torch for all
    ours, theirs = context.Pipe()
    process = context.Process(target=child, args=(theirs,))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    finally:
        process.join()


def resident(field: str) -> float:
    """A field of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4


def allocator(option: int, value: int) -> None:
    """Set an option of glibc's malloc."""
    if not ctypes.CDLL(None).mallopt(option, value):
        raise SystemExit(f"glibc's malloc refuses option {option} = {value}: on the CPU this script needs glibc.")


def keep_freed_memory() -> None:
    allocator(M_MMAP_MAX, 0)
    allocator(M_TRIM_THRESHOLD, 2**31 - 1)


def flops_of(bench: Bench, variant: Variant, architecture: Architecture) -> float:
    _, step = variant.build()
    with FlopCounterMode(display=False) as counter:
        step(bench.episode(architecture, bench.crop))
    return float(counter.get_total_flops())


def show(variants: list[Variant], found: dict[str, Measured]) -> None:
    for variant in variants:
        own = found[variant.name]
        time_cell = f"{1e3 * statistics.median(own.seconds):.0f} ms" if own.seconds else "-"
        cells = [time_cell, f"{own.bytes / 2**30:.2f} GiB" if own.bytes else "-"]
        for other in variant.beside:
            ratios = [a / b for a, b in zip(own.seconds, found[other].seconds, strict=True)]
            times = f"x{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})" if ratios else "-"
            memory = f", memory x{own.bytes / found[other].bytes:.2f}" if found[other].bytes else ""
            flops = f", FLOPs x{own.flops / found[other].flops:.2f}" if own.flops and found[other].flops else ""
            cells.append(f"{times} of {other}{memory}{flops}")
        print(f"| {variant.name} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32")
    parser.add_argument("--task", choices=("segmentation", "classification"), nargs="*")
    parser.add_argument("--depth", type=int, default=50, help="of the ResNet")
    parser.add_argument("--crop", type=int, default=192)
    parser.add_argument("--images", type=int, default=2, help="of each source")
    parser.add_argument("--sources", type=int, help="2 for segmentation, 3 for classification")
    parser.add_argument("--repeats", type=int, default=3, help="0: memory on the CPU alone")
    parser.add_argument("--only", nargs="*", default=[""], help="parts of the names of the variants; bases come along")
    parser.add_argument("--memory", action=argparse.BooleanOptionalAction, default=True, help="on the CPU")
    given = parser.parse_args()

    device = torch.device(given.device)
    if device.type == "cpu":
        torch.set_num_threads(1)  # so that a fork is safe and the thread's own time is the step's
    bf16 = given.precision == "bf16"
    precision: Precision = (lambda: torch.autocast(device.type, torch.bfloat16)) if bf16 else nullcontext
    where = torch.cuda.get_device_name() if device.type == "cuda" else "one CPU thread"
    work: list[tuple[Bench, str, Architecture, list[Variant], int]] = []
    for task in given.task or ("segmentation", "classification"):
        sources = given.sources or (2 if task == "segmentation" else 3)
        bench = Bench(device, precision, given.depth, given.crop, given.images, sources)
        groups = segmentation(bench) if task == "segmentation" else classification(bench)
        work += [(bench, task, architecture, variants, given.repeats) for architecture, variants in groups.items()]
        work.append((bench, task, list(groups)[task == "segmentation"], inferences(bench, task), 3 * given.repeats))
    work = [(b, task, a, chosen(variants, given.only), repeats) for b, task, a, variants, repeats in work]
    peaks: dict[tuple[str, str], float] = {}
    if device.type == "cpu" and given.memory:
        for bench, task, architecture, variants, _ in work:  # before this process has a heap that children inherit
            peaks |= {(task, v.name): peak_of_child(bench, v, architecture) for v in variants}
    if device.type == "cpu":
        keep_freed_memory()
    for bench, task, architecture, variants, repeats in work:
        if not variants:
            continue
        print(
            f"\n{task}: {where}, torch {torch.__version__}, {given.precision}, {architecture}, {bench.sources} sources "
            f"of {given.images} images of {given.crop}², {repeats} rounds",
            flush=True,
        )
        own_peaks = {v.name: peaks[task, v.name] for v in variants if (task, v.name) in peaks}
        found = measure(bench, variants, architecture, repeats, own_peaks)
        for variant in variants:
            if variant.predicts:
                found[variant.name].flops = flops_of(bench, variant, architecture)
        show(variants, found)


def chosen(variants: list[Variant], parts: list[str]) -> list[Variant]:
    wanted = {v.name for v in variants if any(part in v.name for part in parts)}
    wanted |= {other for v in variants if v.name in wanted for other in v.beside}
    return [v for v in variants if v.name in wanted]


if __name__ == "__main__":
    main()
