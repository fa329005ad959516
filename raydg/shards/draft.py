"""A domain between raw and prepared: cut into shard tasks, then put together from their reports."""

import hashlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileInfo

from raydg.domains.contract import Seen
from raydg.domains.dataset import Dataset, Edition, RawSample
from raydg.domains.label_table import LabelTable
from raydg.shards.encoding import Effect, Encoding
from raydg.shards.manifest import FORMAT, MANIFEST, Manifest, NamedPart, ShardFile, Skipped, SplitSummary
from raydg.shards.reading import PreparedDomain
from raydg.shards.writing import REPORT, ROW_GROUP_BYTES, ShardReport, ShardTask, index_schema
from raydg.storage import UNFINISHED, Place
from raydg.values import Json, encode, fingerprint

SHARD_BYTES = 64 * 1024**2
"""Bytes of raw images at which a shard is full: seconds of work for a process, and few files for a shared storage."""

SHARD_SAMPLES = 10_000
"""Samples at which it is full, however small they are: what of a domain is held in memory at a time."""

OURS = re.compile(rf"[^/]+\.parquet(\.{REPORT})?")
"""Files of a preparation in a domain's folder, beside the manifest."""

LEFT_BEHIND = timedelta(days=1)
"""Age at which an unfinished file is what a killed process left."""

SHOWN = 20
"""Bad samples that an error message lists before it only counts them."""


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A domain on its way from `samples` into `folder`.

    Shards are named by what decides their content and lie in `folder` from the start, each with a report beside it once
    it is whole; the manifest is written last, in one piece. Until then the domain is not there, or is the old one. So a
    preparation that was stopped goes on where it was, and one that overwrites shows the old content to the end.
    """

    dataset: Dataset
    edition: Edition
    domain: str
    table: LabelTable
    splits: tuple[str, ...]
    samples: Sequence[RawSample]
    """Those whose files are there."""
    files: Mapping[Place, FileInfo]
    """Size and time of every file of theirs."""
    listed: Mapping[str, Sequence[str]]
    """Ids of all samples of each split, those of missing files included."""
    missing: Sequence[Skipped]
    """Samples that are left out already, for want of a file."""
    differences: Sequence[str]
    """In what the list of samples differs from the dataset's contract."""
    accept_difference: str | None
    encoding: Encoding
    skip_bad: int
    folder: Place
    generation: int
    """How many manifests the folder has had: an overwriting preparation touches no file of the domain that is there."""

    @cached_property
    def tasks(self) -> list[ShardTask]:
        """The shards of all splits, in order."""
        return [
            ShardTask(
                folder=self.folder,
                name=f"{split}-{number:05}-{self._digest(chunk)}.parquet",
                domain=self.domain,
                samples=chunk,
                edition=self.edition,
                table=self.table,
                encoding=self.encoding,
                tolerated=self.skip_bad - len(self.missing),
            )
            for split in self.splits
            for number, chunk in enumerate(self._chunks([sample for sample in self.samples if sample.split == split]))
        ]

    def finish(self, reports: Iterator[ShardReport]) -> PreparedDomain:
        """Put the domain in place.

        Args:
            reports: those of all tasks come next, in order.

        Raises:
            ValueError: more bad samples than tolerated, as soon as that is known; a split without a good one; a copy
                that differs from the contract, unless that was accepted.
        """
        skipped, excluded, done = list(self.missing), list[Skipped](), dict[str, list[ShardReport]]()
        for task in self.tasks:
            report = next(reports, None)
            if report is None:
                raise ValueError(f"{self.domain}: reports came back for fewer than its {len(self.tasks)} shards.")
            skipped += report.skipped
            excluded += report.excluded
            check_bad(self.domain, skipped, self.skip_bad)
            done.setdefault(task.samples[0].split, []).append(report)
        differences = [*self.differences, *self._differences(done)]
        check_differences(self.domain, differences, self.accept_difference)
        written = {split: [report for report in done.get(split, []) if len(report.index)] for split in self.splits}
        index = to_bytes(pa.concat_tables(self._index(reports) for reports in written.values() if reports))
        manifest = Manifest(
            raydg=version("raydg"),
            dataset=self.dataset.name,
            domain=self.domain,
            task=self.dataset.task,
            edition=self.edition.name,
            label_space=self.table.space,
            label_table=self.edition.table(self.table.space).version,
            splits=tuple(self._summary(split, reports) for split, reports in written.items()),
            subsets=tuple(self._subsets(written)),
            skipped=tuple(skipped),
            excluded=tuple(excluded),
            contract=self.edition.contract.edition if self.edition.contract else "",
            differences=tuple(differences),
            accepted=self.accept_difference or "" if differences else "",
            remarks=tuple(self._remarks(done)),
            encoding=self.encoding,
            generation=self.generation,
            row_group_bytes=ROW_GROUP_BYTES,
            index_sha256=hashlib.sha256(index).hexdigest(),
            layout=self.edition.layout.text,
            licence=self.dataset.terms,
            citation=self.dataset.citation,
        )
        (self.folder / manifest.index).write_bytes(index)
        manifest.write(self.folder)
        named = {MANIFEST, manifest.index, *(shard.name for split in manifest.splits for shard in split.shards)}
        for name in self.folder.files(recursive=False):
            if OURS.fullmatch(name) and name not in named:
                (self.folder / name).remove()
        for name, info in self.folder.files(recursive=False).items():
            # A younger one may be another process's, which was asked for the same.
            if name.endswith(UNFINISHED) and info.mtime and datetime.now(UTC) - info.mtime > LEFT_BEHIND:
                (self.folder / name).remove()
        return PreparedDomain(self.folder, manifest)

    def _chunks(self, samples: Sequence[RawSample]) -> Iterator[tuple[RawSample, ...]]:
        """Runs of samples that make a shard, whatever the number of processes."""
        chunk: list[RawSample] = []
        filled = 0
        for sample in samples:
            chunk.append(sample)
            # Many samples of one file (MNIST) have no size of their own.
            filled += self.files[sample.image].size if sample.image != chunk[0].image or len(chunk) == 1 else 0
            if filled >= SHARD_BYTES or len(chunk) >= SHARD_SAMPLES:
                yield tuple(chunk)
                chunk, filled = [], 0
        if chunk:
            yield tuple(chunk)

    def _digest(self, samples: Sequence[RawSample]) -> str:
        """Of everything that decides the content of a shard, the raw files by name, size and time."""

        def file(place: Place) -> Json:
            info = self.files[place]
            return [str(place), info.size, info.mtime_ns or 0]

        def sample(raw: RawSample) -> Json:
            label = file(raw.label) if isinstance(raw.label, Place) else raw.label
            return [raw.sample_id, file(raw.image), label, dict(raw.attributes)]

        how = [FORMAT, version("raydg"), self.dataset.name, self.edition.name, self.domain, self.table.version]
        how += [self.generation, self._code]
        return fingerprint([*how, encode(self.encoding), *map(sample, samples)])[:12]

    @cached_property
    def _code(self) -> str:
        """Hash of the source files of the functions that read the dataset, which may be its user's own."""
        edition = self.edition
        functions = [getattr(f, "func", f) for f in (edition.read_image, edition.read_label, edition.exclude) if f]
        files = dict.fromkeys(function.__code__.co_filename for function in functions)
        return hashlib.sha256(b"".join(Path(file).read_bytes() for file in files)).hexdigest()

    def _differences(self, done: Mapping[str, Sequence[ShardReport]]) -> Iterator[str]:
        if self.edition.contract is None:
            return
        for split, reports in done.items():
            seen = Seen()
            for report in reports:
                seen += report.seen
            excluded = [sample.reason for report in reports for sample in report.excluded]
            default = self.table.space == self.edition.tables[0].space
            yield from self.edition.contract.differences_of_content(self.domain, split, seen, excluded, default)

    def _remarks(self, done: Mapping[str, Sequence[ShardReport]]) -> Iterator[str]:
        if self.edition.contract is None:
            return
        for split, reports in done.items():
            kept, excluded = (
                sum(map(len, each)) for each in zip(*((r.index, r.excluded) for r in reports), strict=True)
            )
            yield from self.edition.contract.remarks(self.domain, split, kept, excluded)

    def _index(self, reports: Sequence[ShardReport]) -> pa.Table:
        """Rows of a split, each with its shard's place in the split's list."""
        # A report that was read back names the parts of nested columns otherwise than one that comes from a task.
        schema = index_schema(self.table.space)
        places = [pa.array([place] * len(report.index), pa.int32()) for place, report in enumerate(reports)]
        tables = [
            report.index.cast(schema).append_column("shard", place)
            for report, place in zip(reports, places, strict=True)
        ]
        return pa.concat_tables(tables).combine_chunks()

    def _subsets(self, written: Mapping[str, Sequence[ShardReport]]) -> Iterator[NamedPart]:
        for subset in self.edition.subsets:
            if subset.split in written:
                first = set(sorted(self.listed[subset.split])[: subset.first])
                usable = sum(
                    sample_id.as_py() in first for report in written[subset.split] for sample_id in report.index[0]
                )
                yield NamedPart(subset.name, subset.split, usable, subset.source)

    def _summary(self, split: str, reports: Sequence[ShardReport]) -> SplitSummary:
        if not reports:
            raise ValueError(f"{self.domain} has no usable sample of split {split!r}.")
        index = pa.concat_tables(report.index for report in reports)
        if self.table.space.task == "segmentation":
            counts = index["class_counts"].combine_chunks().flatten().to_numpy().reshape(len(index), -1)
            totals, samples = counts.sum(axis=0, dtype=np.int64), (counts > 0).sum(axis=0)
            ignored = int(np.dot(index["height"].to_numpy().astype(np.int64), index["width"].to_numpy()) - totals.sum())
        else:
            totals = np.bincount(index["label"].to_numpy(), minlength=self.table.space.num_classes)
            samples, ignored = totals, 0
        return SplitSummary(
            name=split,
            num_samples=len(index),
            class_samples=tuple(samples.tolist()),
            class_counts=tuple(totals.tolist()),
            ignored_pixels=ignored,
            frequencies=tuple((totals / max(1, totals.sum())).tolist()),
            effect=sum((report.effect for report in reports), Effect()),
            shards=tuple(ShardFile(report.name, len(report.index), report.num_bytes) for report in reports),
        )


def to_bytes(table: pa.Table) -> bytes:
    """A table as a Parquet file."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def check_bad(domain: str, bad: Sequence[Skipped], skip_bad: int) -> None:
    """Raise a ValueError that lists the bad samples, if there are more than tolerated."""
    if len(bad) > skip_bad:
        lines = [f"  {sample.split}/{sample.sample_id}: {sample.reason}" for sample in bad[:SHOWN]]
        lines += [f"  and {len(bad) - SHOWN} more"] if len(bad) > SHOWN else []
        raise ValueError(
            "\n".join([f"{domain} has bad samples, and {skip_bad} are tolerated (--skip-bad {skip_bad}):", *lines])
        )


def check_differences(domain: str, differences: Sequence[str], accepted: str | None) -> None:
    """Raise a ValueError that lists in what a copy differs from its dataset's contract, unless a reason accepts it."""
    if differences and not accepted:
        lines = [f"  {difference}" for difference in differences[:SHOWN]]
        lines += [f"  and {len(differences) - SHOWN} more"] if len(differences) > SHOWN else []
        raise ValueError(
            "\n".join(
                [
                    f"{domain} is not what its dataset is expected to be:",
                    *lines,
                    'Get a whole copy, or accept it with the reason: --accept-difference "a subset of 60 frames".',
                ]
            )
        )
