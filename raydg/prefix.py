"""Trainings that begin alike share what they have in common: a run starts from the end of the first stages of another.

The weights at the end of a stage follow from the stages so far, the data and the seed, and nothing that comes after. So
all but the last stage of an experiment are an experiment by themselves, whose checkpoint any training that goes on from
there may have as its own.
"""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

from raydg.adaptation import TrainBN
from raydg.checkpoint import Checkpoint, RunFolder, read_metrics, write_whole
from raydg.experiment import Experiment
from raydg.values import decode, encode


def prefix(experiment: Experiment, stages: int) -> Experiment:
    """The training of an experiment's first stages; what happens on the way and afterwards is none of it."""
    return replace(
        experiment,
        name=f"{experiment.name}, first {stages}",
        targets=(),
        target_splits=None,
        in_domain_splits=None,
        stages=experiment.stages[:stages],
        adaptations=(TrainBN(),),
        inferences=None,
        protocol=None,
        selection="last",
        validate_every=None,
        keep_checkpoints=None,
    )


def parts(experiment: Experiment, runs: str | Path) -> tuple[Experiment, ...]:
    """What is to be trained, in order, until the experiment is, each from the end of the one before (`fork`)."""
    stages = len(experiment.stages)
    if stages == 1 or RunFolder.of(experiment, runs).checkpoints():
        return (experiment,)
    first = prefix(experiment, stages - 1)
    return (experiment,) if end_of(first, runs) else (*parts(first, runs), experiment)


def fork(experiment: Experiment, folder: RunFolder, runs: str | Path) -> bool:
    """Give a training that has not begun the end of its first stages, if any run in `runs` has been there.

    The checkpoint is a copy, whole or not there, that says it is this experiment's; the steps before it are in the
    record. What then trains is bit-equal to a run that took them.

    Returns:
        Whether there was one.
    """
    stages = len(experiment.stages)
    if stages == 1 or folder.checkpoints():
        return False
    there = end_of(prefix(experiment, stages - 1), runs)
    if there is None:
        return False
    steps = [line for line in read_metrics(there.path.parents[1] / "metrics.jsonl") if line["step"] < there.step]
    write_whole(folder.metrics, "".join(json.dumps(line) + "\n" for line in steps))
    place = folder.path / "checkpoints" / there.path.name
    unfinished = place.with_name(f".unfinished_{there.step:06d}")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(there.path, unfinished)
    (unfinished / "experiment.json").write_text(json.dumps(encode(experiment), indent=1))
    os.replace(unfinished, place)
    return True


def end_of(first: Experiment, runs: str | Path) -> Checkpoint | None:
    """A checkpoint at the end of a prefix, of whichever run began with it."""
    wanted, stages = first.training_fingerprint(), len(first.stages)
    for description in sorted(Path(runs).glob("*/experiment.json")):
        try:
            other = decode(Experiment, json.loads(description.read_text()))
        except ValueError:
            continue  # of a version or a method that this process does not know: nothing to share
        if len(other.stages) < stages or prefix(other, stages).training_fingerprint() != wanted:
            continue
        for checkpoint in RunFolder(description.parent).checkpoints():
            if checkpoint.step == first.steps:
                return checkpoint
    return None
