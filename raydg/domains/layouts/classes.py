"""Layouts of images with a class each: folders named after the classes, or lists with ids."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from raydg.domains.dataset import RawSample
from raydg.domains.layouts.lists import read_list
from raydg.seeds import fold
from raydg.storage import Place

IMAGE_FOLDERS = ("PACS", "kfold", ".")
"""Where under the raw folder the folders of PACS's domains are found, as its archives were packed."""

PICTURES = (".jpg", ".jpeg", ".png")
"""Endings, in small letters, of the image files that classification datasets come in."""


@dataclass(frozen=True)
class ListedClasses:
    """Images in `<domain>/<class>/`, and lists of them with class ids, `<domain>_<list>_kfold.txt`: PACS."""

    lists: tuple[tuple[str, str], ...]
    """(split, its name in the list's file name)."""
    classes: Mapping[str, int]
    """Raw id of every class folder: a list whose ids are shifted or exchanged is noticed."""

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
        for file, raw_id in lines:
            known = self.classes.get(file.removeprefix(f"{domain}/").partition("/")[0])
            if known is not None and known != int(raw_id):
                hint = "; this list counts from 0" if int(raw_id) == known - 1 else ""
                raise ValueError(f"{path} gives {file!r} the id {raw_id}: the class in that folder has {known}{hint}.")
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
        present = {f"{domain}/{name}" for name in (images / domain).files()}
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
        entries = [self._entry(path, domain, *line) for line in read_list(path)]
        listed = dict(entries)
        if len(listed) < len(entries):
            raise ValueError(f"{path} names {len(entries) - len(listed)} images more than once.")
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
        raise ValueError(
            f"exactly one of {named} must be the images' folder of {domain}; found {len(found)} "
            "(--domains can leave it out)."
        )
    return found[0]
