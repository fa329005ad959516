"""A progress bar on the driver for a training that runs anywhere: it reads the steps that the run's folder records."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from raydg.checkpoint import RunFolder, read_metrics

POLL_SECONDS = 0.5


@contextmanager
def shown(console: Console, label: str, folder: RunFolder, steps: int) -> Iterator[None]:
    """Show a bar with the steps done, the newest loss and the time left while the block runs."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(20),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}"),
    )
    with Progress(*columns, TimeRemainingColumn(compact=True), console=console) as progress:
        bar = progress.add_task(label, total=steps, loss="-")
        stop = threading.Event()

        def refresh() -> None:
            lines = [line for line in read_metrics(folder.metrics) if "loss" in line]
            if lines:
                progress.update(bar, completed=int(lines[-1]["step"]) + 1, loss=f"{lines[-1]['loss']:.3f}")

        def watch() -> None:
            while not stop.wait(POLL_SECONDS):
                refresh()

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            stop.set()
            watcher.join()
            refresh()
