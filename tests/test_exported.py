"""An exported model: MLflow loads it elsewhere, and it predicts the same."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from raydg import exported, tracking
from raydg.adaptation import Adaptation, IaBN, Predictor, TargetNorm, TrainBN
from raydg.adaptation.adaptation import Sees
from raydg.checkpoint import Checkpoint, RunFolder
from raydg.cli import main
from raydg.licence import Licence
from raydg.prediction import ImagePredictor
from raydg.values import encode

TERMS = (Licence("one", "as you like", "yes"), Licence("other", "for research", "no"))


@pytest.fixture(scope="module")
def checkpoint(experiment, tmp_path_factory) -> Checkpoint:
    torch.manual_seed(0)
    network = experiment.model.build(experiment.label_space, pretrained=False)
    folder = RunFolder.of(experiment, tmp_path_factory.mktemp("runs")).open(experiment)
    return folder.save(experiment, 6, network, {"optimiser": torch.zeros(3)}, [], TERMS)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 40, 56, 3), dtype=np.uint8)


def loaded(predictor: ImagePredictor, folder: Path) -> exported.ExportedModel:
    """As MLflow loads what `write` leaves, without MLflow."""
    folder.mkdir()
    exported.write(predictor, folder)
    return exported._load_pyfunc(str(folder))


def test_mlflow_loads_it_in_another_process_and_it_predicts_the_same(checkpoint, images, tmp_path, capsys):
    model = tmp_path / "model"
    main(["export", str(checkpoint.path), "--adaptation", "IaBN(instance_weight=0.3)", "--out", str(model)])
    assert "commercial use: no" in capsys.readouterr().out
    np.save(tmp_path / "images.npy", images)
    # Elsewhere, where no raydg but the model's own can be found.
    code = f"""
import sys
sys.modules["ray"] = None
import mlflow, numpy as np
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in str(finder)]
sys.path = [path for path in sys.path if not (path + "/raydg").endswith("main/raydg")]
model = mlflow.pyfunc.load_model({str(model)!r})
np.save("found.npy", model.predict(np.load("images.npy")))
import raydg
assert raydg.__file__.startswith({str(model)!r}), raydg.__file__
print(model.metadata.metadata["commercial_use"])
"""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "no"
    found = np.load(tmp_path / "found.npy")
    assert found.shape == (3, 19, 40, 56) and found.dtype == np.float32
    tensors = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    expected = IaBN(0.3).predictor(checkpoint.network())(tensors).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # The chain of licences is inside; what resumes a training is not.
    (inside,) = model.rglob("licences.json")
    assert json.loads(inside.read_text()) == encode(TERMS)
    assert not list(model.rglob("training.pt")) and not list(model.rglob("*.pkl"))
    requirements = (model / "requirements.txt").read_text()
    assert f"torch=={torch.__version__.partition('+')[0]}" in requirements and "ray==" not in requirements
    with pytest.raises(SystemExit):
        main(["export", str(checkpoint.path), "--out", str(model)])
    assert "is there already" in capsys.readouterr().err


def test_batches_are_the_adaptations_own(checkpoint, images, tmp_path):
    model = loaded(ImagePredictor(checkpoint, TargetNorm(batch_size=2)), tmp_path / "data")
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    predictor = TargetNorm(batch_size=2).predictor(checkpoint.network())
    expected = torch.cat([predictor(x[:2]), predictor(x[2:])]).numpy()
    np.testing.assert_allclose(model.predict(images), expected, atol=1e-5)


def test_arrays_that_are_no_images_are_refused(checkpoint, images, tmp_path):
    model = loaded(ImagePredictor(checkpoint, TrainBN()), tmp_path / "data")
    for wrong in (images[0], images.astype(np.float32), images.transpose(0, 3, 1, 2), images[:0]):
        with pytest.raises(ValueError, match=r"it must be \(b, h, w, 3\) uint8"):
            model.predict(wrong)
    with pytest.raises(ValueError, match="model_config has gpu: it may have device"):
        exported._load_pyfunc(str(tmp_path / "data"), {"gpu": 0})


@dataclass(frozen=True)
class Greedy(Adaptation):
    """Wants all images first."""

    needs_fit = True

    @property
    def label(self) -> str:
        return "greedy"

    @property
    def sees(self) -> Sees:
        return "the whole target"

    def predictor(self, network: nn.Module) -> Predictor:
        return Predictor(network)


def test_an_adaptation_to_the_whole_target_cannot_be_exported(checkpoint, tmp_path):
    with pytest.raises(ValueError, match="greedy sees the whole target before it predicts"):
        tracking.export(ImagePredictor(checkpoint, Greedy()), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
