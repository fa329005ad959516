"""Scores targets, and sources in-domain: only for checkpoints that a selection has chosen, spread over actors, counts
added exactly. And, before, what settings of an adaptation are chosen by."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import ray.data
import ray.exceptions
import torch

from raydg.adaptation import Adaptation, EnsemblePredictor, Predictor, TrainBN
from raydg.assembly import TRAIN, VALIDATION
from raydg.checkpoint import RunFolder, read_rows, write_whole
from raydg.cluster import outcome, session
from raydg.evaluation import AS_VALIDATED, Confusion, Cost, Histogram, Row, RowRole, from_lines, to_lines
from raydg.experiment import Experiment
from raydg.methods import Extended, Inference
from raydg.models import Network
from raydg.progress import Scored
from raydg.protocol import Protocol
from raydg.records import Record
from raydg.resources import Resources
from raydg.scoring import Shard, fit, record, scoring_batches, shards
from raydg.selection import Chosen, Selected, choose, select, select_oracle
from raydg.shards import PreparedDomain
from raydg.values import encode, fingerprint

Watch = Callable[[Scored], None]
"""Told how far a row is, whenever some of its images have been counted."""

SELECTING: tuple[RowRole, ...] = ("source-validation", "development")
"""Roles of rows that choose; all others are read afterwards."""


@dataclass(frozen=True)
class Member:
    """A checkpoint, and how it meets images."""

    folder: RunFolder
    step: int
    adaptation: Adaptation


@dataclass(frozen=True)
class Way:
    """A way of meeting a domain: one checkpoint, or the several of an ensemble, each adapting by itself."""

    members: tuple[Member, ...]
    """Of an ensemble by their seeds. They meet images in the same batches."""
    label: str | None = None
    """What tables call it, if not as its adaptation is called: that of the choice that it is the result of."""

    @property
    def adaptation(self) -> Adaptation:
        """That of the first member, which speaks for the others where only batches matter."""
        return self.members[0].adaptation

    @property
    def variants(self) -> tuple[str, ...]:
        """Labels of the rows that are written down: where members have chosen differently, one that names all."""
        labels = [member.adaptation.label for member in self.members]
        return self.adaptation.variants if len(set(labels)) == 1 else (" + ".join(labels),)

    @property
    def step(self) -> int:
        """Of the checkpoint; of an ensemble the latest."""
        return max(member.step for member in self.members)

    @property
    def folder(self) -> RunFolder:
        """Where its scores are: in its run's folder, of an ensemble in one beside those of its members, which follows
        from their trainings and steps."""
        first = self.members[0].folder
        if len(self.members) == 1:
            return first
        who = fingerprint([[member.folder.path.name, member.step] for member in self.members])
        name = first.path.name.rsplit("-", 2)[0]
        return RunFolder(first.path.with_name(f"{name}-ensemble-of-{len(self.members)}-{who[:10]}"))


def evaluate(
    experiment: Experiment, folder: RunFolder, resources: Resources, watch: Watch = lambda scored: None
) -> list[Row]:
    """Select a checkpoint by the experiment's rule and settle its choices, then score the targets, and the sources'
    held-out splits.

    Returns:
        The target and in-domain rows of the selected checkpoint, one per domain, inference, variant of an adaptation
        and order; and those of what each choice came to, labelled as the choice.
    """
    selected = selection(experiment, folder)
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
        selected = selection(experiment, folder)
        chosen = decide(experiment, folder, selected, resources, watch)
        ways.append(ways_of(experiment, folder, selected, chosen))
    questions = plan(experiments[0], together(ways), resources.resolved().data)
    return _score(questions, experiments[0], resources, watch)


def in_order(experiments: Sequence[Experiment]) -> list[Experiment]:
    """The members of an ensemble by their seeds.

    Raises:
        ValueError: experiments that differ in more.
    """
    if len({replace(experiment, seed=0) for experiment in experiments}) != 1:
        names = ", ".join(f"{experiment.name!r} with seed {experiment.seed}" for experiment in experiments)
        raise ValueError(f"{names} make no ensemble: its members are one experiment, with several seeds.")
    return sorted(experiments, key=lambda experiment: experiment.seed)


def selection(experiment: Experiment, folder: RunFolder) -> Selected:
    """The checkpoint that the experiment's rule selects from those that were validated."""
    rows = folder.validation_rows(experiment)
    return select(rows, experiment.selection, experiment.label_space.task, classes=experiment.scored_ids)


def ways_of(
    experiment: Experiment, folder: RunFolder, selected: Selected, chosen: Mapping[str, Chosen]
) -> list[tuple[Member, str | None]]:
    """How a trained experiment meets its targets, each with its label if it is the result of a choice: by the selected
    checkpoint under every adaptation, and by what the choices came to; those that came to nothing yet are left out."""
    ways: list[tuple[Member, str | None]] = [
        (Member(folder, selected.step, adaptation), None) for adaptation in experiment.adaptations
    ]
    for choice in experiment.choices:
        if choice.label in chosen:
            found = chosen[choice.label]
            ways.append((Member(folder, found.step, choice.candidate(found.adaptation)), choice.label))
    return ways


def alone(way: tuple[Member, str | None]) -> Way:
    """One member by itself."""
    return Way((way[0],), way[1])


def together(ways: Sequence[Sequence[tuple[Member, str | None]]]) -> list[Way]:
    """The ways that several seeds have in common, as ways of their ensemble; a choice that is open with one is left
    out."""
    made = []
    for number, adaptation in enumerate(member.adaptation for member, label in ways[0] if label is None):
        assert all(of_seed[number][0].adaptation == adaptation for of_seed in ways)
        made.append(Way(tuple(of_seed[number][0] for of_seed in ways)))
    for label in (label for _, label in ways[0] if label is not None):
        found = [member for of_seed in ways for member, of in of_seed if of == label]
        if len(found) == len(ways):
            made.append(Way(tuple(found), label))
    return made


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
        steps = _competing(choice.jointly, experiment, folder, selected)
        rows = score_selecting(
            experiment, folder, steps, choice.candidates, choice.on, resources, _summed(watch, choice.label)
        )
        labels = [candidate.label for candidate in choice.candidates]
        task, classes = experiment.label_space.task, experiment.scored_ids
        found[choice.label] = choose(rows, labels, choice.on, task, classes)
    return found


def decided(experiment: Experiment, folder: RunFolder, selected: Selected, data: str) -> dict[str, Chosen]:
    """Likewise, of what has been scored; a choice that lacks scores is left out."""
    found = {}
    for choice in experiment.choices:
        ways = [
            Way((Member(folder, step, candidate),))
            for step in _competing(choice.jointly, experiment, folder, selected)
            for candidate in choice.candidates
        ]
        rows = recorded(plan_selecting(experiment, ways, choice.on, data))
        if all(row is not None for row in rows):
            labels = [candidate.label for candidate in choice.candidates]
            task, classes = experiment.label_space.task, experiment.scored_ids
            there = [row for row in rows if row is not None]
            found[choice.label] = choose(there, labels, choice.on, task, classes)
    return found


def _competing(jointly: bool, experiment: Experiment, folder: RunFolder, selected: Selected) -> list[int]:
    return [checkpoint.step for checkpoint in folder.every_result(experiment)] if jointly else [selected.step]


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


def _score(questions: Sequence["Question"], experiment: Experiment, resources: Resources, watch: Watch) -> list[Row]:
    """The rows of the questions, in their order; those that are not there yet are scored first."""
    resources = resources.resolved()
    there = iter(recorded(questions))
    asked = {(q.file, q.rows): q for q in questions if None in [next(there) for _ in q.rows]}
    if asked:
        weights: dict[tuple[Path, int], str] = {}
        files = {question.file: _Lines(question.file) for question in asked.values()}
        parts = []
        for question in asked.values():
            of_members = []
            for member in question.way.members:
                at = member.folder.path, member.step
                file = member.folder.checkpoint_at(member.step).path / "model.safetensors"
                weights[at] = weights.get(at) or hashlib.sha256(file.read_bytes()).hexdigest()
                of_members.append(weights[at])
            parts.append(_Parts(question, of_members, experiment, files[question.file]))
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


def recorded(questions: Sequence["Question"]) -> list[Row | None]:
    """The rows of the questions, in their order, labelled as tables call them; None for one that is not there."""
    files: dict[Path, dict[tuple[Any, ...], Row]] = {}
    found: list[Row | None] = []
    for question in questions:
        if question.file not in files:
            # A row without confidence, of an earlier version, answers nothing.
            files[question.file] = {_asks(row): row for row in read_rows(question.file) if row.histogram}
        for row in question.rows:
            there, label = files[question.file].get(_asks(row)), question.way.label
            found.append(replace(there, adaptation=label) if there and label else there)
    return found


class _Lines:
    """A file of rows, written whole whenever some come in: each instead of one that answers the same, of the domain as
    it is or as it was before it was prepared again."""

    def __init__(self, path: Path) -> None:
        self.path, self.text = path, ""
        self.lines: dict[tuple[Any, ...], str] = {}

    def put(self, rows: Sequence[Row]) -> None:
        there = self.path.read_text() if self.path.exists() else ""
        if there != self.text:  # at first, or when another evaluation has written
            self.lines = {_place(row): to_lines([row]) for row in from_lines(there)}
        self.lines |= {_place(row): to_lines([row]) for row in rows}
        self.text = "".join(self.lines.values())
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, self.text)


@dataclass(frozen=True)
class Question:
    """One run of an adaptation over a domain: the rows that it is to give, one per variant, and the shards of it."""

    rows: tuple[Row, ...]
    """With no counts yet."""
    inference: Inference
    way: Way
    splits: tuple[str, ...]
    protocol: Protocol
    shards: tuple[Shard, ...]

    @property
    def file(self) -> Path:
        """Where its rows are written down; those that choose stand apart from those that are read afterwards, in a file
        of each question's own, since the trials of a sweep score at once."""
        if self.rows[0].role not in SELECTING:
            return self.way.folder.targets
        return self.way.folder.choosing / f"{fingerprint(encode(self.rows))[:32]}.jsonl"

    def address(self, weights: Sequence[str], experiment: Experiment) -> str:
        """What decides the counts, in 64 hexadecimal digits: weights, images, and every setting between them."""
        single, adaptations = len(weights) == 1, [encode(member.adaptation) for member in self.way.members]
        # The order of the images is in the shards. A way to predict may ask for the names of the sources.
        asked: list[Any] = [weights[0] if single else list(weights), self.rows[0].content, self.rows[0].domain]
        asked += [list(self.splits), encode(self.inference), adaptations[0] if single else adaptations]
        asked += [list(experiment.source_names), encode(self.protocol), experiment.precision == "float64"]
        asked += [[[[batch.split, list(batch.positions)] for batch in shard] for shard in self.shards]]
        return fingerprint(asked)


def plan(experiment: Experiment, ways: Sequence[Way], data: str) -> list[Question]:
    """What it takes to judge ways of meeting the targets, and sources in-domain, by every inference.

    An inference that is not defined on a domain gets no row there.
    """
    label = experiment.protocol.label if experiment.protocol else AS_VALIDATED
    return _questions(
        judged(experiment, data), experiment.scored_inferences, ways, experiment.scored_protocol, label, experiment
    )


def plan_selecting(experiment: Experiment, ways: Sequence[Way], on: RowRole, data: str) -> list[Question]:
    """What it takes to choose among ways, by the sources' validation splits or the development domain."""
    inference = experiment.stages[-1].method.validation_inference()
    domains = selecting(experiment, on, data)
    return _questions(domains, [inference], ways, experiment.validation_protocol, AS_VALIDATED, experiment)


def _questions(
    domains: Iterable[tuple[RowRole, PreparedDomain, tuple[str, ...]]],
    inferences: Sequence[Inference],
    ways: Sequence[Way],
    protocol: Protocol,
    protocol_label: str,
    experiment: Experiment,
) -> list[Question]:
    questions = []
    empty = Confusion.empty(experiment.label_space.num_classes).to_json()
    for role, domain, splits in domains:
        for inference in inferences:
            if not inference.predicts(experiment.source_names, domain.name):
                continue
            for way in ways:
                for order in range(way.adaptation.num_orders):
                    batches = scoring_batches(domain, splits, way.adaptation, protocol, experiment.seed, order)
                    rows = tuple(
                        Row(
                            step=way.step,
                            role=role,
                            domain=domain.name,
                            split="+".join(splits),
                            inference=inference.label,
                            adaptation=variant,
                            order=order,
                            num_images=sum(len(batch.positions) for batch in batches),
                            counts=empty,
                            protocol=protocol_label,
                            content=domain.manifest.index_sha256,
                        )
                        for variant in way.variants
                    )
                    cut = tuple(shards(batches, way.adaptation))
                    questions.append(Question(rows, inference, way, splits, protocol, cut))
    return questions


class _Parts:
    """The records of a question's shards: those that are on disk, and those that come in.

    Parts lie in the folder of the question's way until all are there, and the joined record ever after.

    Args:
        question: what was asked.
        weights: SHA-256 of the weights of each member's checkpoint.
        experiment: what asks.
        lines: where its rows go.
    """

    def __init__(self, question: Question, weights: Sequence[str], experiment: Experiment, lines: _Lines) -> None:
        self.folder, self.question, self.experiment, self.lines = question.way.folder, question, experiment, lines
        self.whole = self.folder.records / f"{question.address(weights, experiment)[:32]}.npz"
        self.records = {}
        for shard in range(len(question.shards)):
            if self.path(shard).exists():
                self.records[shard] = Record.load(self.path(shard))
        self.resumed = sum(len(record.images) for record in self.records.values())
        self.counted = self.resumed
        self.running = sum((r.confusion() for r in self.records.values()), self._empty())

    def path(self, shard: int) -> Path:
        return self.whole.with_suffix("") / f"{shard:06d}.npz"

    def missing(self) -> list[int]:
        """Shards that are still to be scored."""
        return [] if self.complete else [s for s in range(len(self.question.shards)) if s not in self.records]

    @property
    def complete(self) -> bool:
        return len(self.records) == len(self.question.shards) or self.whole.exists()

    def add(self, shard: int, record: Record) -> None:
        """Write a shard's record; one that came before, from an actor that was thought dead, is the same and stays."""
        if shard in self.records:
            return
        record.save(self.path(shard))
        self.records[shard] = record
        self.counted += len(record.images)
        self.running = self.running + record.confusion()

    def progress(self) -> Scored:
        """How far the question is, by its last variant."""
        row, space = self.question.rows[-1], self.experiment.label_space
        several = len(self.experiment.scored_inferences) > 1
        name = f"{row.domain}, {f'{row.inference}, ' if several else ''}{row.adaptation}"
        if row.role in SELECTING:
            name = f"step {row.step}, {name}"
        score = self.running.score(space.task, self.experiment.scored_ids)
        return Scored(
            name + (f", order {row.order}" if row.order else ""), self.counted, self.resumed, row.num_images, score
        )

    def finish(self) -> None:
        """Put the joined record and the rows in place, and remove the parts."""
        if self.whole.exists():
            record = Record.load(self.whole)
        else:
            record = Record.joined([self.records[shard] for shard in range(len(self.question.shards))])
            record.save(self.whole)
        wanted = [
            replace(
                row,
                counts=record.confusion(variant).to_json(),
                histogram=Histogram(*record.calibration(variant).to_json()),
                record=str(self.whole.relative_to(self.folder.path)),
                cost=cost(record),
            )
            for variant, row in enumerate(self.question.rows)
        ]
        if len(self.question.way.members) > 1:
            write_whole(self.folder.path / "members.json", json.dumps(self._members(), indent=1))
        self.lines.put(wanted)
        shutil.rmtree(self.whole.with_suffix(""), ignore_errors=True)
        self.counted = self.question.rows[0].num_images
        self.running, self.records = record.confusion(), {}

    def _members(self) -> list[dict[str, Any]]:
        return [{"folder": member.folder.path.name, "step": member.step} for member in self.question.way.members]

    def _empty(self) -> Confusion:
        return Confusion.empty(self.experiment.label_space.num_classes)


def cost(record: Record) -> Cost:
    """The time of a prediction, and what it was measured on."""
    sizes = {(int(height), int(width)) for height, width in record.sizes}
    size = "{}x{}".format(*sizes.pop()) if len(sizes) == 1 else f"{len(sizes)} sizes"
    return Cost(float(np.median(record.seconds)), f"{' and '.join(sorted(set(record.measured_on)))}, {size}")


def judged(experiment: Experiment, data: str) -> Iterator[tuple[RowRole, PreparedDomain, tuple[str, ...]]]:
    """What a selected checkpoint is scored on: the targets, and sources in-domain, each with its splits."""
    for name in experiment.targets:
        domain = PreparedDomain.open(data, experiment.label_space, name)
        yield "target", domain, target_splits(experiment, domain)
    for name in dict.fromkeys(experiment.sources) if experiment.in_domain_splits else ():
        domain = PreparedDomain.open(data, experiment.label_space, name)
        yield "in-domain", domain, in_domain_splits(experiment, domain)


def selecting(
    experiment: Experiment, on: RowRole, data: str
) -> Iterator[tuple[RowRole, PreparedDomain, tuple[str, ...]]]:
    """Where a choice is made, as checkpoints are validated: sources with a validation split, or the development domain.

    Raises:
        ValueError: a role that must not choose, or no development domain.
    """
    if on not in SELECTING:
        raise ValueError(f"Rows of the role {on!r} choose nothing: it must be one of {', '.join(SELECTING)}.")
    if on == "development" and experiment.development is None:
        raise ValueError(f"{experiment.name!r} has no development domain to choose by: name one, or take the sources.")
    names = [experiment.development] if on == "development" else list(dict.fromkeys(experiment.sources))
    for name in filter(None, names):
        domain = PreparedDomain.open(data, experiment.label_space, name)
        if VALIDATION in domain.splits:
            yield on, domain, (VALIDATION,)
        elif on == "development":
            yield on, domain, tuple(domain.splits)


def in_domain_splits(experiment: Experiment, domain: PreparedDomain) -> tuple[str, ...]:
    """The held-out splits of a source that are scored.

    Raises:
        ValueError: the source lacks one, or it is a part of what the source trains on.
    """
    splits = experiment.in_domain_splits or ()
    trained = set(domain.sample_ids(TRAIN))
    for split in splits:
        if split not in domain.parts:
            raise ValueError(
                f"Experiment.in_domain_splits names {split!r}, but source {domain.name!r} has "
                f"{', '.join(domain.parts)}."
            )
        if trained.intersection(domain.sample_ids(split)):
            raise ValueError(
                f"Experiment.in_domain_splits names {split!r}, which in source {domain.name!r} has images of its "
                f"{TRAIN!r} split: an in-domain score is of images that did not train."
            )
    return splits


def target_splits(experiment: Experiment, domain: PreparedDomain) -> tuple[str, ...]:
    """The splits of a target that are scored: those the experiment names, else its validation split, else all it
    has."""
    if experiment.target_splits is not None:
        for split in experiment.target_splits:
            if split not in domain.parts:
                raise ValueError(
                    f"Experiment.target_splits names {split!r}, but target {domain.name!r} has "
                    f"{', '.join(domain.parts)}."
                )
        return experiment.target_splits
    return (VALIDATION,) if VALIDATION in domain.splits else tuple(domain.splits)


@dataclass
class _Held:
    """What an actor keeps for its next shard: one network and one predictor, for neighbours share them."""

    checkpoint: tuple[Path, int] | None = None
    model: Network | Extended | None = None
    asked: tuple[Any, ...] | None = None
    predictor: Predictor | None = None
    domains: dict[str, PreparedDomain] = field(default_factory=dict)


@dataclass(frozen=True)
class Scorer:
    """Scores shards of questions; builds networks and predictors where it runs, and keeps the latest."""

    questions: tuple[Question, ...]
    experiment: Experiment
    resources: Resources

    @cached_property
    def device(self) -> torch.device:
        torch.set_num_threads(self.resources.cpus_per_worker)
        return torch.device(self.resources.device)

    @cached_property
    def held(self) -> _Held:
        return _Held()

    def model(self, member: Member) -> Network | Extended:
        checkpoint, held = (member.folder.path, member.step), self.held
        if held.model is None or held.checkpoint != checkpoint:
            held.model = None
            held.model, held.checkpoint = member.folder.checkpoint_at(member.step).model(), checkpoint
        return held.model

    def predictor(self, question: Question) -> Predictor:
        """The predictor of a question's inference in its way, which has seen the domain if it needs to.

        One that keeps its state is made anew every time, for every stream begins with what was trained.
        """
        inference, way, domain = question.inference, question.way, question.rows[0].domain
        fits = any(member.adaptation.needs_fit for member in way.members)
        # A fit is to a domain's splits as they are shown.
        place = (domain, question.splits, question.protocol) if fits or inference.knows_domain else None
        asked, held = (inference, way.members, place), self.held
        if held.predictor is not None and held.asked == asked and not way.adaptation.keeps_state:
            return held.predictor
        held.predictor = None  # before the next is made, so that there are never two
        made = []
        for member in way.members:
            module = inference.module(self.model(member), self.experiment.source_names, domain)
            predictor = member.adaptation.predictor(module.to(self.device).eval())
            if fits:
                how, protocol = member.adaptation, question.protocol
                fit(predictor, self.domain(domain), question.splits, how, protocol, self.device, self.dtype)
            made.append(predictor)
        held.predictor, held.asked = made[0] if len(made) == 1 else EnsemblePredictor(made), asked
        return held.predictor

    def domain(self, name: str) -> PreparedDomain:
        if name not in self.held.domains:
            data, space = self.resources.data, self.experiment.label_space
            self.held.domains[name] = PreparedDomain.open(data, space, name)
        return self.held.domains[name]

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64 if self.experiment.precision == "float64" else torch.float32

    def __call__(self, job: dict[str, Any]) -> dict[str, Any]:
        """The record of one shard of one question."""
        device, question = self.device, self.questions[int(job["question"])]
        shard = question.shards[int(job["shard"])]
        domain = self.domain(question.rows[0].domain)
        counted = record(self.predictor(question), domain, shard, question.protocol, device, self.dtype)
        return {"question": job["question"], "shard": job["shard"], "record": counted}


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
    scored = dataset.map(
        cast(Any, Actor),  # a class, which Ray makes actors of; its annotation names functions only
        compute=ray.data.ActorPoolStrategy(size=size),
        num_cpus=resources.cpus_per_worker,
        num_gpus=resources.gpus_per_worker or None,
        accelerator_type=resources.accelerator_type,
        # Of each actor. Ray Data repeats the tasks of an actor that it may start again without a limit of their own.
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


def _asks(row: Row) -> tuple[Any, ...]:
    """What a row asks for, whatever was counted; last, of which images."""
    who = row.step, row.role, row.domain, row.split, row.inference, row.adaptation
    return *who, row.order, row.protocol, row.num_images, row.content


def _place(row: Row) -> tuple[Any, ...]:
    """What rows of one question have in common, of whatever images: the latest of them is kept."""
    return _asks(row)[:-2]
