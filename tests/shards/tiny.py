"""Tiny raw datasets, and what the tests of shards do with them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from raydg.domains.catalogue import dataset
from raydg.domains.dataset import Dataset
from raydg.domains.labels import CITYSCAPES_19
from raydg.shards import PreparedDomain, prepare_domains


def as_it_comes(name: str) -> Dataset:
    """An entry of the catalogue that expects nothing of a copy, in its first edition."""
    entry = dataset(name)
    return replace(entry, editions=(replace(entry.editions[0], contract=None),))


CITYSCAPES = as_it_comes("cityscapes")
SIZES = {"train": [(8, 12), (6, 6), (9, 5)], "val": [(4, 7)]}
"""Height and width of the samples of each split."""


def image_path(raw: Path, split: str, number: int) -> Path:
    return raw / f"leftImg8bit/{split}/town/{number}_leftImg8bit.png"


def label_path(raw: Path, split: str, number: int) -> Path:
    return raw / f"gtFine/{split}/town/{number}_gtFine_labelIds.png"


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def prepare(raw: Path, out: Path, **options) -> PreparedDomain:
    return prepare_domains(CITYSCAPES, ("cityscapes",), raw, out, CITYSCAPES_19, **options)[0].domain


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under a folder, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def class_list(raw: Path, domain: str, names: dict[str, list[tuple[str, int]]]) -> None:
    """A classification domain in the layout of PACS, with grey pictures of 6 x 5."""
    (raw / "splits").mkdir(parents=True, exist_ok=True)
    for split, lines in names.items():
        for shade, (name, _) in enumerate(lines):
            save(raw / "PACS" / domain / name, np.full((5, 6, 3), 20 * shade, dtype=np.uint8))
        text = "".join(f"{domain}/{name} {label}\n" for name, label in lines)
        (raw / "splits" / f"{domain}_{split}_kfold.txt").write_text(text)
