"""The page of a study holds everything it shows, says what was measured, and leaves out what was not."""

import io
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from rich.console import Console

from raydg import page
from raydg.adaptation import AdaBN, Choice, IaBN, SegTTT, TargetNorm, TrainBN
from raydg.charts import Trial
from raydg.checkpoint import RunFolder
from raydg.cluster.evaluate import evaluate
from raydg.experiment import Ensemble, Study
from raydg.judging.read import baseline
from raydg.judging.show import show_table
from raydg.page import sections
from raydg.page.embedding import balanced, features, middles
from raydg.page.evidence import Evidence, Judged, Way, gather, read_sweep
from raydg.page.markup import Markup, element, table
from raydg.page.pictures import chosen, grids, predictions
from raydg.report import markdown, tables
from raydg.resources import Resources
from raydg.shards import PreparedDomain
from raydg.tracking import attach
from raydg.values import decode

# MLflow's own mappers ask SQLAlchemy for what 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")

TINY = '<i>&"tiny"'


class Page(HTMLParser):
    """Elements with their attributes, and whether each that was opened was closed."""

    VOID = ("meta", "img", "br", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def evidence(evaluated: Path, prepared: str) -> Evidence:
    sweep = evaluated / "sweep-1"
    sweep.mkdir(exist_ok=True)
    trials = [
        {"settings": {"ERM.lr": lr}, "score": score, "step": 6, "state": "TERMINATED", "seconds": 60.0}
        for lr, score in ((0.1, 10.0), (0.01, 30.5), (0.001, None))
    ]
    (sweep / "trials.json").write_text(json.dumps(trials))
    gathered = gather(evaluated, prepared)
    page.analyse(gathered, prepared)
    return gather(evaluated, prepared)


@pytest.fixture(scope="module")
def text(evidence: Evidence, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("page") / "report.html"
    page.write(evidence, out, pictures=1, embedding=True)
    return out.read_text()


@pytest.fixture(scope="module")
def parsed(text: str) -> Page:
    return Page(text)


def test_the_page_asks_nothing_of_anyone(parsed: Page, text: str) -> None:
    for tag, attributes in parsed.elements:
        assert tag not in ("link", "iframe", "object", "base")
        for name in ("src", "href", "xlink:href", "action", "data", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/", "#"))
    assert "@import" not in text and "http" not in re.sub(r'xmlns(:xlink)?="[^"]*"', "", text)
    assert not re.search(r"url\((?!#)", text)


def test_what_is_opened_is_closed_and_names_are_escaped(parsed: Page, text: str) -> None:
    assert parsed.open == []
    assert "<i>&" not in text
    assert any(TINY in words for words in parsed.words)
    assert text.startswith("<!doctype html>")


def test_every_link_leads_to_a_heading(parsed: Page) -> None:
    ids = [attributes["id"] for _, attributes in parsed.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for tag, attributes in parsed.elements if tag == "a"]
    assert links and all(link and link[1:] in ids for link in links)


def test_all_sections_that_have_something_are_there_and_the_others_are_named(parsed: Page) -> None:
    words = "\n".join(parsed.words)
    found = ["Scores", "Classes", "Calibration", "Runtime", "Searches", "Image by image", "Largest gains and losses"]
    found += ["Pictures", "Rare and frequent classes", "Checkpoints", "Training", "Sources and targets over training"]
    found += ["Embedding", "Cost", "Licences", "Experiments"]
    headings = [w for w in parsed.words if w in found]
    assert set(headings) == set(found)
    assert "Settings of training" not in words and "settings of training: need experiments with 3 values" in words


def test_numbers_are_those_of_the_rows(evidence: Evidence, text: str) -> None:
    judged = evidence.judged[0]
    rows = {row.adaptation: row for row in judged.targets if not row.order}
    for adaptation in ("t-BN", "IaBN(instance_weight=0.3)"):
        assert f">{100 * rows[adaptation].confusion.mean_iou():.2f}<" in text  # the table's cell
        sky = 100 * rows[adaptation].confusion.iou()[10]
        assert f"<title>sky, {adaptation}: {sky:.2f}</title>" in text  # the bar
        assert rows[adaptation].calibration
        assert f"ECE {rows[adaptation].calibration.ece(15):.2f} %" in text  # the diagram
    assert "2 of 3 trials have a score" in text and "30.50: ERM.lr = 0.01" in text.replace("The best, ", "")


def test_ways_average_over_orders(evidence: Evidence) -> None:
    way = Way("slow", "plain", "TN(batch_size=2)")
    rows = [row for row in evidence.judged[1].targets if row.adaptation == way.adaptation]
    assert len(rows) == 2
    expected = np.mean([100 * row.confusion.iou() for row in rows], axis=0)
    np.testing.assert_allclose(evidence.per_class(way, "street/night"), expected, equal_nan=True)
    images = [evidence.judged[1].per_image(row) for row in rows]
    for name, score in evidence.per_image(way, "street/night").items():
        assert score == pytest.approx(np.mean([scores[name] for scores in images]))


def test_differences_of_images_are_those_of_their_records(evidence: Evidence) -> None:
    base, other = Way(TINY, "plain", "t-BN"), Way(TINY, "plain", "IaBN(instance_weight=0.3)")
    assert (base, other) in evidence.comparisons("street/night")
    assert (base, Way("slow", "plain", "t-BN")) in evidence.comparisons("street/night")
    found = sections.difference(evidence, base, other, "street/night")
    after, before = evidence.per_image(other, "street/night"), evidence.per_image(base, "street/night")
    assert found == {name: pytest.approx(after[name] - before[name]) for name in before}


@pytest.mark.parametrize("adaptation", ["t-BN", "TN(batch_size=2)", "IaBN(instance_weight=0.3)"])
def test_pictures_show_what_the_scores_count(evidence: Evidence, adaptation: str) -> None:
    pictures_agree(evidence, evidence.judged[0], adaptation)


def pictures_agree(evidence: Evidence, judged: Judged, adaptation: str) -> None:
    """Whether the score of an image follows from its picture."""
    domain = evidence.domains["street/night"]
    row = next(row for row in judged.targets if row.adaptation == adaptation)
    made = predictions(judged, row, domain, [("val", 1)])
    (predicted,) = made.values()
    label = np.asarray(domain.read("val", 1).label)
    counted = label != 255
    assert isinstance(predicted.classes, np.ndarray)
    counts = np.zeros((19, 19), int)
    np.add.at(counts, (label[counted], predicted.classes[counted]), 1)
    union = counts.sum(0) + counts.sum(1) - counts.diagonal()
    iou = counts.diagonal()[union > 0] / union[union > 0]
    name = f"val/{domain.sample_ids('val')[1]}"
    assert 100 * iou.mean() == pytest.approx(judged.per_image(row)[name])


class Weathers(PreparedDomain):
    """Ten images, of which the fourth alone is foggy."""

    def num_samples(self, split: str) -> int:
        return 10

    def attributes(self, split: str) -> list[dict[str, str]]:
        return [{"weather": "fog" if i == 3 else "clear", "name": str(i)} for i in range(10)]


def test_images_are_spread_and_have_every_value_of_an_attribute(evidence: Evidence) -> None:
    domain = evidence.domains["street/night"]
    # "name" tells every image apart, with no more than a filter's values: so all ten are shown.
    assert chosen(Weathers(domain.folder, domain.manifest), ("val",), 2) == [("val", i) for i in range(10)]
    plain = [("val", 0), ("val", 1)]
    assert chosen(domain, ("val",), 5) == plain and chosen(domain, ("val",), 1) == plain[:1]


def test_a_grid_can_be_filtered_by_attributes(
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = [{"weather": "fog", "Time of day": "dusk"}, {"weather": "<clear>", "Time of day": "dusk"}]
    monkeypatch.setattr(PreparedDomain, "attributes", lambda self, split: given)
    section = grids(evidence, 2, "cpu", lambda text: None)
    assert section
    found = Page(section.content)
    shots = [attributes for tag, attributes in found.elements if attributes.get("class") == "shot"]
    assert [shot["data-of-weather"] for shot in shots] == ["fog", "<clear>"]
    assert [a["data-filter"] for tag, a in found.elements if tag == "select"] == ["of-weather"]  # dusk tells nothing
    assert [a["value"] for tag, a in found.elements if tag == "option"] == ["", "<clear>", "fog"]


def test_a_study_without_scores_shows_what_it_has(
    evaluated: Path, prepared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raydg.page.evidence.selected_rows", lambda experiment, resources: [])
    unscored = gather(evaluated, prepared)
    out = tmp_path / "report.html"
    page.write(replace(unscored, sweeps=()), out, pictures=0)
    words = Page(out.read_text()).words
    assert "Training" in words and "Checkpoints" in words and "Experiments" in words
    assert not {"Scores", "Classes", "Calibration", "Runtime", "Searches", "Pictures", "Cost "} & set(words)
    assert "scores: nothing is scored yet, run `evaluate`" in words


CHOICE = Choice(candidates=(IaBN(0.0), IaBN(0.5)), on="source-validation")


@pytest.fixture(scope="module")
def choosing(evaluated: Path, prepared: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a study with a choice, ensembles of one, and an adaptation that is fitted first."""
    runs = tmp_path_factory.mktemp("choosing") / "runs"
    shutil.copytree(evaluated.parent, runs)
    resources = Resources(workers=0, data=prepared, runs=str(runs))
    plain = study_of(evaluated)
    ways = (TrainBN(), AdaBN())
    experiments = tuple(replace(e, choices=(CHOICE,), adaptations=ways) for e in plain.experiments)
    study = Study(name="choosing", experiments=experiments, ensembles=(Ensemble(size=1),))
    for each in study.experiments:
        evaluate(each, RunFolder.of(each, runs), resources)
    show_table(study, resources, Console(file=io.StringIO()))
    return runs / study.name


def study_of(folder: Path) -> Study:
    return decode(Study, json.loads((folder / "study.json").read_text()))


def test_a_page_has_choices_and_ensembles_as_the_table_has(choosing: Path, prepared: str, tmp_path: Path) -> None:
    found = gather(choosing, prepared)
    (made,) = found.tables
    assert markdown(made) == (choosing / "table.md").read_text()
    names = [TINY, "slow", f"{TINY}, ensemble of 1", "slow, ensemble of 1"]
    assert list(dict.fromkeys(name for name, _, _ in made.measured)) == names
    assert {CHOICE.label} <= {way.adaptation for way in found.ways}
    page.write(found, tmp_path / "report.html", pictures=1)
    words = "\n".join(Page((tmp_path / "report.html").read_text()).words)
    assert f"slow, seed 0: {CHOICE.label}: IaBN(instance_weight=" in words
    assert f"slow, ensemble of 1, {CHOICE.label} on street/night" in words  # a reliability diagram
    for judged in found.judged:
        (row,) = (row for row in judged.targets if row.adaptation == CHOICE.label)
        came_to = judged.chosen[CHOICE.label].adaptation
        assert judged.adaptation(row) == (CHOICE.candidate(came_to), 0)
        pictures_agree(found, judged, CHOICE.label)
        with pytest.raises(ValueError, match="names no adaptation 'other': run `evaluate`"):
            judged.adaptation(replace(row, adaptation="other"))


def test_what_is_fitted_first_has_no_place_among_runtimes(choosing: Path, prepared: str) -> None:
    section = sections.trade_offs(gather(choosing, prepared))
    assert section and "the time of that fit was not measured" in section.content
    assert CHOICE.label in section.content and "slow, ensemble of 1" in section.content
    assert AdaBN().label not in section.content


def test_choices_and_ensembles_are_compared_with_a_baseline(choosing: Path, prepared: str) -> None:
    found = gather(choosing, prepared)
    assert isinstance(found.study, Study)
    resources = Resources(data=prepared, runs=str(choosing.parent)).resolved()
    scored = [*((judged.experiment, judged.rows) for judged in found.judged), *found.ensembles]
    (made,) = tables("t", scored, baseline=baseline("slow", resources, study=found.study))
    ours, theirs = (
        100 * row.confusion.mean_iou()
        for judged in found.judged
        for row in judged.targets
        if row.adaptation == CHOICE.label
    )
    for name in (TINY, f"{TINY}, ensemble of 1"):
        difference = made.differences[(name, "plain", CHOICE.label)]["street/night"]
        assert difference.difference == pytest.approx(ours - theirs)


def test_a_search_alone_has_a_page(evaluated: Path, evidence: Evidence, tmp_path: Path) -> None:
    folder = tmp_path / "search" / "sweep-2"
    folder.mkdir(parents=True)
    (folder / "trials.json").write_text((evaluated / "sweep-1" / "trials.json").read_text())
    found = gather(folder.parent, "nowhere")
    assert found.sweeps[0].trials == (Trial({"ERM.lr": 0.1}, 10.0), Trial({"ERM.lr": 0.01}, 30.5))
    assert (found.sweeps[0].num_trials, found.sweeps[0].seconds) == (3, 180.0)
    page.write(found, tmp_path / "report.html")
    words = Page((tmp_path / "report.html").read_text()).words
    assert "Searches" in words and "searches only" in words


def test_folders_that_hold_no_study_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no study\.json"):
        gather(tmp_path, "data")
    (tmp_path / "study.json").write_text("{}")
    with pytest.raises(ValueError, match="cannot be read"):
        gather(tmp_path, "data")
    (tmp_path / "trials.json").write_text('[{"score": 1}]')
    with pytest.raises(ValueError, match="no list of trials"):
        read_sweep(tmp_path / "trials.json")


def test_a_negative_number_of_pictures_is_refused(evidence: Evidence, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="-1"):
        page.write(evidence, tmp_path / "report.html", pictures=-1)


def test_factors_are_numbers_that_differ_alone() -> None:
    norms = [TargetNorm(batch_size=n, orders=1 if n == 1 else 2) for n in (4, 1, 16)]
    learnt = SegTTT(norm=IaBN(0.1), iterations=5, also_after=(0, 2))
    others = [IaBN(0.1), IaBN(0.2), TrainBN(), SegTTT(norm=IaBN(0.2), iterations=7)]
    found = {factor.name: factor.ways for factor in sections.factors([*norms, learnt, *others])}
    assert found == {
        "TargetNorm.batch_size": tuple((n, f"TN(batch_size={n})") for n in (1, 4, 16)),
        "SegTTT.iterations": tuple(zip((0, 2, 5), learnt.variants, strict=True)),
    }


def test_what_differs_in_iterations_alone_is_one_family() -> None:
    one, two = SegTTT(iterations=1), SegTTT(iterations=3, also_after=(0,))
    assert sections.family(one) == sections.family(two) == "SegTTT()"
    assert sections.family(SegTTT(layers=0)) == "SegTTT(layers=0)"
    assert sections.family(TargetNorm(4)) == sections.family(TargetNorm(8)) != sections.family(IaBN(0.1))


def test_settings_of_training_compare_experiments_that_differ_in_one(evidence: Evidence, evaluated: Path) -> None:
    judged = evidence.judged[0]
    stage = judged.experiment.stages[0]
    several = [
        replace(
            judged,
            experiment=replace(
                judged.experiment, name=f"lr {lr}", stages=(replace(stage, optimizer=replace(stage.optimizer, lr=lr)),)
            ),
        )
        for lr in (0.1, 0.2, 0.4)
    ]
    section = sections.training_factors(replace(evidence, judged=tuple(several)))
    assert section
    score = judged.score(next(row for row in judged.targets if row.adaptation == "t-BN"))
    for lr in (0.1, 0.2, 0.4):
        assert f"<title>street/night: {score:.2f} at stages.0.optimizer.lr = {lr}</title>" in section.content
    assert sections.training_factors(replace(evidence, judged=tuple(several[:2]))) is None


def test_steps_are_averaged_in_groups() -> None:
    assert sections.averaged([0, 1, 2], [5.0, 6.0, 7.0]) == ([0, 1, 2], [5, 6, 7])
    x, y = sections.averaged(range(301), [float(i) for i in range(301)])
    assert len(x) == 101 and x[:2] == [1, 4] and x[-1] == 300 and x == y


def test_text_is_escaped_and_markup_is_not() -> None:
    assert element("p", "<b>", Markup("<b></b>"), None, class_='a"') == '<p class="a&quot;">&lt;b&gt;<b></b></p>'
    assert element("td", data_of_x="1", hidden=True, title=None) == '<td data-of-x="1" hidden></td>'
    assert "&lt;1&gt;" in table(["a", "<1>"], [["x", "2"]])


def test_labels_are_read_in_the_middle_of_a_tile() -> None:
    label = np.arange(24).reshape(4, 6)
    assert middles(label, (2, 3)).tolist() == [[7, 9, 11], [19, 21, 23]]
    assert middles(label, (4, 6)).tolist() == label.tolist()


def test_pixels_are_drawn_evenly_from_classes() -> None:
    labels = np.array([0] * 50 + [1] * 3 + [2] * 20 + [255] * 30)
    drawn = labels[balanced(labels, 23, 255, np.random.default_rng(0))]
    assert [int((drawn == c).sum()) for c in (0, 1, 2, 255)] == [10, 3, 10, 0]
    assert len(balanced(labels, 1000, 255, np.random.default_rng(0))) == 73


def test_features_are_seeded_and_of_length_one(evidence: Evidence) -> None:
    judged = evidence.judged[0]
    domains = [(evidence.domains[name], "val") for name in ("street/noon", "street/night")]
    assert judged.selected
    a, b = (features(judged.experiment, judged.selected.model(), domains) for _ in range(2))
    np.testing.assert_array_equal(a.vectors, b.vectors)
    np.testing.assert_allclose(np.linalg.norm(a.vectors, axis=1), 1)
    assert set(a.domains) == {0, 1} and 255 not in a.classes and a.memory is None


def test_the_page_is_attached_to_the_run_of_its_study(evidence: Evidence, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("page")
    assert isinstance(evidence.study, Study)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    attach(evidence.study, uri, tmp_path, path)
    client = MlflowClient(uri)
    recorded = client.get_experiment_by_name("two")
    assert recorded
    (run,) = client.search_runs([recorded.experiment_id])
    assert [artifact.path for artifact in client.list_artifacts(run.info.run_id)] == ["report.html"]
    assert run.info.status == "FINISHED"
