"""What has been scored, on disk: the rows of questions, and the records of the shards that are done."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from raydg.checkpoint import read_rows, write_whole
from raydg.evaluation import Confusion, Cost, Histogram, Row, from_lines, to_lines
from raydg.experiment import Experiment
from raydg.judging.questions import SELECTING, Question
from raydg.progress import Scored
from raydg.records import Record


def recorded(questions: Sequence[Question]) -> list[Row | None]:
    """The rows of the questions, in their order, labelled as tables call them; None for one that is not there."""
    files: dict[Path, dict[tuple[Any, ...], Row]] = {}
    found: list[Row | None] = []
    for question in questions:
        if question.file not in files:
            # A row without confidence, of an earlier version, answers nothing.
            files[question.file] = {_asks(row): row for row in read_rows(question.file) if row.histogram}
        for row in question.rows:
            there, label = files[question.file].get(_asks(row)), question.way.label
            found.append(replace(there, adaptation=label) if there and label else there)
    return found


class Lines:
    """A file of rows, written whole whenever some come in: each instead of one that answers the same, of the domain as
    it is or as it was before it was prepared again."""

    def __init__(self, path: Path) -> None:
        self.path, self.text = path, ""
        self.lines: dict[tuple[Any, ...], str] = {}

    def put(self, rows: Sequence[Row]) -> None:
        there = self.path.read_text() if self.path.exists() else ""
        if there != self.text:  # at first, or when another evaluation has written
            self.lines = {_place(row): to_lines([row]) for row in from_lines(there)}
        self.lines |= {_place(row): to_lines([row]) for row in rows}
        self.text = "".join(self.lines.values())
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, self.text)


class Parts:
    """The records of a question's shards: those that are on disk, and those that come in.

    Parts lie in the folder of the question's way until all are there, and the joined record ever after.

    Args:
        question: what was asked.
        weights: SHA-256 of the weights of each member's checkpoint.
        experiment: what asks.
        lines: where its rows go.
    """

    def __init__(self, question: Question, weights: Sequence[str], experiment: Experiment, lines: Lines) -> None:
        self.folder, self.question, self.experiment, self.lines = question.way.folder, question, experiment, lines
        self.whole = self.folder.records / f"{question.address(weights, experiment)[:32]}.npz"
        self.records = {}
        for shard in range(len(question.shards)):
            if self.path(shard).exists():
                self.records[shard] = Record.load(self.path(shard))
        self.resumed = sum(len(record.images) for record in self.records.values())
        self.counted = self.resumed
        self.running = sum((r.confusion() for r in self.records.values()), self._empty())

    def path(self, shard: int) -> Path:
        return self.whole.with_suffix("") / f"{shard:06d}.npz"

    def missing(self) -> list[int]:
        """Shards that are still to be scored."""
        return [] if self.complete else [s for s in range(len(self.question.shards)) if s not in self.records]

    @property
    def complete(self) -> bool:
        return len(self.records) == len(self.question.shards) or self.whole.exists()

    def add(self, shard: int, record: Record) -> None:
        """Write a shard's record; one that came before, from an actor that was thought dead, is the same and stays."""
        if shard in self.records:
            return
        record.save(self.path(shard))
        self.records[shard] = record
        self.counted += len(record.images)
        self.running = self.running + record.confusion()

    def progress(self) -> Scored:
        """How far the question is, by its last variant."""
        row, space = self.question.rows[-1], self.experiment.label_space
        several = len(self.experiment.scored_inferences) > 1
        name = f"{row.domain}, {f'{row.inference}, ' if several else ''}{row.adaptation}"
        if row.role in SELECTING:
            name = f"step {row.step}, {name}"
        score = self.running.score(space.task, self.experiment.scored_ids)
        return Scored(
            name + (f", order {row.order}" if row.order else ""), self.counted, self.resumed, row.num_images, score
        )

    def finish(self) -> None:
        """Put the joined record and the rows in place, and remove the parts."""
        if self.whole.exists():
            record = Record.load(self.whole)
        else:
            record = Record.joined([self.records[shard] for shard in range(len(self.question.shards))])
            record.save(self.whole)
        wanted = [
            replace(
                row,
                counts=record.confusion(variant).to_json(),
                histogram=Histogram(*record.calibration(variant).to_json()),
                record=str(self.whole.relative_to(self.folder.path)),
                cost=cost(record),
            )
            for variant, row in enumerate(self.question.rows)
        ]
        if len(self.question.way.members) > 1:
            write_whole(self.folder.path / "members.json", json.dumps(self._members(), indent=1))
        self.lines.put(wanted)
        shutil.rmtree(self.whole.with_suffix(""), ignore_errors=True)
        self.counted = self.question.rows[0].num_images
        self.running, self.records = record.confusion(), {}

    def _members(self) -> list[dict[str, Any]]:
        return [{"folder": member.folder.path.name, "step": member.step} for member in self.question.way.members]

    def _empty(self) -> Confusion:
        return Confusion.empty(self.experiment.label_space.num_classes)


def cost(record: Record) -> Cost:
    """The time of a prediction, and what it was measured on."""
    sizes = {(int(height), int(width)) for height, width in record.sizes}
    size = "{}x{}".format(*sizes.pop()) if len(sizes) == 1 else f"{len(sizes)} sizes"
    return Cost(float(np.median(record.seconds)), f"{' and '.join(sorted(set(record.measured_on)))}, {size}")


def _asks(row: Row) -> tuple[Any, ...]:
    """What a row asks for, whatever was counted; last, of which images."""
    who = row.step, row.role, row.domain, row.split, row.inference, row.adaptation
    return *who, row.order, row.protocol, row.num_images, row.content


def _place(row: Row) -> tuple[Any, ...]:
    """What rows of one question have in common, of whatever images: the latest of them is kept."""
    return _asks(row)[:-2]
