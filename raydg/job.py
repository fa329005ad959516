"""The command line of a job file, `python jobs/NAME.py train|evaluate|oracle|table`: every setting is a typed flag.

A flag is named by class and field (`--MLDG.inner-lr 0.01`), or by path where an experiment holds several of that class
(`--stages.0.optimizer.lr 0.01`); its help is the field's docstring. In a study it sets the field in every experiment
that has it.
"""

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, make_dataclass
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, get_args

import tyro
from rich.console import Console

from raydg.errors import readable_errors
from raydg.experiment import Experiment, Setting, Study, override_all, settings
from raydg.resources import Resources
from raydg.values import Value, describe


def main(job: Experiment | Study, resources: Resources | None = None, args: Sequence[str] | None = None) -> None:
    """Run the command that the command line asks for; an error that a user can mend ends it with one clear message.

    Args:
        job: what the file defines.
        resources: how it runs unless flags say otherwise.
        args: the command line without the program's name; by default this process's.
    """
    study = job if isinstance(job, Study) else Study(name=job.name, experiments=(job,))
    flags, default = _flags(study), resources or Resources()

    @dataclass(frozen=True)
    class Arguments:
        resources: Annotated[Resources, tyro.conf.arg(name="")] = default
        seeds: tuple[int, ...] = ()
        """Seeds to run every experiment with, instead of its own."""
        # A type that is made of the study's settings, so no checker can know it.
        settings: Annotated[flags, tyro.conf.arg(name="")] = field(default_factory=flags)  # pyright: ignore[reportInvalidTypeForm]

    def command(run: Callable[[Study, Resources, Console], None]) -> Callable[..., None]:
        def bound(arguments: Annotated[Arguments, tyro.conf.arg(name="")] = Arguments()) -> None:
            changed = study.with_seeds(arguments.seeds) if arguments.seeds else study
            given = [owner.given() for owner in vars(arguments.settings).values()]
            changed = override_all(changed, {key: text for texts in given for key, text in texts.items()})
            # Where nobody resizes the window, a table must not be squeezed into 80 columns.
            run(changed, arguments.resources, Console(width=None if sys.stdout.isatty() else 160))

        bound.__doc__ = run.__doc__
        return bound

    description = (
        f"{study.name}: {len(study.experiments)} experiments. Flags set a field in every experiment that has it."
    )
    with readable_errors():
        tyro.extras.subcommand_cli_from_dict(
            {run.__name__: command(run) for run in (train, evaluate, oracle, table)}, args=args, description=description
        )


def train(study: Study, resources: Resources, console: Console) -> None:
    """Train every experiment of the job; what is trained already is not trained again."""
    from raydg.cluster.study import train_study

    train_study(study, resources, console)


def evaluate(study: Study, resources: Resources, console: Console) -> None:
    """Select a checkpoint of every experiment, score the targets with it, draw pictures and print the table."""
    from raydg.cluster.study import evaluate_study

    evaluate_study(study, resources, console)


def oracle(study: Study, resources: Resources, console: Console) -> None:
    """Score every checkpoint on the targets and print what the best would have given: an upper bound, no result."""
    from raydg.cluster.study import show_oracle

    show_oracle(study, resources, console)


def table(study: Study, resources: Resources, console: Console) -> None:
    """Print the table of what has been scored."""
    from raydg.cluster.study import show_table

    show_table(study, resources, console)


class _Owner:
    """Base of the flags of one class: what was typed, by the key that `override` takes."""

    keys: dict[str, str]

    def given(self) -> dict[str, str]:
        return {self.keys[name]: text for name, text in vars(self).items() if text is not None}


def _flags(study: Study) -> type:
    """A dataclass of dataclasses, one per class of setting, whose fields are the texts typed for it."""
    owners: dict[str, dict[str, list[Setting]]] = {}
    for experiment in study.experiments:
        own = [setting for setting in settings(experiment) if _settable(setting)]
        places = {
            name: {s.path.rpartition(".")[0] for s in own if s.owner.__name__ == name}
            for name in {s.owner.__name__ for s in own}
        }
        for setting in own:
            path, _, name = setting.path.rpartition(".")
            unique = len(places[setting.owner.__name__]) == 1
            owners.setdefault(setting.owner.__name__ if unique else path, {}).setdefault(name, []).append(setting)
    groups = []
    for number, (owner, by_name) in enumerate(owners.items()):
        fields = [(name, _annotation(found), field(default=None)) for name, found in by_name.items()]
        group = make_dataclass(owner.replace(".", "_"), fields, bases=(_Owner,))
        group.keys = {name: f"{owner}.{name}" for name in by_name}
        groups.append((f"group_{number}", Annotated[group, tyro.conf.arg(name=owner)], field(default_factory=group)))
    return make_dataclass("Settings", groups)


def _settable(setting: Setting) -> bool:
    """Flags are for plain fields; what a setting is made of (which method, which backbone) is the job file's to say."""
    return not _names_values(setting.hint) and not setting.path.startswith("label_space.")


def _names_values(hint: Any) -> bool:
    return (isinstance(hint, type) and issubclass(hint, Value)) or any(map(_names_values, get_args(hint)))


def _annotation(found: list[Setting]) -> Any:
    setting = found[0]
    values = dict.fromkeys(str(s.value) for s in found)
    text = field_docstrings(setting.owner).get(setting.path.rpartition(".")[2], "")
    written = " Written as JSON: '[\"a\", \"b\"]', '[64, 128]'." if "tuple" in describe(setting.hint) else ""
    explained = f"{text}{written} (in this job: {', '.join(values)})".strip()
    return Annotated[str | None, tyro.conf.arg(help=explained, metavar=describe(setting.hint), help_behavior_hint="")]


@cache
def field_docstrings(cls: type) -> dict[str, str]:
    """The string under each field of a class, its bases' included."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not (isinstance(base, type) and issubclass(base, Value)) or base is Value:
            continue
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(definition, ast.ClassDef)
        for pair in pairwise(definition.body):
            match pair:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = " ".join(text.split())
    return found
