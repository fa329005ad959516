"""The ledger of a sweep: nothing is lost with a process, and the tables say what was tried."""

import csv
import json
from pathlib import Path

from raydg.trials import Entry, Ledger, Trial, best, table, write_tables


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


GIVEN = {"MLDG.inner_lr": 0.003, "MLDG.num_meta_train": None}


def trial(number: int, state: str, *scores: float) -> Trial:
    reports = tuple((5 * (i + 1), score) for i, score in enumerate(scores))
    return Trial(settings=(("a", number),), reports=reports, state=state, began=number, seconds=1.26)  # pyright: ignore[reportArgumentType]


def test_a_trial_that_goes_on_keeps_its_reports_its_start_and_its_time(tmp_path: Path) -> None:
    clock, ledger = Clock(), Ledger(tmp_path)
    entry = Entry(ledger, GIVEN, ["runs/x"], clock)
    assert ledger.trials() == [Trial(settings=tuple(GIVEN.items()), began=100.0, folders=("runs/x",))]
    clock.now = 107
    entry.report(5, 20.0, done=False)
    clock.now = 500  # killed, and begun again much later
    entry = Entry(ledger, GIVEN, ["runs/x"], clock)
    clock.now = 503
    entry.report(5, 21.0, done=False)  # the same checkpoint again, not another
    entry.report(10, 30.0, done=True)
    (kept,) = ledger.trials()
    assert kept == ledger.read(dict(reversed(GIVEN.items())))
    assert (kept.reports, kept.state, kept.began, kept.seconds) == (((5, 21.0), (10, 30.0)), "finished", 100, 7 + 3)
    assert (kept.step, kept.score) == (10, 30.0)
    assert ledger.read({"MLDG.inner_lr": 0.004}) is None


def test_a_trial_that_failed_says_why(tmp_path: Path) -> None:
    Entry(Ledger(tmp_path), GIVEN, []).fail("diverged", "loss inf at step 3")
    (kept,) = Ledger(tmp_path).trials()
    assert (kept.state, kept.error, kept.score, kept.step) == ("diverged", "loss inf at step 3", None, 0)


def test_the_best_is_finished_if_any_is_and_the_earliest_of_equals() -> None:
    stopped, low, first, second = (
        trial(1, "stopped", 90),
        trial(2, "finished", 50),
        trial(3, "finished", 60),
        trial(4, "finished", 60),
    )
    assert best([second, low, stopped, first]) == second  # of equals the first that is given
    assert best([stopped, trial(5, "diverged")]) == stopped
    assert best([trial(5, "diverged")]) is None and best([]) is None


def test_the_tables_by_hand(tmp_path: Path) -> None:
    trials = [trial(1, "stopped", 10.0), trial(2, "diverged"), trial(3, "finished", 10.0, 40.126)]
    assert table(trials) == (
        ["a", "score", "step", "state", "seconds"],
        [["3", "40.13", "10", "finished", "1"], ["1", "10.00", "5", "stopped", "1"], ["2", "", "0", "diverged", "1"]],
    )
    write_tables(tmp_path, "pacs: sweep", ["score: accuracy"], trials)
    assert (tmp_path / "trials.md").read_text().splitlines() == [
        "## pacs: sweep",
        "",
        "| a | score | step | state | seconds |",
        "| --- | --- | --- | --- | --- |",
        "| 3 | 40.13 | 10 | finished | 1 |",
        "| 1 | 10.00 | 5 | stopped | 1 |",
        "| 2 |  | 0 | diverged | 1 |",
        "",
        "- score: accuracy",
    ]
    with (tmp_path / "trials.csv").open() as file:
        assert list(csv.reader(file))[3] == ["3", "40.126", "10", "finished", "1.3"]
    assert json.loads((tmp_path / "trials.json").read_text()) == [
        {"settings": {"a": 1}, "score": 10.0, "step": 5, "state": "stopped", "seconds": 1.3},
        {"settings": {"a": 2}, "score": None, "step": 0, "state": "diverged", "seconds": 1.3},
        {"settings": {"a": 3}, "score": 40.126, "step": 10, "state": "finished", "seconds": 1.3},
    ]
