"""Scores targets, and sources in-domain: only for checkpoints that a selection has chosen, spread over actors, counts
added exactly. And, before, what settings of an adaptation are chosen by."""

import hashlib
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import ray.data
import ray.exceptions

from raydg.adaptation import Adaptation, TrainBN
from raydg.checkpoint import RunFolder
from raydg.cluster import outcome, session
from raydg.evaluation import Row, RowRole
from raydg.experiment import Experiment
from raydg.judging.answers import Lines, Parts, recorded
from raydg.judging.questions import Question, plan, plan_selecting
from raydg.judging.scorer import Scorer
from raydg.judging.ways import Member, Way, alone, competing, in_order, together, ways_of
from raydg.progress import Scored
from raydg.resources import Resources
from raydg.selection import Chosen, Selected, choose, select_oracle

Watch = Callable[[Scored], None]
"""Told how far a row is, whenever some of its images have been counted."""


def evaluate(
    experiment: Experiment, folder: RunFolder, resources: Resources, watch: Watch = lambda scored: None
) -> list[Row]:
    """Select a checkpoint by the experiment's rule and settle its choices, then score the targets, and the sources'
    held-out splits.

    Returns:
        The target and in-domain rows of the selected checkpoint, one per domain, inference, variant of an adaptation
        and order; and those of what each choice came to, labelled as the choice.
    """
    selected = folder.selected(experiment)
    chosen = decide(experiment, folder, selected, resources, watch)
    ways = [alone(way) for way in ways_of(experiment, folder, selected, chosen)]
    return _score(plan(experiment, ways, resources.resolved().data), experiment, resources, watch)


def evaluate_ensemble(
    experiments: Sequence[Experiment], resources: Resources, watch: Watch = lambda scored: None
) -> list[Row]:
    """Score the targets, and the sources' held-out splits, with experiments that differ in nothing but their seed, all
    together: each by the checkpoint that its rule selects, and with the settings that its choices came to.

    The order of the experiments decides nothing. Batches are those of the lowest seed, where they are drawn.

    Returns:
        As `evaluate` does; of an ensemble of one exactly the same.

    Raises:
        ValueError: experiments that differ in more.
    """
    ways = []
    experiments = in_order(experiments)
    for experiment in experiments:
        folder = RunFolder.of(experiment, resources.resolved().runs)
        selected = folder.selected(experiment)
        chosen = decide(experiment, folder, selected, resources, watch)
        ways.append(ways_of(experiment, folder, selected, chosen))
    questions = plan(experiments[0], together(ways), resources.resolved().data)
    return _score(questions, experiments[0], resources, watch)


def evaluate_oracle(
    experiment: Experiment, folder: RunFolder, resources: Resources, watch: Watch = lambda scored: None
) -> list[Row]:
    """The target rows of the checkpoint that the targets themselves would choose: an upper bound, never a result.

    Every checkpoint of the last stage is scored on the targets by the method's own inference without adaptation; the
    best mean over them is scored in all the experiment's ways but its choices, which targets must not decide.

    Raises:
        ValueError: checkpoints were pruned, so the best may be gone.
    """
    if experiment.keep_checkpoints is not None:
        raise ValueError("Experiment.keep_checkpoints must be None for an oracle: pruned checkpoints cannot be judged.")
    plain = replace(experiment, inferences=None, adaptations=(TrainBN(),), choices=(), in_domain_splits=None)
    rows = []
    for checkpoint in folder.every_result(experiment):
        selected = Selected(step=checkpoint.step, rule="oracle", score=None)
        rows += score_targets(plain, folder, selected, resources, _at_step(watch, checkpoint.step))
    best = select_oracle(rows, experiment.label_space.task, classes=experiment.scored_ids)
    return score_targets(experiment, folder, best, resources, watch)


def _at_step(watch: Watch, step: int) -> Watch:
    """The same, for rows that are told apart by their checkpoint."""
    return lambda scored: watch(replace(scored, name=f"step {step}, {scored.name}"))


def score_targets(
    experiment: Experiment,
    folder: RunFolder,
    selected: Selected,
    resources: Resources,
    watch: Watch = lambda scored: None,
) -> list[Row]:
    """Score every domain that the experiment judges, by every inference under every adaptation, with the selected
    checkpoint; choices are left out.

    What has been scored before is read, not run, unless the domain was prepared again with other images since. Every
    shard that is done leaves its counts in the run's folder, whole or not at all, under a name that follows from all
    that decides them; so an evaluation that was killed goes on where it stopped, on however many actors, and every
    image counts once. An adaptation that keeps its state is one shard, which starts anew.
    """
    ways = [alone(way) for way in ways_of(experiment, folder, selected, {})]
    return _score(plan(experiment, ways, resources.resolved().data), experiment, resources, watch)


def decide(
    experiment: Experiment,
    folder: RunFolder,
    selected: Selected,
    resources: Resources,
    watch: Watch = lambda scored: None,
) -> dict[str, Chosen]:
    """What the experiment's choices come to, by their labels; what has been scored for them before is not scored again.

    A choice that is made alone has the selected checkpoint, one made jointly has a checkpoint of its own.

    Raises:
        ValueError: a choice is made jointly, and checkpoints were pruned.
    """
    found = {}
    for choice in experiment.choices:
        steps = competing(choice.jointly, experiment, folder, selected)
        rows = score_selecting(
            experiment, folder, steps, choice.candidates, choice.on, resources, _summed(watch, choice.label)
        )
        labels = [candidate.label for candidate in choice.candidates]
        task, classes = experiment.label_space.task, experiment.scored_ids
        found[choice.label] = choose(rows, labels, choice.on, task, classes)
    return found


def score_selecting(
    experiment: Experiment,
    folder: RunFolder,
    steps: Sequence[int],
    adaptations: Sequence[Adaptation],
    on: RowRole,
    resources: Resources,
    watch: Watch = lambda scored: None,
) -> list[Row]:
    """Score checkpoints under adaptations where it may decide: on the sources' validation splits, or the development
    domain; as they were validated, by the inference that the method is validated with.

    Like the scores of targets these are spread over actors, go on after a kill, and are read where they are there.

    Args:
        experiment: whose checkpoints.
        folder: of its training.
        steps: of the checkpoints.
        adaptations: each scored with every checkpoint.
        on: "source-validation" or "development".
        resources: what it runs on.
        watch: is told of progress.

    Returns:
        Rows of the role `on`, which `raydg.selection` takes.

    Raises:
        ValueError: another role: targets do not decide; or no development domain.
    """
    ways = [Way((Member(folder, step, adaptation),)) for step in steps for adaptation in adaptations]
    return _score(plan_selecting(experiment, ways, on, resources.resolved().data), experiment, resources, watch)


def _summed(watch: Watch, name: str) -> Watch:
    """One account of many rows; the score of a mixture of candidates would say nothing."""
    rows: dict[str, Scored] = {}

    def sums(scored: Scored) -> None:
        rows[scored.name] = scored
        images, resumed, total = (sum(getattr(row, what) for row in rows.values()) for what in COUNTED)
        watch(Scored(name, images, resumed, total, float("nan")))

    return sums


COUNTED = ("images", "resumed", "total")


def _score(questions: Sequence[Question], experiment: Experiment, resources: Resources, watch: Watch) -> list[Row]:
    """The rows of the questions, in their order; those that are not there yet are scored first."""
    resources = resources.resolved()
    there = iter(recorded(questions))
    asked = {(q.file, q.rows): q for q in questions if None in [next(there) for _ in q.rows]}
    if asked:
        weights: dict[tuple[Path, int], str] = {}
        files = {question.file: Lines(question.file) for question in asked.values()}
        parts = []
        for question in asked.values():
            of_members = []
            for member in question.way.members:
                at = member.folder.path, member.step
                file = member.folder.checkpoint_at(member.step).path / "model.safetensors"
                weights[at] = weights.get(at) or hashlib.sha256(file.read_bytes()).hexdigest()
                of_members.append(weights[at])
            parts.append(Parts(question, of_members, experiment, files[question.file]))
        jobs = []
        for number, part in enumerate(parts):
            jobs += [{"question": number, "shard": shard} for shard in part.missing()]
            watch(part.progress())
            if part.complete:
                part.finish()
        if jobs:
            for result in _run(jobs, Scorer(tuple(asked.values()), experiment, resources)):
                part = parts[int(result["question"])]
                part.add(int(result["shard"]), result["record"])
                watch(part.progress())
                if part.complete:
                    part.finish()
    found = recorded(questions)
    assert all(row is not None for row in found)
    return [row for row in found if row is not None]


def _run(jobs: list[dict[str, Any]], scorer: Scorer) -> Iterable[dict[str, Any]]:
    """The jobs' records in any order: in this process, or over a pool of actors that each hold the network.

    Ray starts an actor that died again, and its shard with it, as often as `Resources.max_failures` says.

    Raises:
        ChildProcessError: an actor died once more than that.
    """
    resources = scorer.resources
    if resources.workers == 0:
        yield from map(scorer, jobs)
        return
    size = min(resources.scorers or resources.workers, len(jobs))
    session.start(resources.address, size * resources.cpus_per_worker)

    class Actor:
        def __init__(self) -> None:
            self.score = scorer

        def __call__(self, job: dict[str, Any]) -> outcome.Row:
            return outcome.pack(self.score, job)

    dataset = ray.data.from_items(jobs, override_num_blocks=len(jobs))
    with warnings.catch_warnings():
        # There is no named parameter for `max_restarts` yet.
        warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")
        scored = dataset.map(
            cast(Any, Actor),  # a class, which Ray makes actors of; its annotation names functions only
            compute=ray.data.ActorPoolStrategy(size=size),
            num_cpus=resources.cpus_per_worker,
            num_gpus=resources.gpus_per_worker or None,
            accelerator_type=resources.accelerator_type,
            # Of each actor. The tasks of an actor that may be started again are repeated without a limit of their own.
            max_restarts=resources.max_failures,
        )
    try:
        yield from map(outcome.unpack, scored.iter_rows())
    except ray.exceptions.RayActorError as death:
        raise ChildProcessError(
            f"an actor that scores died more often than Resources.max_failures, {resources.max_failures}: "
            f"{str(death).splitlines()[0]} What was scored is kept. Mend the cause (often memory: take fewer scorers) "
            "or raise it, and run the command again."
        ) from death
