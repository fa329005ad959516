"""Every dataset that raydg can prepare. A new one is one entry, in the file of its kind."""

from raydg.domains import pacs, streets
from raydg.domains.dataset import Dataset

DATASETS = (*pacs.DATASETS, *streets.DATASETS)


def dataset(name: str) -> Dataset:
    """The entry called `name`.

    Raises:
        ValueError: there is none.
    """
    for entry in DATASETS:
        if entry.name == name:
            return entry
    raise ValueError(f"no dataset is called {name!r}; there are {', '.join(entry.name for entry in DATASETS)}.")
