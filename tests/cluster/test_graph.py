"""Parts run as they may: in order, apart from who writes to the same folder, and on after one has failed."""

import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from raydg.cluster.graph import Part, run_parts
from raydg.resources import Resources

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("local_ray"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
]
IN_TASKS = Resources(workers=0)


def work(folder: Path, name: str) -> str:
    """Leave a line at the beginning and at the end."""
    with (folder / "log").open("a") as log:
        log.write(f"+{name}\n")
    time.sleep(0.2)
    with (folder / "log").open("a") as log:
        log.write(f"-{name}\n")
    return f"result of {name}"


def fail(error: Exception) -> None:
    raise error


def die_once(folder: Path) -> str:
    """Kill this process the first time."""
    if not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


def test_parts_wait_for_one_another_and_share_no_folder(tmp_path: Path) -> None:
    def part(name: str, after: str = "", writes: str = "") -> Part:
        return Part(name, partial(work, tmp_path, name), frozenset(after), writes=frozenset(writes))

    parts = [part("e", after="abcd"), part("a"), part("b", writes="x"), part("c", writes="x"), part("d", after="b")]
    results: dict[str, str] = {}
    assert run_parts(parts, IN_TASKS, lambda part, result: results.update({part.name: result})) == {}
    assert results == {name: f"result of {name}" for name in "abcde"}
    lines = (tmp_path / "log").read_text().split()
    assert len(lines) == 10 and lines[-2:] == ["+e", "-e"]
    assert lines.index("-b") < lines.index("+d")
    both = [line for line in lines if line[1] in "bc"]
    assert both in (["+b", "-b", "+c", "-c"], ["+c", "-c", "+b", "-b"])


def test_a_part_that_fails_takes_only_those_that_need_it(tmp_path: Path) -> None:
    parts = [
        Part("bad", partial(fail, ValueError("mend me"))),
        Part("wrong", partial(fail, KeyError("a defect"))),
        Part("needs", partial(work, tmp_path, "n"), after=frozenset({"bad"}), needs=frozenset({"bad"})),
        Part("needs that", partial(work, tmp_path, "m"), needs=frozenset({"needs"})),
        Part("after", partial(work, tmp_path, "a"), after=frozenset({"bad", "wrong"})),
        Part("killed", partial(die_once, tmp_path)),
    ]
    results: dict[str, str] = {}
    failed = run_parts(parts, IN_TASKS, lambda part, result: results.update({part.name: result}), concurrent=1)
    assert results == {"after": "result of a", "killed": "survived"}
    assert failed.keys() == {"bad", "wrong", "needs", "needs that"}
    assert (failed["bad"].message, failed["bad"].defect) == ("mend me", None)
    assert failed["wrong"].message.startswith("KeyError") and "fail" in (failed["wrong"].defect or "")
    assert failed["needs"].message == "not run, for it needs bad"


def test_a_worker_that_keeps_dying_is_given_up() -> None:
    part = Part("dies", partial(os._exit, 1))
    failed = run_parts([part], Resources(workers=0, max_failures=1), lambda part, result: None)
    assert failed["dies"].defect is None and failed["dies"].message


def test_parts_that_cannot_start_are_refused() -> None:
    def part(name: str, after: str) -> Part:
        return Part(name, str, frozenset({after}))

    with pytest.raises(ValueError, match="'a' waits for z, which is no part"):
        run_parts([part("a", "z")], IN_TASKS, lambda part, result: None)
    with pytest.raises(ValueError, match="a, b wait for each other"):
        run_parts([part("a", "b"), part("b", "a")], IN_TASKS, lambda part, result: None)
