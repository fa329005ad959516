"""Files and folders on local disk or in an object store, by one set of operations.

A location is a local path or a URI of an object store: `s3://bucket/key` or `gs://bucket/key`, with the options of
pyarrow's filesystems as a query (`s3://bucket/data?endpoint_override=localhost:9000&scheme=http`).
Credentials belong into the environment (`AWS_ACCESS_KEY_ID`, …), not into a URI; those that are there are not printed.
"""

import os
import posixpath
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Union
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import pyarrow as pa
from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType, LocalFileSystem

Location = Union[str, Path, "Place"]

SCHEMES = ("s3", "gs")
"""Object stores whose URIs name a bucket and a key."""

UNFINISHED = ".unfinished"
"""Ending of a local file that is being written."""


@dataclass(frozen=True, order=True)
class Place:
    """A file or folder, there or not. Small to pickle, and equal to another that means the same."""

    store: str
    """URI of an object store's bucket with its query; empty for local disk."""
    path: str
    """Absolute, with slashes, without one at the end."""

    @classmethod
    def at(cls, location: Location) -> "Place":
        """The place that a local path (relative ones from the working directory) or a URI stands for.

        Raises:
            ValueError: a URI that pyarrow cannot use.
        """
        if isinstance(location, Place):
            return location
        uri = urlsplit(str(location))
        if "://" not in str(location) or uri.scheme == "file":
            return cls("", os.path.abspath(unquote(uri.path) if uri.scheme == "file" else location))
        place = cls(f"{uri.scheme}://{uri.netloc}?{uri.query}", unquote(uri.path).rstrip("/"))
        filesystem(place.store)
        return place

    def __truediv__(self, relative: str) -> "Place":
        return Place(self.store, posixpath.normpath(f"{self.path}/{relative}"))

    def __str__(self) -> str:
        uri = urlsplit(self.store)
        return f"{uri.scheme}://{uri.netloc.rpartition('@')[2]}{self.path}" if self.store else self.path

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def stem(self) -> str:
        return self.name.rpartition(".")[0] or self.name

    @property
    def parent(self) -> "Place":
        return Place(self.store, self.path.rpartition("/")[0])

    @property
    def is_local(self) -> bool:
        return not self.store

    @property
    def filesystem(self) -> FileSystem:
        return filesystem(self.store)

    @property
    def key(self) -> str:
        """Path in its `filesystem`, which for an object store begins with the bucket."""
        return f"{urlsplit(self.store).netloc.rpartition('@')[2]}{self.path}" if self.store else self.path

    def info(self) -> FileInfo:
        return self.filesystem.get_file_info(self.key)

    def is_file(self) -> bool:
        return self.info().type == FileType.File

    def is_dir(self) -> bool:
        return self.info().type == FileType.Directory

    def files(self, recursive: bool = True) -> dict[str, FileInfo]:
        """Every file below, by its path relative to this folder, sorted; none if there is no such folder."""
        found = self._below(recursive)
        return {path: info for path, info in found if info.type == FileType.File}

    def folders(self) -> list[str]:
        """Names of the folders directly below, sorted."""
        return [path for path, info in self._below(recursive=False) if info.type == FileType.Directory]

    def read_bytes(self) -> bytes:
        """Everything in the file.

        Raises:
            OSError: it is missing or cannot be read.
        """
        with self.filesystem.open_input_stream(self.key, compression=None) as stream:
            return stream.read()

    def read_text(self) -> str:
        return self.read_bytes().decode()

    def write_bytes(self, data: bytes) -> None:
        """Put a file in place, whole or not at all; its folders are made."""
        with self.writing() as stream:
            stream.write(data)

    @contextmanager
    def writing(self) -> Iterator[pa.NativeFile]:
        """A stream into the file, which is there, or new, once the block has ended; after an error all is as it was.

        On local disk the data goes into a file of another name first, for an object store into memory.
        """
        if not self.is_local:
            buffer = pa.BufferOutputStream()
            yield buffer
            # Not in a `with`: leaving it after an error would publish what was sent so far.
            stream = self.filesystem.open_output_stream(self.key, compression=None)
            stream.write(buffer.getvalue())
            stream.close()
            return
        os.makedirs(self.parent.path, exist_ok=True)
        unfinished = f"{self.path}.{uuid4().hex}{UNFINISHED}"
        try:
            with self.filesystem.open_output_stream(unfinished, compression=None) as stream:
                yield stream
            os.replace(unfinished, self.path)
        except BaseException:
            with suppress(FileNotFoundError):
                os.remove(unfinished)
            raise

    def remove(self) -> None:
        """Delete the file, if it is there."""
        if self.is_file():
            self.filesystem.delete_file(self.key)

    def _below(self, recursive: bool) -> list[tuple[str, FileInfo]]:
        selector = FileSelector(self.key, allow_not_found=True, recursive=recursive)
        start = len(self.key.rstrip("/")) + 1
        return sorted((info.path[start:], info) for info in self.filesystem.get_file_info(selector))


def stat(places: Sequence[Place]) -> list[FileInfo | None]:
    """What is known of many files, None for missing ones: one listing a folder instead of a request a file."""
    folders = {place.parent: None for place in places}
    listed = {folder: folder.files(recursive=False) for folder in folders}
    return [listed[place.parent].get(place.name) for place in places]


@lru_cache
def filesystem(store: str) -> FileSystem:
    """The filesystem behind `Place.store`.

    Raises:
        ValueError: pyarrow knows no such scheme, or refuses its options.
    """
    if not store:
        return LocalFileSystem()
    uri = urlsplit(store)
    try:
        if uri.scheme not in SCHEMES:
            raise ValueError(f"its scheme is {uri.scheme!r}")
        return FileSystem.from_uri(store)[0]
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(
            f"{uri.scheme}://{uri.netloc.rpartition('@')[2]} cannot be used: {error}. Legal are local paths and URIs "
            f"that begin with {', '.join(f'{scheme}://' for scheme in SCHEMES)}."
        ) from None
