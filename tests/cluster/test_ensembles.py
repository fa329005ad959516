"""Seeds that predict together, and settings that scores choose: what is scored, what is kept, how tables show it."""

import io
import json
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import fmean
from unittest.mock import MagicMock

import pytest
import torch
from rich.console import Console
from torch import Tensor

from raydg import drawing, loop, scoring
from raydg.adaptation import Adaptation, Choice, IaBN, Predictor, TrainBN
from raydg.calibration import Calibration
from raydg.checkpoint import RunFolder, read_rows
from raydg.cluster import study as studies
from raydg.cluster.evaluate import decide, evaluate, evaluate_ensemble, score_selecting
from raydg.drawing import draw_reliability, draw_target
from raydg.evaluation import Confusion, Row
from raydg.experiment import Ensemble, Experiment, Study
from raydg.judging.read import baseline, choices, decided, remarks, scored_rows, selected_rows
from raydg.judging.show import show_table
from raydg.page.evidence import Judged
from raydg.pictures import picture_grid
from raydg.progress import Scored
from raydg.records import Record
from raydg.resources import Resources
from raydg.shards import PreparedDomain

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SEEDS, STEPS = (0, 1, 2), (4, 6)
BEST = {0: 4, 1: 6, 2: 4}
"""The step that each seed's validation rows select."""
WEIGHTS = (IaBN(0.0), IaBN(0.5), IaBN(1.0))


@pytest.fixture(scope="module")
def judged(experiment: Experiment) -> Experiment:
    return replace(experiment, adaptations=(TrainBN(), IaBN(0.3)), development="street/fog", validate_every=4)


@pytest.fixture(scope="module")
def runs(judged: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of three seeds, each of two checkpoints whose networks are as they were drawn."""
    torch.set_num_threads(1)
    runs = tmp_path_factory.mktemp("trained")
    for seed in SEEDS:
        of_seed = replace(judged, seed=seed)
        folder = RunFolder.of(of_seed, runs).open(of_seed)
        for step in STEPS:
            good = 60 if step == BEST[seed] else 40
            counts = ((good, 100 - good), (0, 0))
            padded = tuple((*row, *[0] * 17) for row in counts) + ((0,) * 19,) * 17
            row = Row(step, "source-validation", "street/noon", "val", "plain", "t-BN", 0, 100, padded)
            rows = [row, replace(row, role="development", domain="street/fog")]
            folder.save(of_seed, step, network_of(judged, seed, step), {}, rows, [])
    return runs


@pytest.fixture
def resources(runs: Path, prepared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Resources:
    """With runs of the test's own, scored image by image."""
    monkeypatch.setattr(scoring, "PIXELS_AT_ONCE", 1)
    monkeypatch.setattr(scoring, "IMAGES_OF_A_SHARD", 1)
    torch.set_num_threads(1)
    return Resources(data=prepared, runs=str(shutil.copytree(runs, tmp_path / "runs")), workers=0)


@cache
def network_of(judged: Experiment, seed: int, step: int) -> torch.nn.Module:
    """A network of a seed and step, with running statistics that are not those it was born with."""
    network = loop.build_network(replace(judged, seed=10 * seed + step))
    torch.manual_seed(10 * seed + step)
    with torch.no_grad():
        for _ in range(3):
            network.train()(torch.rand(2, 3, 64, 128))
    return network.eval()


def seeds_of(judged: Experiment) -> list[Experiment]:
    return [replace(judged, seed=seed) for seed in SEEDS]


@cache
def images(prepared: str, judged: Experiment, name: str, split: str = "val") -> list[tuple[Tensor, Tensor]]:
    """Images (1, 3, h, w) in [0, 1] and labels (h, w)."""
    domain = PreparedDomain.open(prepared, judged.label_space, name)
    samples = [domain.read(split, i) for i in range(domain.num_samples(split))]
    return [(torch.from_numpy(s.image).permute(2, 0, 1)[None] / 255, torch.from_numpy(s.label).long()) for s in samples]


@cache
def score(judged: Experiment, prepared: str, seed: int, step: int, how: Adaptation, name: str) -> float:
    """Mean IoU of one checkpoint under one adaptation on a domain's validation images, written out."""
    predictor, total = how.predictor(network_of(judged, seed, step)), Confusion.empty(19)
    for image, label in images(prepared, judged, name):
        total = total + Confusion.of(label, predictor(image)[0].argmax(0), 19)
    return total.score("segmentation")


def test_an_ensemble_is_the_mean_of_its_seeds_by_their_selected_checkpoints(judged, resources, prepared) -> None:
    told: list[Scored] = []
    rows = evaluate_ensemble(seeds_of(judged), resources, told.append)
    assert [(row.adaptation, row.role, row.step) for row in rows] == [
        ("t-BN", "target", 6),
        ("IaBN(instance_weight=0.3)", "target", 6),
    ]
    (folder,) = Path(resources.runs).glob("tiny-ensemble-of-3-*")
    members = json.loads((folder / "members.json").read_text())
    of_seeds = [RunFolder.of(each, resources.runs).path.name for each in seeds_of(judged)]
    assert members == [{"folder": name, "step": BEST[seed]} for name, seed in zip(of_seeds, SEEDS, strict=True)]
    for row, how in zip(rows, judged.adaptations, strict=True):
        predictors = [how.predictor(network_of(judged, seed, BEST[seed])) for seed in SEEDS]
        confusion, calibration, alone = Confusion.empty(19), Calibration.empty(19), []
        for image, label in images(prepared, judged, "street/night"):
            first, second, third = (predictor(image) for predictor in predictors)
            confidence, predicted = ((first + second + third) / 3)[0].max(0)
            alone.append(Confusion.of(label, predicted, 19))
            confusion = confusion + alone[-1]
            calibration = calibration + Calibration.of(label, predicted, confidence, 19)
        assert row.confusion == confusion and row.calibration == calibration and row.num_images == len(alone)
        record = Record.load(folder / str(row.record))
        expected = [each.score("segmentation") for each in alone]
        assert record.scores("segmentation").tolist() == pytest.approx(expected)
        assert row.cost is not None and row.cost.seconds_per_image > 0
    assert told[-1].images == told[-1].total == 2
    assert told[-1].score == rows[-1].confusion.score("segmentation")


def test_the_order_of_members_decides_nothing_and_what_is_scored_is_not_scored_again(
    judged, resources, monkeypatch
) -> None:
    rows = evaluate_ensemble(seeds_of(judged), resources)
    monkeypatch.setattr("raydg.cluster.evaluate._run", lambda *_: pytest.fail("scored again"))
    assert evaluate_ensemble(seeds_of(judged)[::-1], resources) == rows


def test_one_member_is_the_experiment_itself(judged, resources, monkeypatch) -> None:
    (alone, *_) = seeds_of(judged)
    rows = evaluate(alone, RunFolder.of(alone, resources.runs), resources)
    monkeypatch.setattr("raydg.cluster.evaluate._run", lambda *_: pytest.fail("scored again"))
    assert evaluate_ensemble([alone], resources) == rows


def test_members_differ_in_nothing_but_their_seed(judged, resources) -> None:
    other = replace(judged, name="other", seed=1)
    with pytest.raises(ValueError, match="'tiny' with seed 0, 'other' with seed 1 make no ensemble"):
        evaluate_ensemble([judged, other], resources)


def test_an_interrupted_ensemble_goes_on_and_counts_every_image_once(judged, resources, tmp_path, monkeypatch) -> None:
    whole = evaluate_ensemble(seeds_of(judged), resources)
    (folder,) = Path(resources.runs).glob("tiny-ensemble-of-3-*")
    folder.rename(tmp_path / "aside")
    met, plain = [], Predictor.__call__

    def counted(self, pixels):
        met.append(self)
        if len(met) == 4:  # the second image, with its first member
            raise KeyboardInterrupt
        return plain(self, pixels)

    monkeypatch.setattr(Predictor, "__call__", counted)
    with pytest.raises(KeyboardInterrupt):
        evaluate_ensemble(seeds_of(judged), resources)
    assert len(list(folder.rglob("*.npz"))) == 1 and not read_rows(folder / "targets.jsonl")
    told: list[Scored] = []
    assert evaluate_ensemble(seeds_of(judged), resources, told.append) == whole
    assert told[0].resumed == 1 and len(met) == 4 + 3 + 6


def test_a_choice_is_made_with_the_selected_checkpoint(judged, resources, prepared) -> None:
    choice = Choice(candidates=WEIGHTS, on="source-validation")
    choosing = replace(judged, choices=(choice,))
    folder = RunFolder.of(choosing, resources.runs)
    means = [
        fmean(score(judged, prepared, 0, BEST[0], how, source) for source in judged.sources)
        for how in choice.candidates
    ]
    assert len(set(means)) == 3
    best = means.index(max(means))
    told: list[Scored] = []
    found = decide(choosing, folder, folder.selected(choosing), resources, told.append)[choice.label]
    assert (found.adaptation, found.step, found.rule) == (WEIGHTS[best].label, BEST[0], "source-validation")
    assert found.score == pytest.approx(means[best])
    assert (told[-1].name, told[-1].images, told[-1].total) == (choice.label, 18, 18)
    assert not folder.targets.exists()  # nothing of a target was read for it
    assert {(row.role, row.step) for file in folder.choosing.iterdir() for row in read_rows(file)} == {
        ("source-validation", BEST[0])
    }

    rows = evaluate(choosing, folder, resources)
    assert [row.adaptation for row in rows] == ["t-BN", "IaBN(instance_weight=0.3)", choice.label]
    expected = score(judged, prepared, 0, BEST[0], WEIGHTS[best], "street/night")
    assert rows[-1].confusion.score("segmentation") == pytest.approx(expected)
    assert [row.adaptation for row in read_rows(folder.targets)][-1] == WEIGHTS[best].label
    assert [row for row in selected_rows(choosing, resources) if row.role == "target"] == rows


def test_a_choice_is_made_jointly_with_the_checkpoint(judged, resources, prepared, monkeypatch) -> None:
    choice = Choice(candidates=WEIGHTS, on="development", jointly=True)
    choosing = replace(judged, choices=(choice,), seed=1)
    folder = RunFolder.of(choosing, resources.runs)
    scores = {
        (how.label, step): score(judged, prepared, 1, step, how, "street/fog") for how in WEIGHTS for step in STEPS
    }
    label, step = max(scores, key=lambda pair: scores[pair])
    assert list(scores.values()).count(scores[label, step]) == 1
    rows = evaluate(choosing, folder, resources)
    assert [row.step for row in rows] == [BEST[1], BEST[1], step]
    how = next(candidate for candidate in WEIGHTS if candidate.label == label)
    expected = score(judged, prepared, 1, step, how, "street/night")
    assert rows[-1].confusion.score("segmentation") == pytest.approx(expected)
    monkeypatch.setattr("raydg.cluster.evaluate._run", lambda *_: pytest.fail("scored again"))
    assert evaluate(choosing, folder, resources) == rows
    # The setting does not say so, but the folder was trained with keep_checkpoints=1.
    folder.prune({6})
    selected = folder.selected(choosing)
    for found, where in ((decide, resources), (decided, prepared)):
        with pytest.raises(ValueError, match=r"no checkpoint of step 4, only of 6: .* again with keep_checkpoints"):
            found(choosing, folder, selected, where)


def test_selecting_domains_are_scored_for_any_adaptation_and_targets_are_not(judged, resources, prepared) -> None:
    folder = RunFolder.of(judged, resources.runs)
    rows = score_selecting(judged, folder, STEPS, (IaBN(0.2), TrainBN()), "source-validation", resources)
    assert [(row.domain, row.step, row.adaptation) for row in rows] == [
        (source, step, how.label) for source in judged.sources for step in STEPS for how in (IaBN(0.2), TrainBN())
    ]
    for row in rows:
        how = IaBN(0.2) if row.adaptation != "t-BN" else TrainBN()
        expected = score(judged, prepared, 0, row.step, how, row.domain)
        assert row.confusion.score("segmentation") == pytest.approx(expected)
    for role in ("target", "in-domain", "analysis"):
        with pytest.raises(ValueError, match=f"'{role}' choose nothing"):
            score_selecting(judged, folder, STEPS, (TrainBN(),), role, resources)
    blind = replace(judged, development=None)
    with pytest.raises(ValueError, match="has no development domain to choose by"):
        score_selecting(blind, folder, STEPS, (TrainBN(),), "development", resources)


def test_tables_and_pictures_show_choices_and_ensembles(judged, resources, prepared, tmp_path, monkeypatch) -> None:
    choice = Choice(candidates=WEIGHTS, on="development", jointly=True)
    choosing = replace(judged, choices=(choice,))
    study = Study(
        name="both",
        experiments=tuple(seeds_of(choosing)),
        ensembles=(Ensemble(size=1), Ensemble(size=2), Ensemble(size=4, adaptations=(TrainBN(),))),
    )
    for each in study.experiments:
        evaluate(each, RunFolder.of(each, resources.runs), resources)
    evaluate_ensemble(study.experiments[:2], resources)
    show_table(study, resources, Console(width=250, file=io.StringIO()))
    text = (Path(resources.runs) / "both" / "table.md").read_text()
    found = {experiment.name: rows for experiment, rows in scored_rows(study, resources)}
    assert list(found) == ["tiny", "tiny, ensemble of 1", "tiny, ensemble of 2"]
    lines = {tuple(line.split(" | ")[:2]): line for line in text.splitlines() if line.startswith("| tiny")}
    labels = ("t-BN", "IaBN(instance_weight=0.3)", choice.label)
    assert list(lines) == [(f"| {name}", label) for name in found for label in labels]
    for label in labels:
        single, of_one, of_two = (lines[f"| {name}", label] for name in found)
        assert "±" in single and "±" not in of_two  # of three seeds; of a single group
        assert single.split(" | ")[4:] == of_one.split(" | ")[4:]  # groups of one are the seeds
    chosen = {
        seed: decide(each, folder, folder.selected(each), resources)[choice.label]
        for seed, each in zip(SEEDS, study.experiments, strict=True)
        for folder in [RunFolder.of(each, resources.runs)]
    }
    for seed, of_seed in chosen.items():
        said = f"tiny, seed {seed}: {choice.label}: {of_seed.adaptation}, at step {of_seed.step} ({of_seed.score:.2f})"
        assert said in text
    assert "tiny, ensemble of 2: mean of the probabilities of 2 seeds, each adapting by itself (seeds 0 1); a " in text
    assert "(seeds 0; 1; 2); ± over the groups" in text
    assert "no ensemble of 4 of tiny: it has the seeds 0 1 2 (--seeds gives others)" in text
    assert remarks(study, resources).keys() == {"tiny", "tiny, ensemble of 1", "tiny, ensemble of 2"}

    # What a baseline compares are the images of the ensemble, not of its first member.
    against = baseline("tiny", resources, study=study)
    assert against
    for experiment, rows in scored_rows(study, resources):
        for each in (row for row in rows if row.role == "target"):
            tallies = against.tallies(experiment, each)
            assert tallies
            parts, wholes = tallies.parts.sum(0), tallies.wholes.sum(0)
            iou = parts[wholes > 0] / wholes[wholes > 0]
            assert 100 * iou.mean() == pytest.approx(100 * each.confusion.mean_iou())

    # Each member of an ensemble has its own choice, and its own checkpoint with it.
    (row,) = (row for row in found["tiny, ensemble of 2"] if row.adaptation == choice.label)
    predictors = [
        next(how for how in WEIGHTS if how.label == chosen[seed].adaptation).predictor(
            network_of(judged, seed, chosen[seed].step)
        )
        for seed in (0, 1)
    ]
    expected = Confusion.empty(19)
    for image, label in images(prepared, judged, "street/night"):
        first, second = (predictor(image) for predictor in predictors)
        expected = expected + Confusion.of(label, ((first + second) / 2)[0].argmax(0), 19)
    assert row.confusion == expected

    grids, diagrams = [], []
    monkeypatch.setattr(drawing, "picture_grid", lambda columns, *rest: grids.append(columns))
    monkeypatch.setattr(drawing, "reliability_diagrams", lambda found, path: diagrams.append(found))
    shown = [
        Judged(e, RunFolder.of(e, resources.runs), tuple(selected_rows(e, resources)), choices(e, resources))
        for e in study.experiments
    ]
    draw_target(shown, "street/night", resources.data, "cpu", tmp_path / "grid.png")
    assert [column.title for column in grids[0]][2:] == [f"tiny, {label}" for label in labels]
    assert draw_reliability(scored_rows(study, resources), "street/night", tmp_path / "reliability.png")
    assert list(diagrams[0]) == [f"{name}, {label}" for name in found for label in labels]


def test_pictures_come_after_the_table_once_and_need_no_gpu(judged, resources, monkeypatch) -> None:
    study = Study(name="drawn", experiments=(judged,))
    evaluate(judged, RunFolder.of(judged, resources.runs), resources)
    grids, printed = [], io.StringIO()
    monkeypatch.setattr(drawing, "picture_grid", lambda *grid: (grids.append(grid), picture_grid(*grid)))
    monkeypatch.setattr(studies, "Tracker", MagicMock())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    # A cluster's workers have GPUs, its head has none. All is scored, so no worker is asked.
    for _ in range(2):
        studies.evaluate_study(study, replace(resources, gpus_per_worker=1), Console(file=printed, width=200))
    assert 0 < printed.getvalue().index("table: ") < printed.getvalue().index("picture: ")
    assert printed.getvalue().count("night.png") == 2 and len(grids) == len(judged.targets)


def test_a_choice_that_lacks_scores_is_left_out_of_tables(judged, resources) -> None:
    evaluate(judged, RunFolder.of(judged, resources.runs), resources)
    choosing = replace(judged, choices=(Choice(candidates=WEIGHTS, on="source-validation"),))
    folder = RunFolder.of(choosing, resources.runs)
    score_selecting(choosing, folder, [BEST[0]], WEIGHTS[:2], "source-validation", resources)
    rows = [row for row in selected_rows(choosing, resources) if row.role == "target"]
    assert [row.adaptation for row in rows] == ["t-BN", "IaBN(instance_weight=0.3)"]
    study = Study(name="open", experiments=(choosing,))
    assert remarks(study, resources) == {"tiny": ()}


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_a_fleet_counts_an_ensemble_and_a_choice_as_one_process_does(judged, resources, tmp_path) -> None:
    choice = Choice(candidates=WEIGHTS[:2], on="source-validation")
    members = seeds_of(replace(judged, choices=(choice,)))[:2]
    alone = replace(resources, runs=str(shutil.copytree(resources.runs, tmp_path / "alone")))
    rows = evaluate_ensemble(members, replace(resources, workers=1, scorers=2))
    assert evaluate_ensemble(members, alone) == rows and len(rows) == 3
