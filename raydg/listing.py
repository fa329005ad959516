"""The catalogue in print: every dataset in a line, or all that raydg knows of one."""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from raydg.domains.dataset import Dataset, Edition
from raydg.domains.label_table import IGNORED


def overview(datasets: Sequence[Dataset]) -> Table:
    """A line for every dataset."""
    table = Table(title="Datasets that raydg can prepare; `raydg data NAME` tells all of one")
    table.caption = "commercial use as far as terms were read; no legal advice"
    for heading in ("name", "labels of", "domains", "classes", "splits", "commercial use"):
        table.add_column(heading)
    for entry in datasets:
        spaces = [each.space for each in entry.editions[0].tables]
        splits = dict.fromkeys(split for edition in entry.editions for split in edition.layout.splits)
        table.add_row(
            entry.name,
            "pixels" if entry.task == "segmentation" else "images",
            str(len(entry.domains)),
            ", ".join(str(space.num_classes) for space in spaces),
            ", ".join(splits),
            entry.commercial_use,
        )
    return table


def describe(entry: Dataset) -> RenderableType:
    """All that the catalogue says of a dataset."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("name", entry.name)
    facts.add_row("title", entry.title)
    facts.add_row("task", entry.task)
    facts.add_row("domains", ", ".join(entry.domains))
    for table in entry.editions[0].tables:
        facts.add_row(f"classes of {table.space.name}", classes(table.space.classes, set(table.classes.values())))
    facts.add_row("licence", f"{entry.licence} Commercial use: {entry.commercial_use}.")
    facts.add_row("get it from", entry.source)
    facts.add_row("cite", entry.citation)
    parts: list[RenderableType] = [facts]
    for edition in entry.editions:
        about = Table.grid(padding=(0, 2))
        about.add_column(style="bold", no_wrap=True)
        about.add_column(overflow="fold")
        for name, text in facts_of(edition):
            about.add_row(name, text)
        parts += ["", Text(f"edition {edition.name!r}", style="bold underline"), about]
    parts += ["", f"raydg prepare {entry.name} FOLDER"]
    return Group(*parts)


def classes(names: Sequence[str], used: set[str]) -> str:
    """The classes of a space, those marked that no label of the dataset leads to."""
    shown = ", ".join(name if name in used else f"{name} (never labelled)" for name in names[:40])
    return f"{shown}, … ({len(names)} in all)" if len(names) > 40 else shown


def facts_of(edition: Edition) -> Iterator[tuple[str, str]]:
    """What there is to say of an edition."""
    yield "splits", ", ".join(edition.layout.splits)
    yield "layout", edition.layout.text
    for subset in edition.subsets:
        yield f"subset {subset.name}", f"the first {subset.first:,} of {subset.split}: {subset.source}"
    ignored = sum(name == IGNORED for name in edition.tables[0].classes.values())
    yield (
        "label ids",
        f"{len(edition.tables[0].classes)}, of which {ignored} are ignored in {edition.tables[0].space.name}",
    )
    contract = edition.contract
    if contract is None:
        yield "expected", "nothing is known that a copy could be compared with"
        return
    yield "expected", f"{contract.edition} ({contract.source})"
    for split in contract.splits:
        yield f"  {split.domain} {split.split}", f"{split.samples:,} samples"
    if contract.sizes:
        yield "  sizes", ", ".join(f"{width} x {height}" for width, height in contract.sizes)
