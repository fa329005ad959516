"""Trainings that begin alike: what forks from another's first stages is bit-equal to what took them itself."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from raydg import loop
from raydg.checkpoint import RunFolder, read_metrics
from raydg.experiment import Experiment, Stage
from raydg.methods import ERM, DeFT
from raydg.optimization import SGD, Adam
from raydg.prefix import end_of, fork, parts, prefix


@pytest.fixture(scope="module")
def warmed(experiment: Experiment) -> Experiment:
    first = Stage(method=ERM(trains="decoder"), optimizer=Adam(1e-3), steps=2)
    return replace(
        experiment,
        name="DeFT",
        stages=(first, Stage(method=DeFT(ema_rate=0.9), optimizer=SGD(0.05), steps=4)),
        validate_every=1,
    )


def train(experiment: Experiment, data: str, runs: Path) -> RunFolder:
    torch.set_num_threads(1)
    folder = RunFolder.of(experiment, runs).open(experiment)
    loop.train(experiment, folder, loop.in_process_feed(data), data, torch.device("cpu"))
    return folder


def steps_of(folder: RunFolder) -> list[dict[str, float]]:
    return [{k: v for k, v in line.items() if k != "seconds"} for line in read_metrics(folder.metrics)]


def test_a_fork_is_bit_equal_to_a_training_of_its_own(warmed: Experiment, prepared: str, tmp_path: Path) -> None:
    alone = train(warmed, prepared, tmp_path / "alone")

    runs = tmp_path / "forked"
    first, second = parts(warmed, runs)
    assert second == warmed and first.stages == warmed.stages[:1]
    warm_up = train(first, prepared, runs)
    forked = RunFolder.of(warmed, runs).open(warmed)
    assert fork(warmed, forked, runs)
    (begun,) = forked.checkpoints()
    assert begun.experiment == warmed and begun.step == 2 and parts(warmed, runs) == (warmed,)
    began = (begun.path / "model.safetensors").stat().st_mtime_ns
    loop.train(warmed, forked, loop.in_process_feed(prepared), prepared, torch.device("cpu"))
    assert (begun.path / "model.safetensors").stat().st_mtime_ns == began  # the warm-up was not taken again

    results = [checkpoint.step for checkpoint in alone.results(warmed)]
    assert results == [checkpoint.step for checkpoint in forked.results(warmed)] == [3, 4, 5, 6]
    for step in (2, *results):
        wanted = load_file(alone.checkpoint_at(step).path / "model.safetensors")
        got = load_file(forked.checkpoint_at(step).path / "model.safetensors")
        assert wanted.keys() == got.keys() and all(torch.equal(wanted[name], got[name]) for name in wanted)
        assert alone.checkpoint_at(step).rows() == forked.checkpoint_at(step).rows()
    assert steps_of(forked) == steps_of(alone)
    assert not fork(warmed, forked, runs)  # it has begun
    assert [checkpoint.step for checkpoint in warm_up.checkpoints()] == [2]


def write_run(experiment: Experiment, runs: Path, *steps: int) -> RunFolder:
    folder = RunFolder.of(experiment, runs).open(experiment)
    for step in steps:
        (folder.path / "checkpoints" / f"step_{step:06d}").mkdir()
    return folder


def test_any_run_that_began_alike_and_kept_the_checkpoint_will_do(warmed: Experiment, tmp_path: Path) -> None:
    first = prefix(warmed, 1)
    other = replace(warmed.stages[1], method=ERM(), steps=9)
    like = replace(warmed, name="joint", stages=(warmed.stages[0], other), validate_every=3, targets=())
    write_run(replace(like, seed=1), tmp_path, 2, 11)
    write_run(replace(like, stages=(replace(warmed.stages[0], steps=3), other)), tmp_path, 2, 3)
    write_run(replace(like, sources=like.sources[:2]), tmp_path, 2)
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "experiment.json").write_text(json.dumps({"class": "Unheard"}))
    assert end_of(first, tmp_path) is None and parts(warmed, tmp_path) == (first, warmed)
    pruned = write_run(like, tmp_path, 11)
    assert end_of(first, tmp_path) is None
    (pruned.path / "checkpoints" / "step_000002").mkdir()
    found = end_of(first, tmp_path)
    assert found and found.path.parents[1] == pruned.path
    assert parts(warmed, tmp_path) == (warmed,)


def test_three_stages_are_trained_one_after_another(warmed: Experiment, tmp_path: Path) -> None:
    three = replace(warmed, stages=(*warmed.stages, warmed.stages[0]))
    assert [len(part.stages) for part in parts(three, tmp_path)] == [1, 2, 3]
    write_run(prefix(three, 1), tmp_path, 2)
    assert [len(part.stages) for part in parts(three, tmp_path)] == [2, 3]
    write_run(three, tmp_path, 1)
    assert parts(three, tmp_path) == (three,)  # it has begun by itself and goes on so
    assert parts(replace(three, stages=three.stages[:1]), tmp_path) == (replace(three, stages=three.stages[:1]),)
