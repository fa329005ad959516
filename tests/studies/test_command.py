"""`raydg studies`: lists, costs, and a job's commands on a table of a paper."""

import io
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

from raydg.checkpoint import RunFolder
from raydg.cli import main
from raydg.evaluation import Row
from raydg.experiment import Experiment, Study
from raydg.resources import Resources
from raydg.studies import NamedStudy, architecture, listing, named_studies, named_study
from raydg.studies.cell import FIGURES, JUDGED
from raydg.studies.command import commands


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Study, Resources]]:
    """What was asked to run; the module that would run it, with Ray, is not imported. One cell has been scored."""
    seen: list[tuple[str, Study, Resources]] = []
    counts = tuple(tuple(10 if i == j < 2 else 0 for j in range(19)) for i in range(19))

    def selected_rows(experiment: Experiment, resources: Resources) -> list[Row]:
        scored = experiment.name == "MLDG 2:2 G+S+I+M"
        return [Row(1, "target", "cityscapes", "val", "plain", "t-BN", 0, 5, counts)] if scored else []

    stand_in: Any = ModuleType("raydg.cluster.study")
    stand_in.train_study = lambda study, resources, console: seen.append(("train", study, resources))
    stand_in.evaluate_study = lambda study, resources, console: seen.append(("evaluate", study, resources))
    monkeypatch.setattr("raydg.studies.command.selected_rows", selected_rows)
    monkeypatch.setitem(sys.modules, "raydg.cluster.study", stand_in)
    monkeypatch.setattr(architecture, "parameters", lambda experiment: 1.0)
    monkeypatch.setattr(architecture, "multiplications", lambda experiment, height, width: 1.0)
    monkeypatch.setenv("COLUMNS", "400")
    return seen


def test_all_studies_are_listed_with_their_cells_and_trainings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    main(["studies"])
    shown = capsys.readouterr().out
    (line,) = (each for each in shown.splitlines() if "dmg/T4" in each)
    assert [cell.strip() for cell in line.split("│")[1:-1]] == [
        "dmg/T4",
        "every mask on every domain, Clipart or Quickdraw held out, AlexNet",
        "72",
        "",
        "2",
    ]


def test_a_study_by_itself_lists_its_cells(cluster: list, capsys: pytest.CaptureFixture[str]) -> None:
    main(["studies", "tsmldg/T4"])
    shown = capsys.readouterr().out
    (line,) = (each for each in shown.splitlines() if "│ 1:3 " in each)
    assert [cell.strip() for cell in line.split("│")[1:-1]] == [
        "1:3",
        "G+S+I+M -> C",
        "MLDG 1:3 G+S+I+M",
        "t-BN",
        "target cityscapes (val)",
        "mIoU, the 19 classes of cityscapes19",
        "55.41",
    ]
    assert "whether TN was used is not said" in shown and not cluster


def test_commands_and_flags_are_those_of_a_job(cluster: list, tmp_path: Path) -> None:
    main(["studies", "tsmldg/T4", "train", "--only", "MLDG 2*", "--seeds", "3", "--runs", str(tmp_path)])
    ((command, study, resources),) = cluster
    assert (command, study.name, resources.data) == ("train", "tsmldg-T4", "data/tsmldg")
    assert [(e.name, e.seed) for e in study.experiments] == [("MLDG 2:2 G+S+I+M", 3)]


@pytest.mark.parametrize("command", ["table", "evaluate"])
def test_a_table_stands_beside_the_papers(
    cluster: list, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    main(["studies", "tsmldg/T4", command, "--runs", str(tmp_path)])
    assert [name for name, _, _ in cluster] == (["evaluate"] if command == "evaluate" else [])
    written = (tmp_path / "tsmldg-T4" / "paper.md").read_text()
    assert "| 3:1 | (54.38) |\n| 2:2 | 100.00 (55.95) |\n| 1:3 | (55.41) |" in written
    assert "100.00 (55.95)" in capsys.readouterr().out


@pytest.mark.parametrize("named", named_studies(), ids=lambda named: named.name)
def test_every_study_can_be_evaluated_and_says_of_each_cell_what_it_needs(
    named: NamedStudy, cluster: list, tmp_path: Path
) -> None:
    study = named.study()
    assert study
    commands(named)["evaluate"](study, Resources(runs=str(tmp_path)), Console(file=io.StringIO()))
    # Where nothing is judged there is nothing to evaluate: what was measured in training is shown.
    judged = any(m.role in (*JUDGED, "analysis") for m in named.measurements)
    assert [name for name, _, _ in cluster] == ["evaluate"] * judged
    assert not judged or any(e.targets or e.in_domain_splits for e in study.experiments)
    text = (tmp_path / study.name / "paper.md").read_text()
    for metric, where in FIGURES.items():
        shown = any(cell.metric == metric and not cell.missing for cell in named.cells)
        assert (f"{metric}: {where}" in text) == shown


def test_a_dry_run_counts_steps_and_images_and_tells_time_only_where_it_was_measured(
    cluster: list, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["studies", "tsmldg/T4", "train", "--dry-run", "--seeds", "0", "1", "--runs", str(tmp_path)])
    shown = capsys.readouterr().out
    # 3 splits, 2 seeds, 45,000 steps of 32 images.
    assert "6 trainings, 0 of them done: 270,000 steps, 8,640,000 images" in shown
    assert "nothing says how long one takes" in shown and not cluster
    assert "6 passes over a domain" in shown
    assert "cityscapes19: gtav, synthia, idd, mapillary, cityscapes" in shown

    study = named_study("tsmldg/T4").study()
    assert study
    folder = RunFolder.of(study.experiments[0], tmp_path).open(study.experiments[0])
    folder.metrics.write_text("".join(json.dumps({"step": n, "seconds": s}) + "\n" for n, s in enumerate((9, 2, 3))))
    (folder.path / "checkpoints" / "step_045000").mkdir()
    table, notes = listing.cost(study, str(tmp_path))
    assert table.row_count == 3 and "3 trainings, 1 of them done: 135,000 steps" in notes[0]
    # Two trainings are left: 90,000 steps of 3 s.
    assert notes[1].startswith("90,000 steps are left: 75.0 hours at the 3 s that is the median of the 3 steps")


def test_a_mistake_is_one_message(cluster: list, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["studies", "tsmldg/T7", "train"])
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("error: There is no study 'tsmldg/T7'; tsmldg has tsmldg/T1,")
