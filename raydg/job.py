"""The command line of a job file, `python jobs/NAME.py train|evaluate|sweep|oracle|table|list|study`: every setting is
a typed flag. `submit` before a command sends it to a Ray cluster.

A flag is named by class and field (`--MLDG.inner-lr 0.01`), or by path where an experiment holds several of that class
(`--stages.0.optimizer.lr 0.01`); its help is the field's docstring. In a study it sets the field in every experiment
that has it. `--only` and `--targets` choose among the experiments first.
"""

import ast
import inspect
import os
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, get_args

import tyro
from rich.console import Console

from raydg import benchmark, report
from raydg.console import open_console
from raydg.errors import readable_errors
from raydg.experiment import Experiment, Study
from raydg.overview import overview
from raydg.resources import Resources
from raydg.search import Search, planned
from raydg.settings import Setting, override_all, settings
from raydg.submission import FINGERPRINT, Submission, split
from raydg.values import Value, describe

DEFAULT_SEARCH = Search()


def main(
    job: Experiment | Study,
    resources: Resources | None = None,
    args: Sequence[str] | None = None,
    commands: Mapping[str, Callable[[Study, Resources, Console], None]] | None = None,
    module: Sequence[str] = (),
) -> None:
    """Run the command that the command line asks for; an error that a user can mend ends it with one clear message.

    Args:
        job: what the file defines.
        resources: how it runs unless flags say otherwise.
        args: the command line without the program's name; by default this process's.
        commands: further ones by name, or others in the place of the usual.
        module: the module, with its arguments, that `python -m` reaches this job by, if no file does.
    """
    study = job if isinstance(job, Study) else Study(name=job.name, experiments=(job,))
    args = sys.argv[1:] if args is None else list(args)
    submission = split(args, module)
    if submission:
        args = [submission.command, *submission.flags]  # what is sent is read here as well: its mistakes show at once
    flags, default = _flags(study), resources or Resources()

    @dataclass(frozen=True)
    class Arguments:
        resources: Annotated[Resources, tyro.conf.arg(name="")] = default
        only: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PATTERN...")] = ()
        """Names of the experiments to take, with the shell's wildcards ("MLDG*"); all if none is given. `list` prints
        them."""
        targets: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PATTERN...")] = ()
        """Targets to keep ("pacs/*"); experiments without any of them are left out. What is trained does not depend on
        its targets."""
        seeds: tuple[int, ...] = ()
        """Seeds to run every experiment with, instead of its own."""
        # A type that is made of the study's settings, so no checker can know it.
        settings: Annotated[flags, tyro.conf.arg(name="")] = field(default_factory=flags)  # pyright: ignore[reportInvalidTypeForm]

    def started(
        run: Callable[..., None],
        arguments: Arguments,
        *options: object,
        check: Callable[..., object] | None = None,
    ) -> None:
        restricted(study, arguments.only, arguments.targets)  # what fits nothing is refused
        changed = restricted(study, arguments.only, ())
        changed = changed.with_seeds(arguments.seeds) if arguments.seeds else changed
        given = [owner.given() for owner in vars(arguments.settings).values()]
        changed = override_all(changed, {key: text for texts in given for key, text in texts.items()})
        # Only now: a target that --targets leaves out must not become a source, or what chooses, by a flag.
        changed = restricted(changed, (), arguments.targets)
        console = open_console()
        if submission and check:
            check(changed, *options)  # what would be refused on the cluster is refused before anything is sent
        perform(run, changed, arguments.resources, console, submission, *options)

    def command(run: Callable[[Study, Resources, Console], None]) -> Callable[..., None]:
        def bound(arguments: Annotated[Arguments, tyro.conf.arg(name="")] = Arguments()) -> None:
            started(run, arguments)

        bound.__doc__ = run.__doc__
        return bound

    def command_with(
        run: Callable[..., None], *kinds: type, check: Callable[..., object] | None = None
    ) -> Callable[..., None]:
        """A command that has flags of its own: one dataclass after another. `check` refuses what does not fit the
        study."""

        groups = [
            (f"group_{number}", Annotated[kind, tyro.conf.arg(name="")], field(default_factory=kind))
            for number, kind in enumerate(kinds)
        ]
        own = make_dataclass("Own", groups)
        default = own()

        # Its fields are the groups of flags, so no checker can know it.
        def bound(
            arguments: Annotated[Arguments, tyro.conf.arg(name="")] = Arguments(),
            options: Annotated[own, tyro.conf.arg(name="")] = default,  # pyright: ignore[reportInvalidTypeForm]
        ) -> None:
            started(run, arguments, *vars(options).values(), check=check)

        bound.__doc__ = run.__doc__
        return bound

    def searching(
        spaces: Annotated[
            tyro.conf.Positional[tuple[str, ...]],
            tyro.conf.arg(metavar="SPACE.py...", help="Files of search_spaces/, or of yours."),
        ],
        search: Annotated[Search, tyro.conf.arg(name="")] = DEFAULT_SEARCH,
        arguments: Annotated[Arguments, tyro.conf.arg(name="")] = Arguments(),
    ) -> None:
        started(sweep, arguments, search, spaces, check=planned)

    searching.__doc__ = sweep.__doc__

    description = (
        f"{study.name}: {len(study.experiments)} experiments. Flags set a field in every experiment that has it. "
        "`submit COMMAND --address URL …` sends a command to a Ray cluster; `submit --help` says how."
    )
    with readable_errors():
        usual = {run.__name__: run for run in (train, evaluate, oracle)} | {"list": show_experiments}
        made = {name: command(run) for name, run in usual.items()}
        made |= {"table": command_with(table, report.Options)}
        made |= {"study": command_with(run_study, benchmark.Options, report.Options, check=_check_benchmark)}
        made |= {"sweep": searching}
        made |= {name: command(run) for name, run in (commands or {}).items()}
        prog = " ".join(module) or None  # else as it was started
        tyro.extras.subcommand_cli_from_dict(made, prog=prog, args=args, description=description)


def perform(
    run: Callable[..., None],
    study: Study,
    resources: Resources,
    console: Console,
    submission: Submission | None,
    *options: object,
) -> None:
    """Run a command on what the command line made of the job: here, or, for a `submission`, on a cluster. A process
    that is a submitted job first makes sure that it may.

    Args:
        run: the command.
        study: what it is on.
        resources: how it runs.
        console: where it prints.
        submission: how it is sent to a cluster; None: it runs here.
        options: the command's own.

    Raises:
        SystemExit: the submitted job ended otherwise than well.
    """
    if submission:
        from raydg.cluster.submit import submit

        status = submit(study, resources, submission, console)
        if status:
            raise SystemExit(status)
        return
    if FINGERPRINT in os.environ:
        from raydg.cluster.submitted import admitted

        resources = admitted(study, resources, os.environ[FINGERPRINT], console)
    run(study, resources, console, *options)


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


def table(study: Study, resources: Resources, console: Console, options: report.Options) -> None:
    """Print the table of what has been scored, and write it as Markdown, LaTeX and CSV."""
    from raydg.judging.show import show_table

    show_table(study, resources, console, options)


def show_experiments(study: Study, resources: Resources, console: Console) -> None:
    """Print every experiment: what is trained how, on what and for what."""
    console.print(overview(study))


def run_study(
    study: Study, resources: Resources, console: Console, options: benchmark.Options, shown: report.Options
) -> None:
    """Train all that is missing in parallel, select by each rule, score the targets and print a table for every rule;
    run again, it goes on where it stopped."""
    from raydg.cluster.benchmark import run_benchmark

    run_benchmark(study, resources, console, options, shown)


def _check_benchmark(study: Study, options: benchmark.Options, shown: report.Options) -> None:
    benchmark.Plan.of(study, options)


def sweep(study: Study, resources: Resources, console: Console, search: Search, spaces: Sequence[str]) -> None:
    """Search for settings: files of search_spaces/ say which, data that may select says how good they are.

    The experiments that --only, --targets and --seeds leave are the folds of every trial. `--search optuna --scheduler
    asha --trials 40` is a usual start; a sweep that was interrupted goes on when it is run again.
    """
    from raydg.cluster.sweep import sweep_study

    sweep_study(study, resources, console, search, spaces)


def restricted(study: Study, only: Sequence[str], targets: Sequence[str]) -> Study:
    """The experiments whose name fits one of the patterns `only`, with those of their targets that fit one of
    `targets`; either may be empty, which fits all.

    Raises:
        ValueError: a pattern that fits nothing, or no experiment that fits both.
    """
    names = dict.fromkeys(experiment.name for experiment in study.experiments)
    domains = dict.fromkeys(target for experiment in study.experiments for target in experiment.targets)
    for flag, patterns, known in (("only", only, names), ("targets", targets, domains)):
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in known):
                raise ValueError(f"--{flag} {pattern!r} fits nothing; there are {', '.join(map(repr, known))}.")
    kept = []
    for experiment in study.experiments:
        left = tuple(target for target in experiment.targets if _fits(target, targets))
        if _fits(experiment.name, only) and (left or not targets):
            kept.append(replace(experiment, targets=left))
    if not kept:
        raise ValueError(f"no experiment of --only {' '.join(only)} has a target of --targets {' '.join(targets)}.")
    return replace(study, experiments=tuple(kept))


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)


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
    return not _names_values(setting.hint)


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
