"""What a complete and right copy of a dataset looks like, and in what a copy differs from it."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from raydg.values import Value

SHOWN = 8
"""Things of a kind that a difference names before it only counts them."""


@dataclass(frozen=True, kw_only=True)
class ExpectedSplit(Value):
    """What is known of one split before a file is opened."""

    domain: str
    split: str
    samples: int
    members: str = ""
    """Regular expression that every sample's id matches from its start, such as the cities of the split."""
    ids_sha256: str = ""
    """`hash_ids` of the samples, where the official list was at hand."""
    kept_elsewhere: int | None = None
    """Samples that others kept when they took bad frames out by a rule that they did not publish: not expected, but
    printed beside what `Edition.exclude` leaves."""


@dataclass(frozen=True)
class Band(Value):
    """Share of the labelled pixels (or images) of a split that a class is expected to have."""

    name: str
    """Class in the dataset's default label space."""
    lowest: float
    highest: float
    source: str
    """Where the band was measured or published."""


@dataclass(frozen=True, kw_only=True)
class Contract(Value):
    """A versioned expectation. An empty tuple expects nothing."""

    edition: str
    """Release of the dataset that is described, and the version of this description if there were several."""
    source: str
    """Where the numbers come from."""
    splits: tuple[ExpectedSplit, ...] = ()
    sizes: tuple[tuple[int, int], ...] = ()
    """Widths and heights that images have."""
    usual_size: tuple[int, int] | None = None
    """Width and height of at least half of the images, where not all other sizes are known."""
    occurring: tuple[int, ...] = ()
    """Raw label ids that every split shows somewhere; where they do not, the ids mean something else."""
    most_excluded: float = 0.0
    """Largest part of a split that the edition's rule for bad frames (`Edition.exclude`) may take out."""
    bands: tuple[Band, ...] = ()

    def expected(self, domain: str, split: str) -> ExpectedSplit | None:
        """What is expected of a split; None where nothing is."""
        for expectation in self.splits:
            if (expectation.domain, expectation.split) == (domain, split):
                return expectation
        return None

    def differences_of_list(self, domain: str, split: str, sample_ids: Sequence[str]) -> list[str]:
        """In what the samples of a split, found but not yet opened, differ from what is expected."""
        expectation = self.expected(domain, split)
        if expectation is None:
            return []
        where, differences = f"{domain}/{split}", []
        if len(sample_ids) != expectation.samples:
            differences.append(
                f"{where} has {len(sample_ids):,} samples, expected {expectation.samples:,} ({self.edition})"
            )
        if expectation.members:
            strangers = [name for name in sample_ids if not re.match(expectation.members, name)]
            if strangers:
                differences.append(
                    f"{where} holds {len(strangers):,} samples that belong to another split, such as {strangers[0]}"
                )
        if expectation.ids_sha256 and not differences and hash_ids(sample_ids) != expectation.ids_sha256:
            differences.append(f"{where} has as many samples as {self.edition}, but not the same ones (names differ)")
        return differences

    def differences_of_content(
        self, domain: str, split: str, seen: "Seen", excluded: Sequence[str] = (), bands: bool = True
    ) -> list[str]:
        """In what the opened files of a split differ from what is expected.

        Args:
            excluded: why each sample was left out that the edition's own rule takes out.
            bands: whether the classes are those that the bands are of.
        """
        where, differences = f"{domain}/{split}", []
        samples = sum(seen.sizes.values()) + len(excluded)
        if len(excluded) > self.most_excluded * samples:
            reason, times = Counter(excluded).most_common(1)[0]
            differences.append(
                f"{where}: the rule for bad frames takes out {len(excluded):,} of {samples:,} samples, expected "
                f"{self.most_excluded:.1%} at most; {times:,} times because {reason}"
            )
        strange = {size: n for size, n in seen.sizes.items() if self.sizes and size not in self.sizes}
        if strange:
            sizes, expected = (
                ", ".join(f"{w} x {h}" for w, h in group) for group in (sorted(strange)[:SHOWN], self.sizes)
            )
            differences.append(f"{where}: {sum(strange.values()):,} images are {sizes} pixels; expected {expected}")
        usual, images = self.usual_size, sum(seen.sizes.values())
        if usual and images and 2 * seen.sizes[usual] < images:
            (width, height), most = seen.sizes.most_common(1)[0]
            differences.append(
                f"{where}: most images should be {usual[0]} x {usual[1]} pixels, but {seen.sizes[usual]:,} of "
                f"{images:,} are; {most:,} are {width} x {height}"
            )
        absent = [raw_id for raw_id in self.occurring if seen.raw_ids and raw_id not in seen.raw_ids]
        if absent:
            found = ", ".join(map(str, sorted(seen.raw_ids)[:40]))
            differences.append(
                f"{where}: no label has the raw ids {', '.join(map(str, absent))}; found are {found}. "
                f"{guess(seen.raw_ids, self.occurring)}".rstrip()
            )
        total = sum(seen.classes.values())
        for band in self.bands if bands else ():
            share = seen.classes[band.name] / total if total else 0.0
            if not band.lowest <= share <= band.highest:
                differences.append(
                    f"{where}: {band.name} has {share:.2%} of what is labelled, expected {band.lowest:.1%} to "
                    f"{band.highest:.1%} ({band.source})"
                )
        return differences

    def remarks(self, domain: str, split: str, kept: int, excluded: int) -> list[str]:
        """What should be known of a split that is as expected."""
        expectation = self.expected(domain, split)
        if expectation is None or expectation.kept_elsewhere is None:
            return []
        return [
            f"{domain}/{split}: raydg's rule for bad frames took out {excluded:,} and left {kept:,}; others kept "
            f"{expectation.kept_elsewhere:,} ({self.source})"
        ]


@dataclass
class Seen:
    """What was found in the files of a split. Parts add up (`+=`)."""

    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    """Images by width and height, as they were before any scaling."""
    raw_ids: Counter[int] = field(default_factory=Counter)
    """Pixels (or images) by raw label id."""
    classes: Counter[str] = field(default_factory=Counter)
    """Pixels (or images) by class."""

    def __iadd__(self, other: "Seen") -> "Seen":
        self.sizes += other.sizes
        self.raw_ids += other.raw_ids
        self.classes += other.classes
        return self


def hash_ids(sample_ids: Iterable[str]) -> str:
    """SHA-256, hexadecimal, of the ids, sorted, one a line."""
    return hashlib.sha256("".join(f"{name}\n" for name in sorted(sample_ids)).encode()).hexdigest()


def guess(found: Mapping[int, int], expected: Sequence[int]) -> str:
    """What ids that do not fit may be, in a sentence; empty if nothing is known to look like that."""
    classes = set(found) - {255}
    if classes and classes <= set(range(19)) and set(expected) - set(range(19)):
        return "These look like train ids (0 to 18 and 255), not like the dataset's own ids."
    for shift in (-1, 1):
        if {raw_id + shift for raw_id in expected} <= set(found):
            return f"All ids seem to be shifted by {shift:+d}."
    return ""
