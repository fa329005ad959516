"""An authors' checkpoint as a checkpoint of one of our experiments, which is then scored as if it had been trained.

    authors = replace(EXPERIMENT, name="self-adaptation, the authors' weights")
    import_published(authors, "resnet50_gta_alpha_0.1.pth", SELF_ADAPTATION_V1, data="data", runs="runs")
    main(authors, args=["evaluate"])

A name of its own keeps it apart in folders and tables from what we train.
"""

from pathlib import Path

import torch

from raydg.assembly import licences
from raydg.checkpoint import Checkpoint, RunFolder, as_precise_as
from raydg.experiment import Experiment
from raydg.licence import Licence
from raydg.loop import validate
from raydg.models.published import PublishedKeys, load_published


def import_published(experiment: Experiment, path: str | Path, keys: PublishedKeys, data: str, runs: str) -> Checkpoint:
    """Write the checkpoint of the experiment's last step, with the authors' weights and their validation scores.

    The last stage's method says what the weights are of: the network, or with `with_masks` what `DMG.wrap` makes of it.

    Args:
        experiment: with one of `keys.architectures`, on the domains and the classes that the authors trained on.
        path: the authors' file.
        keys: what its code calls the tensors.
        data: folder of the prepared domains: the sources and, if there is one, the development domain.
        runs: folder of checkpoints.

    Raises:
        ValueError: an architecture that computes something else, a file that `load_published` refuses, a source that is
            not prepared, or an experiment that has checkpoints already.
    """
    keys.check(experiment.model)
    folder = RunFolder.of(experiment, runs)
    if folder.checkpoints():
        raise ValueError(f"{folder.path} has checkpoints already: give the experiment another name, or move it away.")
    method = experiment.stages[-1].method
    # First weights, which the file replaces, are drawn from torch's global generator; the caller's goes on as it was.
    with torch.random.fork_rng(devices=[]):
        network = experiment.model.build(experiment.label_space, pretrained=False)
        whole = method.wrap(network, len(experiment.sources), experiment.label_space.num_classes)
        model = as_precise_as(experiment, whole)
    load_published(model, path, keys)
    rows = validate(experiment, method, model, data, experiment.steps, torch.device("cpu"))
    terms = Licence(f"weights {Path(path).name}", f"As their authors state: {keys.source}.", "unknown")
    training_state = {}  # theirs does not fit our optimisers, and the training is over
    return folder.open(experiment).save(
        experiment, experiment.steps, model, training_state, rows, (*licences(experiment, data), terms)
    )
