"""What raydg has to know of a dataset: its domains, where the files lie, what its label ids mean, and its terms."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from raydg.domains.decoding import read_ids
from raydg.domains.label_table import LabelTable
from raydg.domains.labels import LabelSpace


@dataclass(frozen=True)
class RawSample:
    """One sample of a raw dataset: its image file and its label, a file of ids or one id. The files may be missing."""

    sample_id: str
    """Unique in its split."""
    split: str
    image: Path
    label: Path | int


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

    def samples(self, raw: Path, domain: str, split: str) -> list[RawSample]:
        """The samples of a split in a fixed order, those included of which one file is missing.

        Raises:
            ValueError: a folder or a list is missing or cannot be understood.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One entry of the catalogue.

    Raises:
        ValueError: domains not named `name`, or `name/something` if there are several.
    """

    name: str
    title: str
    domains: tuple[str, ...]
    """Names under which its domains are trained and tested: its own name, or `name/domain` for each of several."""
    layout: Layout
    tables: tuple[LabelTable, ...]
    """One for each label space that the dataset can be labelled with, the default first."""
    read_label: Callable[[Path], np.ndarray] = read_ids
    """Turns a label file into raw ids (h, w)."""
    licence: str
    """Terms under which the images may be used, in words."""
    commercial_use: Literal["yes", "no", "unknown"]
    citation: str

    def __post_init__(self) -> None:
        alone, several = self.domains == (self.name,), all(d.startswith(f"{self.name}/") for d in self.domains)
        if not self.domains or not (alone or several):
            raise ValueError(
                f"domains of {self.name} are {self.domains}: they must be ('{self.name}',) or '{self.name}/…' each."
            )

    @property
    def task(self) -> Literal["segmentation", "classification"]:
        return self.tables[0].space.task

    def label_space(self, name: str | None = None) -> LabelSpace:
        """The label space called `name`; the default one for None.

        Raises:
            ValueError: the dataset has no label table for it.
        """
        by_name = {table.space.name: table.space for table in self.tables}
        if name is not None and name not in by_name:
            raise ValueError(
                f"{self.name} cannot be labelled with {name!r}: it has label tables for {', '.join(by_name)}."
            )
        return by_name[name] if name is not None else self.tables[0].space

    def table(self, space: LabelSpace) -> LabelTable:
        """The table from raw ids to `space`.

        Raises:
            ValueError: there is none.
        """
        for table in self.tables:
            if table.space == space:
                return table
        known = ", ".join(table.space.name for table in self.tables)
        raise ValueError(f"{self.name} has no label table for the label space {space.name!r} as given: it has {known}.")

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

    def list_samples(self, raw: Path, domain: str, splits: Sequence[str] | None = None) -> list[RawSample]:
        """The samples of some splits (None: all) of a domain, whose files lie under `raw`.

        Raises:
            ValueError: no such folder, domain or split; a split without samples; an image that is listed twice.
        """
        if domain not in self.domains:
            raise ValueError(f"{self.name} has no domain {domain!r}: it has {', '.join(self.domains)}.")
        if not raw.is_dir():
            raise ValueError(f"{raw} is no folder. {self.title} is expected to be: {self.layout.text}")
        samples: list[RawSample] = []
        for split in self.chosen_splits(splits):
            found = self.layout.samples(raw, domain.rpartition("/")[2], split)
            if not found:
                raise ValueError(
                    f"{domain} has no samples of split {split!r} in {raw} (--splits can leave it out). Expected: "
                    f"{self.layout.text}"
                )
            samples += found
        twice = [str(image) for image, times in Counter(sample.image for sample in samples).items() if times > 1]
        if twice:
            raise ValueError(f"{domain}: {len(twice)} images are listed more than once, first {twice[0]}.")
        return samples
