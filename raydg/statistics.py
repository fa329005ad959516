"""Whether one method is better than another, or luck: a paired bootstrap over seeds and images. Pure functions.

Counts are added before anything is divided, in every resample as in the score itself: a resample's mean IoU is that of
the added confusion matrices of the images that it drew.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from raydg.records import Record
from raydg.seeds import generator
from raydg.types import Task
from raydg.values import Value

RESAMPLES = 2000
LEVEL = 0.95

CELLS_AT_ONCE = 2**22
"""Most numbers of a block of resamples: 32 MiB of float64."""

Verdict = Literal["win", "not distinguishable", "loss"]


@dataclass(frozen=True, eq=False)
class Tallies:
    """What a score is made of, image by image: it is the mean over c terms of the sum of parts over the sum of wholes.

    For mean IoU a term is a class, its part the intersection and its whole the union; for accuracy there is one term,
    images that were right of images that count.
    """

    images: np.ndarray
    """(n,) names, in alphabetical order."""
    parts: np.ndarray
    """(n, c) float64, whole numbers."""
    wholes: np.ndarray
    """(n, c) likewise."""

    @classmethod
    def of(cls, record: Record, task: Task, classes: Sequence[int] | None = None, variant: int = -1) -> "Tallies":
        """The tallies of a record under one variant; `score` is then `Confusion.score` of its added counts.

        Args:
            record: counts of n images.
            task: "segmentation" for mean IoU, "classification" for accuracy.
            classes: whose mean it is, as in `Confusion.iou`: what is labelled otherwise does not count. None: all.
            variant: of the adaptation.

        Raises:
            ValueError: the record holds an image twice, so that images cannot be told apart.
        """
        if len(np.unique(record.images)) < len(record.images):
            raise ValueError("A record holds an image twice: its images cannot be resampled.")
        lines = record.counts[record.counts[:, 0] == range(record.num_variants)[variant]]
        _, image, truth, predicted, count = lines.T
        size = len(record.images), record.num_classes
        hits = np.zeros(size)
        np.add.at(hits, (image[truth == predicted], truth[truth == predicted]), count[truth == predicted])
        if task == "classification":
            counted = np.zeros(size[0])
            np.add.at(counted, image, count)
            parts, wholes = hits.sum(axis=1, keepdims=True), counted[:, None]
        else:
            wanted = np.arange(size[1]) if classes is None else np.array(classes)
            judged = np.isin(truth, wanted)
            unions = -hits
            np.add.at(unions, (image[judged], truth[judged]), count[judged])
            np.add.at(unions, (image[judged], predicted[judged]), count[judged])
            parts, wholes = hits[:, wanted], unions[:, wanted]
        order = np.argsort(record.images)
        return cls(record.images[order], parts[order], wholes[order])

    def score(self) -> float:
        """Of all images, percent."""
        return float(_scores(self.parts.sum(axis=0), self.wholes.sum(axis=0)))


Runs = Mapping[int, Sequence[Tallies]]
"""One domain's tallies by seed: one for every random order of the images, whose scores are averaged."""


@dataclass(frozen=True)
class Difference(Value):
    """How much better a method is than a baseline, percent, and what a paired bootstrap says of it."""

    difference: float
    """Method minus baseline: mean over domains of the mean over seeds."""
    low: float
    """Lower end of the percentile interval."""
    high: float
    """Upper end."""
    other_side: float
    """Share of the resamples in which the sign is the other one, or the difference 0."""
    level: float
    """Share of the resamples inside the interval."""
    num_domains: int
    num_seeds: int
    """1: seeds could not be resampled."""
    num_images: int
    """Over all domains."""
    resamples: int

    @property
    def verdict(self) -> Verdict:
        """ "not distinguishable" where the interval holds 0."""
        return "win" if self.low > 0 else "loss" if self.high < 0 else "not distinguishable"

    def __str__(self) -> str:
        """For tables: "+1.20 [-0.31, +2.70]"."""
        return f"{self.difference:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"

    @property
    def definition(self) -> str:
        """How the interval came about, for tables."""
        n = self.num_seeds
        over = (
            "images of each domain, for there is one seed: what another seed would give is not in the interval"
            if n == 1
            else f"the {n} seeds, which show {n - 1}/{n} of the variance of seeds, and the images of each domain"
        )
        return (
            f"[a, b] is the {100 * self.level:g} % percentile interval of a paired bootstrap of {self.resamples} "
            f"resamples over {over}; the same draw for both methods, counts added before scores divide; an interval "
            "that holds 0 is not distinguishable; intervals are not corrected for their number"
        )


@dataclass(frozen=True)
class WinTieLoss(Value):
    """Verdicts over domains."""

    wins: int
    ties: int
    """Domains on which the two are not distinguishable."""
    losses: int

    @classmethod
    def of(cls, differences: Iterable[Difference]) -> "WinTieLoss":
        verdicts = [difference.verdict for difference in differences]
        return cls(verdicts.count("win"), verdicts.count("not distinguishable"), verdicts.count("loss"))

    def __str__(self) -> str:
        return f"{self.wins}/{self.ties}/{self.losses}"


def paired_bootstrap(
    method: Mapping[str, Runs],
    baseline: Mapping[str, Runs],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Difference:
    """The difference of two methods' scores, mean over domains, with its percentile interval.

    A resample draws as many seeds as there are, with replacement, and of each domain as many images as it has; both
    methods get the same draw, so what they have in common cancels. The images of a resample are the same for all its
    seeds, because they are: every seed was scored on the same images (Owen, 2007, "The pigeonhole bootstrap"). Drawing
    them anew for each seed would divide the spread between images by the number of seeds, as if each seed had met new
    ones. The price, also Owen's: what is peculiar to one seed on one image counts up to three times, so intervals are
    rather too wide than too narrow. One draw of seeds serves all domains.

    Seeds that only one of the two has are left out. With one seed the images alone are resampled, and the interval says
    nothing of other seeds. The spread between few seeds is understated: in expectation s seeds show (s - 1) / s of its
    variance, as every bootstrap of s values does.

    Args:
        method: by domain, its tallies.
        baseline: the same domains.
        seed: the same seed, the same interval.
        resamples: how many.
        level: of the interval.

    Raises:
        ValueError: other domains, no common seed, other images, nothing counted, or numbers out of range.
    """
    if resamples < 1 or not 0 < level < 1:
        raise ValueError(f"resamples is {resamples} and level {level}: they must be 1 or more, and between 0 and 1.")
    if not method or method.keys() != baseline.keys():
        raise ValueError(
            f"The method was scored on {', '.join(sorted(method)) or 'nothing'} and the baseline on "
            f"{', '.join(sorted(baseline)) or 'nothing'}: they compare on the same domains."
        )
    seeds = sorted(set.intersection(*(set(runs) for side in (method, baseline) for runs in side.values())))
    if not seeds:
        raise ValueError("The method and the baseline have no seed in common on all domains: train both with one.")
    drawn_seeds = draws(generator(seed, "seeds"), resamples, len(seeds)) / len(seeds)
    observed, found, num_images = [], np.zeros(resamples), 0
    for domain in sorted(method):
        sides = [[runs[s] for s in seeds] for runs in (method[domain], baseline[domain])]
        count = _same_images(domain, sides)
        whole = np.ones((1, count))
        observed.append(float(np.mean([difference(whole, *pair)[0] for pair in zip(*sides, strict=True)])))
        images, block = generator(seed, "images", domain), max(1, CELLS_AT_ONCE // count)
        for start in range(0, resamples, block):
            some = slice(start, min(start + block, resamples))
            weights = draws(images, some.stop - start, count)
            of_seeds = np.stack([difference(weights, *pair) for pair in zip(*sides, strict=True)], axis=1)
            found[some] += (drawn_seeds[some] * of_seeds).sum(axis=1) / len(method)
        num_images += count
    value = float(np.mean(observed))
    if not np.isfinite(value):
        raise ValueError("A score is NaN: nothing was counted, check the labels of the domains.")
    found = found[np.isfinite(found)]  # a draw of images without a label that counts has no score
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Difference(
        difference=value,
        low=float(low),
        high=float(high),
        other_side=float(np.mean(found * np.sign(value) <= 0)),
        level=level,
        num_domains=len(method),
        num_seeds=len(seeds),
        num_images=num_images,
        resamples=resamples,
    )


def draws(random: np.random.Generator, resamples: int, count: int) -> np.ndarray:
    """How often each of `count` things is drawn in `count` draws with replacement: (resamples, count) float64."""
    drawn = random.integers(count, size=(resamples, count)) + count * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * count).reshape(resamples, count).astype(np.float64)


def difference(weights: np.ndarray, method: Sequence[Tallies], baseline: Sequence[Tallies]) -> np.ndarray:
    """One seed's difference of scores, percent, where image i counts weights[r, i] times: (r, n) -> (r,).

    A score is the mean over the random orders of the images.
    """
    means = []
    for orders in (method, baseline):
        means.append(np.mean([_scores(weights @ each.parts, weights @ each.wholes) for each in orders], axis=0))
    return means[0] - means[1]


def _scores(parts: np.ndarray, wholes: np.ndarray) -> np.ndarray:
    """(..., c) sums -> (...) percent: the mean over the terms whose whole is not 0; NaN where there is none."""
    there = wholes > 0
    shares = np.divide(parts, wholes, out=np.zeros(np.shape(wholes)), where=there)
    terms = there.sum(axis=-1)
    return 100 * np.divide(shares.sum(axis=-1), terms, out=np.full(terms.shape, np.nan), where=terms > 0)


def _same_images(domain: str, sides: Sequence[Sequence[Sequence[Tallies]]]) -> int:
    """How many images all tallies of a domain are of; they must be the same ones."""
    everything = [tallies for side in sides for orders in side for tallies in orders]
    first = everything[0].images
    if any(not np.array_equal(tallies.images, first) for tallies in everything):
        raise ValueError(
            f"{domain!r} was not scored on the same images by both methods and all seeds: evaluate them again on the "
            "same splits."
        )
    return len(first)
