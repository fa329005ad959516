"""Analysis looks at targets along the training, and what it finds can select nothing."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from raydg.adaptation import Predictor
from raydg.analysis import analyse, measure
from raydg.checkpoint import RunFolder, read_rows
from raydg.domains.labels import CITYSCAPES_19, IGNORE
from raydg.evaluation import Confusion, Row
from raydg.experiment import Study
from raydg.protocol import WholeImage
from raydg.scoring import ScoringBatch
from raydg.selection import Leak, select, select_oracle
from raydg.shards import PreparedDomain
from raydg.values import decode


class Graded(Predictor):
    """Says class 0 with probability 0.5, class 1 with 0.3, and the rest alike."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 1, 1))

    def all(self, images: Tensor) -> Tensor:
        p = torch.full((19,), 0.2 / 17)
        p[0], p[1] = 0.5, 0.3
        return p.view(1, 1, 19, 1, 1).expand(1, len(images), 19, *images.shape[-2:])


def test_the_loss_is_the_mean_of_minus_log_p_of_what_is_labelled(prepared: str) -> None:
    domain = PreparedDomain.open(prepared, CITYSCAPES_19, "street/night")
    planned = [ScoringBatch("val", (0,)), ScoringBatch("val", (1,))]
    counted, loss = measure(Graded(), domain, planned, WholeImage())
    labels = np.concatenate([np.ravel(domain.read("val", i).label) for i in range(2)])
    labels = labels[labels != IGNORE]
    p = np.where(labels == 0, 0.5, np.where(labels == 1, 0.3, 0.2 / 17))
    assert loss == pytest.approx(-np.log(p).mean(), rel=1e-6)
    assert counted.counts.sum() == len(labels) and counted.counts[:, 0].sum() == len(labels)


@pytest.fixture(scope="module")
def analysed(evaluated: Path, prepared: str) -> tuple[RunFolder, list[Row]]:
    study = decode(Study, json.loads((evaluated / "study.json").read_text()))
    experiment = study.experiments[0]
    folder = RunFolder.of(experiment, evaluated.parent)
    return folder, analyse(experiment, folder, prepared, {"street/night": ("val",)})


def test_every_checkpoint_is_seen_on_sources_and_targets(analysed: tuple[RunFolder, list[Row]]) -> None:
    folder, rows = analysed
    domains = ("street/noon", "street/dusk", "street/rain", "street/night")
    assert [(row.step, row.domain) for row in rows] == [(step, domain) for step in (2, 4, 6) for domain in domains]
    assert all(row.role == "analysis" and row.loss is not None and math.isfinite(row.loss) for row in rows)
    # What training validated, and what the selected checkpoint's plain prediction scored, is found again.
    known = {(r.step, r.domain): r.counts for c in folder.checkpoints() for r in c.rows()}
    known |= {(r.step, r.domain): r.counts for r in read_rows(folder.targets) if r.adaptation == "t-BN"}
    assert sum((row.step, row.domain) in known for row in rows) == 10
    assert all(known.get((row.step, row.domain), row.counts) == row.counts for row in rows)


def test_what_is_analysed_is_not_analysed_again(
    analysed: tuple[RunFolder, list[Row]], prepared: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, rows = analysed
    monkeypatch.setattr("raydg.analysis.measure", lambda *_: pytest.fail("a network was run"))
    experiment = folder.checkpoints()[0].experiment
    told: list[Row] = []
    assert analyse(experiment, folder, prepared, {"street/night": ("val",)}, watch=told.append) == rows
    assert not told


def test_analysis_rows_select_nothing(analysed: tuple[RunFolder, list[Row]]) -> None:
    folder, rows = analysed
    experiment = folder.checkpoints()[0].experiment
    for rule in ("source-validation", "development", "last"):
        with pytest.raises(Leak, match="'analysis'"):
            select([*folder.validation_rows(experiment), rows[0]], rule, "segmentation")
    with pytest.raises(ValueError, match="'analysis'"):
        select_oracle(rows, "segmentation")
    # Nor does the file come before a selection: the rows that select are the same with it.
    assert all(row.role == "source-validation" for row in folder.validation_rows(experiment))


def test_a_run_without_checkpoints_cannot_be_analysed(analysed: tuple[RunFolder, list[Row]], tmp_path: Path) -> None:
    experiment = analysed[0].checkpoints()[0].experiment
    with pytest.raises(ValueError, match="no checkpoint to analyse"):
        analyse(experiment, RunFolder(tmp_path), "nowhere", {})


def test_a_curve_says_what_pruning_took_from_it(
    analysed: tuple[RunFolder, list[Row]], prepared: str, tmp_path: Path
) -> None:
    folder, rows = analysed
    experiment = folder.checkpoints()[0].experiment
    pruned = RunFolder(Path(shutil.copytree(folder.path, tmp_path / "pruned")))
    pruned.prune({2, 6})
    splits = {"street/night": ("val",)}
    with pytest.raises(ValueError, match="no checkpoint of step 4, only of 2, 6: those were pruned"):
        analyse(experiment, pruned, prepared, splits)
    known = [row for row in rows if row.step != 4]
    assert analyse(replace(experiment, keep_checkpoints=1), pruned, prepared, splits) == known


def test_a_row_keeps_its_loss_on_disk(analysed: tuple[RunFolder, list[Row]]) -> None:
    folder, rows = analysed
    assert read_rows(folder.analysis) == rows
    assert rows[0].confusion != Confusion.empty(19)
