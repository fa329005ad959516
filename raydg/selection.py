"""Which checkpoint and which setting of an adaptation, by which rule, from which rows; and what a mean over runs is
worth. Pure functions.

Targets are judged only after a checkpoint was selected, so no rule takes rows that know about them. `select_oracle`
does: it stands apart, and labels what it returns. What a search for settings maximises is a `SelectionScore`, which is
made of rows that may select and of nothing else.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any, Literal, NoReturn
from weakref import WeakSet

from raydg.adaptation import TrainBN
from raydg.evaluation import Row
from raydg.experiment import Experiment
from raydg.types import Task
from raydg.values import Value, conform

Rule = Literal["source-validation", "development", "last"]

SOURCE_STATISTICS = TrainBN().label


class Leak(ValueError):
    """Rows that must not decide were handed to a selection."""


@dataclass(frozen=True)
class Selected(Value):
    """The checkpoint that a rule chose."""

    step: int
    """Training step of the checkpoint."""
    rule: Literal["source-validation", "development", "last", "oracle", "leave-one-out"]
    """The rule that chose it; every table prints it."""
    score: float | None
    """What it was chosen for, in percent; None for "last", which looks at no score."""


def select(
    rows: Sequence[Row],
    rule: Rule,
    task: Task,
    adaptation: str = SOURCE_STATISTICS,
    classes: Sequence[int] | None = None,
) -> Selected:
    """The checkpoint that `rule` chooses by mean IoU over `classes` (None: all) or accuracy; of equals the earliest.

    - "source-validation": highest mean, over the source domains, of the score on their validation splits;
    - "development": highest score on the one development domain;
    - "last": the largest step.

    Source-validation and development rows may stand side by side; those that the rule does not ask for decide nothing.
    A domain that was evaluated in several random orders or splits has the mean of their scores.

    Raises:
        Leak: a row has the role target, in-domain or analysis.
        ValueError: an unknown rule; no row to choose by; rows of another adaptation than the one labelled `adaptation`,
            or of several inferences; a row that stands twice; a step without a row that other steps have; a NaN score;
            two development domains.
    """
    conform(rule, Rule, "rule")
    _require_unseen_targets(rows)
    deciding = [row for row in rows if rule in ("last", row.role)]
    if not deciding:
        raise ValueError(
            f"There is no row to select by {rule!r} from: evaluate checkpoints for it, or take another rule."
        )
    _require_one_way(rows, adaptation)
    if rule == "last":
        return Selected(step=max(row.step for row in deciding), rule=rule, score=None)
    if rule == "development" and len(names := {row.domain for row in deciding}) > 1:
        raise ValueError(f"Development rows are of {', '.join(sorted(names))}: there must be one development domain.")
    step, score = _best(deciding, task, classes)
    return Selected(step=step, rule=rule, score=score)


@dataclass(frozen=True)
class Chosen(Value):
    """What a choice among adaptations came to, and the checkpoint that it is used with."""

    adaptation: str
    """Label of the candidate."""
    step: int
    """Training step of the checkpoint."""
    rule: Literal["source-validation", "development"]
    """What scored it."""
    score: float
    """What it was chosen for, in percent."""


def choose(
    rows: Sequence[Row],
    candidates: Sequence[str],
    rule: Literal["source-validation", "development"],
    task: Task,
    classes: Sequence[int] | None = None,
) -> Chosen:
    """The adaptation, of those labelled `candidates`, with the highest score, and the checkpoint that it has it with.

    A candidate's score is that of the checkpoint which `select` takes from its rows: rows of one step choose the
    adaptation alone, rows of several both jointly. Of equals the first candidate wins.

    Raises:
        Leak: a row has the role target, in-domain or analysis.
        ValueError: another rule (none of them looks at no score); rows of no candidate; candidates that were not
            scored on the same domains, splits and steps; or what `select` refuses of a candidate's rows.
    """
    conform(rule, Literal["source-validation", "development"], "rule")
    _require_unseen_targets(rows)
    of_candidate = {label: [row for row in rows if row.adaptation == label] for label in candidates}
    if strangers := {row.adaptation for row in rows} - of_candidate.keys():
        raise ValueError(
            f"Rows of {', '.join(sorted(strangers))} stand in a choice among {', '.join(candidates)}: leave them out."
        )
    scored_on = {
        label: {(row.step, row.domain, row.split) for row in found if row.role == rule}
        for label, found in of_candidate.items()
    }
    everything = set().union(*scored_on.values())
    for label, places in scored_on.items():
        for step, domain, split in sorted(everything - places):
            raise ValueError(
                f"{label} has no score of {domain!r} ({split}) at step {step}, other candidates have: candidates "
                "compare over equal rows only."
            )
    best = {label: select(found, rule, task, label, classes) for label, found in of_candidate.items()}
    scores = {label: selected.score for label, selected in best.items() if selected.score is not None}
    winner = max(scores, key=lambda label: scores[label])
    return Chosen(adaptation=winner, step=best[winner].step, rule=rule, score=scores[winner])


def _require_unseen_targets(rows: Sequence[Row]) -> None:
    for row in rows:
        if row.role not in ("source-validation", "development"):
            raise Leak(
                f"The row of {row.domain!r} at step {row.step} has the role {row.role!r}: selection takes only "
                "'source-validation' and 'development' rows. Leave it out; it is read after the selection."
            )


def select_oracle(
    target_rows: Sequence[Row],
    task: Task,
    classes: Sequence[int] | None = None,
) -> Selected:
    """The checkpoint with the highest mean score on the targets themselves, the earliest of equals: a bound, no result.

    Raises:
        ValueError: no row, a row of another role than target, or what `select` refuses of rows that it may see.
    """
    if not target_rows:
        raise ValueError("There is no target row to select an oracle from: evaluate every checkpoint on the targets.")
    for row in target_rows:
        if row.role != "target":
            raise ValueError(
                f"The row of {row.domain!r} at step {row.step} has the role {row.role!r}: an oracle takes target rows."
            )
    _require_one_way(target_rows, SOURCE_STATISTICS)
    step, score = _best(target_rows, task, classes)
    return Selected(step=step, rule="oracle", score=score)


def select_leave_one_out(
    rows: Sequence[Row],
    sources: Sequence[str],
    targets: Sequence[str],
    task: Task,
    classes: Sequence[int] | None = None,
) -> Selected:
    """The step with the highest mean score on sources that were held out, each of a training of its own; of equals the
    earliest. It is then taken from the training on all sources.

    Args:
        rows: for every source, target rows of all checkpoints of the training that saw neither it nor the targets.
        sources: those of the experiment that is selected for.
        targets: likewise.
        task: of the experiment.
        classes: as in `select`.

    Raises:
        Leak: a row of one of the experiment's targets, or of any other domain that is not its source.
        ValueError: no row of a source, or what `select_oracle` refuses.
    """
    for row in rows:
        if row.domain in targets or row.domain not in sources:
            raise Leak(
                f"The row of {row.domain!r} at step {row.step} is of no source: leave-one-domain-out selects on "
                f"{', '.join(sorted(set(sources)))}, each held out of the training that is scored on it."
            )
    if missing := sorted(set(sources) - {row.domain for row in rows}):
        raise ValueError(f"No training without {', '.join(missing)} was scored on it: train and score it first.")
    return replace(select_oracle(rows, task, classes=classes), rule="leave-one-out")


class SelectionScore:
    """What a setting is worth by data that may choose it: the one thing that a sweep maximises.

    `selection_score` makes one of rows on the sources' validation splits or the development domain, and `mean_score`
    makes one of several. There is no other way: the class cannot be called, subclassed, copied, pickled or changed, and
    an instance that was made around its builders has no `percent`.

    Raises:
        Leak: whenever one is made otherwise.
    """

    __slots__ = ("__weakref__", "_criterion", "_percent")

    def __new__(cls, *_: Any, **__: Any) -> NoReturn:
        raise Leak("A SelectionScore cannot be made of a number: selection_score makes it, of rows that may select.")

    def __init_subclass__(cls, **_: Any) -> NoReturn:
        raise Leak("SelectionScore has no subclasses: they could hold what no evaluator has counted.")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise Leak(f"SelectionScore.{name} cannot be set: a score is what was counted.")

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise Leak("A SelectionScore is neither copied nor sent: send its rows, and make it of them again.")

    @property
    def percent(self) -> float:
        """The score."""
        self._require_genuine()
        return self._percent

    @property
    def criterion(self) -> "Decisive":
        """Role of the rows that it was made of."""
        self._require_genuine()
        return self._criterion

    def _require_genuine(self) -> None:
        if self not in _GENUINE:
            raise Leak("This SelectionScore was made around its builders: nothing was counted for it.")

    def __repr__(self) -> str:
        return f"SelectionScore({self.percent:.2f} by {self.criterion})"


Decisive = Literal["source-validation", "development"]
"""Roles of the rows that may decide by their score."""

_GENUINE: WeakSet[SelectionScore] = WeakSet()


def selection_score(
    experiment: Experiment, rows: Sequence[Row], criterion: Decisive, adaptation: str = SOURCE_STATISTICS
) -> SelectionScore:
    """What one checkpoint of an experiment is worth: the mean over the domains of role `criterion` of their scores.

    Args:
        experiment: whose sources and development domain the rows must be of, whatever role they claim.
        rows: of one step, one inference and the adaptation labelled `adaptation`.

    Raises:
        Leak: a row has the role target, in-domain or analysis, or is of another domain than its role says.
        ValueError: rows of several steps, or what `select` refuses.
    """
    conform(criterion, Decisive, "criterion")
    _require_unseen_targets(rows)
    for row in rows:
        legal = experiment.sources if row.role == "source-validation" else (experiment.development,)
        if row.domain not in legal:
            raise Leak(
                f"The row of {row.domain!r} at step {row.step} claims the role {row.role!r}, which {experiment.name!r} "
                f"gives to {', '.join(map(str, legal))}: only these may decide."
            )
    if len(steps := sorted({row.step for row in rows})) > 1:
        raise ValueError(f"The rows are of the steps {', '.join(map(str, steps))}: a score is of one checkpoint.")
    selected = select(rows, criterion, experiment.label_space.task, adaptation, experiment.scored_ids)
    assert selected.score is not None  # only "last" looks at none
    return _genuine(selected.score, criterion)


def mean_score(scores: Sequence[SelectionScore]) -> SelectionScore:
    """The mean of what folds or seeds of one setting are worth.

    Raises:
        Leak: something that is no SelectionScore.
        ValueError: no score, or scores by different criteria.
    """
    for score in scores:
        if type(score) is not SelectionScore:
            raise Leak(f"{score!r} is no SelectionScore: a sweep averages nothing else.")
    criteria = sorted({score.criterion for score in scores})
    if len(criteria) != 1:
        raise ValueError(f"Scores by {', '.join(criteria) or 'no criterion'}: there must be at least one, all by one.")
    return _genuine(fmean(score.percent for score in scores), scores[0].criterion)


def _genuine(percent: float, criterion: Decisive) -> SelectionScore:
    score = object.__new__(SelectionScore)
    object.__setattr__(score, "_percent", percent)
    object.__setattr__(score, "_criterion", criterion)
    _GENUINE.add(score)
    return score


def _require_one_way(rows: Sequence[Row], adaptation: str) -> None:
    if others := {row.adaptation for row in rows} - {adaptation}:
        raise ValueError(
            f"Rows of {', '.join(sorted(others))} stand in a selection by {adaptation}: scores of different "
            "adaptations do not compare. Pass the rows of one adaptation, and its label."
        )
    if len(inferences := {row.inference for row in rows}) > 1:
        raise ValueError(
            f"Rows of the inferences {', '.join(sorted(inferences))} stand in one selection: their scores do not "
            "compare. Pass the rows of one; a warm-up's checkpoints are no results of the method that follows."
        )


def _best(rows: Sequence[Row], task: Task, classes: Sequence[int] | None) -> tuple[int, float]:
    """Step and score of the highest mean over domains, the earliest of equals."""
    scores: dict[int, dict[tuple[str, str, int], float]] = {}
    for row in rows:
        of_step = scores.setdefault(row.step, {})
        where = f"of {row.domain!r} ({row.split}, order {row.order}) at step {row.step}"
        if (row.domain, row.split, row.order) in of_step:
            raise ValueError(f"There are two rows {where}: keep one.")
        score = row.confusion.score(task, classes)
        if math.isnan(score):
            raise ValueError(f"The score {where} is NaN: nothing was counted, check the labels of that split.")
        of_step[row.domain, row.split, row.order] = score
    everything = {key for of_step in scores.values() for key in of_step}
    for step, of_step in sorted(scores.items()):
        if missing := sorted(everything - of_step.keys()):
            names = ", ".join(f"{domain!r} ({split}, order {order})" for domain, split, order in missing)
            raise ValueError(
                f"Step {step} has no row of {names}, other steps have: steps compare over equal rows only."
            )
    means = {step: _mean_over_domains(of_step) for step, of_step in scores.items()}
    best = max(sorted(means), key=lambda step: means[step])
    return best, means[best]


def _mean_over_domains(scores: dict[tuple[str, str, int], float]) -> float:
    """Every domain counts once, however many splits and orders it has. `fmean` does not depend on the rows' order."""
    domains = {domain for domain, _, _ in scores}
    return fmean(fmean(score for (of, _, _), score in scores.items() if of == domain) for domain in domains)


STANDARD_ERROR = (
    "± is the standard error of the mean over n independent runs: their sample standard deviation (n - 1) divided by "
    "sqrt(n); n/a for a single run"
)
"""What the ± of an `Estimate` means, for tables."""


@dataclass(frozen=True)
class Estimate(Value):
    """Mean of independent runs with its standard error (`STANDARD_ERROR`)."""

    mean: float
    standard_error: float | None
    """None for a single run, which says nothing of its spread."""
    num_values: int

    def __str__(self) -> str:
        """For tables: "61.23 ± 0.45 (n = 3)", "61.23 ± n/a (n = 1)"."""
        error = "n/a" if self.standard_error is None else f"{self.standard_error:.2f}"
        return f"{self.mean:.2f} ± {error} (n = {self.num_values})"


def mean_and_standard_error(values: Sequence[float]) -> Estimate:
    """Mean and standard error of independent runs, such as seeds.

    The random orders of one run share its weights and are not independent: average them within the run first.

    Raises:
        ValueError: no value, or one that is not finite.
    """
    if not values or not all(map(math.isfinite, values)):
        raise ValueError(f"The values are {list(values)}: there must be at least one, and all must be finite.")
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return Estimate(mean=fmean(values), standard_error=error, num_values=len(values))
