"""The families of folder layouts that datasets come in. None of them opens an image."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from raydg.domains.dataset import RawSample

IMAGE_FOLDERS = ("PACS", "kfold", ".")
"""Where under the raw folder the folders of PACS's domains are found, as its archives were packed."""


def files_under(root: Path, suffix: str) -> Iterator[str]:
    """Paths relative to `root`, without the suffix, of all files that end with it; none if there is no such folder."""
    for parent, _, names in os.walk(root, followlinks=True):
        for name in names:
            if name.endswith(suffix):
                yield (Path(parent) / name).relative_to(root).as_posix().removesuffix(suffix)


@dataclass(frozen=True)
class PairedFiles:
    """Images and label maps in two trees, paired by what stands for `{id}`, which may run over several folders.

    `{split}` and `{domain}` stand for the names of folders. Whatever is found in one of the trees is a sample, so that
    a file without its partner is noticed.
    """

    images: str
    labels: str
    splits: tuple[str, ...]

    @property
    def text(self) -> str:
        return f"images {self.images}, label maps {self.labels}, with split one of {', '.join(self.splits)}."

    def samples(self, raw: Path, domain: str, split: str) -> list[RawSample]:
        found = set[str]()
        for pattern in (self.images, self.labels):
            root, suffix = pattern.format(domain=domain, split=split, id="{id}").split("{id}")
            if (raw / root).is_file():
                raise ValueError(f"{raw / root} is a file, not a folder; if it is a link copied as text, link it anew.")
            found.update(files_under(raw / root, suffix))
        return [
            RawSample(
                sample_id=sample_id,
                split=split,
                image=raw / self.images.format(domain=domain, split=split, id=sample_id),
                label=raw / self.labels.format(domain=domain, split=split, id=sample_id),
            )
            for sample_id in sorted(found)
        ]


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

    def samples(self, raw: Path, domain: str, split: str) -> list[RawSample]:
        pairs = [[raw.joinpath(*Path(entry).parts[-2:]) for entry in line] for line in read_list(raw / f"{split}.txt")]
        return [RawSample(image.stem, split, image, label) for image, label in pairs]


@dataclass(frozen=True)
class ListedClasses:
    """Images in `<domain>/<class>/`, and lists of them with class ids, `<domain>_<list>_kfold.txt`: PACS."""

    lists: tuple[tuple[str, str], ...]
    """(split, its name in the list's file name)."""

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(split for split, _ in self.lists)

    @property
    def text(self) -> str:
        lists = ", ".join(f"<domain>_{name}_kfold.txt ({split})" for split, name in self.lists)
        return (
            f"images PACS/<domain>/<class>/FILE, and a folder of lists {lists} with lines '<domain>/<class>/FILE ID'."
        )

    def samples(self, raw: Path, domain: str, split: str) -> list[RawSample]:
        roots = [root for root in (raw / name for name in IMAGE_FOLDERS) if (root / domain).is_dir()]
        if len(roots) != 1:
            where = " or ".join(str(raw / name / domain) for name in IMAGE_FOLDERS)
            raise ValueError(f"exactly one of {where} must be the images' folder; found {len(roots)}. {self.text}")
        path = self._lists_folder(raw, roots[0], domain) / self._file(domain, split)
        lines = read_list(path)
        strange = [raw_id for _, raw_id in lines if not raw_id.isdecimal()]
        if strange:
            raise ValueError(f"{path} has the label {strange[0]!r}: it must be a class id, 0 or more.")
        return [
            RawSample(file.removeprefix(f"{domain}/"), split, roots[0] / file, int(raw_id)) for file, raw_id in lines
        ]

    def _file(self, domain: str, split: str) -> str:
        return f"{domain}_{dict(self.lists)[split]}_kfold.txt"

    def _lists_folder(self, raw: Path, images: Path, domain: str) -> Path:
        """The only folder with this domain's lists, or of several the only one whose every file is there."""
        files = [self._file(domain, split) for split in self.splits]
        places = (raw, *sorted(raw.iterdir()))
        candidates = [place for place in places if all((place / file).is_file() for file in files)]
        if not candidates:
            raise ValueError(f"no folder of {raw} has the lists {', '.join(files)}. {self.text}")
        if len(candidates) == 1:
            return candidates[0]
        present = {f"{domain}/{name}" for name in files_under(images / domain, "")}
        named = {place: {name for file in files for name, _ in read_list(place / file)} for place in candidates}
        whole = [place for place in candidates if named[place] <= present]
        if len(whole) != 1:
            found = "; ".join(
                f"{place} names {len(named[place] - present)} files that are missing" for place in candidates
            )
            raise ValueError(
                f"{raw} has several folders of lists for {domain}, not one that fits: {found}. Leave one there."
            )
        return whole[0]


def read_list(path: Path) -> list[Sequence[str]]:
    """The lines of a list, two columns each; empty ones are left out.

    Raises:
        ValueError: the list is missing, or a line has another number of columns.
    """
    if not path.is_file():
        raise ValueError(f"the list {path} is missing.")
    lines = [line.split() for line in path.read_text().splitlines()]
    for number, line in enumerate(lines, start=1):
        if len(line) not in (0, 2):
            raise ValueError(f"{path}, line {number}, has {len(line)} columns: it must have 2, a file and its label.")
    return [line for line in lines if line]
