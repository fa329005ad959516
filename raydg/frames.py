"""What is predicted: images, folders of them and the frames of videos, each under a name that no other has."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ImageOps

from raydg.domains.decoding import BadSample, decode, to_rgb
from raydg.storage import Place

IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
"""Endings, in lower case, by which files are taken from folders."""

ORIENTATION = 0x0112
"""EXIF tag that says how a viewer turns the image; 1 is as it is stored."""


@dataclass(frozen=True)
class File:
    """One image or video."""

    path: Path
    """Absolute."""
    name: str
    """What its outputs are called: relative, with slashes, without an ending; of a video, their folder."""

    @property
    def is_video(self) -> bool:
        return self.path.suffix.lower() in VIDEOS


@dataclass(frozen=True)
class Frame:
    """One image to predict."""

    name: str
    """What its outputs are called."""
    source: str
    """Absolute path of its file; behind it `#12` for frame 12, from 0, of a video."""
    pixels: np.ndarray
    """(h, w, 3) uint8, RGB."""


@dataclass
class Remarks:
    """What happened to files on the way."""

    faults: dict[str, str]
    """Reasons by file, or by frame, that could not be predicted."""
    notes: dict[str, str]
    """What is worth knowing of files that could."""


def find(inputs: Sequence[str | Path], besides: str | Path) -> list[File]:
    """The images and videos that the inputs stand for, in their order, those of a folder sorted by path.

    A folder stands for all below it, links followed, that end as `IMAGES` or `VIDEOS` do, but for what lies in the
    folder `besides`. A name is the path inside the folder that was given, behind that folder's name where there are
    several inputs, without the file's ending, unless two would then be alike. A file that is given twice counts once.

    Raises:
        ValueError: inputs hold nothing that could be predicted, or two files that no rule tells apart.
    """
    found: dict[Path, str] = {}
    for each in inputs:
        given = Path(os.path.abspath(each))
        if not given.is_dir():
            found.setdefault(given, given.name)  # also if it is missing, which is reported with the bad ones
            continue
        for path in _below(given, Path(os.path.abspath(besides))):
            inside = path.relative_to(given).as_posix()
            found.setdefault(path, f"{given.name}/{inside}" if len(inputs) > 1 else inside)
    if not found:
        raise ValueError(
            f"{', '.join(map(str, inputs))} hold nothing to predict: a file's ending must be one of "
            f"{', '.join((*IMAGES, *VIDEOS))}."
        )
    short = {path: name.removesuffix(path.suffix) for path, name in found.items()}
    alike = Counter(short.values())
    # A video is a folder of frames, so its name may be that of a real folder.
    folders = {parent.as_posix() for name in found.values() for parent in Path(name).parents}
    files = []
    for path, name in found.items():
        file = File(path, short[path])
        clashes = alike[file.name] > 1 or (file.is_video and file.name in folders)
        files.append(File(path, name) if clashes else file)
    owners: dict[str, Path] = {}
    for file in files:
        other = owners.setdefault(file.name, file.path)
        if other != file.path:
            raise ValueError(
                f"{other} and {file.path} would both be called {file.name!r}: predict them into folders of their own."
            )
    return files


def _below(folder: Path, besides: Path) -> Iterator[Path]:
    """Files to predict in a folder, sorted; a folder that is reached twice by links is walked once."""
    seen, found = set(), []
    for at, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(at)
        if real in seen or Path(at) == besides:
            folders.clear()
            continue
        seen.add(real)
        found += [Path(at, name) for name in names if Path(name).suffix.lower() in (*IMAGES, *VIDEOS)]
    return iter(sorted(found))


def frames(
    files: Sequence[File], wanted: Callable[[str, str], bool], upright: bool, remarks: Remarks
) -> Iterator[Frame]:
    """The images of the files, decoded one after another; files that cannot be are remarked upon and left out.

    Args:
        files: as `find` gives them.
        wanted: says by name and source whether an image is to be decoded.
        upright: whether images are turned as their EXIF orientation, and videos as their metadata, say. Datasets are
            prepared and scored as pixels are stored, so that label maps fit.
        remarks: gets the faults and notes.
    """
    for file in files:
        if file.is_video:
            yield from _video(file, wanted, upright, remarks)
        elif wanted(file.name, str(file.path)):
            try:
                pixels = _pixels(file, upright, remarks)
            except (BadSample, OSError) as error:
                remarks.faults[str(file.path)] = str(error)
            else:
                yield Frame(file.name, str(file.path), pixels)


def _pixels(file: File, upright: bool, remarks: Remarks) -> np.ndarray:
    place = Place.at(file.path)
    _, image = decode(place)
    if image.getexif().get(ORIENTATION, 1) != 1:
        if upright:
            image = ImageOps.exif_transpose(image)
        else:
            remarks.notes[str(file.path)] = "its EXIF orientation was not applied, as in datasets; --upright applies it"
    return np.asarray(to_rgb(image, place))


def _video(file: File, wanted: Callable[[str, str], bool], upright: bool, remarks: Remarks) -> Iterator[Frame]:
    import cv2  # here, for it takes longer to import than the rest

    if not file.path.is_file():
        remarks.faults[str(file.path)] = f"{file.path} is missing"
        return
    video = cv2.VideoCapture(str(file.path))
    try:
        video.set(cv2.CAP_PROP_ORIENTATION_AUTO, float(upright))
        announced, number = int(video.get(cv2.CAP_PROP_FRAME_COUNT)), 0
        while video.grab():
            name, source = f"{file.name}/frame_{number:06d}", f"{file.path}#{number}"
            number += 1
            if not wanted(name, source):
                continue
            whole, pixels = video.retrieve()
            if whole:
                yield Frame(name, source, np.ascontiguousarray(pixels[..., ::-1]))  # OpenCV's order is blue, green, red
            else:
                remarks.faults[source] = f"{source} cannot be decoded"
    finally:
        video.release()
    if number == 0:
        remarks.faults[str(file.path)] = f"{file.path} holds no video that OpenCV can read"
    elif number < announced:
        # Some containers only estimate how many frames they hold, so this need not be a fault.
        remarks.notes[str(file.path)] = f"its header announces {announced} frames, {number} could be read"
