"""A study that is run step by step, as the commands of a job file do it."""

import io
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import pytest
from rich.console import Console

from raydg.checkpoint import RunFolder, read_metrics
from raydg.cluster import study as module
from raydg.cluster.study import train_study
from raydg.experiment import Experiment, Study
from raydg.resources import Resources

HOLD = """
import sys
from pathlib import Path
from raydg.locking import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    input()
"""


@contextmanager
def another_driver(folder: RunFolder) -> Iterator[subprocess.Popen[str]]:
    """A process that holds a run's folder until it is killed by SIGKILL."""
    program = [sys.executable, "-c", HOLD, str(folder.lock)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


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
    experiment: Experiment, prepared: str, runs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "Tracker", Untracked)
    study, resources = Study(name="twice", experiments=(experiment,)), Resources(workers=0, data=prepared, runs=runs)
    folder = RunFolder.of(experiment, resources.resolved().runs)
    console = Console(file=io.StringIO())
    with another_driver(folder) as other:
        with pytest.raises(ValueError, match=rf"{folder.path.name} is being written by process {other.pid} on"):
            train_study(study, resources, console)
        assert [path.name for path in folder.path.iterdir()] == ["lock"] and not Untracked.followed
    train_study(study, resources, console)
    assert [line["step"] for line in read_metrics(folder.metrics)] == list(range(experiment.steps))
    with another_driver(folder):
        train_study(study, resources, console)  # what is trained is not written, so nobody has to wait
