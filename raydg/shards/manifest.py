"""What a prepared domain says of itself, as JSON beside its shards."""

import json
from dataclasses import dataclass
from typing import Literal

from raydg.domains.labels import LabelSpace
from raydg.licence import Licence
from raydg.shards.encoding import Effect, Encoding
from raydg.storage import Place
from raydg.values import Value, decode, encode

FORMAT = 2
"""Version of the prepared format; readers refuse every other."""

MANIFEST = "manifest.json"


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
    effect: Effect
    """What storing the images did to them."""
    shards: tuple[ShardFile, ...]


@dataclass(frozen=True)
class Skipped(Value):
    """A sample that was left out, and why."""

    sample_id: str
    split: str
    reason: str


@dataclass(frozen=True)
class NamedPart(Value):
    """The first samples of a split under a name."""

    name: str
    split: str
    num_samples: int
    source: str
    """Who scored this part."""


@dataclass(frozen=True, kw_only=True)
class Manifest(Value):
    """What `manifest.json` holds."""

    format: int = FORMAT
    raydg: str
    """Version of raydg that wrote it."""
    dataset: str
    domain: str
    task: Literal["segmentation", "classification"]
    edition: str
    """Release or on-disk form of the dataset that the raw folder was read as."""
    label_space: LabelSpace
    label_table: str
    """Version of the table that mapped the labels."""
    splits: tuple[SplitSummary, ...]
    subsets: tuple[NamedPart, ...]
    skipped: tuple[Skipped, ...]
    """Samples that could not be used."""
    excluded: tuple[Skipped, ...]
    """Samples that the dataset's own rule takes out."""
    contract: str
    """Edition of the dataset that the copy was compared with; empty if none is described."""
    differences: tuple[str, ...]
    """In what the copy differs from it."""
    accepted: str
    """Why the differences were accepted."""
    remarks: tuple[str, ...]
    """What else the comparison showed."""
    encoding: Encoding
    generation: int
    """0, and one more each time that the domain was overwritten."""
    row_group_bytes: int
    """Bytes at which a row group is full."""
    index_sha256: str
    """Of the index, which holds a hash of every sample: one name for all of the content."""
    layout: str
    """How the raw folder had to look."""
    licence: Licence
    citation: str

    @property
    def index(self) -> str:
        """Name of the index file."""
        return f"index-{self.index_sha256[:12]}.parquet"

    @property
    def num_samples(self) -> int:
        return sum(split.num_samples for split in self.splits)

    @property
    def num_bytes(self) -> int:
        """Of all shards together."""
        return sum(shard.num_bytes for split in self.splits for shard in split.shards)

    def write(self, folder: Place) -> None:
        (folder / MANIFEST).write_bytes((json.dumps(encode(self), indent=2) + "\n").encode())

    @staticmethod
    def read(folder: Place) -> "Manifest":
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
