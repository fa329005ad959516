"""t-SNE of what networks make of pixels, by class and by domain, with the rows of a memory among them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raydg import charts
from raydg.assembly import VALIDATION
from raydg.experiment import Experiment
from raydg.methods.averaged import WithAverage
from raydg.methods.memory import Remembering
from raydg.models import Network
from raydg.page.evidence import Evidence, Judged
from raydg.page.markup import element, figure, figures, joined
from raydg.page.sections import Section
from raydg.scoring import shown
from raydg.shards import PreparedDomain
from raydg.types import ignore_label

IMAGES = 8
"""Of each domain, that pixels are drawn from; a classifier's images are its points, and there are `POINTS` in all."""

POINTS = 900
"""Drawn in all."""


@dataclass(frozen=True)
class Features:
    """Features of n pixels (or images) of several domains, at length 1."""

    vectors: np.ndarray
    """(n, c)."""
    classes: np.ndarray
    """(n,) class ids."""
    domains: np.ndarray
    """(n,) indices into `names`."""
    names: tuple[str, ...]
    memory: np.ndarray | None
    """(k, c) rows of Pin the Memory's memory, at length 1."""


def features(
    experiment: Experiment, model: nn.Module, domains: Sequence[tuple[PreparedDomain, str]], device: str = "cpu"
) -> Features:
    """Features of seeded pixels, as many of each domain and, within it, as far as there are enough, of each class.

    They are the deepest map at the encoder's end. Of a network with a memory they are what is written to it, which lies
    in the memory's own space. A position of the map has the label in the middle of the pixels that it stands for.

    Args:
        experiment: what was trained.
        model: what a checkpoint holds; of an average of weights, the average.
        domains: each with the split that pixels are drawn from.
        device: where it runs.

    Raises:
        ValueError: no pixel has a label.
    """
    model = model.average if isinstance(model, WithAverage) else model
    model = model.to(device).eval()
    weight = next(model.parameters())
    generator = np.random.default_rng(experiment.fold("embedding"))
    quota = -(-POINTS // len(domains))
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for number, (domain, split) in enumerate(domains):
        segments = domain.manifest.task == "segmentation"
        there = domain.num_samples(split)
        positions = generator.permutation(there)[: IMAGES if segments else quota]
        vectors, labels = [], []
        for position in positions.tolist():
            sample = domain.read(split, position)
            images = shown([sample.image], experiment.validation_protocol, weight.device, weight.dtype)
            made = _vectors(model, images)
            if isinstance(sample.label, int):
                vectors.append(made.flatten(2).mean(2) if made.ndim == 4 else made)
                labels.append(np.array([sample.label]))
            else:
                vectors.append(made[0].flatten(1).T)
                labels.append(middles(sample.label, (made.shape[2], made.shape[3])).ravel())
        joined_vectors = F.normalize(torch.cat(vectors).double(), dim=1).cpu().numpy()
        ignored = ignore_label(experiment.label_space.num_classes)
        drawn = balanced(np.concatenate(labels), quota, ignored, generator)
        found.append((joined_vectors[drawn], np.concatenate(labels)[drawn], np.full(len(drawn), number)))
    stacked = [np.concatenate(each) for each in zip(*found, strict=True)]
    if not len(stacked[0]):
        raise ValueError("No pixel of the images that were drawn has a label: there is nothing to embed.")
    memory = F.normalize(model.memory.double(), dim=1).cpu().numpy() if isinstance(model, Remembering) else None
    return Features(stacked[0], stacked[1], stacked[2], tuple(domain.name for domain, _ in domains), memory)


@torch.inference_mode()
def _vectors(model: nn.Module, images: Tensor) -> Tensor:
    """(b, c, h', w'), or (b, c) of a classifier."""
    if isinstance(model, Remembering):
        return model.written(model.features(images))
    network = model if isinstance(model, Network) else model.network
    assert isinstance(network, Network)
    return network.encoder((images - network.mean) / network.std)[-1]


def middles(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Of a label map (h, w) the labels in the middle of equal tiles (h', w')."""
    rows, columns = (((np.arange(n) + 0.5) * side / n).astype(int) for n, side in zip(size, label.shape, strict=True))
    return label[rows[:, None], columns[None, :]]


def balanced(labels: np.ndarray, quota: int, ignored: int, generator: np.random.Generator) -> np.ndarray:
    """Indices of at most `quota` labels that count, drawn so that each class has as many as the rarest allow: in turn,
    one of each class that has some left."""
    shuffled = generator.permutation(len(labels))
    shuffled = shuffled[labels[shuffled] != ignored]
    of_class = labels[shuffled]
    turn = np.zeros(len(shuffled), int)  # how many of its class come before
    for value in np.unique(of_class):
        turn[of_class == value] = np.arange((of_class == value).sum())
    return shuffled[np.argsort(turn, kind="stable")[:quota]]


def tsne(found: Features, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Places in the plane (n, 2) of the vectors, and (k, 2) of the memory's rows, embedded together.

    t-SNE (van der Maaten and Hinton, 2008) of vectors of length 1 with perplexity 30, or a third of the points, from
    the principal components on.
    """
    # Only here: scikit-learn takes a second to import, and nothing else needs it.
    from sklearn.manifold import TSNE

    together = found.vectors if found.memory is None else np.concatenate([found.vectors, found.memory])
    perplexity = min(30.0, (len(together) - 1) / 3)
    placed = TSNE(2, perplexity=perplexity, init="pca", random_state=seed % 2**32).fit_transform(together)
    n = len(found.vectors)
    return placed[:n], placed[n:] if found.memory is not None else None


def embeddings(evidence: Evidence, device: str, watch: Callable[[str], None]) -> Section | None:
    """The first seed of every experiment whose checkpoint and domains are there."""
    made = []
    for name in dict.fromkeys(judged.experiment.name for judged in evidence.judged):
        judged = evidence.experiment(name)
        domains = _domains(evidence, judged)
        if judged.selected is None or not domains:
            continue
        watch(f"embedding of {judged.label}")
        experiment, space = judged.experiment, judged.experiment.label_space
        found = features(experiment, judged.selected.model(), domains, device)
        points, slots = tsne(found, experiment.fold("t-SNE"))
        marked = None if slots is None else {number: (float(x), float(y)) for number, (x, y) in enumerate(slots)}
        by_class = charts.embedding(points, found.classes.tolist(), space.classes, hexadecimal(space.palette), marked)
        by_domain = charts.embedding(points, found.domains.tolist(), found.names)
        caption = "Stars are the memory's rows." if marked else None
        made += [
            figure(by_class, f"{judged.label}, by class", caption),
            figure(by_domain, f"{judged.label}, by domain"),
        ]
    if not made:
        return None
    note = (
        f"t-SNE of the features of at most {POINTS} labelled pixels (of a classifier: images), as many of each domain "
        "and nearly of each class, at the encoder's end, or as Pin the Memory writes them. Distances between clusters "
        "mean little."
    )
    return Section("Embedding", joined([element("p", note, class_="notes"), figures(made)]))


def hexadecimal(palette: Sequence[Sequence[int]]) -> list[str]:
    return ["#{:02x}{:02x}{:02x}".format(*colour) for colour in palette]


def _domains(evidence: Evidence, judged: Judged) -> list[tuple[PreparedDomain, str]]:
    """Sources and targets that are there, each with a split that did not train, if it has one."""
    found = []
    for name in (*dict.fromkeys(judged.experiment.sources), *judged.experiment.targets):
        if name in evidence.domains:
            domain = evidence.domains[name]
            found.append((domain, VALIDATION if VALIDATION in domain.splits else domain.splits[0]))
    return found
