"""Progress bars on the driver: for a training that runs anywhere, by the steps that the run's folder records, and for
an evaluation, by the images that have been counted. In a file or a job's log, where no bar can move, lines say now and
then how far it is."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from raydg.checkpoint import MetricsReader, RunFolder

POLL_SECONDS = 0.5
LINE_SECONDS = 30.0
"""Between two lines of a log."""


@contextmanager
def shown(console: Console, label: str, folder: RunFolder, steps: int) -> Iterator[None]:
    """Show a bar with the steps done, the newest loss and the time left while the block runs."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(20),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}"),
    )
    with Progress(*columns, TimeRemainingColumn(compact=True), console=console) as progress, _told(progress):
        bar = progress.add_task(label, total=steps, loss="-")
        record = MetricsReader(folder.metrics)

        def refresh() -> None:
            lines = [line for line in record.new() if "loss" in line]
            if lines:
                progress.update(bar, completed=int(lines[-1]["step"]) + 1, loss=f"{lines[-1]['loss']:.3f}")

        try:
            with _every(POLL_SECONDS, refresh):
                yield
        finally:
            refresh()


@contextmanager
def _every(seconds: float, act: Callable[[], None]) -> Iterator[None]:
    """Act in a thread of its own, again and again, while the block runs."""
    stop = threading.Event()

    def repeat() -> None:
        while not stop.wait(seconds):
            act()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def _told(progress: Progress) -> Iterator[None]:
    """Where bars cannot move, print those that did as lines while the block runs; Rich prints their ends."""
    if progress.console.is_terminal:
        yield
        return
    told: dict[TaskID, float] = {}

    def tell() -> None:
        moved = [task for task in progress.tasks if told.get(task.id) != task.completed]
        if moved:
            progress.console.print(progress.make_tasks_table(moved))
        told.update({task.id: task.completed for task in moved})

    with _every(LINE_SECONDS, tell):
        yield


@dataclass(frozen=True)
class Scored:
    """How far an evaluation is with one row of it."""

    name: str
    """Domain, way to predict and order."""
    images: int
    """Counted so far."""
    resumed: int
    """Of those, how many an earlier evaluation had counted."""
    total: int
    """To be counted."""
    score: float
    """Of the images counted so far, percent; NaN before the first."""


@contextmanager
def scoring(
    console: Console, label: str, task: str, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[Scored], None]]:
    """Show a bar for every row that is being scored, with images a second and the running score, while the block runs.

    Args:
        console: where.
        label: what is scored, above the bars.
        task: "segmentation" or "classification", which names the score.
        clock: seconds from any start.

    Yields:
        What is to be told of progress.
    """
    metric = "mIoU" if task == "segmentation" else "accuracy"
    columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn())
    fields = (TextColumn("{task.fields[speed]}"), TextColumn("{task.fields[score]}"))
    console.print(f"scoring {label}", highlight=False)
    with Progress(*columns, *fields, TimeRemainingColumn(compact=True), console=console) as shown, _told(shown):
        bars: dict[str, TaskID] = {}
        began: dict[str, float] = {}
        last = clock()

        def watch(scored: Scored) -> None:
            nonlocal last
            before, last = last, clock()
            if scored.name not in bars and scored.images:
                bars[scored.name] = shown.add_task(scored.name, total=scored.total, speed="", score="")
            if scored.images > scored.resumed:
                # Rows come one after another: this one's first images were begun when something was last heard.
                began.setdefault(scored.name, before)
            if scored.name in bars:
                speed = images_per_second(scored, last - began.get(scored.name, last))
                score = "" if math.isnan(scored.score) else f"{metric} {scored.score:.2f}"
                shown.update(bars[scored.name], completed=scored.images, speed=speed, score=score)

        yield watch


def images_per_second(scored: Scored, seconds: float) -> str:
    """The speed over the seconds since a row was begun; what an earlier evaluation counted adds nothing to it."""
    new = scored.images - scored.resumed
    return f"{new / seconds:.2f} images/s" if new and seconds > 0 else ""
