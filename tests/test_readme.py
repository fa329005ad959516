"""What README shows can be done."""

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import pytest
import torch
from torch import Tensor, nn

import raydg.job
from raydg.adaptation import Adaptation, TrainBN
from raydg.adaptation.adaptation import Predictor, Sees
from raydg.domains.catalogue import DATASETS, dataset
from raydg.domains.labels import CITYSCAPES_19
from raydg.experiment import Experiment
from raydg.methods import ERM, Method
from raydg.models import DeepLabV3Plus, Network, SmallNet
from raydg.studies import named_studies
from raydg.types import Batch, Episode

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = [textwrap.dedent(block) for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL)]


def block(word: str) -> str:
    (found,) = (each for each in BLOCKS if word in each)
    return found


def test_the_experiment_is_one():
    names: dict = {"__name__": "a job"}
    exec(block("night = Experiment("), names)
    assert isinstance(names["night"], Experiment) and names["main"] is raydg.job.main


def test_the_authors_checkpoint_goes_into_an_experiment_of_its_architecture(monkeypatch):
    given = []
    monkeypatch.setattr("raydg.importing.import_published", lambda *args, **named: given.append(args))
    exec(block("import_published(experiment"), {})
    ((experiment, file, keys),) = given
    keys.check(experiment.model)
    assert experiment.name == "GTA DeepLabV1 R50" and file == "resnet50_gta_alpha_0.1.pth"


def test_the_named_studies_are_counted():
    studies = named_studies()
    cells = sum(len(named.cells) for named in studies)
    trained = {m.experiment for named in studies for m in named.measurements if m.role != "architecture"}
    trainings = len({experiment.training_fingerprint() for experiment in trained})
    assert f"lists all {len(studies)}: " in README and f" {cells:,} cells from {trainings} trainings." in README


def test_the_house_has_every_file_of_the_cluster_and_every_benchmark():
    cluster = re.search(r"^  cluster/ .*?\n\S", README, re.MULTILINE | re.DOTALL)
    assert cluster
    for file in (ROOT / "raydg" / "cluster").glob("[!_]*.py"):
        assert re.search(rf"\b{file.stem}\b", cluster[0]), file
    for file in (ROOT / "tests" / "benchmarks").glob("*.py"):
        assert f"`{file.name}`" in README


def test_the_dataset_is_one(tmp_path):
    (tmp_path / "yard.py").write_text(block("DATASET = Dataset("))
    assert dataset(str(tmp_path / "yard.py")).label_space() == CITYSCAPES_19


def test_every_dataset_is_in_the_table():
    table = README[README.index("| dataset | domains |") : README.index("19, 16, 13 and 7 are")]
    lines = {re.match(r"\| `(\w+)`", line)[1]: line for line in table.splitlines()[2:] if line}  # pyright: ignore
    assert set(lines) == {entry.name for entry in DATASETS}
    for entry in DATASETS:
        cells = [cell.strip() for cell in lines[entry.name].strip("|").split("|")]
        assert cells[2] == ", ".join(dict.fromkeys(s for e in entry.editions for s in e.layout.splits))
        spaces = [table.space for table in entry.editions[0].tables]
        assert cells[3] in (f"`{spaces[0].name}`", ", ".join(str(space.num_classes) for space in spaces))
        assert cells[4] == entry.commercial_use


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return DeepLabV3Plus(SmallNet(8), aspp_channels=8, low_level_channels=8, decoder_channels=8).build(CITYSCAPES_19)


def test_the_method_is_one(network):
    names = dict(globals(), ClassVar=ClassVar, Literal=Literal, dataclass=dataclass, nn=nn, Tensor=Tensor)
    exec(block("class WorstSource"), names)
    images, labels = torch.rand(4, 3, 32, 32), torch.randint(0, 19, (4, 32, 32))
    batch = Batch(images, labels, torch.tensor([0, 0, 1, 1]))
    episode = Episode(0, 0, batch, ("meta-train", "meta-train"))
    method = names["WorstSource"](worst_weight=2.0)
    assert isinstance(method, Method)
    network.eval()
    losses = method.losses(network, episode)
    risks = torch.stack([ERM().loss(network, batch[batch.domains == d]) for d in (0, 1)])
    assert losses["loss"].item() == pytest.approx((risks.mean() + 2 * risks.max()).item(), rel=1e-4)


def test_the_adaptation_is_one(network):
    names = dict(
        globals(), Adaptation=Adaptation, Predictor=Predictor, Sees=Sees, Tensor=Tensor, nn=nn, dataclass=dataclass
    )
    exec(block("class FlipAverage"), names)
    images = torch.rand(1, 3, 32, 64)
    plain = TrainBN().predictor(network)
    expected = (plain(images) + plain(images.flip(-1)).flip(-1)) / 2
    assert torch.allclose(names["FlipAverage"]().predictor(network)(images), expected)
