"""How fast `raydg prepare` is, and what it holds in memory, beside bare decoding of the same files on the same cores.

    python tests/benchmarks/preparing.py [--frames 48] [--cores 2]

Writes GTAV-sized frames (1914 x 1052 PNG, label maps with a palette) in GTAV's layout into a temporary folder, then, in
turn, three rounds each:

- decode: every image and label map opened by Pillow and turned into an array, in as many processes as cores;
- prepare: the same files through `prepare_domains` with as many processes (checks, label table, hashes, Parquet);
- prepare on Ray: the same through a Ray Data job on that many CPUs, without the cluster's start.

Prints frames per second, the ratio to decoding, and the peak memory of a process.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from raydg.domains.catalogue import dataset
from raydg.domains.labels import CITYSCAPES_19
from raydg.shards import draft, prepare_domains

WIDTH, HEIGHT = 1914, 1052
ROUNDS = 3
WHY = "drawn for a benchmark"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--cores", type=int, default=2)
    given = parser.parse_args()
    # Several shards even of few frames, so that every process has work.
    draft.SHARD_BYTES = 8 * 1024**2
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw"
        size = write(raw, given.frames)
        print(f"{given.frames} frames of {WIDTH} x {HEIGHT}, {size / given.frames / 1e6:.1f} MB each with label map")
        spawn = get_context("spawn")
        with ProcessPoolExecutor(given.cores, spawn) as pool:
            list(pool.map(warm, range(given.cores)))
            ways: dict[str, Callable[[Path], None]] = {
                "decode": lambda _: decode_all(pool, raw),
                "prepare": lambda out: prepare(raw, out, lambda function, tasks: pool.map(function, tasks)),
            }
            best = rounds(ways, Path(folder))
            for name, seconds in best.items():
                report(name, given.frames, seconds, best["decode"])
            worker = max(pool.map(peak, range(4 * given.cores)))
        print(f"peak memory: {worker / 1e6:.0f} MB of a process at work, {peak() / 1e6:.0f} MB of the one that plans")
        seconds = on_ray(raw, Path(folder), given.cores)
        report("prepare on Ray", given.frames, seconds, best["decode"])


def write(raw: Path, frames: int) -> int:
    """GTAV's folders with street-like frames; returns the bytes written."""
    generator = np.random.default_rng(0)
    colours = generator.integers(0, 256, 768, dtype=np.uint8).tolist()
    for number in range(frames):
        coarse = Image.fromarray(generator.integers(0, 256, (30, 54, 3), dtype=np.uint8)).resize((WIDTH, HEIGHT))
        grain = generator.normal(0, 2, (HEIGHT, WIDTH, 1)).round()
        image = Image.fromarray((np.asarray(coarse) + grain).clip(0, 255).astype(np.uint8))
        areas = Image.fromarray(generator.integers(0, 34, (30, 54), dtype=np.uint8))
        label = areas.resize((WIDTH, HEIGHT), Image.Resampling.NEAREST)
        label.putpalette(colours)
        for kind, picture in (("images", image), ("labels", label)):
            path = raw / kind / "train" / f"{number:05}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
    return sum(path.stat().st_size for path in raw.rglob("*.png"))


def decode(path: Path) -> int:
    return np.asarray(Image.open(path)).size


def decode_all(pool: ProcessPoolExecutor, raw: Path) -> None:
    list(pool.map(decode, sorted(raw.rglob("*.png")), chunksize=4))


def prepare(raw: Path, out: Path, run_tasks: Callable[[Callable, Sequence], Iterable]) -> None:
    entry = dataset("gtav")
    prepare_domains(entry, ("gtav",), raw, out, CITYSCAPES_19, ("train",), accept_difference=WHY, run_tasks=run_tasks)


def rounds(ways: dict[str, Callable[[Path], None]], folder: Path) -> dict[str, float]:
    """Shortest time of each way, in seconds; a round runs them all in turn."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS):
        for name, way in ways.items():
            start = time.perf_counter()
            way(folder / f"{name}-{number}")
            times[name].append(time.perf_counter() - start)
    return {name: min(each) for name, each in times.items()}


def report(name: str, frames: int, seconds: float, decoding: float) -> None:
    print(f"{name:>16}: {frames / seconds:6.1f} frames/s, {decoding / seconds:.2f} of decoding")


def on_ray(raw: Path, folder: Path, cores: int) -> float:
    """Seconds of a preparation on a cluster that is up."""
    import ray

    from raydg.cluster.prepare import run_on_ray

    ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    prepare(raw, folder / "first", run_on_ray)  # Ray's workers start and import
    start = time.perf_counter()
    prepare(raw, folder / "second", run_on_ray)
    seconds = time.perf_counter() - start
    ray.shutdown()
    return seconds


def warm(_: int) -> None:
    time.sleep(0.5)  # so that every process of the pool takes one


def peak(_: int = 0) -> float:
    """Largest memory that this process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
