"""Prepares datasets on a Ray cluster: every shard is one task of a Ray Data job, on whatever node has a CPU free."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import TypeVar

import ray.data
from ray import cloudpickle
from rich.progress import Progress
from rich.table import Table

from raydg.cluster import session
from raydg.cluster.outcome import Row, pack, unpack
from raydg.console import open_console
from raydg.domains.dataset import Dataset
from raydg.shards import Encoding, Preparation, prepare_domains
from raydg.storage import Location

Task = TypeVar("Task")
Report = TypeVar("Report")


def prepare(
    dataset: Dataset,
    raw: Location,
    out: Location,
    *,
    label_space: str | None = None,
    domains: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
    edition: str | None = None,
    encoding: Encoding | None = None,
    skip_bad: int = 0,
    accept_difference: str | None = None,
    overwrite: bool = False,
) -> list[Preparation]:
    """Prepare a dataset and print what became of it; otherwise as `raydg.shards.prepare_domains`.

    Args:
        raw: folder or URI in the dataset's own layout, which every node of the cluster sees, as it does `out`.
        label_space: name of the label space; None: the dataset's first.
        domains: some of its domains; None: all.

    Raises:
        ValueError: no such label space, or anything that `prepare_domains` finds wrong.
    """
    preparations = prepare_domains(
        dataset,
        dataset.domains if domains is None else domains,
        raw,
        out,
        dataset.label_space(label_space),
        splits,
        edition=edition,
        encoding=encoding,
        skip_bad=skip_bad,
        accept_difference=accept_difference,
        overwrite=overwrite,
        run_tasks=run_on_ray,
    )
    console = open_console()
    console.print(summary(preparations))
    for preparation in preparations:
        for note in notes(preparation):
            console.print(f"{preparation.domain.name}: {note}", soft_wrap=True)
    return preparations


def run_on_ray(function: Callable[[Task], Report], tasks: Sequence[Task]) -> Iterator[Report]:
    """`map` on the cluster: results in the order of the tasks, each once those before it are there.

    An OSError or ValueError that `function` raises is raised here as it is, without Ray's traceback around it. Closing
    the iterator cancels the tasks that are left.
    """

    def run(row: dict[str, bytes]) -> Row:
        return pack(function, cloudpickle.loads(row["task"]))

    session.start()
    # By value where a dataset's own file, which no worker could import, has functions in it.
    rows = [{"task": cloudpickle.dumps(task)} for task in tasks]  # pyright: ignore[reportPrivateImportUsage]
    # One block a task, so that each can run alone.
    job = ray.data.from_items(rows, override_num_blocks=len(rows)).map(run)
    job.context.execution_options.preserve_order = True
    with Progress(transient=True) as progress, closing(row for row in job.iter_rows()) as rows:
        for row in progress.track(rows, total=len(tasks), description="Preparing"):
            yield unpack(row)


def summary(preparations: Sequence[Preparation]) -> Table:
    """What was prepared, a line for each of one or more domains."""
    table = Table(title=f"Prepared for {preparations[0].domain.label_space.name}")
    for heading in ("domain", "edition", "splits"):
        table.add_column(heading, no_wrap=heading == "domain")
    for heading in ("images", "MB", "skipped", "excluded"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for preparation in preparations:
        manifest = preparation.domain.manifest
        table.add_row(
            manifest.domain,
            manifest.edition,
            "\n".join(f"{split.name} {split.num_samples:,}" for split in manifest.splits),
            f"{manifest.num_samples:,}",
            f"{manifest.num_bytes / 1e6:,.1f}",
            str(len(manifest.skipped)),
            str(len(manifest.excluded)),
            "written" if preparation.written else "there already",
        )
    return table


def notes(preparation: Preparation) -> list[str]:
    """What is worth knowing of a prepared domain beside its numbers."""
    manifest, lines = preparation.domain.manifest, []
    if preparation.resumed:
        lines.append(f"{preparation.resumed} shards were there from an unfinished run")
    if manifest.differences:
        lines.append(f"{len(manifest.differences)} differences accepted: {manifest.accepted}")
    lines += manifest.remarks
    for split in manifest.splits:
        effect = split.effect
        if effect.scaled or effect.values:
            part = f"{split.name}: {effect.stored_bytes / effect.raw_bytes:.0%} of the bytes"
            part += f", {effect.scaled:,} scaled down" if effect.scaled else ""
            lines.append(part + (f", {effect.psnr:.1f} dB PSNR" if effect.values else ""))
    return lines
