"""Draws what a study's experiments predict on a target, and how sure they are of it."""

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import torch

from raydg.adaptation import batches
from raydg.calibration import Calibration
from raydg.checkpoint import RunFolder
from raydg.cluster.evaluate import decided, selection, target_splits, ways_of
from raydg.evaluation import Row
from raydg.experiment import Experiment, Study
from raydg.pictures import Column, paint, picture_grid, reliability_diagrams
from raydg.resources import Resources
from raydg.scoring import at_size, fit, shown
from raydg.shards import PreparedDomain, Sample

PICTURES = 4
"""Rows of a picture grid."""


def draw_target(study: Study, target: str, resources: Resources, path: Path) -> None:
    """A grid of image | truth | predictions of every experiment's first seed in every way, on evenly spread images."""
    shown = {e.name: e for e in reversed(study.experiments) if target in e.targets}
    experiments = list(reversed(shown.values()))
    space = experiments[0].label_space
    domain = PreparedDomain.open(resources.data, space, target)
    split = target_splits(experiments[0], domain)[-1]
    count = domain.num_samples(split)
    positions = np.unique(np.linspace(0, count - 1, min(PICTURES, count)).round().astype(int))
    samples = [domain.read(split, int(position)) for position in positions]
    columns = [Column("image", [sample.image for sample in samples])]
    if space.task == "segmentation":
        columns.append(Column("truth", [paint(np.asarray(sample.label), space) for sample in samples]))
    else:
        columns[0] = Column("image", columns[0].pictures, [space.classes[int(s.label)] for s in samples])
    for experiment in experiments:
        columns += _prediction_columns(experiment, target, samples, resources)
    picture_grid(columns, path)


def draw_reliability(scored: Sequence[tuple[Experiment, Sequence[Row]]], target: str, path: Path) -> bool:
    """Reliability diagrams of every experiment that was scored on a target, in every way, over its seeds and orders
    together.

    Returns:
        Whether there was anything to draw: a way to predict may be defined on sources only.
    """
    found: dict[str, Calibration] = {}
    for experiment, rows in scored:
        several = len(experiment.scored_inferences) > 1
        for row in rows:
            if row.role == "target" and row.domain == target and row.calibration:
                way = f"{row.inference}, " if several else ""
                title = f"{experiment.name}, {way}{row.adaptation}"
                calibration = row.calibration.only(experiment.scored_ids)
                found[title] = found[title] + calibration if title in found else calibration
    if found:
        reliability_diagrams(found, path)
    return bool(found)


def _prediction_columns(
    experiment: Experiment, target: str, samples: Sequence[Sample], resources: Resources
) -> Iterator[Column]:
    """What an experiment predicts on a target, in each of its ways; the samples are one batch where an adaptation sees
    a batch, and the whole stream where it keeps its state. An adaptation with variants shows the last.

    A protocol that cuts the image gives way to that of validation, for pictures show all of it.
    """
    folder = RunFolder.of(experiment, resources.runs)
    selected = selection(experiment, folder)
    ways = ways_of(experiment, folder, selected, decided(experiment, folder, selected, resources.data))
    space, protocol = experiment.label_space, experiment.scored_protocol
    protocol = experiment.validation_protocol if protocol.cuts else protocol
    domain = PreparedDomain.open(resources.data, space, target)
    inferences = [i for i in experiment.scored_inferences if i.predicts(experiment.source_names, target)]
    for inference, (member, label) in product(inferences, ways):
        adaptation = member.adaptation
        network = folder.checkpoint_at(member.step).network(resources.device, inference, target)
        device, dtype = next(network.parameters()).device, next(network.parameters()).dtype
        predictor = adaptation.predictor(network)
        if adaptation.needs_fit:
            fit(predictor, domain, target_splits(experiment, domain), adaptation, protocol, device, dtype)
        sizes = [protocol.size(*sample.image.shape[:2]) for sample in samples]
        predicted: dict[int, torch.Tensor] = {}
        for positions in batches(sizes, adaptation, experiment.seed, 0):
            images = shown([samples[i].image for i in positions], protocol, device, dtype)
            predicted |= zip(positions, protocol.predict(predictor, images)[-1].split(1), strict=True)
        way = f"{inference.label}, " if len(inferences) > 1 else ""
        title = f"{experiment.name}, {way}{label or adaptation.variants[-1]}"
        ordered = [predicted[i] for i in range(len(samples))]
        if space.task == "segmentation":
            sizes = [sample.image.shape[:2] for sample in samples]
            maps = [at_size(p, size).argmax(1)[0].cpu().numpy() for p, size in zip(ordered, sizes, strict=True)]
            yield Column(title, [paint(map_, space) for map_ in maps])
        else:
            captions = [f"{space.classes[int(p.argmax(1))]} {float(p.max()):.0%}" for p in ordered]
            yield Column(title, [sample.image for sample in samples], captions)
