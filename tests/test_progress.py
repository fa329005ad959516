"""What is shown of an evaluation while it runs."""

import io
import math
import threading
import time

import pytest
from rich.console import Console
from rich.live import Live

from raydg import progress
from raydg.progress import Scored, images_per_second, scoring


def test_the_speed_is_of_what_this_evaluation_counted() -> None:
    assert images_per_second(Scored("night", 12, 2, 20, 50.0), 4.0) == "2.50 images/s"
    assert images_per_second(Scored("night", 2, 2, 20, 50.0), 4.0) == ""
    assert images_per_second(Scored("night", 12, 2, 20, 50.0), 0.0) == ""


def test_every_row_has_a_bar_with_its_speed_and_running_score() -> None:
    now = [0.0]
    console = Console(width=160, file=io.StringIO(), record=True)
    with scoring(console, "ERM", "segmentation", clock=lambda: now[0]) as watch:
        for seconds, told in (
            (1, Scored("night", 0, 0, 8, math.nan)),
            (1, Scored("rain", 3, 3, 5, 31.0)),
            (3, Scored("night", 4, 0, 8, 40.0)),
            (5, Scored("night", 8, 0, 8, 42.5)),  # 8 images in the 4 seconds since the word before
            (6, Scored("rain", 5, 3, 5, 33.25)),  # 2 in one second
        ):
            now[0] = seconds
            watch(told)
    shown = console.export_text()
    (night,) = (line for line in shown.splitlines() if line.startswith("night"))
    (rain,) = (line for line in shown.splitlines() if line.startswith("rain"))
    assert "8/8" in night and "2.00 images/s" in night and "mIoU 42.50" in night
    assert "5/5" in rain and "2.00 images/s" in rain and "mIoU 33.25" in rain
    assert "scoring ERM" in shown


@pytest.mark.parametrize(("task", "name"), [("segmentation", "mIoU"), ("classification", "accuracy")])
def test_the_score_goes_by_its_name(task: str, name: str) -> None:
    console = Console(width=160, file=io.StringIO(), record=True)
    with scoring(console, "ERM", task) as watch:
        watch(Scored("night", 1, 0, 1, 12.0))
    assert f"{name} 12.00" in console.export_text()


def test_a_log_is_told_how_far_it_is_before_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.01)
    log = io.StringIO()

    def said(*words: str) -> int:
        """In how many lines, once there is one."""
        deadline = time.monotonic() + 60
        while True:
            found = [line for line in log.getvalue().splitlines() if all(word in line for word in words)]
            if found:
                return len(found)
            assert time.monotonic() < deadline, log.getvalue()

    with scoring(Console(width=160, file=log), "ERM", "segmentation") as watch:
        watch(Scored("night", 1, 0, 4, 41.0))
        said("night", "1/4", "mIoU 41.00")
        watch(Scored("night", 2, 0, 4, 42.0))
        said("night", "2/4", "mIoU 42.00")
        watch(Scored("rain", 1, 0, 1, 30.0))
        said("rain", "1/1", "mIoU 30.00")
        assert said("night", "2/4") == 1, "said again though nothing was new"


def test_a_terminal_has_bars_that_move_and_no_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Thread, "start", lambda thread: pytest.fail(f"{thread.name} started"))
    monkeypatch.setattr(Live, "start", lambda live, refresh=False: None)
    with scoring(Console(width=160, file=io.StringIO(), force_terminal=True), "ERM", "segmentation") as watch:
        watch(Scored("night", 1, 0, 4, 40.0))
