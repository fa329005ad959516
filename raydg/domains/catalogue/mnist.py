"""MNIST made into domains as DomainBed does it: rotated by six angles, or coloured in three ways.

Taken from facebookresearch/DomainBed, domainbed/datasets.py, where the rules differ here:
- DomainBed shuffles all 70,000 digits and deals them out to the domains. Here the digits of each official file are
  dealt out for themselves, so that train digits and test digits stay apart; the sizes of the domains are the same.
- DomainBed draws with torch's global state: which digit is in which domain, whose label is wrong and which has which
  colour is different in every run. Here it follows from the file and the position of the digit, by a hash.
- Images are RGB. Rotated digits are grey (DomainBed: one channel); coloured ones are red or green with an empty blue
  channel (DomainBed: two channels, the same two).
"""

import gzip
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

from raydg.domains.contract import Contract, ExpectedSplit
from raydg.domains.dataset import Dataset, Edition, RawSample
from raydg.domains.decoding import BadSample, RawImage, png, read
from raydg.domains.label_table import LabelTable
from raydg.domains.labels import LabelSpace, spread_palette
from raydg.seeds import fold
from raydg.storage import Place

FILES = {"train": "train", "val": "t10k"}
"""Beginning of the names of a split's two files."""

FOLDERS = (".", "MNIST/raw", "raw", "MNIST")
"""Where under the raw folder the files may lie; torchvision puts them into MNIST/raw."""

GZIP = b"\x1f\x8b"
"""How a packed file begins."""

SEED = 0

ANGLES = {str(degrees): degrees for degrees in (0, 15, 30, 45, 60, 75)}
"""Degrees, counterclockwise, by domain."""

FLIPS = {"plus90": 10, "plus80": 20, "minus90": 90}
"""Per cent of the digits whose colour is not that of their label, by domain: DomainBed's +90%, +80% and -90%."""

WRONG_LABELS = 25
"""Per cent of the labels of coloured digits that are exchanged."""

COLOURS = ("red", "green")
"""The colour that goes with the label 0 and 1, which is also the channel that is kept."""

DIGITS = LabelSpace(
    name="mnist10", task="classification", classes=tuple(map(str, range(10))), palette=spread_palette(10)
)

HALVES = LabelSpace(
    name="mnist2", task="classification", classes=("5 to 9", "0 to 4"), palette=((214, 39, 40), (44, 160, 44))
)
"""Label 1 is for the digits below 5, as in DomainBed."""


@dataclass(frozen=True)
class MnistFiles:
    """The official files of MNIST, whose digits are dealt out to domains."""

    domains: Mapping[str, int]
    """For each domain its angle, or per cent of exchanged colours."""
    coloured: bool

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(FILES)

    @property
    def text(self) -> str:
        names = ", ".join(f"{start}-images-idx3-ubyte, {start}-labels-idx1-ubyte" for start in FILES.values())
        return f"the files {names}, each as it is or with .gz, in the raw folder or, as torchvision has it, MNIST/raw."

    def samples(self, raw: Place, domain: str, split: str) -> list[RawSample]:
        if domain not in self.domains:
            raise ValueError(f"there is no domain {domain!r}; there are {', '.join(self.domains)}.")
        start = FILES[split]
        images, labels = (
            self._file(raw, f"{start}-{name}", split) for name in ("images-idx3-ubyte", "labels-idx1-ubyte")
        )
        digits = read_idx(labels, dimensions=1)
        setting = self.domains[domain]
        samples = []
        for position in dealt(start, len(digits), len(self.domains))[list(self.domains).index(domain)]:
            digit = int(digits[position])
            if self.coloured:
                label, colour = coloured(start, position, digit, setting)
                attributes = (("position", str(position)), ("digit", str(digit)), ("colour", COLOURS[colour]))
            else:
                label, attributes = digit, (("position", str(position)), ("angle", str(setting)))
            samples.append(RawSample(f"{start}-{position:05}", split, images, label, attributes))
        return samples

    def _file(self, raw: Place, name: str, split: str) -> Place:
        """The first place with the file, packed or not."""
        for folder in FOLDERS:
            for ending in ("", ".gz"):
                if (raw / folder / f"{name}{ending}").is_file():
                    return raw / folder / f"{name}{ending}"
        others = " ".join(other for other in FILES if other != split)
        raise ValueError(
            f"{raw} has no {name} or {name}.gz, which split {split!r} needs; if only the other files are there, "
            f"prepare with --splits {others}. Expected: {self.text}"
        )


@lru_cache(maxsize=8)
def dealt(start: str, count: int, domains: int) -> tuple[tuple[int, ...], ...]:
    """The positions that each domain gets of the digits of a file: shuffled, then one to each in turn."""
    order = sorted(range(count), key=lambda position: fold(SEED, "mnist", start, position))
    return tuple(tuple(sorted(order[first::domains])) for first in range(domains))


def coloured(start: str, position: int, digit: int, flips: int) -> tuple[int, int]:
    """Label and colour of a digit, 0 or 1 each."""
    label = int(digit < 5) ^ drawn(WRONG_LABELS, "label", start, position)
    return label, label ^ drawn(flips, "colour", start, position)


def drawn(percent: int, purpose: str, start: str, position: int) -> int:
    """1 for that share of the positions, otherwise 0."""
    return int(fold(SEED, "mnist", purpose, start, position) * 100 < percent << 64)


def read_idx(file: Place, dimensions: int) -> np.ndarray:
    """What an idx file of bytes holds: (n,) or (n, h, w) uint8.

    Raises:
        BadSample: the file cannot be read, is of another kind, or has more or fewer bytes than it says.
    """
    data = read(file)
    try:
        data = gzip.decompress(data) if data.startswith(GZIP) else data
    except (OSError, EOFError, zlib.error) as error:
        raise BadSample(f"{file} cannot be read: {error}") from None
    # Two zeros, 8 for bytes, the number of dimensions; then each of these in four bytes, high one first.
    head = 4 + 4 * dimensions
    if data[:4] != bytes((0, 0, 8, dimensions)) or len(data) < head:
        raise BadSample(f"{file} is no idx file of bytes in {dimensions} dimensions: it begins with {data[:4].hex()}")
    shape = tuple(int.from_bytes(data[at : at + 4], "big") for at in range(4, head, 4))
    if len(data) - head != np.prod(shape, dtype=np.int64):
        raise BadSample(f"{file} says that it holds {' x '.join(map(str, shape))} bytes; it has {len(data) - head:,}")
    return np.frombuffer(data, np.uint8, offset=head).reshape(shape)


@lru_cache(maxsize=2)
def read_images(file: Place, changed: int) -> np.ndarray:
    """All digits of a file, which stay in memory until it is `changed`."""
    return read_idx(file, dimensions=3)


def read_digit(sample: RawSample) -> Image.Image:
    """A digit as it is in the file, grey."""
    file, position = sample.image, int(dict(sample.attributes)["position"])
    # In an object store, asking would take as long as fetching an image.
    digits = read_images(file, file.info().mtime_ns or 0 if file.is_local else 0)
    if position >= len(digits):
        raise BadSample(f"{file} holds {len(digits):,} digits, but its list of labels has more")
    return Image.fromarray(digits[position])


def read_rotated(sample: RawSample) -> RawImage:
    """A digit, turned: bicubic, in its frame, black where nothing was."""
    angle = int(dict(sample.attributes)["angle"])
    turned = read_digit(sample).rotate(angle, Image.Resampling.BICUBIC, fillcolor=0).convert("RGB")
    return RawImage(png(turned), turned)


def read_coloured(sample: RawSample) -> RawImage:
    """A digit in red or green."""
    grey = read_digit(sample)
    channels = [Image.new("L", grey.size)] * 3
    channels[COLOURS.index(dict(sample.attributes)["colour"])] = grey
    picture = Image.merge("RGB", channels)
    return RawImage(png(picture), picture)


SOURCE = "60,000 and 10,000 digits (in the files' heads; the 10,000 read), dealt out by raydg's rule"
WHERE = "https://yann.lecun.com/exdb/mnist (often closed); torchvision.datasets.MNIST has mirrors"
LICENCE = "CC BY-SA 3.0 of LeCun and Cortes, or MIT, as copies of it state; none came with the files themselves."
CITATION = "LeCun, Bottou, Bengio and Haffner, Gradient-Based Learning Applied to Document Recognition, 1998; "

ROTATED = Dataset(
    name="rotated_mnist",
    title="Rotated MNIST",
    domains=tuple(f"rotated_mnist/{domain}" for domain in ANGLES),
    editions=(
        Edition(
            name="idx files",
            layout=MnistFiles(ANGLES, coloured=False),
            tables=(LabelTable(DIGITS, dict(enumerate(DIGITS.classes))),),
            read_image=read_rotated,
            contract=Contract(
                edition="idx files",
                source=SOURCE,
                sizes=((28, 28),),
                occurring=tuple(range(10)),
                splits=tuple(
                    ExpectedSplit(domain=f"rotated_mnist/{domain}", split=split, samples=samples)
                    for domain, test in zip(ANGLES, (1667, 1667, 1667, 1667, 1666, 1666), strict=True)
                    for split, samples in (("train", 10000), ("val", test))
                ),
            ),
        ),
    ),
    source=WHERE,
    licence=LICENCE,
    commercial_use="unknown",
    citation=CITATION
    + "Ghifary et al., Domain Generalization for Object Recognition with Multi-Task Autoencoders, 2015",
)

COLOURED = Dataset(
    name="coloured_mnist",
    title="Coloured MNIST",
    domains=tuple(f"coloured_mnist/{domain}" for domain in FLIPS),
    editions=(
        Edition(
            name="idx files",
            layout=MnistFiles(FLIPS, coloured=True),
            tables=(LabelTable(HALVES, dict(enumerate(HALVES.classes))),),
            read_image=read_coloured,
            contract=Contract(
                edition="idx files",
                source=SOURCE,
                sizes=((28, 28),),
                occurring=(0, 1),
                splits=tuple(
                    ExpectedSplit(domain=f"coloured_mnist/{domain}", split=split, samples=samples)
                    for domain, test in zip(FLIPS, (3334, 3333, 3333), strict=True)
                    for split, samples in (("train", 20000), ("val", test))
                ),
            ),
        ),
    ),
    source=WHERE,
    licence=LICENCE,
    commercial_use="unknown",
    citation=CITATION + "Arjovsky, Bottou, Gulrajani and Lopez-Paz, Invariant Risk Minimization, 2019",
)
