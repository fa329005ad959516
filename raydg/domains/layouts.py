"""The families of folder layouts that datasets come in. None of them opens an image."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from raydg.domains.dataset import RawSample
from raydg.seeds import fold
from raydg.storage import Place

IMAGE_FOLDERS = ("PACS", "kfold", ".")
"""Where under the raw folder the folders of PACS's domains are found, as its archives were packed."""

OWN_COLUMNS = ("image", "label", "split", "domain")
"""Columns of a `SampleTable` that are no attributes."""


def files_under(root: Place, suffix: str) -> list[str]:
    """Paths relative to `root`, without the suffix, of all files that end with it; none if there is no such folder."""
    return [path.removesuffix(suffix) for path in root.files() if path.endswith(suffix)]


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

    def samples(self, raw: Place, domain: str, split: str) -> list[RawSample]:
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

    def samples(self, raw: Place, domain: str, split: str) -> list[RawSample]:
        pairs = [[raw / "/".join(entry.split("/")[-2:]) for entry in line] for line in read_list(raw / f"{split}.txt")]
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

    def samples(self, raw: Place, domain: str, split: str) -> list[RawSample]:
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

    def _lists_folder(self, raw: Place, images: Place, domain: str) -> Place:
        """The only folder with this domain's lists, or of several the only one whose every file is there."""
        files = [self._file(domain, split) for split in self.splits]
        places = (raw, *(raw / name for name in raw.folders()))
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


def read_list(path: Place) -> list[Sequence[str]]:
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


PICTURES = (".jpg", ".jpeg", ".png")
"""Endings, in small letters, of the image files that classification datasets come in."""


@dataclass(frozen=True)
class DrawnSplit:
    """A split into train and val that raydg makes where a dataset has none of its own.

    The images of a domain are ordered by a hash of the seed, the domain and the name, and the first part is train. So
    it is the same on every machine, and a copy that lacks some images has nearly the same split. Classes are not
    balanced, as they are not in DomainBed's draw: then the size of both parts follows from that of the domain, and can
    be expected of a copy.
    """

    train_percent: int
    """Of n images, n * train_percent // 100 are train, the rest is val."""
    seed: int = 0

    splits = ("train", "val")

    @property
    def text(self) -> str:
        shares = f"{self.train_percent} % and {100 - self.train_percent} %"
        return f"train and val are {shares}, drawn by raydg with the seed {self.seed}"

    def part(self, domain: str, split: str, names: Iterable[str]) -> set[str]:
        """The names that `split`, train or val, has of all."""
        order = sorted(names, key=lambda name: (fold(self.seed, "split", domain, name), name))
        border = len(order) * self.train_percent // 100
        return set(order[:border] if split == "train" else order[border:])


@dataclass(frozen=True)
class ClassFolders:
    """Images in `<domain>/<class>/` without an official split."""

    roots: tuple[str, ...]
    """Where under the raw folder the folders of the domains may lie."""
    domains: Mapping[str, tuple[str, ...]]
    """Names that the folder of each domain may have."""
    classes: Mapping[str, int]
    """Raw id of every class folder; a class may have several names."""
    drawn: DrawnSplit

    @property
    def splits(self) -> tuple[str, ...]:
        return self.drawn.splits

    @property
    def text(self) -> str:
        folders = "; ".join(" or ".join(names) for names in self.domains.values())
        return f"images {where(self.roots)}<domain>/<class>/FILE, the domains' folders {folders}; {self.drawn.text}."

    def samples(self, raw: Place, domain: str, split: str) -> list[RawSample]:
        folder = domain_folder(raw, self.roots, self.domains, domain)
        images = [path for path in folder.files() if is_picture(path)]
        strange = sorted({path.rpartition("/")[0] for path in images} - set(self.classes))
        if strange:
            raise ValueError(
                f"{folder} has images in {', '.join(repr(name) for name in strange[:8])}, which is no class of "
                f"{domain}: the folders in it must be {', '.join(self.classes)}."
            )
        part = self.drawn.part(domain, split, images)
        return [
            RawSample(path, split, folder / path, self.classes[path.partition("/")[0]])
            for path in images
            if path in part
        ]


@dataclass(frozen=True)
class ListedImages:
    """Images below one folder per domain, and lists of them with class ids, `<domain>_<list>.txt`.

    A path in a list may begin with folders of the machine that it was made on; what counts follows the domain's folder.
    The folder that an image lies in names its class, so that a list whose ids are shifted or exchanged is noticed.
    """

    roots: tuple[str, ...]
    """Where under the raw folder the folders of the domains may lie."""
    domains: Mapping[str, str]
    """Name of each domain's folder, with which the names of its lists begin."""
    lists: Mapping[str, str]
    """What the list of a split is called; train and val may share one."""
    classes: Mapping[str, int]
    """Raw id of every class folder."""
    drawn: DrawnSplit | None = None
    """Divides a list that train and val share."""

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.lists)

    @property
    def text(self) -> str:
        lists = ", ".join(f"<domain>_{name}.txt" for name in dict.fromkeys(self.lists.values()))
        drawn = f"; {self.drawn.text}, from the first list" if self.drawn else ""
        return (
            f"images below {where(self.roots)}<domain>/, <domain> one of {', '.join(self.domains.values())}, and lists "
            f"{lists} beside the domains' folders, in the raw folder or in a folder in it, with lines "
            f"'…/<domain>/…/<class>/FILE ID'{drawn}."
        )

    def samples(self, raw: Place, domain: str, split: str) -> list[RawSample]:
        images = domain_folder(raw, self.roots, {name: (folder,) for name, folder in self.domains.items()}, domain)
        path = self._lists_folder(raw, domain) / self._file(domain, split)
        listed = dict(self._entry(path, domain, *line) for line in read_list(path))
        part = self.drawn.part(domain, split, listed) if self.drawn and split in self.drawn.splits else set(listed)
        return [RawSample(file, split, images / file, raw_id) for file, raw_id in listed.items() if file in part]

    def _entry(self, path: Place, domain: str, file: str, raw_id: str) -> tuple[str, int]:
        """A line's path, from the domain's folder on, and its id."""
        *folders, name = file.split("/")
        if self.domains[domain] not in folders:
            raise ValueError(f"{path} names {file!r}: a folder {self.domains[domain]!r} must stand in that path.")
        start = len(folders) - folders[::-1].index(self.domains[domain])
        known = self.classes.get(folders[-1])
        if known is None:
            raise ValueError(f"{path} names {file!r}: {folders[-1]!r} is the folder of no class.")
        if raw_id != str(known):
            raise ValueError(f"{path} gives {file!r} the id {raw_id}: the class in that folder has the id {known}.")
        return "/".join((*folders[start:], name)), known

    def _file(self, domain: str, split: str) -> str:
        return f"{self.domains[domain]}_{self.lists[split]}.txt"

    def _lists_folder(self, raw: Place, domain: str) -> Place:
        """The first folder that has every list of the domain."""
        files = {self._file(domain, split): None for split in self.splits}
        for place in (raw, *(raw / root for root in self.roots), *(raw / name for name in raw.folders())):
            if all((place / file).is_file() for file in files):
                return place
        raise ValueError(f"no folder of {raw} has the lists {', '.join(files)}. Expected: {self.text}")


def where(roots: Sequence[str]) -> str:
    """The beginning of a path in a layout's text."""
    named = [f"{root}/" for root in roots if root != "."]
    return f"[{' or '.join(named)}]" if named else ""


def is_picture(path: str) -> bool:
    """Whether a file is an image, by its name; those with a dot in front are not, for archivers leave such behind."""
    return path.lower().endswith(PICTURES) and not path.rpartition("/")[2].startswith(".")


def domain_folder(raw: Place, roots: Sequence[str], domains: Mapping[str, Sequence[str]], domain: str) -> Place:
    """The only folder under `raw` that a domain's images can lie in.

    Raises:
        ValueError: none, or several; a domain that the edition does not have.
    """
    if domain not in domains:
        raise ValueError(f"this edition has no domain {domain!r}: it has {', '.join(domains)}.")
    places = {raw / root / name: None for root in roots for name in domains[domain]}
    found = [place for place in places if place.is_dir()]
    if len(found) != 1:
        named = " or ".join(map(str, found or places))
        raise ValueError(f"exactly one of {named} must be the images' folder of {domain}; found {len(found)}.")
    return found[0]


@dataclass(frozen=True)
class RenamedSplits:
    """Paired files whose splits' folders have names of their own, such as `valid` for the split `val`."""

    files: "PairedFiles | PairedVariants"
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
            for name in (name.removesuffix(suffix) for name in names)
        ]


@dataclass(frozen=True)
class PairedVariants:
    """As `PairedFiles`, for a dataset whose copies differ in file endings or in a folder around all, also in one copy.

    A file may fit any of the patterns of its kind, but a sample's only one. A file that is missing is expected where
    most of its kind are.
    """

    images: tuple[str, ...]
    labels: tuple[str, ...]
    splits: tuple[str, ...]
    archives: tuple[str, ...] = ()
    """Folders that the dataset's archives pack all into; their content may be there with or without them."""

    @property
    def text(self) -> str:
        images, labels = " or ".join(self.images), " or ".join(self.labels)
        around = f", all as it is or in {' or '.join(self.archives)}" if self.archives else ""
        return f"images {images}, label maps {labels}{around}, with split one of {', '.join(self.splits)}."

    def samples(self, raw: Place, domain: str, split: str) -> list[RawSample]:
        images, expected_image = self._find(raw, domain, split, self.images)
        labels, expected_label = self._find(raw, domain, split, self.labels)
        return [
            RawSample(
                sample_id=sample_id,
                split=split,
                image=images.get(sample_id) or raw / expected_image.format(id=sample_id),
                label=labels.get(sample_id) or raw / expected_label.format(id=sample_id),
            )
            for sample_id in sorted(images.keys() | labels.keys())
        ]

    def _find(self, raw: Place, domain: str, split: str, patterns: Sequence[str]) -> tuple[dict[str, Place], str]:
        """Files by sample, and the pattern that most of them fit, with nothing but `{id}` left to fill in."""
        filled = [
            f"{archive}{pattern.format(domain=domain, split=split, id='{id}')}"
            for archive in ("", *(f"{name}/" for name in self.archives))
            for pattern in patterns
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
