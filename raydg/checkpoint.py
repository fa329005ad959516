"""A run's folder on disk: checkpoints that rebuild themselves, and the records beside them. All written whole or not
at all.

<runs>/<name>-s<seed>-<fingerprint>/
    experiment.json                      the training that the folder belongs to
    lock                                 held by the process that trains, see raydg.locking
    metrics.jsonl                        one line per step: losses, learning rate, seconds; and one per checkpoint with
                                         what its method measures, if anything
    targets.jsonl                        one line per score on a target or in-domain, after selection
    choosing/*.jsonl                     likewise on what settings of adaptations are chosen by: the sources' validation
                                         splits or the development domain
    analysis.jsonl                       one line per checkpoint and domain, for curves; nothing selects by it
    records/*.npz                        the counts of every image behind such lines; in a folder of that name the parts
                                         of an evaluation that is not done
    checkpoints/step_000100/
        model.safetensors                weights and buffers
        training.pt                      optimiser state, loaded with weights_only=True
        experiment.json                  what it takes to rebuild the network
        licences.json                    terms of the data and weights that went in
        validation.jsonl                 scores on the sources' validation splits and the development domain

An ensemble of such runs has a folder beside theirs, with targets.jsonl and records, and members.json, the folders and
steps of its members. See raydg.judging.ways.
"""

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from raydg.evaluation import Row, from_lines, to_lines
from raydg.experiment import Experiment
from raydg.licence import Licence
from raydg.methods import Extended, Inference, Method
from raydg.models import Network
from raydg.selection import Selected, select
from raydg.values import decode, encode

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint on disk."""

    path: Path

    @property
    def step(self) -> int:
        """Optimiser steps taken when it was written, over all stages."""
        return int(self.path.name.removeprefix("step_"))

    @property
    def experiment(self) -> Experiment:
        return decode(Experiment, json.loads((self.path / "experiment.json").read_text()))

    @property
    def method(self) -> Method:
        """That of the stage which the checkpoint's last step belongs to."""
        stage, _ = self.experiment.stage_at(max(0, self.step - 1))
        return self.experiment.stages[stage].method

    def model(self) -> Network | Extended:
        """What was trained, rebuilt from nothing but this folder."""
        experiment = self.experiment
        network = experiment.model.build(experiment.label_space, pretrained=False)
        model = as_precise_as(
            experiment, self.method.wrap(network, len(experiment.sources), experiment.label_space.num_classes)
        )
        model.load_state_dict(load_file(self.path / "model.safetensors"))
        return model

    def network(
        self, device: str | torch.device = "cpu", inference: Inference | None = None, domain: str | None = None
    ) -> nn.Module:
        """What is evaluated, in evaluation mode: images to logits or log-probabilities.

        Args:
            device: where it goes.
            inference: a way to predict; None: the method's own.
            domain: name of the domain that it will meet, for an inference that must know.

        Raises:
            ValueError: an inference that does not fit the method, or is not defined on the domain.
        """
        method, sources = self.method, self.experiment.source_names
        inference = inference or method.default_inference()
        inference.check(method, sources)
        return inference.module(self.model(), sources, domain).to(device).eval()

    def training_state(self) -> dict[str, Any]:
        """What resuming needs beyond the weights, on the CPU: optimisers move it to where their parameters are, which
        may be another device than it was written from."""
        return torch.load(self.path / "training.pt", map_location="cpu", weights_only=True)

    def licences(self) -> tuple[Licence, ...]:
        """Terms of everything that the weights were made from; `commercial_use` combines them."""
        return tuple(decode(Licence, each) for each in json.loads((self.path / "licences.json").read_text()))

    def rows(self) -> list[Row]:
        """Validation scores of this checkpoint."""
        return read_rows(self.path / "validation.jsonl")


def as_precise_as(experiment: Experiment, network: Model) -> Model:
    """A network, with or without extras, in the type of the experiment's weights, channels last (see `Batch.to`)."""
    dtype = torch.float64 if experiment.precision == "float64" else torch.float32
    return network.to(dtype=dtype).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


@dataclass(frozen=True)
class RunFolder:
    """The folder of one training."""

    path: Path

    @classmethod
    def of(cls, experiment: Experiment, runs: str | Path) -> "RunFolder":
        """The folder that an experiment's training belongs in; experiments that train alike share it."""
        folder = f"{experiment.name}-s{experiment.seed}-{experiment.training_fingerprint()[:10]}"
        return cls(Path(runs) / folder.replace(" ", "-"))

    @classmethod
    def of_trained(cls, experiment: Experiment, runs: str | Path) -> "RunFolder":
        """The folder of a training that has come to its end.

        Raises:
            ValueError: it has not.
        """
        folder = cls.of(experiment, runs)
        if not folder.is_complete(experiment):
            done = max((checkpoint.step for checkpoint in folder.checkpoints()), default=0)
            raise ValueError(
                f"{experiment.name!r} with seed {experiment.seed} is trained to step {done} of {experiment.steps}: "
                "run `train` first."
            )
        return folder

    def open(self, experiment: Experiment) -> "RunFolder":
        """Create the folder, or check that the one there belongs to the same training.

        Raises:
            ValueError: it belongs to another one.
        """
        description = self.path / "experiment.json"
        if description.exists():
            there = decode(Experiment, json.loads(description.read_text()))
            if there.training_fingerprint() != experiment.training_fingerprint():
                raise ValueError(f"{self.path} holds another training: move it away or choose another folder for runs.")
        else:
            (self.path / "checkpoints").mkdir(parents=True, exist_ok=True)
            write_whole(description, json.dumps(encode(experiment), indent=1))
        return self

    @property
    def lock(self) -> Path:
        """The file that whoever trains holds (`raydg.locking.held`): two would write over each other's steps."""
        return self.path / "lock"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def targets(self) -> Path:
        return self.path / "targets.jsonl"

    @property
    def choosing(self) -> Path:
        return self.path / "choosing"

    @property
    def analysis(self) -> Path:
        return self.path / "analysis.jsonl"

    @property
    def records(self) -> Path:
        return self.path / "records"

    def checkpoints(self) -> list[Checkpoint]:
        """Every whole checkpoint, by step."""
        return sorted(map(Checkpoint, (self.path / "checkpoints").glob("step_*")), key=lambda c: c.step)

    def checkpoint_at(self, step: int) -> Checkpoint:
        """The checkpoint of a step.

        Raises:
            ValueError: it was never written, or pruned.
        """
        there = {checkpoint.step: checkpoint for checkpoint in self.checkpoints()}
        if step not in there:
            raise ValueError(f"{self.path} has no checkpoint of step {step}; it has {sorted(there)}.")
        return there[step]

    def is_complete(self, experiment: Experiment) -> bool:
        """Whether its training has come to its end."""
        checkpoints = self.checkpoints()
        return bool(checkpoints) and checkpoints[-1].step == experiment.steps

    def save(
        self,
        experiment: Experiment,
        step: int,
        model: Network | Extended,
        training_state: dict[str, Any],
        rows: Iterable[Row],
        licences: Sequence[Licence],
    ) -> Checkpoint:
        """Write a checkpoint under another name and rename it when it is whole; one that is there already is the same
        one."""
        checkpoint = Checkpoint(self.path / "checkpoints" / f"step_{step:06d}")
        if checkpoint.path.exists():
            return checkpoint
        unfinished = checkpoint.path.with_name(f".unfinished_{step:06d}")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        save_file(weights, unfinished / "model.safetensors")
        torch.save(training_state, unfinished / "training.pt")
        (unfinished / "experiment.json").write_text(json.dumps(encode(experiment), indent=1))
        (unfinished / "licences.json").write_text(json.dumps(encode(tuple(licences)), indent=1))
        write_rows(unfinished / "validation.jsonl", rows)
        os.replace(unfinished, checkpoint.path)
        return checkpoint

    def prune(self, keep: set[int]) -> None:
        """Remove the checkpoints of all other steps."""
        for checkpoint in self.checkpoints():
            if checkpoint.step not in keep:
                shutil.rmtree(checkpoint.path)

    def results(self, experiment: Experiment) -> list[Checkpoint]:
        """The checkpoints of the last stage, by step: what may be selected. A warm-up's is no result of the method."""
        return [checkpoint for checkpoint in self.checkpoints() if checkpoint.step > experiment.result_after]

    def every_result(self, experiment: Experiment) -> list[Checkpoint]:
        """Likewise, for what may choose any of them: none that training has written is gone.

        Raises:
            ValueError: some are, whatever `Experiment.keep_checkpoints` says now.
        """
        results = self.results(experiment)
        there = {checkpoint.step for checkpoint in results}
        if gone := [step for step in experiment.result_steps if step < max(there, default=0) and step not in there]:
            raise ValueError(
                f"{self.path} has no checkpoint of step {', '.join(map(str, gone))}, only of "
                f"{', '.join(map(str, sorted(there)))}: those were pruned, by a training with "
                "Experiment.keep_checkpoints, or removed, and the best may be among them. Move the folder away and "
                "train again with keep_checkpoints None."
            )
        return results

    def validation_rows(self, experiment: Experiment) -> list[Row]:
        """Validation scores of all results that are kept."""
        return [row for checkpoint in self.results(experiment) for row in checkpoint.rows()]

    def selected(self, experiment: Experiment) -> Selected:
        """The checkpoint that the experiment's rule selects from those that were validated.

        Raises:
            ValueError: none was, or none by that rule.
        """
        rows, task = self.validation_rows(experiment), experiment.label_space.task
        return select(rows, experiment.selection, task, classes=experiment.scored_ids)


def write_whole(path: Path, text: str) -> None:
    """Replace a file's text so that a reader sees the old or the new, never a part."""
    unfinished = path.with_name(f".{path.name}.{uuid4().hex}.unfinished")  # of this writer alone
    try:
        unfinished.write_text(text)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    write_whole(path, to_lines(rows))


def read_rows(path: Path) -> list[Row]:
    return list(from_lines(path.read_text())) if path.exists() else []


class MetricsReader:
    """Reads a metrics file that grows, however long it is, line by line as they come."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file, self._read = -1, 0  # the file that was read, and how many bytes of it

    def new(self) -> list[dict[str, float]]:
        """The lines since the last call; one that is not written to its end is left for the next.

        A training that goes on from a checkpoint puts a shorter file in place of the one that there was: then every
        line of it is new.
        """
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            there = os.fstat(file.fileno())
            if there.st_ino != self._file or there.st_size < self._read:
                self._file, self._read = there.st_ino, 0
            file.seek(self._read)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        return [json.loads(line) for line in whole.splitlines()]


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Lines of a metrics file; a last line that a kill cut short is left out."""
    return MetricsReader(path).new()
