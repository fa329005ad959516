"""One training judged in several ways, in this process: what is scored, by which checkpoint, and how tables show it."""

import io
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from raydg import drawing, loop, report
from raydg.adaptation import TrainBN
from raydg.augmentation import Augmentation, Resize
from raydg.checkpoint import RunFolder, read_metrics, read_rows
from raydg.cluster.evaluate import evaluate, evaluate_oracle
from raydg.cluster.study import show_oracle
from raydg.domains import catalogue, object_world
from raydg.domains.labels import PACS_7
from raydg.drawing import draw_reliability, draw_target
from raydg.evaluation import Confusion, Row
from raydg.experiment import Experiment, Stage, Study
from raydg.judging.read import scored_rows, selected_rows
from raydg.judging.show import show_table
from raydg.methods import DMG, ERM, Greedy, KnownDomain, OneMask, PredEns, WeightedPredEns
from raydg.models import Classifier, SmallNet
from raydg.optimization import SGD
from raydg.page.evidence import Judged
from raydg.plan import Sampling
from raydg.protocol import Resized
from raydg.resources import Resources
from raydg.scoring import shown
from raydg.shards import PreparedDomain, prepare_domains

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

SOURCES, TARGET = ("objects/photo", "objects/cartoon"), "objects/sketch"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of three prepared domains with 7 training and 7 validation images each."""
    raw, out = tmp_path_factory.mktemp("raw") / "objects", tmp_path_factory.mktemp("data")
    names = [domain.removeprefix("objects/") for domain in (*SOURCES, TARGET)]
    object_world.write(raw, domains=names, train_per_class=1, val_per_class=1, size=32)
    prepare_domains(catalogue.dataset("objects"), (*SOURCES, TARGET), raw, out, PACS_7)
    return str(out)


@pytest.fixture(scope="module")
def dmg() -> Experiment:
    """A warm-up of two steps and four of DMG, with checkpoints every two."""
    return Experiment(
        name="DMG",
        label_space=PACS_7,
        sources=SOURCES,
        targets=(TARGET,),
        model=Classifier(SmallNet(8)),
        stages=(
            Stage(method=ERM(), optimizer=SGD(0.05), steps=2),
            Stage(method=DMG(domain_classifier=True), optimizer=SGD(0.05, extras_lr_factor=200.0), steps=4),
        ),
        sampling=Sampling(images_per_domain=2),
        augmentation=Augmentation((Resize(32, 32),)),
        inferences=(PredEns(), *(OneMask(source=source) for source in SOURCES)),
        in_domain_splits=("val",),
        evaluation_size=(32, 32),
        validate_every=2,
    )


@pytest.fixture(scope="module")
def resources(objects: str, tmp_path_factory: pytest.TempPathFactory) -> Resources:
    return Resources(data=objects, runs=str(tmp_path_factory.mktemp("runs")), workers=0)


@pytest.fixture(scope="module")
def folder(dmg: Experiment, objects: str, resources: Resources) -> Iterator[RunFolder]:
    torch.set_num_threads(1)
    folder = RunFolder.of(dmg, resources.runs).open(dmg)
    loop.train(dmg, folder, loop.in_process_feed(objects), objects, CPU)
    yield folder


def by_hand(folder: RunFolder, step: int, data: str, domain: str, source: int | None) -> tuple[tuple[int, ...], ...]:
    """Counts of a domain's validation images under the masks of one source, or of all, image by image."""
    model = folder.checkpoint_at(step).model().eval()
    opened = PreparedDomain.open(data, PACS_7, domain)

    def predictor(images: torch.Tensor) -> torch.Tensor:
        members = []
        for number in range(2) if source is None else [source]:

            def at(name, number=number):
                return lambda x: x * model.masks[name][number].sigmoid().view(-1, *(1 for _ in x.shape[2:]))

            with torch.no_grad(), model.network.transformed({name: at(name) for name in model.masks}):
                members.append(model.network(images).softmax(1))
        return torch.stack(members).mean(0)

    total = Confusion.empty(7)
    for position in range(opened.num_samples("val")):
        sample = opened.read("val", position)
        found = predictor(shown([sample.image], Resized(32, 32), CPU, torch.float32)).argmax(1)
        total = total + Confusion.of(torch.tensor([sample.label]), found, 7)
    return total.to_json()


def test_the_matrix_of_masks_and_domains_is_one_evaluation(dmg, objects, folder, resources) -> None:
    rows = evaluate(dmg, folder, resources)
    found = {(row.role, row.domain, row.inference): row for row in rows}
    domains = [("target", TARGET), *(("in-domain", source) for source in SOURCES)]
    ways = {"Pred-Ens": None, **{f"mask of {source}": number for number, source in enumerate(SOURCES)}}
    assert list(found) == [(*domain, way) for domain in domains for way in ways]
    (step,) = {row.step for row in rows}
    for (_, domain, way), row in found.items():
        assert row.split == "val" and row.num_images == 7
        assert row.counts == by_hand(folder, step, objects, domain, ways[way])

    (shown,) = report.tables("Table 4", [(dmg, selected_rows(dmg, resources))])
    in_domain = [f"{source} (in-domain)" for source in SOURCES]
    beside = ["ECE", "ms/image"]
    assert shown.header() == ["method", "inference", "adaptation", "sees", report.SOURCES, TARGET, *in_domain, *beside]
    lines = {line[1]: line[5:-2] for line in shown.lines()}
    assert list(lines) == list(ways)
    for way, cells in lines.items():
        of_way = [found[(*domain, way)].confusion.score("classification") for domain in domains]
        assert cells == [f"{score:.2f}" for score in of_way]
    assert "in-domain objects/photo val (7 images)" in "\n".join(shown.notes)


def test_what_was_scored_is_not_scored_again(dmg, folder, resources, monkeypatch) -> None:
    rows = evaluate(dmg, folder, resources)
    monkeypatch.setattr("raydg.cluster.evaluate._run", lambda *_: pytest.fail("scored again"))
    assert evaluate(dmg, folder, resources) == rows
    assert evaluate(replace(dmg, inferences=None, in_domain_splits=None), folder, resources) == rows[:1]


def test_a_domain_that_was_prepared_again_is_scored_anew(dmg, folder, resources, objects, tmp_path) -> None:
    plain = replace(dmg, inferences=None, in_domain_splits=None)
    (before,) = evaluate(plain, folder, resources)
    old, lines = PreparedDomain.open(objects, PACS_7, TARGET), folder.targets.read_text()
    raw, out = tmp_path / "objects", tmp_path / "data"
    names = [TARGET.removeprefix("objects/")]
    object_world.write(raw, domains=names, train_per_class=1, val_per_class=1, size=48)  # as many, of another size
    prepare_domains(catalogue.dataset("objects"), (TARGET,), raw, out, PACS_7)
    new = PreparedDomain.open(str(out), PACS_7, TARGET)
    assert old.num_samples("val") == new.num_samples("val") == 7
    (after,) = evaluate(plain, folder, replace(resources, data=str(out)))
    assert (before.content, after.content) == (old.manifest.index_sha256, new.manifest.index_sha256)
    assert before.content != after.content and before.record != after.record
    step = after.step
    assert after.counts == by_hand(folder, step, str(out), TARGET, None)
    # The old row is gone from the table's file, and comes back from its record.
    assert len(folder.targets.read_text().splitlines()) == len(lines.splitlines())
    assert before not in read_rows(folder.targets) and after in read_rows(folder.targets)
    assert evaluate(plain, folder, resources) == [before]


def test_a_known_domain_has_rows_where_it_is_defined(dmg, folder, resources) -> None:
    rows = evaluate(replace(dmg, inferences=(PredEns(), KnownDomain())), folder, resources)
    found = [(row.role, row.domain) for row in rows if row.inference == "known domain"]
    assert found == [("in-domain", source) for source in SOURCES]
    masks = {
        row.domain: row.counts for row in evaluate(dmg, folder, resources) if row.inference == f"mask of {row.domain}"
    }
    assert {row.domain: row.counts for row in rows if row.inference == "known domain"} == masks


def test_only_checkpoints_of_the_last_stage_are_results(dmg, folder, resources) -> None:
    assert [c.step for c in folder.checkpoints()] == [2, 4, 6]
    assert [c.step for c in folder.results(dmg)] == [4, 6]
    assert {row.inference for row in folder.checkpoint_at(2).rows()} == {"plain"}
    assert {row.step for row in folder.validation_rows(dmg)} == {4, 6}
    assert {row.inference for row in folder.validation_rows(dmg)} == {"Pred-Ens"}
    assert {row.step for row in evaluate_oracle(dmg, folder, resources)} <= {4, 6}


@pytest.mark.parametrize("stop_at", [2, 5])
def test_pruning_keeps_what_resuming_needs(dmg, objects, folder, tmp_path: Path, stop_at: int) -> None:
    """After the warm-up its last checkpoint, and the result is as if nothing had been pruned or interrupted."""
    few = replace(dmg, keep_checkpoints=1, selection="last")

    def train(runs: Path, stop: int | None = None) -> RunFolder:
        folder = RunFolder.of(few, runs).open(few)

        def feed(experiment: Experiment, start: int) -> Iterator:
            for episode in loop.in_process_feed(objects)(experiment, start):
                if episode.step == stop:
                    raise KeyboardInterrupt
                yield episode

        try:
            loop.train(few, folder, feed, objects, CPU)
        except KeyboardInterrupt:
            pass
        return folder

    broken = train(tmp_path / "broken", stop_at)
    assert [c.step for c in broken.checkpoints()][-1] == stop_at // 2 * 2
    end = train(tmp_path / "broken")
    assert 2 not in [c.step for c in end.checkpoints()] and end.checkpoints()[-1].step == 6
    for name, tensor in folder.checkpoint_at(6).model().state_dict().items():
        assert torch.equal(tensor, end.checkpoint_at(6).model().state_dict()[name])
    lines = [line for line in read_metrics(end.metrics) if "loss" not in line]
    assert [line["step"] for line in lines] == [3, 5]


def test_what_a_method_measures_stands_beside_the_losses(dmg, folder) -> None:
    measured = [line for line in read_metrics(folder.metrics) if "loss" not in line]
    assert [line["step"] for line in measured] == [3, 5]  # ERM measures nothing
    for line in measured:
        model = folder.checkpoint_at(int(line["step"]) + 1).model()
        assert {k: v for k, v in line.items() if k != "step"} == dmg.stages[1].method.measurements(model)


def test_checkpoints_are_validated_as_the_method_says(dmg, objects, folder) -> None:
    """Greedy masks of each source's own, although the network is evaluated otherwise."""
    model, method = folder.checkpoint_at(6).model(), DMG(domain_classifier=True, validates_with="greedy")
    with torch.no_grad():
        for logits in model.masks.values():
            logits[0].fill_(-1.0)  # of the first source every unit is off, of the second every unit is on
            logits[1].fill_(0.1)
    rows = loop.validate(dmg, method, model, objects, 6, CPU)
    assert [row.inference for row in rows] == ["greedy"] * 2
    network = model.network.eval()
    for row, silent in zip(rows, (True, False), strict=True):
        opened = PreparedDomain.open(objects, PACS_7, row.domain)
        expected = Confusion.empty(7)
        for position in range(7):
            sample = opened.read("val", position)
            found = network(shown([sample.image], Resized(32, 32), CPU, torch.float32)).argmax(1)
            found = network.decoder.last.bias.argmax()[None] if silent else found
            expected = expected + Confusion.of(torch.tensor([sample.label]), found, 7)
        assert row.counts == expected.to_json()


def test_checkpoints_are_loaded_to_predict_in_any_way(dmg, folder) -> None:
    checkpoint, images = folder.checkpoint_at(6), torch.rand(2, 3, 32, 32)
    assert torch.equal(checkpoint.network()(images), checkpoint.network(inference=PredEns())(images))
    known = checkpoint.network(inference=KnownDomain(), domain=SOURCES[1])
    assert torch.equal(known(images), checkpoint.network(inference=OneMask(source=SOURCES[1]))(images))
    assert checkpoint.network(inference=WeightedPredEns())(images).shape == (2, 7)
    assert not known.training
    with pytest.raises(ValueError, match="KnownDomain does not fit ERM"):
        folder.checkpoint_at(2).network(inference=KnownDomain(), domain=SOURCES[0])
    with pytest.raises(ValueError, match="None is no source"):
        checkpoint.network(inference=KnownDomain())


def test_a_split_that_trained_is_no_in_domain_score(dmg, folder, resources, monkeypatch) -> None:
    with pytest.raises(ValueError, match="in_domain_splits names 'test', but source 'objects/photo' has train, val"):
        evaluate(replace(dmg, in_domain_splits=("test",)), folder, resources)
    ids = PreparedDomain.sample_ids
    monkeypatch.setattr(PreparedDomain, "sample_ids", lambda self, split: ids(self, "train"))
    with pytest.raises(ValueError, match="'val', which in source 'objects/photo' has images of its 'train' split"):
        evaluate(replace(dmg, in_domain_splits=("val",)), folder, resources)


def test_pictures_and_tables_show_every_way(dmg, folder, resources, tmp_path, monkeypatch) -> None:
    evaluate(dmg, folder, resources)
    grids = []
    write = drawing.picture_grid
    monkeypatch.setattr(drawing, "picture_grid", lambda columns, *rest: (grids.append(columns), write(columns, *rest)))
    known = replace(dmg, inferences=(*(dmg.inferences or ()), KnownDomain()))
    both = Study(name="both", experiments=(known,))
    judged = [Judged(known, folder, tuple(selected_rows(known, resources)))]
    for _ in range(2):  # the second time it shows all that there is
        assert draw_target(judged, TARGET, resources.data, "cpu", tmp_path / "grid.png")
    assert len(grids) == 1
    titles = ["DMG, Pred-Ens, t-BN", *(f"DMG, mask of {source}, t-BN" for source in SOURCES)]
    assert [column.title for column in grids[0]] == ["image", *titles]  # no source is known on a target

    diagrams = []
    monkeypatch.setattr(drawing, "reliability_diagrams", lambda found, path: diagrams.append(found))
    assert draw_reliability(scored_rows(both, resources), TARGET, tmp_path / "reliability.png")
    rows = {f"DMG, {row.inference}, t-BN": row for row in evaluate(dmg, folder, resources) if row.role == "target"}
    assert diagrams == [{title: row.calibration for title, row in rows.items()}]
    assert list(rows) == titles
    nowhere = Study(name="none", experiments=(replace(dmg, inferences=(KnownDomain(),)),))
    assert not draw_reliability(scored_rows(nowhere, resources), TARGET, tmp_path / "reliability.png")
    assert not draw_target([replace(judged[0], rows=())], TARGET, resources.data, "cpu", tmp_path / "grid.png")

    last = replace(dmg, name="last", selection="last")
    study = Study(name="both", experiments=(dmg, last))
    of_last = RunFolder.of(last, resources.runs).open(last)
    shutil.copytree(folder.path, of_last.path, dirs_exist_ok=True)
    evaluate(last, of_last, resources)  # the best checkpoint may be another
    console = Console(width=200, record=True, file=io.StringIO())
    show_table(study, resources, console)
    text = (Path(resources.runs) / "both" / "table.md").read_text()
    assert text.count("### both, the 7 classes of pacs7, selection") == 2
    assert "Pred-Ens" in console.export_text() and text.count("| mask of objects/photo |") == 2


def test_rows_of_another_question_are_left_out_of_a_table(dmg, folder, resources) -> None:
    evaluate(replace(dmg, inferences=(Greedy(),)), folder, resources)
    evaluate(dmg, folder, resources)
    rows = selected_rows(replace(dmg, inferences=(Greedy(),), in_domain_splits=None), resources)
    judged = [row for row in rows if isinstance(row, Row) and row.role != "source-validation"]
    assert [(row.role, row.inference) for row in judged] == [("target", "greedy")]
    assert TrainBN().label == judged[0].adaptation


def test_rows_of_other_splits_are_left_out_of_a_table(dmg, folder, resources) -> None:
    both = replace(dmg, target_splits=("train", "val"))
    evaluate(both, folder, resources)
    evaluate(dmg, folder, resources)
    for experiment, split in ((dmg, "val"), (both, "train+val")):
        rows = selected_rows(experiment, resources)
        assert {row.split for row in rows if isinstance(row, Row) and row.role == "target"} == {split}


def test_a_table_says_where_in_domain_images_chose_the_checkpoint(dmg, folder, resources) -> None:
    evaluate(dmg, folder, resources)
    chosen = replace(dmg, selection="source-validation")
    for experiment, expected in ((chosen, 1), (replace(dmg, selection="last"), 0)):
        evaluate(experiment, folder, resources)
        study = Study(name="said", experiments=(experiment,))
        show_table(study, resources, Console(width=200, file=io.StringIO()))
        text = (Path(resources.runs) / "said" / "table.md").read_text()
        assert text.count("of the images that chose the checkpoint") == expected


def test_an_oracle_is_no_bound_over_what_pruning_left(dmg, folder, resources, tmp_path) -> None:
    pruned = RunFolder(Path(shutil.copytree(folder.path, tmp_path / "pruned")))
    pruned.prune({2, 6})
    with pytest.raises(ValueError, match="no checkpoint of step 4, only of 6: those were pruned"):
        evaluate_oracle(dmg, pruned, resources)
    begun = RunFolder(Path(shutil.copytree(folder.path, tmp_path / "begun")))
    begun.prune({2, 4})  # as if it had been stopped there
    assert [checkpoint.step for checkpoint in begun.every_result(dmg)] == [4]


def test_an_oracle_leaves_out_what_has_no_target(dmg, folder, resources) -> None:
    bound = replace(dmg, name="bound", targets=(), inferences=None)
    path = RunFolder.of(bound, resources.runs).open(bound).path
    shutil.copytree(folder.path, path, dirs_exist_ok=True)
    console = Console(width=200, record=True, file=io.StringIO())
    show_oracle(Study(name="both", experiments=(bound, dmg)), resources, console)
    text = console.export_text()
    assert "bound" in text and "has no target that could choose a checkpoint" in text and "ORACLE" in text
