"""The papers' tables and figures: every cell is an experiment that can be built, and answers to the right number."""

import importlib.util
import math
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from raydg.adaptation import Adaptation
from raydg.domains import catalogue
from raydg.experiment import Experiment, Study
from raydg.methods import ERM, Inference
from raydg.methods.masked import statistics
from raydg.models import AlexNet, Classifier, DeepLabV3Plus, SmallNet
from raydg.models.sites import sites_of
from raydg.published import published
from raydg.studies import Cell, Measurement, NamedStudy, Printed, architecture, named_studies, named_study, printed
from raydg.studies.cell import FIGURES, mean_cell
from raydg.studies.scores import Found, PaperTable

ROOT = Path(__file__).parents[2]

# Tables: numbers that the authors ran themselves (published.md); figures: what a curve or picture is made of.
CELLS = {
    "tsmldg": {"T1": 4, "T2": 20, "T3": 16, "T4": 3, "T5": 4, "T6": 20, "F4": 16},
    "pin-the-memory": {
        "T1": 3 * 3 * 20, "T2": 6 * 4, "T3": 3, "T4": 4, "T5": 12, "T6": 16, "T7": 20, "T8": 15, "T9": 8, "T10": 12,
        "T11": 6, "T12": 15, "T13": 3 * 6 * 20, "T14": 4 * 17, "F5": 4, "F6": 1, "F8": 3, "F9": 2 * 19,
    },
    "self-adaptation": {
        "T1": 24 + 24, "T2": 12, "T3": 48, "T4": 30, "T5": 24 + 24, "T6": 32, "T7": 24, "T8": 32, "T9": 30,
        # Baseline, IaBN, TTA, three sets of layers by ten iterations, three ensembles; each with its time.
        "F2": 2 * (3 + 30 + 3), "F4": 2 * 11 * 4, "F5": 2 * 2 * (3 + 30 + 3), "F9": 4, "F10": 4, "text": 6,
    },
    "deft": {
        "T1": 12, "T2": 20, "T3": 16, "T4": 16, "T5": 8, "T6": 20, "T7": 16, "T8": 12, "T9": 4, "F1": 3 * 2,
        "F3": 2 * 3, "F9": 4,
    },
    "dmg": {
        "T1": 3 * 5 * 7, "T2": 3 * 3 * 5, "T3": 3 * 6 * 7, "T4": 72, "T5": 91, "T6": 45,
        # Seven weights and six domains held out; of five sources ten pairs.
        "F3": 7 * 6 * 3, "F4": 2 * (1 + 10 + 1 + 1), "F5": 7 * 6 * 3, "F6": 7 * 6 * 3,
    },
}  # fmt: skip
STUDIES = {study.name: study for study in named_studies()}
NAMES = [f"{paper}/{table}" for paper, tables in CELLS.items() for table in tables]


def test_every_table_and_figure_is_there_with_all_its_cells() -> None:
    assert list(STUDIES) == NAMES
    found = {name: len(study.cells) for name, study in STUDIES.items()}
    assert found == {f"{paper}/{table}": cells for paper, tables in CELLS.items() for table, cells in tables.items()}


@cache
def to_run(name: str) -> Study:
    study = STUDIES[name].study()
    assert study
    return study


Way = tuple[str, tuple[str, ...], str, str | None, Inference, Adaptation]


@pytest.mark.parametrize("name", NAMES)
def test_a_study_trains_and_scores_what_its_cells_name(name: str) -> None:
    """Trainings of one paper go by their names and sources."""
    asked: set[Way] = set()
    for m in STUDIES[name].measurements:
        # The report analyses targets that have been scored.
        role = "target" if m.role == "analysis" and m.domain not in m.experiment.sources else m.role
        if role in ("target", "in-domain"):
            asked.add((m.experiment.name, m.experiment.sources, role, m.domain, m.inference, m.adaptation))
    scored: set[Way] = set()
    for e in to_run(name).experiments:
        places = [("target", domain) for domain in e.targets]
        places += [("in-domain", domain) for domain in e.sources if e.in_domain_splits]
        for (role, domain), way, adaptation in product(places, e.scored_inferences, e.adaptations):
            scored.add((e.name, e.sources, role, domain, way, adaptation))
    assert asked <= scored
    assert {each[:4] for each in scored if each[2] == "target"} <= {each[:4] for each in asked}
    trained = {(m.experiment.name, m.experiment.sources) for m in STUDIES[name].measurements}
    assert {(e.name, e.sources) for e in to_run(name).experiments} == trained


@dataclass(frozen=True)
class Scored:
    """What a cell reads of a row, all of it 50."""

    role: str
    domain: str
    inference: str
    adaptation: str

    @property
    def cost(self) -> Any:
        return SimpleNamespace(seconds_per_image=0.05)

    @property
    def confusion(self) -> Any:
        return SimpleNamespace(score=lambda task, ids: 50.0, iou=lambda ids: [0.5] * 345)

    @property
    def calibration(self) -> Any:
        return SimpleNamespace(per_image_per_class_ece=lambda ids: 50.0)


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_is_filled_or_says_why_it_is_not(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(architecture, "parameters", lambda experiment: 50.0)
    monkeypatch.setattr(architecture, "multiplications", lambda experiment, height, width: 50.0)

    def rows(e: Experiment) -> Any:
        places = [("target", domain) for domain in e.targets]
        places += [("in-domain", domain) for domain in e.sources if e.in_domain_splits]
        ways = product(places, e.scored_inferences, e.variants)
        return [Scored(role, domain, way.label, adaptation) for (role, domain), way, adaptation in ways]

    own = {m.detail or "": 50.0 for m in STUDIES[name].measurements}
    found = Found(rows, lambda experiment: own)
    shown = PaperTable.of(STUDIES[name], to_run(name), found, printed.numbers())
    for cell in STUDIES[name].cells:
        if cell.missing or cell.metric in FIGURES:
            assert (cell.row, cell.column) not in shown.estimates
        else:
            assert shown.estimates[cell.row, cell.column].mean == pytest.approx(50)
    reasons = "\n".join(shown.notes())
    assert all(FIGURES[c.metric] in reasons for c in STUDIES[name].cells if c.metric in FIGURES and not c.missing)


def test_what_several_studies_need_is_trained_once() -> None:
    folders: dict[str, set[str]] = {}
    for experiment in {e for name in NAMES for e in to_run(name).experiments}:
        folders.setdefault(fingerprint(experiment), set()).add(experiment.name)
    assert [names for names in folders.values() if len(names) > 1] == []


@cache
def fingerprint(experiment: Experiment) -> str:
    return experiment.training_fingerprint()


@pytest.mark.parametrize("paper", CELLS)
def test_a_job_trains_what_the_paper_s_studies_do(paper: str) -> None:
    path = ROOT / "jobs" / f"{paper.replace('-', '_')}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    ours = {fingerprint(e) for table in CELLS[paper] for e in to_run(f"{paper}/{table}").experiments}
    alone = {e.name for e in module.study.experiments if fingerprint(e) not in ours}
    # What no table has: the method as the text writes it down, and the baseline of two sources.
    assert alone == {"pin-the-memory": {"Ours, paper's equations G+S V3+"}, "tsmldg": {"AGG G+S"}}.get(paper, set())


def test_domains_and_splits_of_every_cell_exist() -> None:
    entries = {name: entry for entry in catalogue.DATASETS for name in entry.domains}
    seen = set()
    for study in STUDIES.values():
        for m in study.measurements:
            experiment = m.experiment
            key = (m.domain, m.splits or experiment.target_splits, experiment.label_space.name)
            if m.domain is None or key in seen:
                continue
            seen.add(key)
            entry = entries[m.domain]
            assert entry.label_space(experiment.label_space.name) == experiment.label_space
            parts = {*entry.editions[0].layout.splits, *(subset.name for subset in entry.editions[0].subsets)}
            if m.role in ("target", "in-domain"):
                assert set(m.splits or experiment.target_splits or ()) <= parts
    assert len(seen) > 20


def test_what_a_method_measures_of_itself_goes_by_the_cells_names() -> None:
    asked = {m.detail for study in STUDIES.values() for m in study.measurements if m.role == "training"}
    masks = {site: torch.rand(5, 8) for site in sites_of(Classifier(AlexNet()))}
    network = DeepLabV3Plus(SmallNet(8)).build(catalogue.dataset("street").label_space())
    method = ERM(measure_distances=True)
    measured = {*statistics(masks), *method.measurements(method.wrap(network, 1, 19))}
    assert asked <= measured and len(asked) == 3 * 10 + 3 + 1 + 3 + 3


def parameters(name: str, experiment: str) -> float:
    (found,) = (e for e in to_run(name).experiments if e.name == experiment)
    return round(architecture.parameters(found), 3)


def test_networks_that_no_job_has_can_be_built() -> None:
    # Pin the Memory's Table 8: 45.08 million with the auxiliary head. 40.35 without (DeepLabV3Plus).
    assert round(parameters("pin-the-memory/T2", "IBN-Net G+S+I V3+"), 2) == 45.08
    assert round(parameters("pin-the-memory/T2", "RobustNet G+S+I V3+"), 2) == 40.35
    plain = parameters("self-adaptation/T1", "GTA DeepLabV1 R50 dropout")
    # 53 layers: three weights each for mean and variance; one for each of 26,560 channels.
    assert parameters("self-adaptation/T2", "GTA DeepLabV1 R50 SN") == pytest.approx(plain + 318e-6, abs=6e-4)
    assert parameters("self-adaptation/T2", "GTA DeepLabV1 R50 BIN") == pytest.approx(plain + 0.02656, abs=6e-4)


def test_multiplications_are_those_of_the_convolutions(experiment: Experiment) -> None:
    network = experiment.model.build(experiment.label_space).eval()
    counted = []

    def count(layer: nn.Module, images: object, maps: torch.Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        counted.append(maps.numel() * layer.in_channels // layer.groups * math.prod(layer.kernel_size))

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    network(torch.zeros(1, 3, 64, 96))
    assert counted
    assert architecture.multiplications(experiment, 64, 96) == pytest.approx(sum(counted) / 1e9, rel=1e-9)


def test_every_number_that_authors_ran_is_answered_by_a_cell_and_every_cell_finds_its_number() -> None:
    numbers = printed.numbers()
    rows = [row for row in published() if row.by_authors != "no"]
    assert len(numbers) == len(rows)  # no two numbers have one place
    asked = Counter(place for study in STUDIES.values() for cell in study.cells for place in cell.published)
    assert asked.keys() == numbers.keys()
    for name, study in STUDIES.items():
        for cell in study.cells:
            assert name.startswith("pin-the-memory/F9") or all(
                re.fullmatch(rf"{study.name.partition('/')[2]}[ab]?", place.table) for place in cell.published
            )
            assert len(cell.published) == (2 if name == "pin-the-memory/T5" and "alone" in cell.row else 1) or (
                "/F" in name and not cell.published
            )


def test_cells_say_what_they_answer_to() -> None:
    def shown(name: str, row: str, column: str) -> str:
        (cell,) = (c for c in STUDIES[name].cells if (c.row, c.column) == (row, column))
        return printed.text(cell, printed.numbers())

    # From the papers' pages.
    assert shown("tsmldg/T3", "MLDG+TN", "G+S+I+M -> C") == "57.69"
    assert shown("tsmldg/F4", "AGG", "TN, batch 48") == "55.1"
    assert shown("tsmldg/T6", "AGG+TN", "S") == "53.22"
    assert shown("pin-the-memory/T12", "Ours, ResNet-101", "M") == "41.31"
    assert shown("pin-the-memory/T5", "Ldiv alone", "Avg.") == "41.17 or 39.90"
    assert shown("self-adaptation/T6", "Grayscaling", "Seg-TTT, ms/image") == "7193"
    assert shown("self-adaptation/T1", "DeepLabV1 R101, MC-Dropout + IaBN", "ECE GTA -> I") == "23.32"
    assert shown("deft/T7", "DeFT, final model II: d~1 (GC) after e1 (UC)", "Avg.") == "42.84"
    assert shown("dmg/T3", "DMG-KD R18", "Q held out, in-domain") == "60.98"
    assert shown("dmg/T4", "Q held out: mask mReal", "R") == "69.82"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dmg/T9", "There is no study 'dmg/T9'; dmg has dmg/T1, dmg/T2, dmg/T3, dmg/T4, dmg/T5, dmg/T6, dmg/F3"),
        ("tsmldgg/T3", "perhaps you meant tsmldg/T3"),
        ("x", "papers are tsmldg, pin-the-memory, self-adaptation, deft, dmg."),
    ],
)
def test_a_name_that_is_none_is_answered_with_those_there_are(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        named_study(name)


def test_what_no_cell_can_be_is_refused(experiment: Experiment) -> None:
    measured = Measurement.on(experiment, "street/night")
    with pytest.raises(ValueError, match=r"Cell.measurements is \(\): it must be at least one, unless"):
        Cell(row="a", column="b")
    iou = Measurement.on(experiment, "street/night", metric="IoU", detail="car")
    with pytest.raises(ValueError, match=r"Cell.measurements is .*: it must be of one metric"):
        Cell(row="a", column="b", measurements=(measured, iou))
    with pytest.raises(ValueError, match=r"Measurement.detail is 'moon': it must be one of road, "):
        Measurement.on(experiment, "street/night", metric="IoU", detail="moon")
    with pytest.raises(ValueError, match=r"Measurement.domain is 'street/noon': it must be none of the sources"):
        Measurement.on(experiment, "street/noon")
    with pytest.raises(ValueError, match=r"Measurement.domain is 'street/night': it must be one of street/noon"):
        Measurement.in_domain(experiment, "street/night")
    cell = Cell(row="a", column="b", measurements=(measured,))
    with pytest.raises(ValueError, match="'x/T1' has two cells in row 'a', column 'b'"):
        NamedStudy(name="x/T1", title="", cells=(cell, cell))
    gap = Cell(row="a", column="c", missing="it is not here")
    assert mean_cell("a", "mean", (cell, gap)).missing == "it is not here"
    assert mean_cell("a", "mean", (cell, cell)).measurements == (measured, measured)


def test_a_number_that_no_paper_prints_is_refused() -> None:
    place = Printed(paper="p", table="T1", method="m", sources="G", target="C")
    gap = Cell(row="a", column="b", missing="not here", published=(place,))
    assert printed.text(gap, {place: "2.50"}) == "2.50"
    with pytest.raises(ValueError, match="no published number for p, T1, m, G, C, mIoU"):
        printed.text(gap, {})
