"""A study that is run step by step, as the commands of a job file do it."""

import io
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import ClassVar

import pytest
from rich.console import Console

from raydg.checkpoint import RunFolder, read_metrics
from raydg.cluster import study as module
from raydg.cluster.study import train_study
from raydg.experiment import Experiment, Study
from raydg.resources import Resources


class Untracked:
    """A tracker without a server; what it is told of."""

    followed: ClassVar[list[str]] = []

    def __init__(self, *where: object) -> None:
        pass

    @contextmanager
    def following(self, experiment: Experiment, folder: RunFolder) -> Iterator[None]:
        self.followed.append(experiment.name)
        yield

    def finish(self) -> None:
        pass


def test_a_second_driver_is_refused_and_a_killed_one_leaves_nothing_behind(
    experiment: Experiment,
    prepared: str,
    runs: str,
    another_process: Callable[[Path], AbstractContextManager[subprocess.Popen[str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "Tracker", Untracked)
    study, resources = Study(name="twice", experiments=(experiment,)), Resources(workers=0, data=prepared, runs=runs)
    folder = RunFolder.of(experiment, resources.resolved().runs)
    console = Console(file=io.StringIO())
    with another_process(folder.lock) as other:
        with pytest.raises(ValueError, match=rf"{folder.path.name} is being written by process {other.pid} on"):
            train_study(study, resources, console)
        assert [path.name for path in folder.path.iterdir()] == ["lock"] and not Untracked.followed
    train_study(study, resources, console)
    assert [line["step"] for line in read_metrics(folder.metrics)] == list(range(experiment.steps))
    with another_process(folder.lock):
        train_study(study, resources, console)  # what is trained is not written, so nobody has to wait
