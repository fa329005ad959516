"""A study in print: every experiment in a line."""

from dataclasses import MISSING, fields, replace
from typing import Any

from rich.table import Table

from raydg.experiment import Experiment, Study
from raydg.values import Value


def overview(study: Study) -> Table:
    """A line for every experiment; those that differ only in their seed share one."""
    table = Table(title=f"{study.name}: {len(study.experiments)} experiments")
    for heading in ("name", "method", "network", "sources -> targets", "steps", "batch", "seeds"):
        table.add_column(heading, overflow="fold", justify="right" if heading in ("steps", "batch") else "left")
    seeds: dict[Experiment, list[int]] = {}
    for experiment in study.experiments:
        seeds.setdefault(replace(experiment, seed=0), []).append(experiment.seed)
    for experiment, of_experiment in seeds.items():
        backbone = experiment.model.backbone
        table.add_row(
            experiment.name,
            ", then ".join(code(stage.method) for stage in experiment.stages),
            f"{type(experiment.model).__name__} {code(backbone, hidden=('weights',))}",
            f"{', '.join(experiment.source_names)} -> {', '.join(experiment.targets) or 'none'}",
            " + ".join(f"{stage.steps:,}" for stage in experiment.stages),
            str(experiment.batch_size),
            " ".join(map(str, of_experiment)),
        )
    return table


def code(value: Value, hidden: tuple[str, ...] = ()) -> str:
    """A value as code: what must be given by its place, what is not at its default by name."""
    given = []
    for field in fields(value):
        content = getattr(value, field.name)
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        if field.name not in hidden and content != default:
            text = _text(content)
            given.append(text if default is MISSING and not field.kw_only else f"{field.name}={text}")
    return f"{type(value).__name__}({', '.join(given)})"


def _text(content: Any) -> str:
    return code(content) if isinstance(content, Value) else repr(content)
