"""Prepares datasets on a Ray cluster: every shard is one task of a Ray Data job, on whatever node has a CPU free."""

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import ray.data
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from raydg.cluster import session
from raydg.cluster.outcome import Row, pack, unpack
from raydg.domains import catalogue
from raydg.shards import Preparation, prepare_domains

Task = TypeVar("Task")
Report = TypeVar("Report")


def prepare(
    dataset_name: str,
    raw: str | Path,
    out: str | Path,
    *,
    label_space: str | None = None,
    domains: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
    skip_bad: int = 0,
    overwrite: bool = False,
) -> list[Preparation]:
    """Prepare a dataset of the catalogue and print what became of it; otherwise as `raydg.shards.prepare_domains`.

    Args:
        dataset_name: its name in the catalogue.
        raw: folder in the dataset's own layout, which every node of the cluster sees, as it does `out`.
        label_space: name of the label space; None: the dataset's first.
        domains: some of its domains; None: all.

    Raises:
        ValueError: no such dataset or label space, or anything that `prepare_domains` finds wrong.
    """
    dataset = catalogue.dataset(dataset_name)
    preparations = prepare_domains(
        dataset,
        dataset.domains if domains is None else domains,
        raw,
        out,
        dataset.label_space(label_space),
        splits,
        skip_bad,
        overwrite,
        run_on_ray,
    )
    Console().print(summary(preparations))
    return preparations


def run_on_ray(function: Callable[[Task], Report], tasks: Sequence[Task]) -> Iterator[Report]:
    """`map` on the cluster: results in the order of the tasks, each once those before it are there.

    An OSError or ValueError that `function` raises is raised here as it is, without Ray's traceback around it. Closing
    the iterator cancels the tasks that are left.
    """

    def run(row: dict[str, bytes]) -> Row:
        return pack(function, pickle.loads(row["task"]))

    session.start()
    rows = [{"task": pickle.dumps(task)} for task in tasks]
    # One block a task, so that each can run alone.
    job = ray.data.from_items(rows, override_num_blocks=len(rows)).map(run)
    job.context.execution_options.preserve_order = True
    with Progress(transient=True) as progress, closing(row for row in job.iter_rows()) as rows:
        for row in progress.track(rows, total=len(tasks), description="Preparing"):
            yield unpack(row)


def summary(preparations: Sequence[Preparation]) -> Table:
    """What was prepared, a line for each of one or more domains."""
    table = Table("domain", "splits", title=f"Prepared for {preparations[0].domain.label_space.name}")
    for heading in ("images", "MB", "skipped"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for preparation in preparations:
        manifest = preparation.domain.manifest
        table.add_row(
            manifest.domain,
            "\n".join(f"{split.name} {split.num_samples:,}" for split in manifest.splits),
            f"{manifest.num_samples:,}",
            f"{manifest.num_bytes / 1e6:,.1f}",
            str(len(manifest.skipped)),
            "written" if preparation.written else "there already",
        )
    return table
