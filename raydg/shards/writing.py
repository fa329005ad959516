"""Writes one shard: reads raw samples, checks them, maps their labels, and stores what every reader can decode."""

import hashlib
import io
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from raydg.domains.dataset import RawSample
from raydg.domains.decoding import BadSample, read_rgb
from raydg.domains.label_table import LabelTable
from raydg.domains.labels import LabelSpace
from raydg.shards.manifest import Skipped

ROW_GROUP_BYTES = 256 * 1024
"""Bytes of images at which a row group is full.

Measured by tests/benchmarks/row_groups.py on one core, files in memory. A random row of 52 KiB images costs, without
decoding, 0.2 ms from groups of 256 KiB (5 rows), 0.4 of 512 KiB, 0.7 of 1 MiB, 3 of 4 MiB and 10 of 16 MiB; decoded,
1.1, 1.2, 1.5, 2.7 and 6.3 times as much as loose files. Frames of 2048 x 1024 (2.4 MiB) have a group each: 2.1 ms, half
of it checksums, and decoded 1.04 times as much as loose files. Streaming goes at 0.5 to 1.2 GB/s at every size, faster
than any decoder. So the smallest size at which one request still brings several small images.
"""


@dataclass(frozen=True)
class ShardTask:
    """Everything that a process anywhere needs to write one shard."""

    path: Path
    domain: str
    samples: tuple[RawSample, ...]
    table: LabelTable
    read_label: Callable[[Path], np.ndarray]
    tolerated: int
    """Bad samples after which the shard is given up, for the domain is lost anyway."""


@dataclass(frozen=True)
class ShardReport:
    """What came of a `ShardTask`: rows of the index, and samples that were of no use. Without rows there is no file."""

    name: str
    num_bytes: int
    index: pa.Table
    skipped: tuple[Skipped, ...]


def write_shard(task: ShardTask) -> ShardReport:
    """Write the shard of a task. Bad samples are reported, not raised."""
    index: list[dict[str, Any]] = []
    skipped: list[Skipped] = []
    with closing(ShardWriter(task.path, shard_schema(task.table.space))) as writer:
        for raw in task.samples:
            try:
                row, class_counts = convert(task, raw)
            except BadSample as error:
                skipped.append(Skipped(raw.sample_id, raw.split, str(error)))
                if len(skipped) > task.tolerated:
                    break
                continue
            row_group, position = writer.add(row)
            index.append(
                {name: row[name] for name in ("sample_id", "split", "height", "width", "sha256")}
                | {"shard": task.path.name, "row_group": row_group, "row": position, "class_counts": class_counts}
                | {"label": row["label"] if task.table.space.task == "classification" else -1}
            )
    table = pa.Table.from_pylist(index, schema=index_schema(task.table.space))
    return ShardReport(task.path.name, task.path.stat().st_size if index else 0, table, tuple(skipped))


def convert(task: ShardTask, raw: RawSample) -> tuple[dict[str, Any], np.ndarray]:
    """A sample as a row of the shard, and its class counts (k,).

    Raises:
        BadSample: a file that cannot be decoded, a label of another size than its image, or an unknown id.
    """
    image, height, width = read_rgb(raw.image)
    if isinstance(raw.label, int):
        label = task.table.class_of(raw.label, raw.image)
        class_counts = np.arange(task.table.space.num_classes) == label
        content = label.to_bytes(1, "little")
    else:
        raw_ids = task.read_label(raw.label)
        if raw_ids.shape != (height, width):
            size = " x ".join(map(str, reversed(raw_ids.shape)))
            raise BadSample(f"{raw.label} is {size} pixels, but its image {raw.image} {width} x {height}")
        train_ids, class_counts = task.table.map(raw_ids, raw.label)
        label, content = png(train_ids), train_ids.tobytes()
    row = {
        "sample_id": raw.sample_id,
        "domain": task.domain,
        "split": raw.split,
        "image": image,
        "label": label,
        "height": height,
        "width": width,
        "sha256": hashlib.sha256(image + content).hexdigest(),
    }
    return row, class_counts


def png(train_ids: np.ndarray) -> bytes:
    """A label map (h, w) uint8 as a greyscale PNG."""
    buffer = io.BytesIO()
    Image.fromarray(train_ids).save(buffer, format="PNG")
    return buffer.getvalue()


def shard_schema(space: LabelSpace) -> pa.Schema:
    """Columns of a shard.

    `image` is a file that decodes to 8-bit RGB; `label` a greyscale PNG of train ids, or a class id; `sha256` the hash
    of the image file followed by the train ids, row by row (or the class id), one byte each.
    """
    return pa.schema(
        {
            "sample_id": pa.string(),
            "domain": pa.string(),
            "split": pa.string(),
            "image": pa.binary(),
            "label": pa.binary() if space.task == "segmentation" else pa.uint8(),
            "height": pa.int32(),
            "width": pa.int32(),
            "sha256": pa.string(),
        }
    )


def index_schema(space: LabelSpace) -> pa.Schema:
    """Columns of the index: where a sample lies, and what may be asked of it unread.

    It is row `row` of row group `row_group` of the file `shard`. `label` is its class id, -1 for segmentation;
    `class_counts` has the pixels of every class, for classification 1 for the image's class.
    """
    return pa.schema(
        {
            "sample_id": pa.string(),
            "split": pa.string(),
            "shard": pa.string(),
            "row_group": pa.int32(),
            "row": pa.int32(),
            "height": pa.int32(),
            "width": pa.int32(),
            "label": pa.int16(),
            "class_counts": pa.list_(pa.uint32(), space.num_classes),
            "sha256": pa.string(),
        }
    )


class ShardWriter:
    """Rows into a Parquet file that is written a row group at a time; none is left where no row came.

    Args:
        path: the file.
        schema: its columns, `image` among them.
        group_bytes: a row group is full when its images reach this.
    """

    def __init__(self, path: Path, schema: pa.Schema, group_bytes: int = ROW_GROUP_BYTES) -> None:
        self._path, self._schema, self._group_bytes = path, schema, group_bytes
        self._writer: pq.ParquetWriter | None = None
        self._rows: list[dict[str, Any]] = []
        self._filled = self._row_group = 0

    def add(self, row: dict[str, Any]) -> tuple[int, int]:
        """Append a row; returns its row group and its place in that group."""
        place = self._row_group, len(self._rows)
        self._rows.append(row)
        self._filled += len(row["image"])
        if self._filled >= self._group_bytes:
            self._flush()
        return place

    def close(self) -> None:
        if self._rows:
            self._flush()
        if self._writer:
            self._writer.close()

    def _flush(self) -> None:
        # Encoded images cannot be compressed or shared, and their extremes mean nothing; checksums find rotten bytes.
        self._writer = self._writer or pq.ParquetWriter(
            self._path,
            self._schema,
            compression="NONE",
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
        )
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema), row_group_size=len(self._rows))
        self._rows, self._filled, self._row_group = [], 0, self._row_group + 1
