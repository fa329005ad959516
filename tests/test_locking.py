"""A file that one process holds at a time: told who, and let go of however that process ends."""

import errno
import fcntl
import logging
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from raydg.locking import held


def test_a_second_process_is_refused_and_told_which_holds_it_until_that_is_killed(
    tmp_path: Path, another_process: Callable[[Path], AbstractContextManager[subprocess.Popen[str]]]
) -> None:
    path = tmp_path / "run" / "lock"
    with another_process(path) as process:
        said = rf"run is being written by process {process.pid} on {socket.gethostname()}: wait .* or stop it"
        with pytest.raises(ValueError, match=said), held(path):
            pass
        process.kill()  # by SIGKILL, so that it cannot tidy up
        process.wait()
    with held(path):
        assert str(os.getpid()) in path.read_text()


def test_one_that_waits_has_it_next(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    began, seen = threading.Event(), []

    def wait() -> None:
        began.set()
        with held(path, wait=True):
            seen.append("held")

    waiting = threading.Thread(target=wait)
    with held(path):
        waiting.start()
        began.wait()
        waiting.join(0.1)
        assert waiting.is_alive() and not seen
    waiting.join()
    assert seen == ["held"]


def test_a_file_system_without_locks_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def flock(file: object, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with caplog.at_level(logging.WARNING), held(tmp_path / "lock"):
        pass
    assert "has no locks (No locks available)" in caplog.text
