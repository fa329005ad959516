"""A search for settings, before anything runs: which settings, from which domains, and what they are judged by. No Ray.
A benchmark that draws settings (raydg.benchmark) reads and checks its spaces here, too.

A search space is a dict from keys (`MLDG.inner_lr`, as on a job's command line) to domains of `ray.tune`. What a domain
samples is plain: a number, True, False, None, or text as it is typed on a command line: JSON where a setting is a tuple
('["layer4", "decoder"]'), code where it is a value ("IaBN(0.2)").
"""

import importlib.util
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import numpy as np

from raydg.adaptation import Adaptation, TrainBN
from raydg.evaluation import Row
from raydg.experiment import Experiment, Study
from raydg.overview import code
from raydg.selection import Decisive, Leak, SelectionScore, mean_score, select, selection_score
from raydg.settings import Setting, override, override_all, setting_of, settings
from raydg.spelling import spelled
from raydg.values import Value, encode

Plain = bool | int | float | str | None
Settings = Mapping[str, Plain]
Criterion = Literal["source-validation", "development", "leave-one-out"]

TUNABLE = ("model", "stages", "sampling", "augmentation", "precision", "adaptations")
"""Fields of an experiment that a search may change. The others say what is judged, how, and with which seed: a score
under other judges does not compare."""

SAMPLES = 24
"""Points of a space that are tried on the experiments before anything runs, beside the ends of its domains."""


class Domain(Protocol):
    """What `ray.tune` calls a domain."""

    def sample(self, config: Any = None, size: int = 1, random_state: Any = None) -> Any: ...

    def get_sampler(self) -> Any: ...


Space = Mapping[str, Domain]


@dataclass(frozen=True, kw_only=True)
class Search(Value):
    """How a sweep goes about it, and when it ends.

    Raises:
        ValueError: a number out of range.
    """

    trials: int | None = None
    """Points to try; by default 20, or all of them with `--search grid`, or as many as `--hours` or `--steps` let."""
    hours: float | None = None
    """Hours after which no trial goes on, over all resumptions of the sweep."""
    steps: int | None = None
    """Optimiser steps after which no trial goes on, added over all trials and their folds."""
    search: Literal["random", "grid", "optuna"] = "random"
    """How points are drawn: at random, all of them (of spaces that are choices), or by Optuna's TPE, which learns from
    the scores (needs the extra `optuna`)."""
    scheduler: Literal["none", "asha", "median"] = "none"
    """Which trials are stopped at their checkpoints: none, those outside the best 1/`reduction_factor` at a rung
    (ASHA), or those worse than the median of the others' averages."""
    reduction_factor: int = 3
    """ASHA: one trial in so many goes on from a rung to the next, which is so many times further."""
    criterion: Criterion | None = None
    """What a trial is judged by: the sources' validation splits, the development domain, or the sources in turn, each
    left out of training and then judging it. By default as the experiments select checkpoints, or source validation."""
    adaptation: str | None = None
    """An adaptation to set, as code ("SegTTT(norm=IaBN(0.1))"), in the place of the experiments' own."""
    concurrent: int | None = None
    """Trials at a time; by default as many as the cluster holds."""
    search_seed: int = 0
    """The points that are drawn follow from it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("trials", "steps", "concurrent"):
            number = getattr(self, name)
            self.require(number is None or number >= 1, name, "None or 1 or more")
        self.require(self.hours is None or self.hours > 0, "hours", "None or above 0")
        self.require(self.reduction_factor >= 2, "reduction_factor", "2 or more")

    @property
    def most_trials(self) -> int | None:
        """Points that random search and Optuna draw; None: until another budget is spent."""
        return 20 if self.trials is None and self.hours is None and self.steps is None else self.trials


@dataclass(frozen=True, kw_only=True)
class Judge(Value):
    """What a trial is judged by, from the rows of its checkpoints; it takes and gives a `SelectionScore` only.

    A trial is worth what the checkpoint is worth that its experiment's rule selects, among those that there are so far.
    Folds (seeds, or the sources left out in turn) count alike: the mean of theirs.
    """

    criterion: Criterion
    adaptation: int | None = None
    """Number of the adaptation that is being set, whose rows judge; None: plain inference, as validation has it."""
    trains: bool = True
    """Whether any setting changes what is trained; if not, one checkpoint serves all trials."""

    @property
    def role(self) -> Decisive:
        """Of the rows that judge."""
        return "source-validation" if self.criterion == "source-validation" else "development"

    def step(self, fold: Experiment, rows: Sequence[Row]) -> int:
        """The checkpoint that a fold's rule selects, from its validation rows."""
        return select(rows, fold.selection, fold.label_space.task, classes=fold.scored_ids).step

    def score(self, fold: Experiment, rows: Sequence[Row]) -> SelectionScore:
        """What one checkpoint is worth, from its rows: validation's, or those of the adaptation.

        Raises:
            Leak: rows that may not decide.
        """
        way = TrainBN() if self.adaptation is None else fold.adaptations[self.adaptation]
        rows = [row for row in rows if row.adaptation == way.variants[-1]]
        return selection_score(fold, rows, self.role, way.variants[-1])

    def report(self, step: int, scores: Sequence[SelectionScore]) -> dict[str, float | int]:
        """What schedulers and searchers are told of a trial after `step`: the mean of its folds' scores.

        Raises:
            Leak: something else than a SelectionScore, or one by another criterion.
        """
        mean = mean_score(scores)
        if mean.criterion != self.role:
            raise Leak(f"A score by {mean.criterion} in a sweep by {self.role}.")
        return {"step": step, "score": mean.percent}


@dataclass(frozen=True)
class Sweep:
    """A search space on experiments, checked."""

    space: Space
    folds: tuple[Experiment, ...]
    """What every trial trains or scores, without targets; the trial's settings come on top."""
    judge: Judge

    def of(self, given: Settings) -> tuple[Experiment, ...]:
        """The folds of a trial."""
        return tuple(applied(fold, given) for fold in self.folds)


def read(files: Sequence[str | Path]) -> Space:
    """What files of search_spaces/ search, all together.

    Raises:
        ValueError: what `load` and `joined` refuse.
    """
    return joined([load(file) for file in files])


def planned(study: Study, search: Search, files: Sequence[str | Path]) -> Sweep:
    """The sweep that files of search_spaces/ ask for, checked as far as no cluster is needed.

    Raises:
        ValueError: what `read`, `swept` and `grid` refuse, or a grid of more points than trials.
    """
    space = read(files)
    sweep = swept(study, space, search)
    points = len(grid(space)) if search.search == "grid" else 0
    if search.trials is not None and points > search.trials:
        raise ValueError(
            f"the grid has {points} points and --trials is {search.trials}: raise it, or take --search random."
        )
    return sweep


def load(path: str | Path) -> Space:
    """The SPACE of a Python file.

    Raises:
        ValueError: no such file, or no SPACE of domains in it.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} is no file: a search space is a Python file with SPACE = {{key: domain}}.")
    spec = importlib.util.spec_from_file_location(f"search_space_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no Python file: a search space is one with SPACE = {{key: domain}}.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    space = getattr(module, "SPACE", None)
    if not isinstance(space, dict) or not space or not all(isinstance(key, str) for key in space):
        raise ValueError(
            f"{path} has no SPACE, a dict from settings to domains: {{'MLDG.inner_lr': tune.loguniform()}}."
        )
    for key, domain in space.items():
        _require_domain(key, domain)
    return space


def joined(spaces: Sequence[Space]) -> Space:
    """All keys of several spaces.

    Raises:
        ValueError: no space, or a key that stands in two.
    """
    together: dict[str, Domain] = {}
    for space in spaces:
        for key, domain in space.items():
            if key in together:
                raise ValueError(f"search space {key!r} stands in two files: leave one of them out.")
            together[key] = domain
    if not together:
        raise ValueError("there is nothing to search: name files of search_spaces/.")
    return together


def swept(study: Study, space: Space, search: Search) -> Sweep:
    """A sweep of a space on the experiments of a study, which become the folds of every trial.

    Raises:
        Leak: a target of one experiment is read by another.
        ValueError: experiments of several names or lengths; a key or a domain that does not fit (`check`); settings of
            several adaptations; a criterion without its domain; a scheduler without checkpoints to stop at.
    """
    if len(names := dict.fromkeys(experiment.name for experiment in study.experiments)) > 1:
        raise ValueError(
            f"a trial is one method, and these are {', '.join(map(repr, names))}: choose with --only. Folds and seeds "
            "of one name are judged together."
        )
    criterion = search.criterion or _own_criterion(study.experiments[0])
    _require_unseen(study.experiments)
    experiments = with_adaptation(study, search).experiments
    folds = tuple(dict.fromkeys(fold for e in experiments for fold in _folds(e, criterion)))
    if len({(fold.steps, fold.result_after, fold.validate_every) for fold in folds}) > 1:
        raise ValueError("folds whose checkpoints fall on different steps do not compare: choose with --targets.")
    check(space, folds)
    paths = {key: setting_of(fold, key).path.split(".") for key in space for fold in folds}
    numbers = {int(path[1]) if len(path) > 1 else -1 for path in paths.values() if path[0] == "adaptations"}
    if len(numbers) > 1 or -1 in numbers:
        raise ValueError("the keys set several adaptations: sweep them one after another, for a trial has one score.")
    adaptation = numbers.pop() if numbers else None
    if search.adaptation is not None and adaptation is None:
        raise ValueError(
            f"--adaptation {search.adaptation}: no key of the space sets it, so trials would be judged without it. "
            "Give a space of its settings, or leave it out."
        )
    trains = any(path[0] != "adaptations" for path in paths.values())
    judge = Judge(criterion=criterion, adaptation=adaptation, trains=trains)
    if search.steps is not None and not trains:
        raise ValueError(f"--steps {search.steps}: nothing is trained here. Limit such a sweep by --trials or --hours.")
    if search.scheduler != "none":
        _require_checkpoints(folds[0], judge)
    return Sweep(space, folds, judge)


def with_adaptation(study: Study, search: Search) -> Study:
    """The study met with the adaptation that is to be set, if one was named."""
    if search.adaptation is None:
        return study
    adaptation = spelled(search.adaptation, Adaptation)
    return replace(study, experiments=tuple(replace(e, adaptations=(adaptation,)) for e in study.experiments))


def _own_criterion(experiment: Experiment) -> Criterion:
    return "source-validation" if experiment.selection == "last" else experiment.selection


def _require_unseen(experiments: Sequence[Experiment]) -> None:
    """A setting that is chosen by what one fold reads has seen the target of another."""
    read = {domain: e for e in experiments for domain in (*e.sources, e.development) if domain}
    for target in dict.fromkeys(target for e in experiments for target in e.targets):
        if target in read:
            raise Leak(
                f"{target!r} is a target of one fold and read by another ({' + '.join(read[target].sources)}): "
                f"settings that both choose have seen it. Sweep each fold by itself: --targets {target!r}."
            )


def _folds(experiment: Experiment, criterion: Criterion) -> Iterator[Experiment]:
    """What a trial runs for an experiment, which without targets cannot even name one."""
    blind = replace(experiment, targets=(), target_splits=None, in_domain_splits=None)
    if criterion != "leave-one-out":
        if criterion == "development" and experiment.development is None:
            raise ValueError(f"{experiment.name!r} has no development domain: name one, or take another criterion.")
        yield blind
        return
    sources = tuple(dict.fromkeys(experiment.sources))
    if len(sources) < 2:
        raise ValueError(f"leave-one-out needs two source domains, {experiment.name!r} has {', '.join(sources)}.")
    for left_out in sources:
        rest = tuple(source for source in experiment.sources if source != left_out)
        try:
            yield replace(blind, sources=rest, development=left_out, selection="development")
        except ValueError as error:
            raise ValueError(f"leave-one-out, without {left_out!r}: {error}") from None


def _require_checkpoints(fold: Experiment, judge: Judge) -> None:
    if not judge.trains:
        raise ValueError("a scheduler stops trainings, and these settings train nothing: take --scheduler none.")
    if fold.validate_every is None:
        raise ValueError(
            "a scheduler stops trials at checkpoints, and there are none before the end: set Experiment.validate_every."
        )


def first_report(fold: Experiment) -> int:
    """The step of the first checkpoint that is a result, at which a trial can be stopped first."""
    every = fold.validate_every or fold.steps
    return min(fold.steps, (fold.result_after // every + 1) * every)


def applied(experiment: Experiment, given: Settings) -> Experiment:
    """The experiment with settings, in whatever order leads from one legal experiment to the next.

    Raises:
        ValueError: what `override` refuses.
    """
    return override_all(Study(name="sweep", experiments=(experiment,)), given).experiments[0]


def check(space: Space, experiments: Sequence[Experiment]) -> None:
    """Try a space on experiments: every domain by itself at its ends and at some points between, then points of all.

    Raises:
        ValueError: a key that names no setting (with near names) or several, or one that says what is judged and how;
            or a domain that samples what its setting refuses, of the wrong type or out of range; the message names key
            and value.
    """
    for experiment in experiments:
        for key in space:
            try:
                root = setting_of(experiment, key).path.partition(".")[0]
            except ValueError as error:
                raise ValueError(f"search space {key!r}: {error}") from None
            if root not in TUNABLE:
                raise ValueError(
                    f"search space {key!r}: {root!r} says what a trial is judged on or how, and scores under different "
                    f"judges do not compare. A search may change {', '.join(TUNABLE)}; set the rest with a flag."
                )
        drawn = {key: list(examples(domain, key)) for key, domain in space.items()}
        for number in range(max(map(len, drawn.values()))):
            point = {key: values[number % len(values)] for key, values in drawn.items()}
            try:
                applied(experiment, point)
            except ValueError as error:
                raise ValueError(_refused(experiment, point, error)) from None


def _refused(experiment: Experiment, point: Settings, error: ValueError) -> str:
    """Which of a point's settings the experiment refuses: one without which it takes the others, else any, else all."""
    blamed: list[tuple[bool, str]] = []
    for key, value in point.items():
        try:
            override(experiment, key, value)
        except ValueError as own:
            said = f"search space {key!r} can give {value!r}, which {experiment.name!r} refuses: {own}"
            blamed.append((_takes(experiment, {k: v for k, v in point.items() if k != key}), said))
    together = ", ".join(f"{key} {value!r}" for key, value in point.items())
    blamed.append((False, f"the search space can give {together}, which {experiment.name!r} refuses: {error}"))
    return max(blamed, key=lambda each: each[0])[1]  # of equals the first


def _takes(experiment: Experiment, point: Settings) -> bool:
    try:
        applied(experiment, point)
    except ValueError:
        return False
    return True


def examples(domain: Domain, key: str) -> Iterator[Plain]:
    """What a domain samples: its ends, or all of its choices, and `SAMPLES` draws in an order of the key's own.

    Raises:
        ValueError: something that is no plain value.
    """
    known: list[Any] = ends(domain)
    # By numpy's generator, as Tune draws: another source of chance would not show what it gives.
    draw = np.random.default_rng([*key.encode()])
    known += [domain.sample(random_state=draw) for _ in range(SAMPLES)]
    random.Random(key).shuffle(known)  # so that the ends of one key meet many values of another
    for value in known:
        if not (value is None or type(value) in (bool, int, float, str)):
            raise ValueError(
                f"search space {key!r} can give {value!r} ({type(value).__name__}): write numbers, True, False, None "
                "or text, JSON for tuples ('[1, 2]') and code for values (\"IaBN(0.2)\")."
            )
        yield value


def ends(domain: Domain) -> list[Any]:
    """The smallest and the largest value of a domain, or all of its choices."""
    choices = getattr(domain, "categories", None)
    if choices is not None:
        return list(choices)
    lower, upper = cast(Any, domain).lower, cast(Any, domain).upper
    if isinstance(lower, int) and not _step(domain):
        upper -= 1  # Tune's integers exclude their end, unless they come in steps
    return [lower, upper]


def grid(space: Space) -> list[dict[str, Plain]]:
    """All points of a space of choices and whole numbers.

    Raises:
        ValueError: a domain that has no list of values.
    """
    values: dict[str, list[Plain]] = {}
    for key, domain in space.items():
        choices, lower = getattr(domain, "categories", None), getattr(domain, "lower", None)
        if choices is not None:
            values[key] = list(choices)
        elif isinstance(lower, int):
            first, last = ends(domain)
            values[key] = list(range(first, last + 1, int(_step(domain) or 1)))
        else:
            raise ValueError(
                f"search space {key!r} is {described(domain)}: a grid needs a list of values, tune.choice([...]). Take "
                "--search random or optuna, or a space of choices."
            )
    return [dict(zip(values, point, strict=True)) for point in product(*values.values())]


def described(domain: Domain) -> str:
    """A domain in words, the same in every process."""
    choices = getattr(domain, "categories", None)
    if choices is not None:
        return f"one of {json.dumps(choices)}"
    sampler, step = domain.get_sampler(), _step(domain)
    sampler = getattr(sampler, "sampler", sampler)  # of a domain in steps
    logarithmic = "Log" in type(sampler).__name__
    first, last = ends(domain)
    kind = "a whole number" if isinstance(first, int) else "a number"
    return f"{kind} from {first} to {last}{', logarithmic' * logarithmic}{f', in steps of {step}' if step else ''}"


def _step(domain: Domain) -> float | None:
    return getattr(domain.get_sampler(), "q", None)


def _require_domain(key: str, domain: Any) -> None:
    choices = getattr(domain, "categories", None)
    bounded = getattr(domain, "lower", None) is not None and getattr(domain, "upper", None) is not None
    if not callable(getattr(domain, "sample", None)) or not (choices or bounded):
        raise ValueError(
            f"search space {key!r} is {domain!r}: it must be a domain of ray.tune with ends, such as "
            "tune.uniform(0, 1), tune.loguniform, tune.randint or tune.choice([...]). What does not vary is a flag; "
            "--search grid takes all of a choice."
        )


def flags(before: Experiment, after: Experiment) -> list[str]:
    """What makes `after` of `before` on a job's command line: ["--MLDG.inner-lr", "0.003"]; and, where a flag cannot
    say it, `in the job file: PATH = CODE`, a part each."""
    was = {setting.path: setting for setting in settings(before)}
    said: list[str] = []
    replaced: list[str] = []
    for now in settings(after):
        then = was.get(now.path)
        if any(now.path.startswith(f"{path}.") for path in replaced):
            continue
        if then is None or (type(then.value) is not type(now.value) and isinstance(now.value, Value)):
            replaced.append(now.path)
            written = code(now.value) if isinstance(now.value, Value) else repr(now.value)
            said.append(f"in the job file: {now.path} = {written}")
        elif then.value != now.value and _is_plain(now.value):
            said += [f"--{_flag(after, now)}", _typed(now.value)]
    return said


def _flag(experiment: Experiment, setting: Setting) -> str:
    """The name of a setting's flag: by class where it is held once, else by path."""
    path, _, name = setting.path.rpartition(".")
    places = {s.path.rpartition(".")[0] for s in settings(experiment) if s.owner.__name__ == setting.owner.__name__}
    return f"{setting.owner.__name__ if len(places) == 1 else path}.{name}".replace("_", "-")


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return not isinstance(value, Value)


def _typed(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "none" if value is None else json.dumps(encode(value))


def fold_name(fold: Experiment, criterion: Criterion) -> str:
    """What tells a fold of a trial from the others."""
    left_out = f"without {fold.development}, " if criterion == "leave-one-out" else ""
    return f"{left_out}seed {fold.seed}"
