"""What a sweep has tried, on disk and in print: one file a trial, written whole, so that nothing is lost with a driver.

<runs>/<study>/sweep-<fingerprint>/
    sweep.json       experiments, space and search that it belongs to
    trials/*.json    a trial each: settings, reports, state; the name follows from the settings
    trials.json      all trials, once the sweep is done; trials.md and trials.csv are the same as tables
    tune/            Ray Tune's own
"""

import csv
import io
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from raydg.checkpoint import write_whole
from raydg.report import markdown_grid
from raydg.search import Plain, Settings
from raydg.values import Value, decode, encode, fingerprint

State = Literal["running", "finished", "stopped", "diverged", "failed"]


@dataclass(frozen=True, kw_only=True)
class Trial(Value):
    """One point of a search space, and how far it got."""

    settings: tuple[tuple[str, Plain], ...]
    """By key, in the order of the space."""
    reports: tuple[tuple[int, float], ...] = ()
    """Step and score, in percent, after every checkpoint."""
    state: State = "running"
    """"stopped": by a scheduler or a budget."""
    began: float = 0.0
    """Seconds since the epoch."""
    seconds: float = 0.0
    """Time taken, over all resumptions."""
    folders: tuple[str, ...] = ()
    """Runs that it trained or scored, a fold each."""
    error: str | None = None
    """Why it failed."""

    @property
    def step(self) -> int:
        """How far it was judged."""
        return self.reports[-1][0] if self.reports else 0

    @property
    def score(self) -> float | None:
        """The last one."""
        return self.reports[-1][1] if self.reports else None

    def to_json(self) -> dict[str, Any]:
        """Its line of trials.json."""
        return {
            "settings": dict(self.settings),
            "score": self.score,
            "step": self.step,
            "state": self.state,
            "seconds": round(self.seconds, 1),
        }


@dataclass(frozen=True)
class Ledger:
    """The trials in a sweep's folder. Every trial has one writer, and any process may read."""

    path: Path

    def place(self, given: Settings) -> Path:
        """The file of a point; equal points are one trial."""
        return self.path / "trials" / f"{fingerprint({k: given[k] for k in sorted(given)})[:16]}.json"

    def read(self, given: Settings) -> Trial | None:
        """The trial of a point, if it was begun."""
        return _read(self.place(given))

    def write(self, trial: Trial) -> None:
        place = self.place(dict(trial.settings))
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(place, json.dumps(encode(trial), indent=1))

    def trials(self) -> list[Trial]:
        """All that were begun, in that order."""
        found = [trial for place in (self.path / "trials").glob("*.json") if (trial := _read(place))]
        return sorted(found, key=lambda trial: (trial.began, trial.settings))


def _read(place: Path) -> Trial | None:
    return decode(Trial, json.loads(place.read_text())) if place.exists() else None


class Entry:
    """A trial's own line in the ledger, while it runs.

    Args:
        ledger: where.
        given: its settings.
        folders: of its folds.
        clock: seconds since the epoch.
    """

    def __init__(
        self, ledger: Ledger, given: Settings, folders: Sequence[str], clock: Callable[[], float] = time.time
    ) -> None:
        self.ledger, self.clock = ledger, clock
        before = ledger.read(given)
        self.started, self.taken = clock(), before.seconds if before else 0.0
        new = Trial(settings=tuple(given.items()), began=self.started, folders=tuple(folders))
        self.trial = replace(before, state="running", error=None) if before else new
        ledger.write(self.trial)

    def report(self, step: int, score: float, done: bool) -> None:
        """Write a score down, before anybody acts on it."""
        reports = (*(report for report in self.trial.reports if report[0] < step), (step, score))
        self._write(replace(self.trial, reports=reports, state="finished" if done else "running"))

    def fail(self, state: Literal["diverged", "failed"], error: str) -> None:
        self._write(replace(self.trial, state=state, error=error))

    def _write(self, trial: Trial) -> None:
        self.trial = replace(trial, seconds=self.taken + self.clock() - self.started)
        self.ledger.write(self.trial)


def best(trials: Sequence[Trial]) -> Trial | None:
    """The finished trial of the highest score, the earliest of equals; where none is finished, of all that have one."""
    scored = [trial for trial in trials if trial.score is not None]
    finished = [trial for trial in scored if trial.state == "finished"]
    return max(finished or scored, key=lambda trial: trial.score or 0.0, default=None)


def table(trials: Sequence[Trial]) -> tuple[list[str], list[list[str]]]:
    """Header and lines, the best first, those without a score last."""
    keys = list(dict.fromkeys(key for trial in trials for key, _ in trial.settings))
    ranked = sorted(trials, key=lambda trial: (trial.score is None, -(trial.score or 0.0), trial.began))
    lines = []
    for trial in ranked:
        given = dict(trial.settings)
        score = "" if trial.score is None else f"{trial.score:.2f}"
        shown = [text(given[key]) if key in given else "" for key in keys]
        lines.append([*shown, score, str(trial.step), trial.state, f"{trial.seconds:.0f}"])
    return [*keys, "score", "step", "state", "seconds"], lines


def text(value: Plain) -> str:
    """A setting, short: numbers with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write_tables(folder: Path, title: str, notes: Sequence[str], trials: Sequence[Trial]) -> None:
    """trials.md, trials.csv and, last, trials.json, whose being there says that the sweep is done."""
    header, lines = table(trials)
    grid = markdown_grid(header, lines)
    write_whole(folder / "trials.md", "\n".join([f"## {title}", "", grid, "", *(f"- {note}" for note in notes), ""]))
    written = io.StringIO()
    precise = csv.writer(written, lineterminator="\n")
    keys = header[:-4]
    precise.writerow(header)
    for trial in trials:
        given = dict(trial.settings)
        exact = ["" if given.get(key) is None else given[key] for key in keys]
        precise.writerow([*exact, trial.score, trial.step, trial.state, round(trial.seconds, 1)])
    write_whole(folder / "trials.csv", written.getvalue())
    write_whole(folder / "trials.json", json.dumps([trial.to_json() for trial in trials], indent=1))
