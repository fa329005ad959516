"""Every dataset that raydg can prepare. A new one is a file here with a `DATASET` in it, and its name below."""

import os
import runpy

from raydg.domains.catalogue import (
    acdc,
    bdd100k,
    camvid,
    carla,
    cityscapes,
    domainnet,
    gtav,
    idd,
    idd_lite,
    kitti,
    mapillary,
    mnist,
    object_world,
    office_home,
    pacs,
    street_world,
    synthia,
    terra_incognita,
    vlcs,
    wilddash,
)
from raydg.domains.dataset import Dataset

DATASETS: tuple[Dataset, ...] = (
    *(
        module.DATASET
        for module in (
            # streets
            gtav,
            synthia,
            cityscapes,
            bdd100k,
            acdc,
            idd,
            mapillary,
            wilddash,
            idd_lite,
            camvid,
            kitti,
            carla,
            street_world,
            # objects
            pacs,
            vlcs,
            office_home,
            terra_incognita,
            domainnet,
            object_world,
        )
    ),
    mnist.ROTATED,
    mnist.COLOURED,
)


def dataset(name: str) -> Dataset:
    """The entry called `name`, or the `DATASET` of the Python file of that path: how to bring one's own.

    Raises:
        ValueError: there is none.
    """
    if name.endswith(".py"):
        return from_file(name)
    for entry in DATASETS:
        if entry.name == name:
            return entry
    raise ValueError(
        f"no dataset is called {name!r}; there are {', '.join(entry.name for entry in DATASETS)}. Your own is a Python "
        "file with a DATASET in it."
    )


def from_file(path: str) -> Dataset:
    """The `DATASET` in a Python file, which is run. Its functions travel to other machines with the work.

    Raises:
        ValueError: there is no such file, or no Dataset in it.
    """
    if not os.path.isfile(path):
        raise ValueError(f"{path} is no file: it must be a Python file with a DATASET.")
    found = runpy.run_path(path).get("DATASET")
    if not isinstance(found, Dataset):
        raise ValueError(
            f"{path} has {'no DATASET' if found is None else f'a DATASET of type {type(found).__name__}'}: "
            "it must be a raydg.domains.dataset.Dataset."
        )
    return found
