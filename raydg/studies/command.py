"""`raydg studies NAME COMMAND`: the commands of a job file on a named study, and what the paper prints beside."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

from rich.console import Console
from rich.table import Table

from raydg.checkpoint import RunFolder, read_metrics, write_whole
from raydg.experiment import Experiment, Study
from raydg.job import main
from raydg.judging.read import selected_rows
from raydg.resources import Resources
from raydg.studies import listing
from raydg.studies.cell import NamedStudy
from raydg.studies.printed import numbers
from raydg.studies.scores import Found, PaperTable

Command = Callable[[Study, Resources, Console], None]


def run(named: NamedStudy, args: Sequence[str]) -> None:
    """Run a command on a study; without one its cells are listed.

    Args:
        named: the study.
        args: command and flags, as of a job file.
    """
    study = named.study()
    assert study is not None, f"{named.name} has nothing to train"  # no paper has a table of architectures alone
    main(study, Resources(data=named.data), args or ["list"], commands(named), ("raydg", "studies", named.name))


def commands(named: NamedStudy) -> Mapping[str, Command]:
    """What a named study does otherwise than a job."""

    def cells(study: Study, resources: Resources, console: Console) -> None:
        """Print every cell: what is trained, how it meets which domain, what is measured."""
        console.print(listing.cells(named, numbers()))
        _print_notes(named.notes, console)

    def dry_run(study: Study, resources: Resources, console: Console) -> None:
        """Print what would be trained and scored, and what that costs."""
        table, notes = listing.cost(study, resources.resolved().runs)
        console.print(table)
        _print_notes(notes, console)

    def evaluate(study: Study, resources: Resources, console: Console) -> None:
        """Select a checkpoint of every experiment, score what the cells need, and print them beside the paper's.

        What a method measured of itself was written down in training: where cells need nothing else, nothing is scored.
        """
        if any(experiment.targets or experiment.in_domain_splits for experiment in study.experiments):
            from raydg.cluster.study import evaluate_study

            evaluate_study(study, resources, console)
        table(study, resources, console)

    def table(study: Study, resources: Resources, console: Console) -> None:
        """Print the paper's table: what has been scored, beside what is printed."""
        shown = PaperTable.of(named, study, on_disk(resources.resolved()), numbers())
        header, body = shown.lines()
        rich_table = Table(title=f"{named.name}: {named.title}")
        for heading in header:
            rich_table.add_column(heading, overflow="fold")
        for line in body:
            rich_table.add_row(*line)
        console.print(rich_table)
        _print_notes(shown.notes(), console)
        path = Path(resources.resolved().runs) / study.name / "paper.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, shown.markdown())
        console.print(f"table: {path}", soft_wrap=True)

    return {"list": cells, "dry-run": dry_run, "evaluate": evaluate, "table": table}


def on_disk(resources: Resources) -> Found:
    """What runs have left behind."""

    def measurements(experiment: Experiment) -> dict[str, float]:
        folder = RunFolder.of(experiment, resources.runs)
        if not folder.validation_rows(experiment):
            return {}
        step = folder.selected(experiment).step
        # The line of the step that led to the checkpoint: losses, and what the method measured.
        return {
            key: number
            for line in read_metrics(folder.metrics)
            if line["step"] == step - 1
            for key, number in line.items()
        }

    return Found(rows=cache(lambda experiment: selected_rows(experiment, resources)), measurements=cache(measurements))


def _print_notes(notes: Sequence[str], console: Console) -> None:
    for note in notes:
        console.print(f"- {note}", highlight=False, markup=False)
