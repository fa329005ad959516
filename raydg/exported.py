"""A checkpoint as MLflow's `pyfunc` loads it: images as an array in, probabilities out. `raydg.tracking.export` makes
it; MLflow itself is not needed here.

Nothing is pickled: MLflow imports this module and calls `_load_pyfunc` with the folder that `write` filled.

<data>/
    step_000100/        the checkpoint without its optimiser: weights, experiment.json, licences.json, validation.jsonl
    way.json            inference, adaptation and domain
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from raydg.adaptation import Adaptation
from raydg.checkpoint import Checkpoint
from raydg.frames import Frame
from raydg.methods import Inference
from raydg.prediction import ImagePredictor
from raydg.values import decode, encode

WAY = "way.json"
CONFIG = {"device": "cpu"}
"""What `mlflow.pyfunc.load_model(..., model_config=...)` may change: `cuda` where there is one."""


def write(predictor: ImagePredictor, data: Path) -> None:
    """Fill a new folder with what it takes to predict as `predictor` does.

    Raises:
        ValueError: an adaptation that must see all images before it predicts any, which a served model never does; or
            an ensemble.
    """
    if len(predictor.checkpoints) > 1:
        raise ValueError("An exported model holds one checkpoint, and this is an ensemble: export its members.")
    if predictor.sees_whole_target:
        raise ValueError(
            f"{predictor.adaptation.label} sees the whole target before it predicts, which an exported model cannot: "
            "take an adaptation that meets images as they come."
        )
    checkpoint = predictor.checkpoint.path
    shutil.copytree(checkpoint, data / checkpoint.name, ignore=shutil.ignore_patterns("training.pt"))
    ways = {"inference": predictor.inference, "adaptation": predictor.adaptation}
    way = {name: encode(value) for name, value in ways.items()} | {"domain": predictor.domain}
    (data / WAY).write_text(json.dumps(way, indent=1))


class ExportedModel:
    """Predicts batches of images of one size."""

    def __init__(self, predictor: ImagePredictor) -> None:
        self.predictor = predictor

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Images (b, h, w, 3) uint8, RGB, to probabilities, float32: (b, k, h, w), or (b, k) of a classifier.

        An adaptation that sees a batch meets the images in batches of its own size, in their order; one that remembers
        goes on from the call before.

        Raises:
            ValueError: an array of another shape or type.
        """
        images = np.asarray(images)
        if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8 or not images.size:
            raise ValueError(
                f"Images are an array {images.shape} of {images.dtype}: it must be (b, h, w, 3) uint8, of 1 or more."
            )
        frames = (Frame(str(number), "", image) for number, image in enumerate(images))
        made = []
        for batch in self.predictor.batches(frames):
            made += [each.probabilities.float().cpu().numpy() for each in self.predictor([f.pixels for f in batch])]
        return np.stack(made)


def _load_pyfunc(path: str, model_config: dict[str, Any] | None = None) -> ExportedModel:
    """The model in a folder that `write` filled; the name and the arguments are MLflow's."""
    data, config = Path(path), CONFIG | (model_config or {})
    if strange := config.keys() - CONFIG.keys():
        raise ValueError(f"model_config has {', '.join(sorted(strange))}: it may have {', '.join(CONFIG)}.")
    way = json.loads((data / WAY).read_text())
    (checkpoint,) = map(Checkpoint, data.glob("step_*"))
    predictor = ImagePredictor(
        checkpoint,
        decode(Adaptation, way["adaptation"]),
        decode(Inference, way["inference"]),
        way["domain"],
        config["device"],
    )
    return ExportedModel(predictor)
