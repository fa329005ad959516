"""From a run back to its checkpoint, and from a checkpoint to a model: a folder that MLflow loads, or a version in its
registry."""

import importlib.metadata
import importlib.util
import tempfile
import warnings
from pathlib import Path

import numpy as np
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from raydg import exported
from raydg.checkpoint import Checkpoint
from raydg.experiment import Experiment
from raydg.licence import commercial_use
from raydg.prediction import ImagePredictor, find_checkpoint
from raydg.tracking.runs import FOLDER_TAG, HOST_TAG, SELECTED_TAG
from raydg.tracking.store import SQLITE, opened
from raydg.values import encode, fingerprint

ARTIFACTS = "checkpoints"
"""Folder among a run's artifacts that holds checkpoints, if somebody put them there, under their own names."""
RUN_PREFIXES = ("mlflow:", "runs:/")
"""What stands before a run's id on a command line."""

REQUIREMENTS = (
    "numpy", "opencv-python-headless", "pillow", "pyarrow", "rich", "safetensors", "scipy", "torch", "torchvision",
)  # fmt: skip
"""Packages that an exported model imports."""
OPTIONAL = ("timm", "transformers")
"""Those that only some networks need; an exported model asks for them where they are installed."""


def checkpoint_of_run(location: str, download: str | Path, uri: str | None = None) -> Checkpoint:
    """The checkpoint of a seed's run in MLflow.

    It is the selected one among the run's artifacts, if `checkpoints/step_…` are among them; else the one that was
    selected when the run's targets were scored; else the one that the experiment's rule selects in the folder that the
    run logged.

    Args:
        location: `mlflow:RUN_ID`, or the run's URI, `runs:/RUN_ID`.
        download: empty folder, for artifacts.
        uri: tracking server or store; None: MLflow's own default (`MLFLOW_TRACKING_URI`).

    Raises:
        ValueError: no such run, one that is no seed's, or one whose folder is not on this machine.
    """
    prefix = next(prefix for prefix in RUN_PREFIXES if location.startswith(prefix))
    run_id = location.removeprefix(prefix).strip("/")
    client = MlflowClient(uri)
    try:
        run = client.get_run(run_id)
        there = {Path(artifact.path).name for artifact in client.list_artifacts(run_id)}
        if ARTIFACTS in there:
            client.download_artifacts(run_id, ARTIFACTS, str(download))
            return find_checkpoint(download)
    except MlflowException as fault:
        where = uri or "MLflow's default store (--tracking-uri names another)"
        raise ValueError(f"{location} cannot be read from {where}: {str(fault).splitlines()[0]}") from None
    tags = run.data.tags
    folders = [tags[tag] for tag in (SELECTED_TAG, FOLDER_TAG) if tag in tags]
    if not folders:
        raise ValueError(f"{location} logged no folder of checkpoints: give the run of a seed, which has no children.")
    for folder in folders:
        if Path(folder).is_dir():
            return find_checkpoint(folder)
    host = f" of {tags[HOST_TAG]}" if HOST_TAG in tags else ""
    raise ValueError(
        f"{location} logged {folders[-1]}{host}, which is not on this machine: mount it, or log its folder "
        f"{ARTIFACTS!r} as artifacts of the run."
    )


def export(predictor: ImagePredictor, out: str | Path) -> None:
    """Write a checkpoint as a model of MLflow's `pyfunc` flavour that predicts as `predictor` does: images (b, h, w, 3)
    uint8 to probabilities, see `raydg.exported`.

    It holds weights, experiment and licences, and the code of raydg; `mlflow.pyfunc.load_model(out)` needs no more than
    its requirements. The folder is whole or not there.

    Raises:
        ValueError: the folder is there already, or an adaptation that cannot be exported.
    """
    with warnings.catch_warnings():
        # MLflow warns of its own type hints when its models are imported, and of an example, which our signature is
        # not taken from.
        warnings.filterwarnings("ignore", ".*(Any type hint is inferred|An input example was not provided)")
        _save(predictor, Path(out))


DESCRIPTION = 5000
"""Characters that MLflow keeps of a version's description."""


def register(predictor: ImagePredictor, name: str, card: str, experiment: Experiment, uri: str | None = None) -> str:
    """Put a model into MLflow's registry, as a new version of `name` with its card.

    Model and card are artifacts of the run that tracked the training, or of one that is made for them; the card is the
    version's description too, cut where MLflow must.

    Args:
        predictor: what is registered, as `export` writes it.
        name: of the registered model.
        card: Markdown.
        experiment: what was trained.
        uri: MLflow server or store; None: MLflow's own default.

    Returns:
        The version's number.

    Raises:
        ValueError: MLflow refuses, or an adaptation that cannot be exported.
    """
    client = opened(uri)
    way = predictor.way()
    place = f"model-{fingerprint(way)[:12]}"
    try:
        run = client.get_run(_run_of_training(client, experiment, uri))
        with tempfile.TemporaryDirectory(prefix="raydg_") as folder:
            export(predictor, Path(folder) / place)
            try:
                client.get_registered_model(name)
            except MlflowException:
                client.create_registered_model(name)
            client.log_artifacts(run.info.run_id, str(Path(folder) / place), place)
        client.log_text(run.info.run_id, card, f"{place}/card.md")
        cut = card if len(card) <= DESCRIPTION else f"{card[: DESCRIPTION - 30]}\n\n… the rest is in card.md"
        tags = {
            "raydg.fingerprint": experiment.fingerprint(),
            "raydg.training": experiment.training_fingerprint(),
            "raydg.adaptation": predictor.adaptation.label,
            "raydg.inference": predictor.inference.label,
            "raydg.selection": experiment.selection,
            "raydg.commercial_use": commercial_use(predictor.checkpoint.licences()),
        }
        source = f"{run.info.artifact_uri}/{place}"
        version = client.create_model_version(name, source, run.info.run_id, tags=tags, description=cut)
    except MlflowException as fault:
        where = uri or "MLflow's default store (--tracking-uri names another)"
        raise ValueError(f"{name!r} cannot be registered in {where}: {str(fault).splitlines()[0]}") from None
    return str(version.version)


def _run_of_training(client: MlflowClient, experiment: Experiment, uri: str | None) -> str:
    """The run that tracked a training, else a new one in an MLflow experiment of its name."""
    every = [each.experiment_id for each in client.search_experiments()]
    query = f"tags.`raydg.training` = '{experiment.training_fingerprint()}'"
    found = client.search_runs(every, query, max_results=1)
    if found:
        return found[0].info.run_id
    known = client.get_experiment_by_name(experiment.name)
    if known:
        at = known.experiment_id
    elif uri and uri.startswith(SQLITE):  # which would put artifacts into the current directory
        beside = Path(uri.removeprefix(SQLITE)).parent / "artifacts"
        at = client.create_experiment(experiment.name, artifact_location=str(beside))
    else:
        at = client.create_experiment(experiment.name)
    tags = {
        "raydg.fingerprint": experiment.fingerprint(),
        "raydg.training": experiment.training_fingerprint(),
    }
    run = client.create_run(at, tags=tags, run_name=f"{experiment.name}, seed {experiment.seed}").info.run_id
    client.set_terminated(run)
    return run


def _save(predictor: ImagePredictor, out: Path) -> None:
    # Only here: MLflow takes seconds to import its models, and tracking does not need them.
    from mlflow import pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    if out.exists():
        raise ValueError(f"{out} is there already: choose another folder, or remove it.")
    space, licences = predictor.experiment.label_space, predictor.checkpoint.licences()
    # -1: any batch, height and width.
    shape = (-1, space.num_classes, *((-1, -1) if space.task == "segmentation" else ()))
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, 3))]),
        Schema([TensorSpec(np.dtype(np.float32), shape)]),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export_", dir=out.parent) as folder:
        data, model = Path(folder) / "data", Path(folder) / "model"
        data.mkdir()
        exported.write(predictor, data)
        pyfunc.save_model(
            str(model),
            loader_module="raydg.exported",
            data_path=str(data),
            code_paths=[str(Path(exported.__file__).parent)],
            pip_requirements=requirements(),
            signature=signature,
            model_config=exported.CONFIG,
            metadata={
                "classes": list(space.classes),
                "commercial_use": commercial_use(licences),
                "licences": encode(licences),
                **predictor.way(),
            },
        )
        model.rename(out)


def requirements() -> list[str]:
    """What an exported model imports, in the versions of this process."""
    optional = [name for name in OPTIONAL if importlib.util.find_spec(name)]
    return [f"{name}=={importlib.metadata.version(name)}" for name in (*REQUIREMENTS, *optional)]
