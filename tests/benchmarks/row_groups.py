"""What the size of a row group costs: random rows and streaming from Parquet, against the same images as loose files.

    python tests/benchmarks/row_groups.py

Prints, for street-like PNG images of two sizes, the time of a random row without decoding (fetch), with decoding (row),
and the rate of reading everything in order (stream), the latter two also as ratios to loose files read by Pillow in the
same round. Times are of the processor, the best of several rounds, for files that the operating system has in memory.
"""

import io
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from raydg.domains.decoding import png
from raydg.domains.labels import CITYSCAPES_19
from raydg.shards.reading import open_shard, pixels
from raydg.shards.writing import ShardWriter, shard_schema
from raydg.storage import Place

KIB = 1024
GROUPS = (32 * KIB, 128 * KIB, 256 * KIB, 512 * KIB, 1024 * KIB, 4096 * KIB, 16384 * KIB)
ROUNDS = 5


def main() -> None:
    pa.set_cpu_count(1)
    for name, height, width, count, draws in (("small", 128, 256, 512, 64), ("Cityscapes-sized", 1024, 2048, 16, 4)):
        images, labels = street_like(height, width, count)
        each = np.mean([len(image) + len(label) for image, label in zip(images, labels, strict=True)])
        print(f"\n{name}: {count} images {width} x {height}, {each / KIB:,.0f} KiB with label")
        print("   group KiB  rows  fetch ms   row ms  row / loose   stream MB/s  stream / loose")
        order = np.random.default_rng(0).integers(0, count, draws)
        with tempfile.TemporaryDirectory() as folder:
            for group_bytes in GROUPS:
                compare(Path(folder), images, labels, group_bytes, order)


def street_like(height: int, width: int, count: int) -> tuple[list[bytes], list[bytes]]:
    """PNG images of smooth colours with fine grain, as large as photographs are, and label maps of large areas."""
    generator = np.random.default_rng(0)
    images, labels = [], []
    for _ in range(min(count, 32)):
        coarse = Image.fromarray(generator.integers(0, 256, (9, 17, 3), dtype=np.uint8)).resize((width, height))
        grain = np.round(generator.normal(0, 2, (height, width, 1)))
        buffer = io.BytesIO()
        Image.fromarray((np.asarray(coarse) + grain).clip(0, 255).astype(np.uint8)).save(buffer, format="PNG")
        images.append(buffer.getvalue())
        areas = Image.fromarray(generator.integers(0, 19, (9, 17), dtype=np.uint8))
        labels.append(png(areas.resize((width, height), Image.Resampling.NEAREST)))
    return [images[i % len(images)] for i in range(count)], [labels[i % len(labels)] for i in range(count)]


def compare(folder: Path, images: list[bytes], labels: list[bytes], group_bytes: int, order: Sequence[int]) -> None:
    """Print one line: the images as one shard with row groups of `group_bytes`, and as loose files."""
    path = Place.at(folder / f"{group_bytes}.parquet")
    places, rest = [], {"height": 0, "width": 0, "attributes": [], "sha256": "0" * 64}
    with ShardWriter(path, shard_schema(CITYSCAPES_19), group_bytes) as writer:
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            row = {"sample_id": str(number), "domain": "street/noon", "split": "train", "image": image, "label": label}
            places.append(writer.add(row | rest))
            (folder / f"{number}_image.png").write_bytes(image)
            (folder / f"{number}_label.png").write_bytes(label)
    shard = open_shard(path, "")

    def fetch(number: int) -> list[pa.Scalar]:
        row_group, row = places[number]
        group = shard.read_row_group(row_group, columns=["image", "label"], use_threads=False)
        return [group.column(name)[row] for name in ("image", "label")]

    def rows() -> None:
        for number in order:
            for cell in fetch(number):
                pixels(cell)

    def loose_rows() -> None:
        for number in order:
            for part in ("image", "label"):
                np.array(Image.open(folder / f"{number}_{part}.png"))

    def stream() -> None:
        for _ in shard.iter_batches(batch_size=16, columns=["image", "label"], use_threads=False):
            pass

    def loose_stream() -> None:
        for number in range(len(images)):
            for part in ("image", "label"):
                (folder / f"{number}_{part}.png").read_bytes()

    fetched, row, loose_row, streamed, loose_streamed = best(
        lambda: [fetch(number) for number in order], rows, loose_rows, stream, loose_stream
    )
    megabytes = sum(map(len, images + labels)) / 1e6
    print(
        f"{group_bytes // KIB:>12,} {max(row for _, row in places) + 1:>5} {fetched / len(order) * 1e3:>9.2f}"
        f" {row / len(order) * 1e3:>8.2f} {row / loose_row:>12.3f} {megabytes / streamed:>13,.0f}"
        f" {loose_streamed / streamed:>15.2f}"
    )


def best(*actions: Callable[[], object]) -> list[float]:
    """Shortest processor time of each action, in seconds; a round runs them all in turn."""
    times = []
    for _ in range(ROUNDS):
        times.append([])
        for action in actions:
            start = time.process_time()
            action()
            times[-1].append(time.process_time() - start)
    return np.min(times, axis=0).tolist()


if __name__ == "__main__":
    main()
