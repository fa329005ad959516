"""The working tree that goes with a job: which files Ray sends, by Ray's own rules, and whether it takes so many."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ray._private import ray_constants
from ray._private.runtime_env.packaging import GCS_STORAGE_MAX_SIZE, _dir_travel, _get_excludes

LIMIT = min(GCS_STORAGE_MAX_SIZE, ray_constants.DASHBOARD_CLIENT_MAX_SIZE)
"""Bytes at which Ray refuses a package: its dashboard's limit for a request, 100 MiB, is the lower of its two."""

ENTRY_BYTES, END_BYTES = 30 + 46, 22
"""A zip file's headers of an entry, to which twice the name's length comes, and of the file."""

NAMED = 5
"""How many of the largest paths an error names."""


@dataclass(frozen=True)
class Package:
    """What Ray would send of a folder: all but what .gitignore and .rayignore name anywhere in it, and Ray's own
    exceptions (.git, .venv, venv, __pycache__)."""

    tree: Path
    files: dict[str, int]
    """Bytes of every file, by its path in the tree."""

    @classmethod
    def of(cls, tree: Path) -> "Package":
        """List a folder as Ray's own code lists it."""
        files: dict[str, int] = {}

        def note(path: Path) -> None:
            if path.is_file():
                files[path.relative_to(tree).as_posix()] = path.stat().st_size

        excludes = [_get_excludes(tree, ray_constants.get_runtime_env_default_excludes())]
        honoured = os.environ.get(ray_constants.RAY_RUNTIME_ENV_IGNORE_GITIGNORE, "0") != "1"
        _dir_travel(tree, excludes, note, include_gitignore=honoured)
        return cls(tree, files)

    @property
    def size(self) -> int:
        """Bytes of the zip file that Ray makes, which is not compressed."""
        names = sum(len(name.encode()) for name in self.files)
        return sum(self.files.values()) + len(self.files) * ENTRY_BYTES + 2 * names + END_BYTES

    def check(self, needed: Sequence[str], limit: int = LIMIT) -> None:
        """Raise a ValueError if Ray would refuse the package, or leave out one of the `needed` files."""
        for name in needed:
            if name not in self.files:
                raise ValueError(
                    f"{self.tree / name} would not be sent, for a .gitignore or .rayignore names it: the job needs it."
                )
        if self.size >= limit:
            largest = "".join(f"\n- {path}: {mebibytes(size)}" for path, size in heaviest(self.files)[:NAMED])
            raise ValueError(
                f"{self.tree} has {mebibytes(self.size)} in {len(self.files)} files, and Ray sends less than "
                f"{mebibytes(limit)}. Name what the job does not read in .gitignore or .rayignore; data belong on the "
                f"cluster's storage. The largest paths:{largest}"
            )


def heaviest(files: dict[str, int]) -> list[tuple[str, int]]:
    """The paths that hold most bytes, largest first, none inside another: a folder gives way to the one thing in it
    that makes up more than half of it."""
    totals: dict[str, int] = {}
    inside: dict[str, set[str]] = {"": set()}
    for name, size in files.items():
        parts = name.split("/")
        for depth in range(len(parts)):
            parent, path = "/".join(parts[:depth]), "/".join(parts[: depth + 1])
            inside.setdefault(parent, set()).add(path)
            totals[path] = totals.get(path, 0) + size
    found = []
    for path in inside[""]:
        while path in inside:
            largest = max(inside[path], key=lambda child: totals[child])
            if 2 * totals[largest] <= totals[path]:
                break
            path = largest
        found.append((path + "/" if path in inside else path, totals[path]))
    return sorted(found, key=lambda entry: (-entry[1], entry[0]))


def mebibytes(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
