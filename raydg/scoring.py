"""Runs a predictor over part of a prepared domain and counts. The one road from images to scores, for validation and
targets."""

import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from raydg.adaptation import Adaptation, Predictor, batches
from raydg.calibration import Calibration
from raydg.evaluation import Confusion
from raydg.protocol import Protocol
from raydg.records import Record
from raydg.shards import PreparedDomain, Sample

PIXELS_AT_ONCE = 512 * 1024
"""Most pixels of images that share a forward only for speed."""

IMAGES_OF_A_SHARD = 4
"""Images after which an evaluation writes down what it has: the most that a kill costs, but for a larger batch."""


@dataclass(frozen=True)
class ScoringBatch:
    """Images that a predictor sees together: positions in one split of one domain."""

    split: str
    positions: tuple[int, ...]


Shard = tuple[ScoringBatch, ...]
"""Batches that one actor scores in order, and whose counts are written down together."""


def scoring_batches(
    domain: PreparedDomain,
    splits: Sequence[str],
    adaptation: Adaptation,
    protocol: Protocol,
    seed: int,
    order: int | None,
) -> list[ScoringBatch]:
    """Every image of the splits exactly once, in the batches that the adaptation asks for.

    Images of a batch share a size, and a batch stays inside a split. The order is drawn anew for each `order` where
    the adaptation sees a batch or a stream (a stream is in a drawn order within each split; data in their own order
    would be sorted by class), and is that of the shards where it sees one image, and with None for `order`.
    """
    planned = []
    for split in splits:
        sizes = [protocol.size(int(height), int(width)) for height, width in domain.sizes(split)]
        # Small images are predicted several at a time where that changes nothing but speed.
        at_once = max(1, PIXELS_AT_ONCE // max(height * width for height, width in sizes))
        planned += [ScoringBatch(split, positions) for positions in batches(sizes, adaptation, seed, order, at_once)]
    return planned


def shards(planned: Sequence[ScoringBatch], adaptation: Adaptation) -> list[Shard]:
    """The batches in groups that may be scored anywhere and in any order; a single one where the adaptation keeps its
    state, for then every batch must follow the one before, on one predictor.

    They depend on nothing but the batches, so that a resumed evaluation finds its parts whatever it now runs on.
    """
    if adaptation.keeps_state:
        return [tuple(planned)] if planned else []
    groups: list[list[ScoringBatch]] = []
    for batch in planned:
        if not groups or sum(len(each.positions) for each in groups[-1]) >= IMAGES_OF_A_SHARD:
            groups.append([])
        groups[-1].append(batch)
    return [tuple(group) for group in groups]


def shown(images: Sequence[np.ndarray], protocol: Protocol, device: torch.device, dtype: torch.dtype) -> Tensor:
    """What the protocol makes of images (h, w, 3) uint8, which may differ in size where it brings them to one: (b, 3,
    h', w') in [0, 1]."""
    made = []
    for image in images:
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].to(device)
        made.append(protocol.image(pixels.to(dtype) / 255))
    return torch.cat(made).contiguous(memory_format=torch.channels_last)


def at_size(probabilities: Tensor, size: tuple[int, int]) -> Tensor:
    """Probabilities (..., k, h', w') brought to another size (h, w), bilinearly."""
    if tuple(probabilities.shape[-2:]) == size:
        return probabilities
    return F.interpolate(probabilities, size, mode="bilinear", align_corners=False)


def fit(
    predictor: Predictor,
    domain: PreparedDomain,
    splits: Sequence[str],
    adaptation: Adaptation,
    protocol: Protocol,
    device: torch.device,
    dtype: torch.dtype,
) -> None:
    """Let a predictor see all images of the splits, in the order of the shards, before it predicts any; no labels. The
    members of an ensemble see them one member after another."""

    def images() -> Iterator[Tensor]:
        for batch in scoring_batches(domain, splits, adaptation, protocol, 0, None):
            pictures = [domain.read(batch.split, position).image for position in batch.positions]
            yield from protocol.pieces(shown(pictures, protocol, device, dtype))

    for member in predictor.members:
        member.fit(images())


def count(
    predictor: Predictor,
    domain: PreparedDomain,
    batch: ScoringBatch,
    protocol: Protocol,
    device: torch.device,
    dtype: torch.dtype,
) -> Confusion:
    """Predictions of one batch, by the last variant, counted against its labels at the size that the protocol gives
    them."""
    samples = [domain.read(batch.split, position) for position in batch.positions]
    probabilities = protocol.predict(predictor, shown([sample.image for sample in samples], protocol, device, dtype))
    num_classes = domain.label_space.num_classes
    total = Confusion.empty(num_classes)
    for number, sample in enumerate(samples):
        label, predicted, _ = _judged(sample, protocol, probabilities[-1, number])
        total = total + Confusion.of(label, predicted, num_classes)
    return total


def record(
    predictor: Predictor,
    domain: PreparedDomain,
    shard: Shard,
    protocol: Protocol,
    device: torch.device,
    dtype: torch.dtype,
    clock: Callable[[], float] = time.perf_counter,
) -> Record:
    """Everything that is counted of a shard's images, in order, by every variant; `clock` gives seconds."""
    return Record.joined([_record(predictor, domain, batch, protocol, device, dtype, clock) for batch in shard])


def _record(
    predictor: Predictor,
    domain: PreparedDomain,
    batch: ScoringBatch,
    protocol: Protocol,
    device: torch.device,
    dtype: torch.dtype,
    clock: Callable[[], float],
) -> Record:
    samples = [domain.read(batch.split, position) for position in batch.positions]
    images = shown([sample.image for sample in samples], protocol, device, dtype)
    _finish(device)
    start = clock()
    probabilities = protocol.predict(predictor, images)
    _finish(device)
    seconds = (clock() - start) / len(samples)

    num_classes = domain.label_space.num_classes
    lines, calibrations = [], []
    for variant, of_variant in enumerate(probabilities):
        calibration = Calibration.empty(num_classes)
        for number, sample in enumerate(samples):
            label, predicted, confidence = _judged(sample, protocol, of_variant[number])
            counts = Confusion.of(label, predicted, num_classes).counts
            truth, found = counts.nonzero()
            where = np.broadcast_to([variant, number], (len(truth), 2))
            lines.append(np.column_stack([where, truth, found, counts[truth, found]]))
            calibration = calibration + Calibration.of(label, predicted, confidence, num_classes)
        calibrations.append(calibration)
    return Record(
        num_classes=num_classes,
        images=np.array([f"{batch.split}/{sample.sample_id}" for sample in samples]),
        counts=np.concatenate(lines).astype(np.int64),
        cells=np.stack([calibration.cells for calibration in calibrations]),
        gaps=np.stack([calibration.gaps for calibration in calibrations]),
        seconds=np.full(len(samples), seconds),
        sizes=np.broadcast_to(np.array(images.shape[-2:]), (len(samples), 2)).copy(),
        measured_on=np.full(len(samples), f"{processor(device)}, {str(dtype).removeprefix('torch.')}"),
    )


def _judged(sample: Sample, protocol: Protocol, probabilities: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Label, predicted class and its probability of every pixel that is judged, or of the image; from (k, h', w') or
    (k,)."""
    if isinstance(sample.label, int):
        label = torch.tensor([sample.label], device=probabilities.device)
        confidence, predicted = probabilities[None].max(1)
    else:
        label = torch.from_numpy(protocol.truth(sample.label)).to(probabilities.device)
        height, width = label.shape
        confidence, predicted = (each[0] for each in at_size(probabilities[None], (height, width)).max(1))
    return label, predicted, confidence


def processor(device: torch.device) -> str:
    """What a device is, in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.processor() or platform.machine()} CPU, {torch.get_num_threads()} threads"


def _finish(device: torch.device) -> None:
    """Wait until a GPU has done what it was told to, so that a clock measures it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
