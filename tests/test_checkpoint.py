"""What is read of a run's folder while somebody writes to it."""

import json
from pathlib import Path

from raydg.checkpoint import MetricsReader, read_metrics, write_whole


def lines(*steps: int) -> str:
    return "".join(json.dumps({"step": step, "loss": 1 / (step + 1)}) + "\n" for step in steps)


def test_a_growing_file_is_read_once_by_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    reader = MetricsReader(path)

    def new(text: str) -> list[float]:
        with path.open("a") as file:
            file.write(text)
        return [line["step"] for line in reader.new()]

    assert reader.new() == []  # nobody has written yet
    assert new(lines(0, 1)) == [0, 1]
    assert new("") == []
    assert new(lines(2) + lines(3)[:9]) == [2]
    assert new(lines(3)[9:-1]) == []
    assert new("\n" + lines(4)) == [3, 4]


def test_what_was_read_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(lines(0, 1))
    reader = MetricsReader(path)
    assert len(reader.new()) == 2
    with path.open("r+") as file:
        file.write(lines(0, 1).replace("{", "?") + lines(2))  # what is no JSON would fail to be read
    assert [line["step"] for line in reader.new()] == [2]


def test_a_file_that_a_resumed_training_cut_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(lines(0, 1, 2, 3) + '{"step": 4, "lo')
    reader = MetricsReader(path)
    assert [line["step"] for line in reader.new()] == [0, 1, 2, 3]
    write_whole(path, lines(0, 1))  # as the loop does
    with path.open("a") as file:
        file.write(lines(2, 3, 4, 5))  # and is already further than before
    assert [line["step"] for line in reader.new()] == [0, 1, 2, 3, 4, 5]
    path.write_text(lines(0))  # the same file, shorter
    assert reader.new() == read_metrics(path) == [{"step": 0, "loss": 1.0}]
