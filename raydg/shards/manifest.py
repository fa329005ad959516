"""What a prepared domain says of itself, as JSON beside its shards."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from raydg.domains.labels import LabelSpace
from raydg.values import Value, decode, encode

FORMAT = 1
"""Version of the prepared format; readers refuse every other."""

MANIFEST, INDEX = "manifest.json", "index.parquet"


@dataclass(frozen=True)
class ShardFile(Value):
    """One Parquet file of a split."""

    name: str
    num_samples: int
    num_bytes: int


@dataclass(frozen=True)
class SplitSummary(Value):
    """What one split holds, class by class in the order of the label space."""

    name: str
    num_samples: int
    class_samples: tuple[int, ...]
    """Samples that show the class."""
    class_counts: tuple[int, ...]
    """Pixels of the class; for classification, images."""
    ignored_pixels: int
    """Pixels that have no class."""
    frequencies: tuple[float, ...]
    """`class_counts` as a part of their sum."""
    shards: tuple[ShardFile, ...]


@dataclass(frozen=True)
class Skipped(Value):
    """A sample that was left out because it could not be used."""

    sample_id: str
    split: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Manifest(Value):
    """What `manifest.json` holds."""

    format: int = FORMAT
    raydg: str
    """Version of raydg that wrote it."""
    dataset: str
    domain: str
    task: Literal["segmentation", "classification"]
    label_space: LabelSpace
    label_table: str
    """`LabelTable.version` of the table that mapped the labels."""
    splits: tuple[SplitSummary, ...]
    skipped: tuple[Skipped, ...]
    row_group_bytes: int
    """Bytes at which a row group is full."""
    index_sha256: str
    """Of `index.parquet`, which holds a hash of every sample: one name for all of the content."""
    layout: str
    """How the raw folder had to look."""
    licence: str
    commercial_use: Literal["yes", "no", "unknown"]
    citation: str

    @property
    def num_samples(self) -> int:
        return sum(split.num_samples for split in self.splits)

    @property
    def num_bytes(self) -> int:
        """Of all shards together."""
        return sum(shard.num_bytes for split in self.splits for shard in split.shards)

    def write(self, folder: Path) -> None:
        (folder / MANIFEST).write_text(json.dumps(encode(self), indent=2) + "\n")

    @staticmethod
    def read(folder: Path) -> "Manifest":
        """The manifest in `folder`.

        Raises:
            ValueError: it cannot be read, or was written in another version of the format; the message names the file.
        """
        path = folder / MANIFEST
        try:
            data = json.loads(path.read_text())
            if isinstance(data, dict) and data.get("format") != FORMAT:
                raise ValueError(f"it has format {data.get('format')!r}, this raydg reads format {FORMAT}")
            return decode(Manifest, data)
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} cannot be used: {error}. Prepare the domain again with --overwrite.") from None
