"""What a benchmark in DomainBed's way is made of: the settings of a random search, the trainings with a further domain
held out, what each selection rule chooses among them, and where another seed is worth its cost. Pure functions.

The rules follow Gulrajani and Lopez-Paz, "In Search of Lost Domain Generalization" (ICLR 2021), section 3, and their
code where it says more:

- "source-validation" is their training-domain validation set: the checkpoint, and of several settings the setting, with
  the best mean score on the sources' validation splits;
- "leave-one-out" is their leave-one-domain-out cross-validation. For every source one more training runs without it;
  the step and setting with the best mean score on those sources is chosen, and taken from the training on all sources.
  The paper chooses a setting; their code (`model_selection.py`) chooses setting and step, which we follow: with one
  setting there is still a step to choose;
- "oracle" is their test-domain validation set, with more freedom: they allow a setting's last checkpoint only, we take
  the best one. Either is an upper bound and no result;
- "last" is the last checkpoint; theirs has no such rule. Of several settings it takes the one whose last checkpoint has
  the best mean score on the sources' validation splits;
- "development" is the best score on a development domain, as self-adaptation does with WildDash.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import fmean
from typing import Any, Literal

from raydg.adaptation import TrainBN
from raydg.evaluation import Row
from raydg.experiment import Experiment, Study
from raydg.search import Domain, Space, applied, read
from raydg.search import check as check_space
from raydg.seeds import generator
from raydg.selection import (
    Estimate,
    Selected,
    mean_and_standard_error,
    select,
    select_leave_one_out,
    select_oracle,
)
from raydg.settings import setting_of, settings
from raydg.values import Value

Rule = Literal["source-validation", "development", "last", "oracle", "leave-one-out"]

RULES: dict[Rule, str] = {
    "source-validation": "source-validation: best mean score on the sources' validation splits",
    "development": "development: best score on the development domain",
    "last": "last: the last checkpoint",
    "oracle": "ORACLE: the targets themselves chose it; an upper bound, no result",
    "leave-one-out": (
        "leave-one-out: best mean score on the sources, each held out of one more training; taken from the training "
        "on all sources"
    ),
}
"""What tables say of a rule."""

GROWN = (
    "further seeds were run where intervals of scores on targets overlapped, so that ± is too small and verdicts are "
    "optimistic"
)
"""What tables say of an experiment whose number of seeds its own scores decided (optional stopping)."""


@dataclass(frozen=True)
class Options(Value):
    """What `study` runs, and how much at once.

    Raises:
        ValueError: a number out of range, or a random search without a space to search.
    """

    rules: tuple[Rule, ...] = ()
    """Rules that choose checkpoints, a table for each, all from the same trainings; leave-one-out needs one more
    training for every pair of held-out domains. By default the experiments' own rule."""
    random_settings: int = 0
    """Settings that are drawn from the search spaces beside an experiment's own, anew for every seed; each rule chooses
    among all of them. DomainBed draws 19."""
    search_space: tuple[str, ...] = ()
    """Files of search_spaces/ to draw from; an experiment takes what it has a setting for."""
    extra_seeds: int = 0
    """Most further seeds of a method on a fold; one more is spent only where its interval, mean ± standard error,
    overlaps with another method's."""
    concurrent: int | None = None
    """Most trainings and scorings at once; by default as many as the cluster has room for."""
    dry_run: bool = False
    """Print what would be run, and run nothing."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(len(set(self.rules)) == len(self.rules), "rules", "rules that differ")
        self.require(self.random_settings >= 0, "random_settings", "0 or more")
        self.require(self.extra_seeds >= 0, "extra_seeds", "0 or more")
        self.require(self.concurrent is None or self.concurrent >= 1, "concurrent", "None or 1 or more")
        if bool(self.random_settings) != bool(self.search_space):
            raise ValueError(
                f"Options.random_settings is {self.random_settings} and search_space names {len(self.search_space)} "
                "files: a random search needs both (--random-settings N --search-space FILE)."
            )


@dataclass(frozen=True)
class Trial:
    """One experiment with one seed, in all the settings that a rule chooses among."""

    settings: tuple[Experiment, ...]
    """The first is the study's own."""

    @property
    def experiment(self) -> Experiment:
        """What tables call it by."""
        return self.settings[0]

    @property
    def label(self) -> str:
        """For messages."""
        return label(self.experiment)

    @property
    def judged(self) -> bool:
        """Whether there is a target to be scored on; if not, it is trained, and nothing is chosen."""
        return bool(self.experiment.targets)


def label(experiment: Experiment) -> str:
    """An experiment in messages: "ERM → pacs/photo, seed 0"."""
    unseen = f" → {', '.join(experiment.targets)}" if experiment.targets else ""
    return f"{experiment.name}{unseen}, seed {experiment.seed}"


@dataclass(frozen=True)
class Plan:
    """What `study` is to do, checked as far as no cluster is needed."""

    rules: tuple[Rule, ...]
    """That choose."""
    space: Space
    """That settings are drawn from; empty where none are."""
    trials: tuple[Trial, ...]
    """Those of the study's own seeds."""

    @classmethod
    def of(cls, study: Study, options: Options) -> "Plan":
        """What options make of a study.

        Raises:
            ValueError: a search space that cannot be read or does not fit, or a rule that cannot be applied.
        """
        rules = options.rules or tuple(dict.fromkeys(experiment.selection for experiment in study.experiments))
        space = read(options.search_space) if options.search_space else {}
        made = trials(study.experiments, space, options.random_settings)
        check(made, rules)
        return cls(rules, space, made)


def trials(experiments: Iterable[Experiment], space: Space, random_settings: int) -> tuple[Trial, ...]:
    """Every experiment with its own setting and those drawn for it; draws that train alike are one.

    A draw depends on the seed, its number and the key: all folds and methods of one seed get the same, and another seed
    gets others, for a repetition of DomainBed draws everything anew. So the ± of a table holds the luck of the search.

    Raises:
        ValueError: a key that no experiment has, what `raydg.search.check` refuses of those that an experiment has, or
            a setting that decides nothing of the training.
    """
    experiments = tuple(experiments)
    has = {e: {key for setting in settings(e) for key in setting.keys} for e in experiments}
    for key in space:
        if experiments and not any(key in keys for keys in has.values()):
            setting_of(experiments[0], key)  # says so, with near names
    made = []
    checked: set[Experiment] = set()
    for experiment in experiments:
        own = {key: domain for key, domain in space.items() if key in has[experiment]}
        alike = replace(experiment, seed=0)
        if own and alike not in checked:
            check_space(own, [alike])
            checked.add(alike)
        found = {experiment.training_fingerprint(): experiment}
        for number in range(1, random_settings + 1) if own and experiment.targets else ():
            changed = applied(experiment, {key: _drawn(own[key], experiment.seed, number, key) for key in own})
            if changed != experiment and changed.training_fingerprint() == experiment.training_fingerprint():
                raise ValueError(
                    f"The search space sets {', '.join(own)} of {experiment.name!r}, which decide nothing of its "
                    "training: a benchmark draws settings of trainings, a sweep those of adaptations."
                )
            found.setdefault(changed.training_fingerprint(), changed)
        made.append(Trial(tuple(found.values())))
    return tuple(made)


def _drawn(domain: Domain, seed: int, number: int, key: str) -> Any:
    return domain.sample(random_state=generator(seed, "random setting", number, key))


def check(trials: Sequence[Trial], rules: Sequence[Rule]) -> None:
    """Refuse what a rule cannot be applied to, before anything runs.

    Raises:
        ValueError: no development domain, or checkpoints that are pruned.
    """
    for trial in trials:
        experiment = trial.experiment
        if not trial.judged:
            continue
        if "development" in rules and experiment.development is None:
            raise ValueError(f"Rule 'development': {experiment.name!r} has no development domain.")
        for rule in ("oracle", "leave-one-out"):
            if rule in rules and experiment.keep_checkpoints is not None:
                raise ValueError(
                    f"Experiment.keep_checkpoints of {experiment.name!r} is {experiment.keep_checkpoints}: it must be "
                    f"None for {rule!r}, which may choose any checkpoint."
                )


def without(experiment: Experiment, source: str) -> Experiment:
    """The training that judges settings and steps of `experiment` on one of its sources: it sees neither that source
    nor the targets, and is scored on the source plainly: as in validation, on its own splits, for those of the targets
    are parts that a source need not have.

    Its sources are in alphabetical order, so that two folds that lack the same pair of domains ask for one training.

    Raises:
        ValueError: too few sources are left for the method.
    """
    left = tuple(sorted(each for each in experiment.sources if each != source))
    try:
        return replace(
            experiment,
            sources=left,
            targets=(source,),
            target_splits=None,
            protocol=None,
            inferences=None,
            adaptations=(TrainBN(),),
            choices=(),
            in_domain_splits=None,
            keep_checkpoints=None,
        )
    except ValueError as error:
        raise ValueError(
            f"leave-one-out of {experiment.name!r} trains on {', '.join(left) or 'nothing'}, without {source}: {error}"
        ) from None


@dataclass(frozen=True)
class HeldOut:
    """The trainings that leave-one-domain-out needs beside the experiments' own."""

    runs: tuple[Experiment, ...]
    """Each once; its targets are the sources that it answers for."""
    answers: Mapping[tuple[Experiment, str], int]
    """Which of them judges an experiment on one of its sources."""

    @classmethod
    def of(cls, experiments: Iterable[Experiment]) -> "HeldOut":
        """Those of some experiments. The training without domains a and b answers on b for the experiment whose target
        is a, and on a for the one whose target is b: n folds need n (n - 1) / 2.

        Raises:
            ValueError: as `without`.
        """
        runs: dict[str, Experiment] = {}
        asked: dict[tuple[Experiment, str], str] = {}
        for experiment in experiments:
            for source in dict.fromkeys(experiment.sources):
                run = without(experiment, source)
                key = run.training_fingerprint()
                known = runs.setdefault(key, run)
                runs[key] = replace(known, targets=tuple(sorted({*known.targets, source})))
                asked[experiment, source] = key
        numbers = {key: number for number, key in enumerate(runs)}
        return cls(tuple(runs.values()), {pair: numbers[key] for pair, key in asked.items()})

    def of_experiment(self, experiment: Experiment) -> dict[str, Experiment]:
        """By source, the training that judges an experiment on it."""
        return {source: self.runs[self.answers[experiment, source]] for source in dict.fromkeys(experiment.sources)}


@dataclass(frozen=True)
class Winner:
    """What a rule chose for a trial."""

    setting: int
    """Which of the trial's settings."""
    selected: Selected
    """Which checkpoint of it."""


def choose(rule: Rule, experiment: Experiment, rows: Mapping[int, Sequence[Row]]) -> Winner:
    """The setting and step that a rule chooses; of equal settings the first, of equal steps the earliest.

    Args:
        rule: "oracle" and "leave-one-out" choose by other rows than the others.
        experiment: the trial's own: its sources, targets, task and classes.
        rows: by setting, of all checkpoints of its last stage: for the oracle target rows; for leave-one-out rows of
            sources, of the trainings without them; else validation rows.

    Raises:
        ValueError: no setting, or what the functions of raydg.selection refuse.
    """
    if not rows:
        raise ValueError(f"None of the settings of {label(experiment)} can be chosen: none is trained.")
    task, classes = experiment.label_space.task, experiment.scored_ids
    found = {}
    for setting, of in rows.items():
        if rule == "oracle":
            found[setting] = select_oracle(of, task, classes=classes)
        elif rule == "leave-one-out":
            found[setting] = select_leave_one_out(of, experiment.sources, experiment.targets, task, classes)
        else:
            found[setting] = select(of, rule, task, classes=classes)
    worth = {setting: selected.score for setting, selected in found.items()}
    if rule == "last" and len(found) > 1:
        for setting, selected in found.items():
            at_last = [row for row in rows[setting] if row.step == selected.step]
            worth[setting] = select(at_last, "source-validation", task, classes=classes).score
    best = max(sorted(found), key=lambda setting: worth[setting] or 0.0)
    return Winner(best, found[best])


def headline(experiment: Experiment, rows: Sequence[Row]) -> float:
    """A trial's score in one number, percent: mean over the targets, by the first inference under the first
    adaptation."""
    task, classes = experiment.label_space.task, experiment.scored_ids
    inference, variant = experiment.scored_inferences[0].label, experiment.variants[0]
    means = []
    for target in experiment.targets:
        scores = [
            row.confusion.score(task, classes)
            for row in rows
            if (row.role, row.domain, row.inference, row.adaptation) == ("target", target, inference, variant)
        ]
        means.append(fmean(scores))
    return fmean(means)


def overlapping(estimates: Mapping[str, Estimate]) -> set[str]:
    """Names whose interval, mean ± standard error, shares a point with another's. A single run has no interval that
    could tell it from anything."""
    ends = {}
    for name, estimate in estimates.items():
        reach = math.inf if estimate.standard_error is None else estimate.standard_error
        ends[name] = estimate.mean - reach, estimate.mean + reach
    pairs = combinations(estimates, 2)
    return {n for a, b in pairs if ends[a][0] <= ends[b][1] and ends[b][0] <= ends[a][1] for n in (a, b)}


def more_seeds(scores: Mapping[Experiment, float]) -> tuple[Experiment, ...]:
    """The experiments, each with a seed of its own that is new, that another run could tell from others on their fold.

    Args:
        scores: of every experiment and seed so far.
    """
    folds: dict[tuple, dict[str, dict[Experiment, float]]] = {}
    for experiment, score in scores.items():
        fold = experiment.targets, experiment.label_space.name, experiment.scored_classes
        folds.setdefault(fold, {}).setdefault(experiment.name, {})[experiment] = score
    new = []
    for methods in folds.values():
        estimates = {name: mean_and_standard_error(list(of.values())) for name, of in methods.items()}
        close = overlapping(estimates)
        for name, of in methods.items():
            if name in close:
                last = max(of, key=lambda experiment: experiment.seed)
                new.append(replace(last, seed=last.seed + 1))
    return tuple(new)
