"""Layouts of images with label maps: two trees of files, or lists of them."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

from raydg.domains.dataset import RawSample
from raydg.domains.layouts.lists import read_list
from raydg.storage import Place

OWN_COLUMNS = ("image", "label", "split", "domain")
"""Columns of a `SampleTable` that are no attributes."""


@dataclass(frozen=True)
class PairedFiles:
    """Images and label maps in two trees, paired by what stands for `{id}`, which may run over several folders.

    `{split}` and `{domain}` stand for the names of folders. Whatever is found in one of the trees is a sample, so that
    a file without its partner is noticed. Where copies of a dataset differ, or one differs in itself, there are several
    patterns; a file may fit any of its kind, but a sample's only one. A file that is missing is expected where most of
    its kind are.
    """

    images: str | tuple[str, ...]
    labels: str | tuple[str, ...]
    splits: tuple[str, ...]
    archives: tuple[str, ...] = ()
    """Folders that the dataset's archives pack all into; their content may be there with or without them."""

    @property
    def text(self) -> str:
        images, labels = (" or ".join(patterns(each)) for each in (self.images, self.labels))
        around = f", all as it is or in {' or '.join(self.archives)}" if self.archives else ""
        return f"images {images}, label maps {labels}{around}, with split one of {', '.join(self.splits)}."

    def samples(self, raw: Place, domain: str, split: str) -> list[RawSample]:
        images, expected_image = self._find(raw, domain, split, patterns(self.images))
        labels, expected_label = self._find(raw, domain, split, patterns(self.labels))
        return [
            RawSample(
                sample_id=sample_id,
                split=split,
                image=images.get(sample_id) or raw / expected_image.format(id=sample_id),
                label=labels.get(sample_id) or raw / expected_label.format(id=sample_id),
            )
            for sample_id in sorted(images.keys() | labels.keys())
        ]

    def _find(self, raw: Place, domain: str, split: str, kinds: Sequence[str]) -> tuple[dict[str, Place], str]:
        """Files by sample, and the pattern that most of them fit, with nothing but `{id}` left to fill in."""
        filled = [
            f"{archive}{pattern.format(domain=domain, split=split, id='{id}')}"
            for archive in ("", *(f"{name}/" for name in self.archives))
            for pattern in kinds
        ]
        listed: dict[str, list[str]] = {}
        found: dict[str, Place] = {}
        fitting: dict[str, int] = {}
        for pattern in filled:
            root, _, suffix = pattern.partition("{id}")
            if root not in listed:
                if (raw / root).is_file():
                    raise ValueError(
                        f"{raw / root} is a file, not a folder; if it is a link copied as text, link it anew."
                    )
                listed[root] = list((raw / root).files())
            ids = [path.removesuffix(suffix) for path in listed[root] if path.endswith(suffix)]
            for sample_id in ids:
                place = raw / pattern.format(id=sample_id)
                if sample_id in found:
                    raise ValueError(f"{found[sample_id]} and {place} are both there for one sample: leave one.")
                found[sample_id] = place
            fitting[pattern] = len(ids)
        return found, max(fitting, key=lambda pattern: fitting[pattern])


def patterns(given: str | tuple[str, ...]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else given


@dataclass(frozen=True)
class RenamedSplits:
    """Paired files whose splits' folders have names of their own, such as `valid` for the split `val`."""

    files: PairedFiles
    """Its splits are the folders."""
    splits: tuple[str, ...]
    """What the folders are called here, in the same order."""

    @property
    def text(self) -> str:
        return f"{self.files.text} They are called {', '.join(self.splits)} here."

    def samples(self, raw: Place, domain: str, split: str) -> list[RawSample]:
        folder = self.files.splits[self.splits.index(split)]
        return [replace(sample, split=split) for sample in self.files.samples(raw, domain, folder)]


@dataclass(frozen=True)
class ListedPairs:
    """One list per split, `<split>.txt`, with an image and its label map a line.

    The paths begin with folders of the machine that the list was made on, so only the last two components count.
    """

    splits: tuple[str, ...]

    @property
    def text(self) -> str:
        lists = ", ".join(f"{split}.txt" for split in self.splits)
        return f"lists {lists} of lines '…/FOLDER/IMAGE …/FOLDER/LABELMAP', and these FOLDERs beside the lists."

    def samples(self, raw: Place, domain: str, split: str) -> list[RawSample]:
        pairs = [[raw / "/".join(entry.split("/")[-2:]) for entry in line] for line in read_list(raw / f"{split}.txt")]
        return [RawSample(image.stem, split, image, label) for image, label in pairs]


@dataclass(frozen=True)
class ListedNames:
    """Images and label maps of all splits in two folders, and for every split a list of their file names."""

    images: str
    labels: str
    """Both with `{id}` for what stands in the list before the file's ending."""
    lists: tuple[tuple[str, str], ...]
    """(split, file name of its list)."""

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(split for split, _ in self.lists)

    @property
    def text(self) -> str:
        lists = ", ".join(f"{name} ({split})" for split, name in self.lists)
        return f"images {self.images}, label maps {self.labels}, and beside these folders lists of file names: {lists}."

    def samples(self, raw: Place, domain: str, split: str) -> list[RawSample]:
        path, suffix = raw / dict(self.lists)[split], self.images.partition("{id}")[2]
        if not path.is_file():
            raise ValueError(f"the list {path} is missing. {self.text}")
        names = path.read_text().split()
        strange = [name for name in names if "/" in name or not name.endswith(suffix)]
        if strange:
            raise ValueError(f"{path} has the entry {strange[0]!r}: each must be the name of a file, …{suffix}.")
        return [
            RawSample(name, split, raw / self.images.format(id=name), raw / self.labels.format(id=name))
            for name in sorted(name.removesuffix(suffix) for name in names)
        ]


@dataclass(frozen=True)
class SampleTable:
    """A CSV file with a header and one sample a line: for datasets of one's own.

    Columns `image` and `label` are paths from the raw folder (a label may be a class id instead), `split` says where
    the sample belongs, `domain` to which domain if there are several, and every other column is an attribute.
    """

    file: str = "samples.csv"
    splits: tuple[str, ...] = ("train", "val")

    @property
    def text(self) -> str:
        return (
            f"a table {self.file} with the columns image, label (a file, or a class id), split (one of "
            f"{', '.join(self.splits)}), for several domains also domain; further columns are attributes."
        )

    def samples(self, raw: Place, domain: str, split: str) -> list[RawSample]:
        found = []
        for line in self._lines(raw / self.file):
            place, label = line["image"], line["label"]
            if line.get("domain", domain) == domain and line["split"] == split:
                attributes = tuple((name, value) for name, value in line.items() if name not in OWN_COLUMNS)
                labelled = int(label) if label.isdecimal() else raw / label
                found.append(RawSample(place.rpartition(".")[0], split, raw / place, labelled, attributes))
        return sorted(found, key=lambda sample: sample.sample_id)

    def _lines(self, path: Place) -> list[dict[str, str]]:
        if not path.is_file():
            raise ValueError(f"the table {path} is missing. Expected: {self.text}")
        table = csv.DictReader(io.StringIO(path.read_text()))
        if not {"image", "label", "split"} <= set(table.fieldnames or ()):
            raise ValueError(f"{path} has the columns {table.fieldnames}. Expected: {self.text}")
        lines = list(table)
        for number, line in enumerate(lines, start=2):
            if None in line or None in line.values() or line["split"] not in self.splits:
                raise ValueError(
                    f"{path}, line {number}: it must have a value in every column, and a split of "
                    f"{', '.join(self.splits)}."
                )
        return lines
