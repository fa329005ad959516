"""Runs a predictor over part of a prepared domain and counts. The one road from images to scores, for validation and
targets."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from raydg.adaptation import Adaptation, Predictor, batches
from raydg.evaluation import Confusion
from raydg.shards import PreparedDomain

PIXELS_AT_ONCE = 512 * 1024
"""Most pixels of images that share a forward only for speed."""


@dataclass(frozen=True)
class ScoringBatch:
    """Images that a predictor sees together: positions in one split of one domain."""

    split: str
    positions: tuple[int, ...]


def scoring_batches(
    domain: PreparedDomain,
    splits: Sequence[str],
    adaptation: Adaptation,
    evaluation_size: tuple[int, int] | None,
    seed: int,
    order: int,
) -> list[ScoringBatch]:
    """Every image of the splits exactly once, in the batches that the adaptation asks for.

    Images of a batch share a size, and a batch stays inside a split. The order is drawn anew for each `order` where
    the adaptation sees a batch, and is that of the shards where it sees one image.
    """
    planned = []
    for split in splits:
        sizes = [evaluation_size or (int(height), int(width)) for height, width in domain.sizes(split)]
        # Small images are predicted several at a time where that changes nothing but speed.
        at_once = max(1, PIXELS_AT_ONCE // max(height * width for height, width in sizes))
        planned += [ScoringBatch(split, positions) for positions in batches(sizes, adaptation, seed, order, at_once)]
    return planned


def predict(
    predictor: Predictor,
    images: Sequence[np.ndarray],
    evaluation_size: tuple[int, int] | None,
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    """Probabilities for images (h, w, 3) uint8 of one size, resized to `evaluation_size` first: (b, k, h', w') or (b,
    k)."""
    pixels = torch.stack([torch.from_numpy(image).permute(2, 0, 1) for image in images]).to(device)
    scaled = pixels.to(dtype) / 255
    if evaluation_size and tuple(scaled.shape[-2:]) != tuple(evaluation_size):
        scaled = F.interpolate(scaled, evaluation_size, mode="bilinear", align_corners=False, antialias=True)
    return predictor(scaled.contiguous(memory_format=torch.channels_last))


def classes_at(probabilities: Tensor, size: tuple[int, int]) -> Tensor:
    """Most probable class at every pixel of the label's own size (h, w): probabilities (1, k, h', w') -> (h, w)
    int64."""
    if tuple(probabilities.shape[-2:]) != size:
        probabilities = F.interpolate(probabilities, size, mode="bilinear", align_corners=False)
    return probabilities.argmax(1)[0]


def count(
    predictor: Predictor,
    domain: PreparedDomain,
    batch: ScoringBatch,
    evaluation_size: tuple[int, int] | None,
    device: torch.device,
    dtype: torch.dtype,
) -> Confusion:
    """Predictions of one batch counted against its labels at the labels' own size."""
    samples = [domain.read(batch.split, position) for position in batch.positions]
    probabilities = predict(predictor, [sample.image for sample in samples], evaluation_size, device, dtype)
    num_classes = domain.label_space.num_classes
    total = Confusion.empty(num_classes)
    for sample, probability in zip(samples, probabilities.split(1), strict=True):
        if isinstance(sample.label, int):
            label, prediction = torch.tensor([sample.label]), probability.argmax(1)
        else:
            label, prediction = torch.from_numpy(sample.label), classes_at(probability, sample.label.shape)
        total = total + Confusion.of(label, prediction.cpu(), num_classes)
    return total
