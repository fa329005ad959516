"""Writes one shard: reads raw samples, checks them, maps their labels, and stores what every reader can decode."""

import hashlib
import json
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from raydg.domains.contract import Seen
from raydg.domains.dataset import Edition, RawSample
from raydg.domains.decoding import BadSample, png
from raydg.domains.label_table import LabelTable, histogram
from raydg.domains.labels import LabelSpace
from raydg.shards.encoding import Effect, Encoding
from raydg.shards.manifest import Skipped
from raydg.storage import Place
from raydg.values import decode, encode

ROW_GROUP_BYTES = 256 * 1024
"""Bytes of images at which a row group is full.

Measured by tests/benchmarks/row_groups.py on one core, files in memory. A random row of 52 KiB images costs, without
decoding, 0.2 ms from groups of 256 KiB (5 rows), 0.4 of 512 KiB, 0.7 of 1 MiB, 3 of 4 MiB and 10 of 16 MiB; decoded,
1.1, 1.2, 1.5, 2.7 and 6.3 times as much as loose files. Frames of 2048 x 1024 (2.4 MiB) have a group each: 2.1 ms, half
of it checksums, and decoded 1.04 times as much as loose files. Streaming goes at 0.5 to 1.2 GB/s at every size, faster
than any decoder. So the smallest size at which one request still brings several small images.
"""


REPORT = "report"
"""Ending of the file that says what came of a shard, until its domain is finished."""


@dataclass(frozen=True)
class ShardTask:
    """Everything that a process anywhere needs to write one shard."""

    folder: Place
    name: str
    """File name of the shard; it changes with anything that decides the content."""
    domain: str
    samples: tuple[RawSample, ...]
    edition: Edition
    table: LabelTable
    encoding: Encoding
    tolerated: int
    """Bad samples after which the shard is given up, for the domain is lost anyway."""


@dataclass(frozen=True)
class ShardReport:
    """What came of a `ShardTask`: rows of the index, and samples that were of no use. Without rows there is no file."""

    name: str
    num_bytes: int
    index: pa.Table
    skipped: tuple[Skipped, ...]
    excluded: tuple[Skipped, ...]
    seen: Seen
    effect: Effect

    def write(self, folder: Place) -> None:
        """Leave the report beside its shard, so that an interrupted preparation goes on after it."""
        about = {
            "name": self.name,
            "num_bytes": self.num_bytes,
            "skipped": encode(self.skipped),
            "excluded": encode(self.excluded),
            "effect": encode(self.effect),
            "sizes": [[*size, images] for size, images in self.seen.sizes.items()],
            "raw_ids": list(self.seen.raw_ids.items()),
            "classes": list(self.seen.classes.items()),
        }
        with (folder / report_name(self.name)).writing() as stream:
            pq.write_table(self.index.replace_schema_metadata({REPORT: json.dumps(about)}), stream)

    @staticmethod
    def read(folder: Place, name: str) -> "ShardReport":
        """The report on the shard `name`."""
        with (folder / report_name(name)).filesystem.open_input_file((folder / report_name(name)).key) as stream:
            index = pq.read_table(stream)
        about = json.loads(index.schema.metadata[REPORT.encode()])
        skipped, excluded = (tuple(decode(Skipped, each) for each in about[key]) for key in ("skipped", "excluded"))
        seen = Seen()
        seen.sizes.update({(width, height): images for width, height, images in about["sizes"]})
        seen.raw_ids.update(dict(about["raw_ids"]))
        seen.classes.update(dict(about["classes"]))
        index = index.replace_schema_metadata(None)
        return ShardReport(name, about["num_bytes"], index, skipped, excluded, seen, decode(Effect, about["effect"]))


def report_name(shard: str) -> str:
    return f"{shard}.{REPORT}"


class GivenUp(Exception):
    """More bad samples than tolerated: the shard that was begun is dropped."""


class Excluded(Exception):
    """A sample that the dataset's own rule takes out; the message says why."""


@dataclass(frozen=True)
class Converted:
    """A sample as a row of its shard, and what was seen on the way."""

    row: dict[str, Any]
    class_counts: np.ndarray
    """(k,) pixels of every class as stored; for classification 1 for the image's class."""
    seen: Seen
    effect: Effect


def write_shard(task: ShardTask) -> ShardReport:
    """Write the shard of a task. Bad samples are reported, not raised."""
    index: list[dict[str, Any]] = []
    skipped: list[Skipped] = []
    excluded: list[Skipped] = []
    seen, effect = Seen(), Effect()
    place = task.folder / task.name
    with suppress(GivenUp), ShardWriter(place, shard_schema(task.table.space)) as writer:
        for raw in task.samples:
            try:
                sample = convert(task, raw)
            except Excluded as reason:
                excluded.append(Skipped(raw.sample_id, raw.split, str(reason)))
                continue
            except BadSample as error:
                skipped.append(Skipped(raw.sample_id, raw.split, str(error)))
                if len(skipped) > task.tolerated:
                    raise GivenUp from None
                continue
            row = sample.row
            row_group, position = writer.add(row)
            seen += sample.seen
            effect += sample.effect
            index.append(
                {name: row[name] for name in ("sample_id", "split", "height", "width", "attributes", "sha256")}
                | {"row_group": row_group, "row": position, "class_counts": sample.class_counts, "label": row["label"]}
            )
    table = pa.Table.from_pylist(index, schema=index_schema(task.table.space))
    given_up = len(skipped) > task.tolerated
    size = place.info().size if index and not given_up else 0
    report = ShardReport(task.name, size, table, tuple(skipped), tuple(excluded), seen, effect)
    if not given_up:
        report.write(task.folder)
    return report


def convert(task: ShardTask, raw: RawSample) -> Converted:
    """A sample, checked, mapped and encoded.

    Raises:
        BadSample: a file that cannot be decoded, a label of another size than its image, or an unknown id.
        Excluded: the dataset's own rule takes it out.
    """
    table, space = task.table, task.table.space
    image = task.edition.read_image(raw)
    stored = task.encoding.encode(image)
    width, height = stored.size
    if isinstance(raw.label, int):
        label = table.class_of(raw.label, raw.image)
        raw_pixels = {raw.label: 1}
        class_counts = table.class_counts(raw_pixels)
        content = label.to_bytes(2, "little")
    else:
        raw_ids = task.edition.read_label(raw.label)
        reason = task.edition.exclude(image, raw_ids) if task.edition.exclude else None
        if reason is not None:
            raise Excluded(reason)
        if raw_ids.shape[::-1] != image.size:
            sizes = [" x ".join(map(str, size)) for size in (raw_ids.shape[::-1], image.size)]
            raise BadSample(f"{raw.label} is {sizes[0]} pixels, but its image {raw.image} {sizes[1]}")
        train_ids, raw_pixels = table.map(raw_ids, raw.label)
        class_counts = table.class_counts(raw_pixels)
        if stored.size != image.size:
            train_ids = task.encoding.scale_labels(train_ids)
            class_counts = histogram(train_ids)[: space.num_classes]
        # Level 1 takes half the time of the default; label maps are a hundredth of the bytes either way.
        label, content = png(Image.fromarray(train_ids), level=1), train_ids.tobytes()
    row = {
        "sample_id": raw.sample_id,
        "domain": task.domain,
        "split": raw.split,
        "image": stored.data,
        "label": label,
        "height": height,
        "width": width,
        "attributes": list(raw.attributes),
        "sha256": hashlib.sha256(stored.data + content).hexdigest(),
    }
    raw_counts = table.class_counts(raw_pixels)
    classes = {name: int(count) for name, count in zip(space.classes, raw_counts, strict=True) if count}
    seen = Seen(Counter({image.size: 1}), Counter(raw_pixels), Counter(classes))
    return Converted(row, class_counts, seen, Effect.of(image, stored, lossy=task.encoding.jpeg_quality is not None))


def shard_schema(space: LabelSpace) -> pa.Schema:
    """Columns of a shard.

    `image` is a file that decodes to 8-bit RGB; `label` a greyscale PNG of train ids, or a class id; `sha256` the hash
    of the image file followed by the train ids, row by row (or the class id in two bytes, low one first).
    """
    return pa.schema(
        {
            "sample_id": pa.string(),
            "domain": pa.string(),
            "split": pa.string(),
            "image": pa.binary(),
            "label": pa.binary() if space.task == "segmentation" else pa.uint16(),
            "height": pa.int32(),
            "width": pa.int32(),
            "attributes": pa.map_(pa.string(), pa.string()),
            "sha256": pa.string(),
        }
    )


def index_schema(space: LabelSpace) -> pa.Schema:
    """Columns of the index: where a sample lies, and what may be asked of it unread.

    It is row `row` of row group `row_group` of a shard, whose place in the split's list of shards is added as a column
    `shard` (`draft.finish`). Images have a class id, `label`; label maps `class_counts`, the pixels of every class.
    """
    per_task: dict[str, pa.DataType] = (
        {"class_counts": pa.list_(pa.uint32(), space.num_classes)}
        if space.task == "segmentation"
        else {"label": pa.uint16()}
    )
    return pa.schema(
        {
            "sample_id": pa.string(),
            "split": pa.string(),
            "row_group": pa.int32(),
            "row": pa.int32(),
            "height": pa.int32(),
            "width": pa.int32(),
            "attributes": pa.map_(pa.string(), pa.string()),
            "sha256": pa.string(),
            **per_task,
        }
    )


class ShardWriter:
    """Rows into a Parquet file that is written a row group at a time; none is left where no row came, or an error did.

    Args:
        place: the file.
        schema: its columns, `image` among them.
        group_bytes: a row group is full when its images reach this.
    """

    def __init__(self, place: Place, schema: pa.Schema, group_bytes: int = ROW_GROUP_BYTES) -> None:
        self._place, self._schema, self._group_bytes = place, schema, group_bytes
        self._open = ExitStack()
        self._writer: pq.ParquetWriter | None = None
        self._rows: list[dict[str, Any]] = []
        self._filled = self._row_group = 0

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._rows:
            self._flush()
        self._open.__exit__(kind, error, trace)

    def add(self, row: dict[str, Any]) -> tuple[int, int]:
        """Append a row; returns its row group and its place in that group."""
        place = self._row_group, len(self._rows)
        self._rows.append(row)
        self._filled += len(row["image"])
        if self._filled >= self._group_bytes:
            self._flush()
        return place

    def _flush(self) -> None:
        # Encoded images cannot be compressed or shared, and their extremes mean nothing; checksums find rotten bytes.
        if self._writer is None:
            self._writer = self._open.enter_context(
                pq.ParquetWriter(
                    self._open.enter_context(self._place.writing()),
                    self._schema,
                    compression="NONE",
                    use_dictionary=False,
                    write_statistics=False,
                    write_page_checksum=True,
                )
            )
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema), row_group_size=len(self._rows))
        self._rows, self._filled, self._row_group = [], 0, self._row_group + 1
