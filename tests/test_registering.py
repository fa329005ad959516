"""What is registered is chosen by what may select, and its card says what is known of it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from raydg import registering, tracking
from raydg.adaptation import TTA, Choice, IaBN
from raydg.checkpoint import RunFolder, write_whole
from raydg.cluster.evaluate import evaluate
from raydg.experiment import Study
from raydg.judging.read import selected_rows
from raydg.page.evidence import gather
from raydg.prediction import ImagePredictor
from raydg.resources import Resources
from raydg.values import decode, encode

# MLflow's own mappers ask SQLAlchemy for what 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")


@pytest.fixture(scope="module")
def study(evaluated: Path) -> Study:
    return decode(Study, json.loads((evaluated / "study.json").read_text()))


def changed(evaluated: Path, study: Study, name: str) -> Path:
    """Another study beside the one there is."""
    folder = evaluated.parent / name
    folder.mkdir(exist_ok=True)
    write_whole(folder / "study.json", json.dumps(encode(study)))
    return folder


def test_the_best_of_a_study_is_what_its_selection_scores_best(evaluated: Path, prepared: str) -> None:
    found = registering.of_study(evaluated, prepared)
    assert found.selected and found.compared == 2
    scores = {}
    for judged in gather(evaluated, prepared).judged:
        for checkpoint in judged.folder.checkpoints():
            rows = [row for row in checkpoint.rows() if row.role == "source-validation"]
            scores[checkpoint.path] = np.mean([row.confusion.score("segmentation") for row in rows])
    assert found.selected.score == pytest.approx(max(scores.values()))
    assert scores[found.checkpoint.path] == pytest.approx(max(scores.values()))


def test_targets_decide_nothing(evaluated: Path, prepared: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = registering.of_study(evaluated, prepared)

    def perfect(experiment, resources):
        """The other experiment's target rows say that it never errs."""
        rows = selected_rows(experiment, resources)
        if experiment.name == plain.experiment.name:
            return rows
        everything = tuple(tuple(9 if i == j else 0 for j in range(19)) for i in range(19))
        return [row if row.role != "target" else replace(row, counts=everything) for row in rows]

    monkeypatch.setattr("raydg.page.evidence.selected_rows", perfect)
    assert registering.of_study(evaluated, prepared).checkpoint == plain.checkpoint


def test_scores_that_do_not_compare_are_not_compared(evaluated: Path, prepared: str, study: Study) -> None:
    last = replace(study, experiments=tuple(replace(e, selection="last") for e in study.experiments))
    with pytest.raises(ValueError, match="'last', which has no score"):
        registering.of_study(changed(evaluated, last, "last"), prepared)
    one, two = study.experiments
    classes = replace(study, experiments=(one, replace(two, scored_classes=("road", "sky"))))
    with pytest.raises(ValueError, match=r"(?s)do not compare.*slow, seed 0"):
        registering.of_study(changed(evaluated, classes, "classes"), prepared)
    untrained = replace(study, experiments=(replace(one, seed=7),))
    with pytest.raises(ValueError, match="run `train` first"):
        registering.of_study(changed(evaluated, untrained, "untrained"), prepared)


def test_the_card_says_where_it_comes_from_and_what_it_is_worth(evaluated: Path, prepared: str) -> None:
    found = registering.of_study(evaluated, prepared)
    card = found.card(ImagePredictor(found.checkpoint, IaBN(0.3)))
    row = next(row for row in found.judged[0].targets if row.adaptation == IaBN(0.3).label)
    assert f"{100 * row.confusion.mean_iou():.2f}" in card
    assert row.calibration and f"{row.calibration.ece(15):.2f}" in card
    assert found.selected and f"source-validation, score {found.selected.score:.2f}; the best of 2" in card
    for said in (
        "street/noon, street/dusk, street/rain",
        "seeds 0",
        "ECE is the expected",
        found.experiment.fingerprint(),
    ):
        assert said in card
    assert "TN(batch_size=2)" not in card, "a score of another way"
    assert all(licence.of in card for licence in found.checkpoint.licences())
    assert "was not scored on a target" in found.card(ImagePredictor(found.checkpoint, TTA()))


def test_what_a_choice_came_to_has_the_score_of_the_choice(
    evaluated: Path, prepared: str, study: Study, tmp_path: Path
) -> None:
    runs = shutil.copytree(evaluated.parent, tmp_path / "runs")
    choice = Choice(candidates=(IaBN(0.0), IaBN(0.5)), on="source-validation")
    choosing = replace(study, experiments=tuple(replace(e, choices=(choice,)) for e in study.experiments))
    for each in choosing.experiments:
        evaluate(each, RunFolder.of(each, runs), Resources(workers=0, data=prepared, runs=str(runs)))
    found = registering.of_study(changed(runs / study.name, choosing, "choosing"), prepared)
    came_to = found.judged[0].chosen[choice.label].adaptation
    (other,) = (each for each in choice.candidates if each.label != came_to)
    card = found.card(ImagePredictor(found.checkpoint, choice.candidate(came_to)))
    row = next(row for row in found.judged[0].targets if row.adaptation == choice.label)
    assert f"{100 * row.confusion.mean_iou():.2f}" in card
    assert f"seed 0: {choice.label} came to {came_to}" in card
    assert "was not scored on a target" in found.card(ImagePredictor(found.checkpoint, other))


def test_a_checkpoint_that_was_given_was_not_chosen(evaluated: Path, prepared: str, study: Study) -> None:
    folder = registering.of_study(evaluated, prepared).judged[0].folder
    first = folder.checkpoints()[0]
    chosen = registering.of_study(evaluated, prepared).checkpoint
    other = first if first != chosen else folder.checkpoints()[-1]
    found = registering.of_checkpoint(other, prepared, chosen=False)
    card = found.card(ImagePredictor(other))
    assert "given, not chosen" in card and "This checkpoint was not scored on a target" in card


def test_a_registered_version_has_the_model_the_card_and_its_terms(
    evaluated: Path, prepared: str, tmp_path: Path
) -> None:
    found = registering.of_study(evaluated, prepared)
    predictor = ImagePredictor(found.checkpoint, IaBN(0.3))
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    versions = [tracking.register(predictor, "street", found.card(predictor), found.experiment, uri) for _ in range(2)]
    assert versions == ["1", "2"]
    client = MlflowClient(uri)
    version = client.get_model_version("street", "1")
    assert version.description == found.card(predictor)
    assert version.tags["raydg.training"] == found.experiment.training_fingerprint()
    assert version.tags["raydg.adaptation"] == IaBN(0.3).label and version.tags["raydg.commercial_use"] == "yes"
    place = version.source.rpartition("/")[2]
    assert Path(version.source.removeprefix("file://")).is_relative_to(tmp_path / "artifacts")
    card = client.download_artifacts(version.run_id, f"{place}/card.md", str(tmp_path))
    assert Path(card).read_text() == found.card(predictor)
    path = client.download_artifacts(version.run_id, place, str(tmp_path))
    assert (Path(path) / "MLmodel").is_file()
    with pytest.raises(ValueError, match=r"'a/b:c' cannot be registered in sqlite"):
        tracking.register(predictor, "a/b:c", "card", found.experiment, uri)
