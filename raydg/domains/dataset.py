"""What raydg has to know of a dataset: its domains, where the files lie, what its label ids mean, and its terms."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from raydg.domains.contract import Contract
from raydg.domains.decoding import RawImage, read_ids, read_image
from raydg.domains.label_table import LabelTable, NameTable
from raydg.domains.labels import LabelSpace
from raydg.licence import CommercialUse, Licence
from raydg.storage import Location, Place, stat


@dataclass(frozen=True)
class RawSample:
    """One sample of a raw dataset: its image file and its label, a file of ids or one id. The files may be missing."""

    sample_id: str
    """Unique in its split."""
    split: str
    image: Place
    label: Place | int
    attributes: tuple[tuple[str, str], ...] = ()
    """What the dataset says of the image, such as ("weather", "rain")."""


class Layout(Protocol):
    """How a dataset's folder is laid out. `domain` is the name of one of its folders, or the dataset's own name."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Labelled splits, as the dataset calls them."""
        ...

    @property
    def text(self) -> str:
        """What must lie where under the raw folder, in words."""
        ...

    def samples(self, raw: Place, domain: str, split: str) -> list[RawSample]:
        """The samples of a split in a fixed order, those included of which one file is missing.

        Raises:
            ValueError: a folder or a list is missing or cannot be understood.
        """
        ...


@dataclass(frozen=True)
class Subset:
    """The first samples of a split in the order of their ids, under a name: a part that published numbers are of."""

    name: str
    split: str
    first: int
    source: str
    """Who scored it."""


@dataclass(frozen=True, kw_only=True)
class Edition:
    """A release of a dataset, or a way in which it is found on disk.

    Raises:
        ValueError: a subset of no split, or under the name of one.
    """

    name: str
    layout: Layout
    tables: tuple[LabelTable, ...] | tuple[NameTable, ...]
    """One for each label space that the dataset can be labelled with, the default first."""
    class_names: Callable[[Place], tuple[Mapping[int, str], Place]] | None = None
    """Reads from the raw folder what the dataset calls its ids, and the file that says so: wanted by `NameTable`s."""
    read_image: Callable[[RawSample], RawImage] = read_image
    """Turns a sample into its image."""
    read_label: Callable[[Place], np.ndarray] = read_ids
    """Turns a label file into raw ids (h, w)."""
    exclude: Callable[[RawImage, np.ndarray], str | None] | None = None
    """The dataset's known bad frames: from image and raw ids (h, w) the reason to leave a sample out, or None."""
    contract: Contract | None = None
    subsets: tuple[Subset, ...] = ()

    def __post_init__(self) -> None:
        for subset in self.subsets:
            if subset.split not in self.layout.splits or subset.name in self.layout.splits:
                raise ValueError(f"subset {subset.name!r} of {self.name}: it must be a new name for a part of a split.")

    def table(self, space: LabelSpace) -> LabelTable | NameTable:
        """The table to `space`.

        Raises:
            ValueError: there is none.
        """
        for table in self.tables:
            if table.space == space:
                return table
        known = ", ".join(table.space.name for table in self.tables)
        raise ValueError(f"{self.name} has no label table for the label space {space.name!r} as given: it has {known}.")

    def label_table(self, space: LabelSpace, raw: Place) -> LabelTable:
        """The table from the raw ids of the copy in `raw` to `space`.

        Raises:
            ValueError: there is none, or the copy's own list of classes is missing or names unknown ones.
        """
        table = self.table(space)
        if isinstance(table, LabelTable):
            return table
        if self.class_names is None:
            raise ValueError(f"{self.name} has a table of names: its entry must say how to read them (class_names).")
        return table.numbered(*self.class_names(raw))

    def chosen_splits(self, splits: Sequence[str] | None) -> tuple[str, ...]:
        """`splits`, all for None, in the dataset's own order.

        Raises:
            ValueError: one that it does not have, one that stands twice, or none.
        """
        legal = self.layout.splits
        wanted = legal if splits is None else tuple(splits)
        if not wanted or len(set(wanted)) < len(wanted) or not set(wanted) <= set(legal):
            raise ValueError(
                f"splits of {self.name} are {list(wanted)}: they must be one or more of {', '.join(legal)}, each once."
            )
        return tuple(split for split in legal if split in wanted)

    def list_samples(self, raw: Location, domain: str, splits: Sequence[str] | None = None) -> list[RawSample]:
        """The samples of some splits (None: all) of a domain, whose files lie under `raw`.

        Raises:
            ValueError: no such folder or split; a split without samples; an image that is listed twice.
        """
        raw = Place.at(raw)
        if not raw.is_dir():
            raise ValueError(f"{raw} is no folder. {self.name} is expected to be: {self.layout.text}")
        samples: list[RawSample] = []
        for split in self.chosen_splits(splits):
            found = self.layout.samples(raw, domain.rpartition("/")[2], split)
            if not found:
                raise ValueError(
                    f"{domain} has no samples of split {split!r} in {raw} (--splits can leave it out). Expected: "
                    f"{self.layout.text}"
                )
            samples += found
        names = Counter((sample.split, sample.sample_id) for sample in samples)
        # Where an edition reads images its own way, one file may hold many.
        images = Counter(sample.image for sample in samples) if self.read_image is read_image else Counter()
        for what, counted in (("samples have a name that another has, such as", names), ("images are listed", images)):
            twice = [key for key, times in counted.items() if times > 1]
            if twice:
                first = "/".join(twice[0]) if isinstance(twice[0], tuple) else f"more than once, first {twice[0]}"
                raise ValueError(f"{domain}: {len(twice)} {what} {first}.")
        return samples

    def fit(self, raw: Place, domain: str) -> int:
        """How many whole samples a folder has when it is read as this edition."""
        samples: list[RawSample] = []
        for split in self.layout.splits:
            try:
                samples += self.layout.samples(raw, domain.rpartition("/")[2], split)
            except ValueError:
                continue
        return sum(files_there(samples))


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One entry of the catalogue.

    Raises:
        ValueError: domains not named `name`, or `name/something` if there are several; editions with other label
            spaces than the first.
    """

    name: str
    title: str
    domains: tuple[str, ...]
    """Names under which its domains are trained and tested: its own name, or `name/domain` for each of several."""
    editions: tuple[Edition, ...]
    """Releases, the one to be preferred first."""
    licence: str
    """Terms under which the images may be used, in words."""
    commercial_use: CommercialUse
    source: str
    """Where to get it."""
    citation: str

    def __post_init__(self) -> None:
        alone, several = self.domains == (self.name,), all(d.startswith(f"{self.name}/") for d in self.domains)
        if not self.domains or not (alone or several):
            raise ValueError(
                f"domains of {self.name} are {self.domains}: they must be ('{self.name}',) or '{self.name}/…' each."
            )
        if len({edition.name for edition in self.editions}) != len(self.editions) or not self.editions:
            raise ValueError(f"{self.name} must have one or more editions of different names.")
        if len({tuple(table.space.name for table in edition.tables) for edition in self.editions}) > 1:
            raise ValueError(f"the editions of {self.name} must have tables for the same label spaces.")

    @property
    def task(self) -> Literal["segmentation", "classification"]:
        return self.label_space().task

    @property
    def terms(self) -> Licence:
        return Licence(self.title, self.licence, self.commercial_use)

    def label_space(self, name: str | None = None) -> LabelSpace:
        """The label space called `name`; the default one for None.

        Raises:
            ValueError: the dataset has no label table for it.
        """
        tables = self.editions[0].tables
        by_name = {table.space.name: table.space for table in tables}
        if name is not None and name not in by_name:
            raise ValueError(
                f"{self.name} cannot be labelled with {name!r}: it has label tables for {', '.join(by_name)}."
            )
        return by_name[name] if name is not None else tables[0].space

    def edition(self, name: str) -> Edition:
        """The edition called `name`.

        Raises:
            ValueError: there is none.
        """
        for edition in self.editions:
            if edition.name == name:
                return edition
        known = ", ".join(repr(edition.name) for edition in self.editions)
        raise ValueError(f"{self.name} has no edition {name!r}: it has {known}.")

    def recognise(self, raw: Location, domain: str) -> Edition:
        """The edition that most files under `raw` fit; of several, and of none, the first."""
        if len(self.editions) == 1:
            return self.editions[0]
        return max(self.editions, key=lambda edition: edition.fit(Place.at(raw), domain))


def files_there(samples: Sequence[RawSample]) -> list[bool]:
    """Whether all files of each sample are there."""
    files = [[sample.image, *([sample.label] if isinstance(sample.label, Place) else [])] for sample in samples]
    wanted = [file for group in files for file in group]
    there = {file for file, info in zip(wanted, stat(wanted), strict=True) if info is not None}
    return [all(file in there for file in group) for group in files]
