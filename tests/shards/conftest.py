"""A raw dataset to prepare, and a folder to prepare it in."""

from pathlib import Path

import numpy as np
import pytest
from tiny import SIZES, image_path, label_path, save


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Four random samples in the layout of Cityscapes."""
    generator = np.random.default_rng(0)
    for split, sizes in SIZES.items():
        for number, size in enumerate(sizes):
            save(image_path(tmp_path / "raw", split, number), generator.integers(0, 256, (*size, 3), dtype=np.uint8))
            save(label_path(tmp_path / "raw", split, number), generator.integers(0, 34, size, dtype=np.uint8))
    return tmp_path / "raw"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"
