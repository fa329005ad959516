"""A named study of the street world, trained and scored: its cells are what the run's folder says."""

from dataclasses import replace

import pytest
import torch

from raydg.adaptation import IaBN
from raydg.checkpoint import RunFolder, read_metrics, read_rows
from raydg.cluster.evaluate import evaluate
from raydg.experiment import Experiment
from raydg.loop import in_process_feed, train
from raydg.methods import ERM
from raydg.resources import Resources
from raydg.studies import Cell, Measurement, NamedStudy
from raydg.studies.command import on_disk
from raydg.studies.scores import PaperTable


def test_cells_are_read_from_the_runs_folder(experiment: Experiment, prepared: str, runs: str) -> None:
    stage = replace(experiment.stages[0], method=ERM(measure_distances=True), steps=2)
    short = replace(experiment, stages=(stage,), validate_every=1)
    iabn = IaBN(instance_weight=0.3)
    measurements = {
        "plain": Measurement.on(short, "street/night"),
        "IaBN": Measurement.on(short, "street/night", iabn),
        "sky": Measurement.on(short, "street/night", iabn, metric="IoU", detail="sky"),
        "ECE": Measurement.on(short, "street/night", metric="ECE per image and class"),
        "ms/image": Measurement.on(short, "street/night", metric="ms/image"),
        "moved": Measurement.of(short, "distance", "training", detail="distance/l2"),
        "parameters": Measurement.of(short, "parameters (M)", "architecture"),
    }
    cells = tuple(Cell(row="ERM", column=name, measurements=(m,)) for name, m in measurements.items())
    named = NamedStudy(name="world/T1", title="the street world", cells=cells)
    study = named.study()
    assert study
    (trained,) = study.experiments
    resources = Resources(workers=0, data=prepared, runs=runs)
    before = PaperTable.of(named, study, on_disk(resources), {})
    assert before.estimates.keys() == {("ERM", "parameters")}

    folder = RunFolder.of(trained, runs).open(trained)
    train(trained, folder, in_process_feed(prepared), prepared, torch.device("cpu"))
    evaluate(trained, folder, resources)
    found = PaperTable.of(named, study, on_disk(resources), {}).estimates

    rows = {row.adaptation: row for row in read_rows(folder.targets)}
    plain, blended = rows["t-BN"], rows[iabn.label]
    assert plain.calibration and plain.cost
    expected = {
        "plain": plain.confusion.score("segmentation"),
        "IaBN": blended.confusion.score("segmentation"),
        "sky": 100 * blended.confusion.iou()[short.label_space.classes.index("sky")],
        "ECE": plain.calibration.per_image_per_class_ece(),
        "ms/image": 1000 * plain.cost.seconds_per_image,
        "parameters": sum(p.numel() for p in folder.checkpoint_at(plain.step).model().parameters()) / 1e6,
        "moved": next(
            line["distance/l2"]
            for line in read_metrics(folder.metrics)
            if line["step"] == plain.step - 1 and "distance/l2" in line
        ),
    }
    assert {column: estimate.mean for (_, column), estimate in found.items()} == pytest.approx(expected)
    assert found["ERM", "moved"].mean > 0
