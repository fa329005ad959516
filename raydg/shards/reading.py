"""Reads a prepared domain: sizes and classes of its samples from the index, and any sample by its position."""

import hashlib
import io
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from raydg.domains.labels import LabelSpace
from raydg.shards.manifest import MANIFEST, Manifest
from raydg.storage import Location, Place

OPEN_SHARDS = 256
"""Shards that a process keeps open; each holds a file handle."""


@dataclass(frozen=True)
class Sample:
    """One decoded sample."""

    sample_id: str
    image: np.ndarray
    """(h, w, 3) uint8, RGB."""
    label: np.ndarray | int
    """(h, w) uint8 train ids with `IGNORE`, or one class id."""


@dataclass(frozen=True)
class PreparedDomain:
    """A domain on disk. Small to pickle: it carries its manifest, and finds files again by their path.

    The samples of a split have positions 0 to `num_samples(split)` - 1, in the order of the index.
    """

    folder: Place
    manifest: Manifest

    @classmethod
    def open(cls, root: Location, label_space: LabelSpace, domain: str) -> "PreparedDomain":
        """The domain prepared under `root` for `label_space`.

        Raises:
            ValueError: it is not prepared there, or with other classes, or its manifest is unusable.
        """
        root = Place.at(root)
        folder = root / label_space.name / domain
        command = f"raydg prepare {domain.partition('/')[0]} FOLDER --out {root} --label-space {label_space.name}"
        if not (folder / MANIFEST).is_file():
            there = [path.removesuffix(f"/{MANIFEST}") for path in root.files() if path.endswith(f"/{MANIFEST}")]
            raise ValueError(
                f"domain {domain!r} is not prepared for the label space {label_space.name!r} in {root}; "
                f"there are {', '.join(there) or 'no domains'}. Prepare it with: {command}"
            )
        manifest = Manifest.read(folder)
        if manifest.label_space != label_space:
            raise ValueError(
                f"{folder / MANIFEST}: domain {domain!r} was prepared for a label space {label_space.name!r} of other "
                f"classes or colours than the one asked for. Prepare it again with: {command} --overwrite"
            )
        return cls(folder, manifest)

    @property
    def name(self) -> str:
        return self.manifest.domain

    @property
    def label_space(self) -> LabelSpace:
        return self.manifest.label_space

    @property
    def splits(self) -> tuple[str, ...]:
        """What is stored."""
        return tuple(split.name for split in self.manifest.splits)

    @property
    def parts(self) -> tuple[str, ...]:
        """All that may be asked for where a split is asked for: the splits, and named parts of them."""
        return (*self.splits, *(part.name for part in self.manifest.subsets))

    def num_samples(self, split: str) -> int:
        return len(self._rows(split)["sample_id"])

    def sample_ids(self, split: str) -> list[str]:
        return self._rows(split)["sample_id"].tolist()

    def sizes(self, split: str) -> np.ndarray:
        """Height and width of every image: (n, 2) int32."""
        return np.stack([self._rows(split)["height"], self._rows(split)["width"]], axis=1)

    def labels(self, split: str) -> np.ndarray:
        """Class id of every image of a domain for classification: (n,) uint16."""
        return self._rows(split)["label"]

    def class_counts(self, split: str) -> np.ndarray:
        """Pixels of every class in every label map: (n, k) uint32."""
        return self._rows(split)["class_counts"]

    def attributes(self, split: str) -> list[dict[str, str]]:
        """What the dataset says of every image, such as its weather."""
        return [dict(pairs) for pairs in self._rows(split)["attributes"]]

    def present(self, split: str) -> np.ndarray:
        """Whether sample i shows class c: (n, k) bool."""
        if self.manifest.task == "classification":
            return self.labels(split)[:, None] == np.arange(self.label_space.num_classes)
        return self.class_counts(split) > 0

    def read(self, split: str, position: int) -> Sample:
        """One sample, decoded.

        Raises:
            ValueError: no such split or position, or a shard that is missing or damaged.
        """
        rows = self._rows(split)
        if not 0 <= position < len(rows["sample_id"]):
            raise ValueError(f"{self.name}/{split} has no sample {position}: it has 0 to {len(rows['sample_id']) - 1}.")
        path = self._shards[split_of(self.manifest, split)][rows["shard"][position]]
        try:
            file = open_shard(path, self.manifest.index_sha256)
            columns = ["sample_id", "image", "label"]
            group = file.read_row_group(int(rows["row_group"][position]), columns=columns, use_threads=False)
            row = {name: group.column(name)[int(rows["row"][position])] for name in group.column_names}
            image = pixels(row["image"])
            label = row["label"].as_py() if self.manifest.task == "classification" else pixels(row["label"])
        except (pa.ArrowException, OSError, SyntaxError, IndexError) as error:
            raise self._damaged(path, error) from None
        if row["sample_id"].as_py() != rows["sample_id"][position]:
            raise self._damaged(path, "it does not hold the samples that the index says")
        return Sample(rows["sample_id"][position], image, label)

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "manifest": self.manifest}

    def _rows(self, split: str) -> dict[str, np.ndarray]:
        if split not in self._index:
            raise ValueError(f"domain {self.name!r} has no prepared split {split!r}: it has {', '.join(self._index)}.")
        return self._index[split]

    @cached_property
    def _index(self) -> dict[str, dict[str, np.ndarray]]:
        """Columns of the index, split by split."""
        path = self.folder / self.manifest.index
        try:
            data = path.read_bytes()
        except OSError as error:
            raise self._damaged(path, error) from None
        if hashlib.sha256(data).hexdigest() != self.manifest.index_sha256:
            raise self._damaged(path, f"it is not the file that {MANIFEST} was written with")
        table = pq.read_table(io.BytesIO(data))
        columns = {name: table[name].to_numpy() for name in table.column_names if name != "class_counts"}
        if "class_counts" in table.column_names:
            counts = table["class_counts"].combine_chunks().flatten().to_numpy()
            columns["class_counts"] = counts.reshape(len(table), -1)
        belongs = {split: np.flatnonzero(columns["split"] == split) for split in self.splits}
        belongs |= {part.name: belongs[part.split][: part.num_samples] for part in self.manifest.subsets}
        return {split: {name: column[rows] for name, column in columns.items()} for split, rows in belongs.items()}

    @cached_property
    def _shards(self) -> dict[str, list[Place]]:
        """Files of every split, in the order that the index counts them in."""
        return {split.name: [self.folder / shard.name for shard in split.shards] for split in self.manifest.splits}

    def _damaged(self, path: Place, reason: object) -> ValueError:
        return ValueError(f"{path} cannot be used: {reason}. Prepare the domain {self.name!r} again with --overwrite.")


def split_of(manifest: Manifest, split: str) -> str:
    """The stored split that a split or a named part of one lies in."""
    return next((part.split for part in manifest.subsets if part.name == split), split)


@lru_cache(maxsize=OPEN_SHARDS)
def open_shard(path: Place, content: str) -> pq.ParquetFile:
    """A shard, kept open; a local one is mapped into memory. `content` names what is in it: a shard prepared anew is
    opened anew."""
    source = pa.memory_map(path.path) if path.is_local else path.filesystem.open_input_file(path.key)
    return pq.ParquetFile(source, pre_buffer=False, page_checksum_verification=True)


def pixels(encoded: pa.Scalar) -> np.ndarray:
    """The image in a Parquet cell as an array that may be written to."""
    return np.array(Image.open(pa.BufferReader(encoded.as_buffer())))
