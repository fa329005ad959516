"""Draws what a study's experiments predict on a target, and how sure they are of it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from raydg.calibration import Calibration
from raydg.evaluation import Row
from raydg.experiment import Experiment
from raydg.page.evidence import Judged
from raydg.page.pictures import given, predictions
from raydg.pictures import Column, paint, picture_grid, reliability_diagrams, shown_by
from raydg.shards import PreparedDomain
from raydg.values import fingerprint

PICTURES = 4
"""Rows of a picture grid."""


def draw_target(judged: Sequence[Judged], target: str, data: str, device: str, path: Path) -> bool:
    """A grid of image | truth | predictions of every experiment's first seed in every way that was scored, on evenly
    spread images, shown and predicted as they were scored. An adaptation with variants shows the last.

    A picture that shows these very rows stays: no network is run again.

    Returns:
        Whether there is anything to draw: a way to predict may be defined on sources only.
    """
    ways = list(_ways(judged, target))
    if not ways:
        return False
    shows = fingerprint([[title, row.record] for title, _, row in ways])
    if shown_by(path) == shows:
        return True
    _, first, row = ways[0]
    space, protocol = first.experiment.label_space, first.experiment.scored_protocol
    domain = PreparedDomain.open(data, space, target)
    split = row.split.split("+")[-1]
    count = domain.num_samples(split)
    places = [(split, int(i)) for i in np.unique(np.linspace(0, count - 1, min(PICTURES, count)).round().astype(int))]
    images, truths = zip(*(given(domain, place, protocol) for place in places), strict=True)
    if space.task == "segmentation":
        columns = [Column("image", images), Column("truth", [paint(truth, space) for truth in truths])]
    else:
        columns = [Column("image", images, [space.classes[truth] for truth in truths])]
    for title, of, row in ways:
        if split not in row.split.split("+"):
            continue  # it was scored on others
        space = of.experiment.label_space
        made = predictions(of, row, PreparedDomain.open(data, space, target), places, device)
        found = [made[place] for place in places]
        if space.task == "segmentation":
            columns.append(Column(title, [paint(np.asarray(one.classes), space) for one in found]))
        else:
            captions = [f"{space.classes[int(one.classes)]} {one.confidence:.0%}" for one in found]
            columns.append(Column(title, images, captions))
    picture_grid(columns, path, shows)
    return True


def _ways(judged: Sequence[Judged], target: str) -> Iterator[tuple[str, Judged, Row]]:
    """What is shown on a target: titles, experiments, and rows, of several orders the first."""
    first = {each.experiment.name: each for each in reversed(judged) if target in each.experiment.targets}
    for each in reversed(first.values()):
        several = len(each.experiment.scored_inferences) > 1
        for row in each.targets:
            adaptation, variant = each.adaptation(row)
            if row.domain == target and row.order == 0 and variant == len(adaptation.variants) - 1:
                way = f"{row.inference}, " if several else ""
                yield f"{each.experiment.name}, {way}{row.adaptation}", each, row


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
