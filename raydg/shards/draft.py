"""A domain between raw and prepared: cut into shard tasks, then put together from their reports."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raydg.domains.dataset import Dataset, RawSample
from raydg.domains.label_table import LabelTable
from raydg.shards.manifest import INDEX, Manifest, ShardFile, Skipped, SplitSummary
from raydg.shards.reading import PreparedDomain
from raydg.shards.writing import ROW_GROUP_BYTES, ShardReport, ShardTask

SHARD_BYTES = 64 * 1024**2
"""Bytes of raw images at which a shard is full: seconds of work for a process, and few files for a shared storage."""

DRAFT = "new"
"""Folder in `Draft.scratch` that becomes the domain's."""

SHOWN = 20
"""Bad samples that an error message lists before it only counts them."""


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A domain on its way from `samples` into `folder`, by way of `scratch`."""

    dataset: Dataset
    domain: str
    table: LabelTable
    splits: tuple[str, ...]
    samples: Sequence[RawSample]
    missing: Sequence[Skipped]
    """Samples that are left out already, for want of a file."""
    skip_bad: int
    scratch: Path
    folder: Path

    @cached_property
    def tasks(self) -> list[ShardTask]:
        """The shards of all splits, in order."""
        return [
            ShardTask(
                path=self._new / f"{split}-{number:05}.parquet",
                domain=self.domain,
                samples=chunk,
                table=self.table,
                read_label=self.dataset.read_label,
                tolerated=self.skip_bad - len(self.missing),
            )
            for split in self.splits
            for number, chunk in enumerate(chunks([sample for sample in self.samples if sample.split == split]))
        ]

    def finish(self, reports: Iterator[ShardReport]) -> PreparedDomain:
        """Put the domain in place.

        Args:
            reports: those of all tasks come next, in order.

        Raises:
            ValueError: more bad samples than tolerated, as soon as that is known, or a split without a good one.
        """
        skipped, written = list(self.missing), list[ShardReport]()
        for _, report in zip(self.tasks, islice(reports, len(self.tasks)), strict=True):
            skipped += report.skipped
            check_bad(self.domain, skipped, self.skip_bad)
            if len(report.index):
                written.append(report)
        summaries = tuple(self._summary(split, written) for split in self.splits)
        pq.write_table(pa.concat_tables(report.index for report in written), self._new / INDEX, compression="zstd")
        Manifest(
            raydg=version("raydg"),
            dataset=self.dataset.name,
            domain=self.domain,
            task=self.dataset.task,
            label_space=self.table.space,
            label_table=self.table.version,
            splits=summaries,
            skipped=tuple(skipped),
            row_group_bytes=ROW_GROUP_BYTES,
            index_sha256=hashlib.sha256((self._new / INDEX).read_bytes()).hexdigest(),
            layout=self.dataset.layout.text,
            licence=self.dataset.licence,
            commercial_use=self.dataset.commercial_use,
            citation=self.dataset.citation,
        ).write(self._new)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        if self.folder.exists():
            os.replace(self.folder, self.scratch / "old")
        os.replace(self._new, self.folder)
        return PreparedDomain.open(self.folder.parents[len(self.domain.split("/"))], self.table.space, self.domain)

    @property
    def _new(self) -> Path:
        return self.scratch / DRAFT

    def _summary(self, split: str, written: Sequence[ShardReport]) -> SplitSummary:
        reports = [report for report in written if report.index["split"][0].as_py() == split]
        if not reports:
            raise ValueError(f"{self.domain} has no usable sample of split {split!r}.")
        index = pa.concat_tables(report.index for report in reports)
        counts = np.array(index["class_counts"].to_pylist(), dtype=np.int64)
        pixels = int(np.dot(index["height"].to_numpy().astype(np.int64), index["width"].to_numpy()))
        totals = counts.sum(axis=0)
        return SplitSummary(
            name=split,
            num_samples=len(index),
            class_samples=tuple((counts > 0).sum(axis=0).tolist()),
            class_counts=tuple(totals.tolist()),
            ignored_pixels=pixels - int(totals.sum()) if self.table.space.task == "segmentation" else 0,
            frequencies=tuple((totals / max(1, totals.sum())).tolist()),
            shards=tuple(ShardFile(report.name, len(report.index), report.num_bytes) for report in reports),
        )


def chunks(samples: Sequence[RawSample]) -> Iterator[tuple[RawSample, ...]]:
    """Runs of samples whose image files have about `SHARD_BYTES` together, whatever the number of processes."""
    chunk: list[RawSample] = []
    filled = 0
    for sample in samples:
        chunk.append(sample)
        filled += sample.image.stat().st_size
        if filled >= SHARD_BYTES:
            yield tuple(chunk)
            chunk, filled = [], 0
    if chunk:
        yield tuple(chunk)


def check_bad(domain: str, bad: Sequence[Skipped], skip_bad: int) -> None:
    """Raise a ValueError that lists the bad samples, if there are more than tolerated."""
    if len(bad) > skip_bad:
        lines = [f"  {sample.split}/{sample.sample_id}: {sample.reason}" for sample in bad[:SHOWN]]
        lines += [f"  and {len(bad) - SHOWN} more"] if len(bad) > SHOWN else []
        raise ValueError(
            "\n".join([f"{domain} has bad samples, and {skip_bad} are tolerated (--skip-bad {skip_bad}):", *lines])
        )
