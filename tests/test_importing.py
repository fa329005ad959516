"""An authors' file becomes a checkpoint that is scored like any other."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from raydg.checkpoint import RunFolder
from raydg.cluster.evaluate import evaluate
from raydg.domains.labels import CITYSCAPES_19
from raydg.experiment import Experiment
from raydg.importing import import_published
from raydg.licence import commercial_use
from raydg.models import Network
from raydg.models.published import PublishedKeys
from raydg.resources import Resources


@pytest.fixture
def keys(experiment: Experiment) -> PublishedKeys:
    names = (("backbone", "encoder"), ("head", "decoder"))
    return PublishedKeys("nobody/nothing", (experiment.model,), names, "weights")


@pytest.fixture
def theirs(experiment: Experiment) -> Network:
    torch.manual_seed(5)
    network = experiment.model.build(CITYSCAPES_19).eval()
    torch.nn.init.normal_(network.decoder.classifier.bias)
    return network


@pytest.fixture
def file(theirs: Network, tmp_path: Path) -> Path:
    state = {f"backbone.{key}": tensor for key, tensor in theirs.encoder.state_dict().items()}
    state |= {f"head.{key}": tensor for key, tensor in theirs.decoder.state_dict().items()}
    torch.save({"weights": state}, tmp_path / "theirs.pth")
    return tmp_path / "theirs.pth"


@torch.no_grad()
def test_an_imported_checkpoint_predicts_and_is_scored(experiment, prepared, runs, keys, theirs, file) -> None:
    generator = torch.get_rng_state()
    checkpoint = import_published(experiment, file, keys, prepared, runs)
    assert torch.equal(torch.get_rng_state(), generator)
    images = torch.rand(2, 3, 64, 96)
    torch.testing.assert_close(checkpoint.network()(images), theirs(images))
    assert checkpoint.step == experiment.steps
    assert {row.domain for row in checkpoint.rows()} == set(experiment.sources)
    assert checkpoint.licences()[-1].of == "weights theirs.pth" and commercial_use(checkpoint.licences()) == "unknown"

    rows = evaluate(experiment, RunFolder.of(experiment, runs), Resources(workers=0, data=prepared, runs=runs))
    assert {row.adaptation for row in rows} == {adaptation.label for adaptation in experiment.adaptations}
    assert all(row.confusion.counts.sum() > 0 for row in rows)


def test_what_cannot_be_imported(experiment, prepared, runs, keys, file) -> None:
    other = replace(experiment, model=replace(experiment.model, align_corners=False))
    with pytest.raises(ValueError, match=r"align_corners=False.* computes something else"):
        import_published(other, file, keys, prepared, runs)
    with pytest.raises(ValueError, match="left over"):
        import_published(experiment, file, replace(keys, names=keys.names[:1]), prepared, runs)
    assert not Path(runs).exists()
    import_published(experiment, file, keys, prepared, runs)
    with pytest.raises(ValueError, match="has checkpoints already: give the experiment another name"):
        import_published(experiment, file, keys, prepared, runs)
