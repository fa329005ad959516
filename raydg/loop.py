"""The training loop: stages, steps, checkpoints. It runs in this process or inside any torch.distributed group; Ray is
not needed.

It reads sources and the development domain, and has no way to a target: `train` opens no other domain.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from raydg.adaptation import TrainBN
from raydg.assembly import VALIDATION, assemble, licences, open_sources, to_episode
from raydg.checkpoint import Checkpoint, RunFolder, as_precise_as, read_metrics, write_whole
from raydg.evaluation import Confusion, Row, RowRole
from raydg.experiment import Experiment, Stage
from raydg.methods import Extended, Method, Objective
from raydg.models import Network
from raydg.optimization import Constant, set_lr
from raydg.reduction import Autocast, DDPReduction, ExactReduction, Reduction, all_reduce, episodes_of_rank
from raydg.scoring import count, scoring_batches
from raydg.selection import Rule, select
from raydg.shards import PreparedDomain
from raydg.types import Episode

Feed = Callable[[Experiment, int], Iterator[Episode]]
"""This rank's episodes of an experiment in order, from a step on: for every step those of `episodes_of_rank`."""


class Diverged(ArithmeticError):
    """A loss or a gradient that is not finite. Starting again would repeat it, for a step is a function of its
    number."""


def in_process_feed(data: str, rank: int = 0, world_size: int = 1) -> Feed:
    """A feed that assembles each episode in this process when it is asked for."""

    def feed(experiment: Experiment, start: int) -> Iterator[Episode]:
        for step in range(start, experiment.steps):
            for episode in episodes_of_rank(experiment.sampling.episodes_per_step, rank, world_size):
                yield to_episode(assemble(experiment, data, step, episode))

    return feed


def train(
    experiment: Experiment,
    folder: RunFolder,
    feed: Feed,
    data: str,
    device: torch.device,
    report: Callable[[int], None] = lambda step: None,
) -> None:
    """Train to the end from the newest whole checkpoint, or from the start where there is none.

    Args:
        experiment: what to train.
        folder: where checkpoints and metrics go; seen by every rank, written by rank 0.
        feed: makes this rank's episodes.
        data: folder of the prepared domains.
        device: this rank's.
        report: called on every rank after each checkpoint with its step.

    Raises:
        Diverged: a loss or gradient norm is not finite; names the step and the last good checkpoint.
        ValueError: more ranks than episodes, or a domain that is not as the experiment says.
    """
    newest = _newest_checkpoint(folder)
    start = newest.step if newest else 0
    if _rank_and_size()[0] == 0:
        _truncate_metrics(folder, start)
    training = _Training(experiment, folder, data, device, report, feed(experiment, start))

    model: Network | Extended = newest.model().train() if newest else build_network(experiment)
    first = 0  # global number of the stage's first step
    for number, stage in enumerate(experiment.stages):
        steps = range(max(start, first), first + stage.steps)
        if steps:
            resumed = newest is not None and start > first
            if not resumed:
                model = begin_stage(experiment, number, model)
            model = model.to(device)
            _check_same_start(model)
            if not resumed:
                training.start(number, model, feed)
            training.run(stage, model, first, steps, newest.training_state() if newest and resumed else {})
        first += stage.steps


@dataclass(frozen=True)
class _Training:
    """One rank's part of a training."""

    experiment: Experiment
    folder: RunFolder
    data: str
    device: torch.device
    report: Callable[[int], None]
    episodes: Iterator[Episode]

    def start(self, number: int, model: Network | Extended, feed: Feed) -> None:
        """What the method of stage `number` does before its first step, on episodes drawn for that alone."""
        initial = initial_pass(self.experiment, number, self.data)
        if initial is not None:
            episodes = (episode.to(self.device, self.dtype) for episode in feed(initial, 0))
            with autocast(self.experiment, self.device)():
                self.experiment.stages[number].method.start(model, episodes, all_reduce)

    def run(
        self, stage: Stage, model: Network | Extended, first: int, steps: range, optimizer_state: dict[str, Any]
    ) -> None:
        """Take a stage's steps, from the optimiser state of an interrupted one where there is any.

        Args:
            stage: the stage.
            model: what it trains.
            first: global number of the stage's first step.
            steps: global numbers of the steps that are left.
            optimizer_state: empty at the start of a stage.
        """
        objective = Objective(stage.method, model)
        network = objective.network
        extras = model.extras() if isinstance(model, Extended) else []
        optimizer = stage.optimizer.build(network.encoder.parameters(), network.decoder.parameters(), extras)
        if optimizer_state:
            optimizer.load_state_dict(optimizer_state)
        kind = ExactReduction if self.experiment.reduction == "exact" else DDPReduction
        precision = autocast(self.experiment, self.device)
        reduction = kind(objective, self.experiment.sampling.episodes_per_step, precision)
        every = self.experiment.validate_every
        for step in steps:
            objective.train()
            own = stage.extras_schedule.factor(step - first, stage.steps) if stage.extras_schedule else None
            seen = self.take(step, stage, reduction, optimizer, stage.schedule.factor(step - first, stage.steps), own)
            with precision():
                stage.method.after_step(model, seen, all_reduce)
            done = step + 1
            if done == steps.stop:
                self.save(done, stage.method, model, {})  # the next stage's optimiser starts afresh
            elif every and done % every == 0:
                self.save(done, stage.method, model, optimizer.state_dict())

    def take(
        self,
        step: int,
        stage: Stage,
        reduction: Reduction,
        optimizer: torch.optim.Optimizer,
        lr_factor: float,
        extras_lr_factor: float | None,
    ) -> list[Episode]:
        """One optimiser step, and its line in the record; the episodes where the method wants them again."""
        began = time.perf_counter()
        set_lr(optimizer, lr_factor, extras_lr_factor)
        seen: list[Episode] = []
        episodes = self.own_episodes(step, lr=stage.optimizer.lr * lr_factor)
        losses = reduction.step(_kept(episodes, seen) if stage.method.revisits_episodes else episodes)
        norm = float(torch.nn.utils.clip_grad_norm_(reduction.parameters, stage.clip_norm or math.inf))
        if not all(map(math.isfinite, [norm, *losses.values()])):
            raise Diverged(_divergence(step, losses, norm, self.folder))
        optimizer.step()
        if _rank_and_size()[0] == 0:
            line = {"step": step, **losses, "gradient_norm": norm, "lr_factor": lr_factor}
            _append(self.folder.metrics, line | {"seconds": time.perf_counter() - began})
        return seen

    @property
    def dtype(self) -> torch.dtype:
        """Of images."""
        return torch.float64 if self.experiment.precision == "float64" else torch.float32

    def own_episodes(self, step: int, lr: float) -> Iterator[Episode]:
        """This rank's episodes of a step, on its device, each asserted to be the one that the plan gives it.

        Torch is seeded for every episode by the episode's own numbers (dropout, sampled masks), whichever rank runs it.
        """
        for index in episodes_of_rank(self.experiment.sampling.episodes_per_step, *_rank_and_size()):
            episode = next(self.episodes)
            assert (episode.step, episode.index) == (step, index), (
                f"fed episode {episode.index} of step {episode.step}, the plan gives episode {index} of step {step}"
            )
            torch.manual_seed(self.experiment.fold("forward", step, index) >> 1)
            yield replace(episode.to(self.device, self.dtype), lr=lr)

    def save(self, step: int, method: Method, model: Network | Extended, optimizer_state: dict[str, Any]) -> None:
        """Validate, and write the checkpoint with its scores."""
        rows = validate(self.experiment, method, model, self.data, step, self.device)
        if _rank_and_size()[0] == 0:
            if measured := method.measurements(model):
                _append(self.folder.metrics, {"step": step - 1} | measured)
            terms = licences(self.experiment, self.data)
            self.folder.save(self.experiment, step, model, optimizer_state, rows, terms)
            prune(self.experiment, self.folder)
        self.report(step)


def build_network(experiment: Experiment) -> Network:
    """The network at the start of training, the same in every process."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(experiment.fold("network") >> 1)
        network = experiment.model.build(experiment.label_space)
    return as_precise_as(experiment, network)


def begin_stage(experiment: Experiment, stage: int, model: Network | Extended) -> Network | Extended:
    """What a stage trains, the same in every process: the network that there is, as the stage's method wants it."""
    network = model.network if isinstance(model, Extended) else model
    network.requires_grad_(True)  # what the stage before froze, copies that the method makes must not inherit
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(experiment.fold("stage", stage) >> 1)
        wrapped = experiment.stages[stage].method.wrap(
            network, len(experiment.sources), experiment.label_space.num_classes
        )
    return as_precise_as(experiment, wrapped)


def initial_pass(experiment: Experiment, stage: int, data: str) -> Experiment | None:
    """The experiment whose episodes the method of a stage sees before its first step, or None where it needs none.

    It draws with a seed of its own, and augments every image as for meta-training.
    """
    plan, _ = open_sources(experiment, data)
    begun = experiment.stages[stage]
    steps = begun.method.initial_steps(plan.steps_of_a_pass)
    if not steps:
        return None
    return replace(
        experiment,
        stages=(replace(begun, schedule=Constant(), extras_schedule=None, steps=steps),),
        augmentation=replace(experiment.augmentation, meta_test=None),
        seed=experiment.fold("start", stage) >> 1,
    )


def autocast(experiment: Experiment, device: torch.device) -> Autocast:
    """The context of every forward: bf16 autocast or nothing."""
    if experiment.precision == "bf16":
        return lambda: torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext


def validate(
    experiment: Experiment, method: Method, model: Network | Extended, data: str, step: int, device: torch.device
) -> list[Row]:
    """Scores on the sources' validation splits and the development domain, counted over all ranks: the method's own
    inference for it, and no adaptation."""
    rank, world_size = _rank_and_size()
    _, sources = open_sources(experiment, data)
    asked: list[tuple[RowRole, PreparedDomain]] = [
        ("source-validation", d) for d in dict.fromkeys(sources) if VALIDATION in d.splits
    ]
    if experiment.development:
        asked.append(("development", PreparedDomain.open(data, experiment.label_space, experiment.development)))
    adaptation, inference = TrainBN(), method.validation_inference()
    dtype = next(model.parameters()).dtype
    rows, predictor = [], None
    for role, domain in asked:
        if predictor is None or inference.knows_domain:
            predictor = adaptation.predictor(inference.module(model, experiment.source_names, domain.name))
        splits = (VALIDATION,) if VALIDATION in domain.splits else domain.splits
        protocol = experiment.validation_protocol
        batches = scoring_batches(domain, splits, adaptation, protocol, experiment.seed, 0)
        total = Confusion.empty(experiment.label_space.num_classes)
        for batch in batches[rank::world_size]:
            total = total + count(predictor, domain, batch, protocol, device, dtype)
        counts = torch.from_numpy(total.counts.copy()).to(device)
        if dist.is_initialized():
            dist.all_reduce(counts)
        rows.append(
            Row(
                step=step,
                role=role,
                domain=domain.name,
                split="+".join(splits),
                inference=inference.label,
                adaptation=adaptation.label,
                order=0,
                num_images=sum(domain.num_samples(split) for split in splits),
                counts=Confusion(counts.cpu().numpy()).to_json(),
            )
        )
    return rows


def prune(experiment: Experiment, folder: RunFolder) -> None:
    """Keep the best results by each rule that can be told from validation, and the last checkpoint of any stage, which
    resuming needs, as the experiment asks."""
    if experiment.keep_checkpoints is None:
        return
    rows = folder.validation_rows(experiment)
    steps = [checkpoint.step for checkpoint in folder.checkpoints()]
    keep = {steps[-1]}
    rules: list[Rule] = []
    if any(row.role == "source-validation" for row in rows):
        rules.append("source-validation")
    if any(row.role == "development" for row in rows):
        rules.append("development")
    for rule in rules:
        left = rows
        for _ in range(min(experiment.keep_checkpoints, len({row.step for row in rows}))):
            best = select(left, rule, experiment.label_space.task, classes=experiment.scored_ids).step
            keep.add(best)
            left = [row for row in left if row.step != best]
    folder.prune(keep)


def _kept(episodes: Iterator[Episode], seen: list[Episode]) -> Iterator[Episode]:
    """The episodes, which `seen` holds on to."""
    for episode in episodes:
        seen.append(episode)
        yield episode


def _rank_and_size() -> tuple[int, int]:
    """This process's rank and the number of workers: 0 of 1 without a process group."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def _newest_checkpoint(folder: RunFolder) -> Checkpoint | None:
    """The newest whole checkpoint as rank 0 sees it, so that all ranks start from the same one."""
    steps = [max((c.step for c in folder.checkpoints()), default=-1)]
    if dist.is_initialized():
        dist.broadcast_object_list(steps, src=0)
    return folder.checkpoint_at(steps[0]) if steps[0] >= 0 else None


def _check_same_start(network: nn.Module) -> None:
    """Nothing synchronises the weights at the start but the seed: make sure that it did."""
    if not dist.is_initialized():
        return
    sums = torch.stack([p.detach().double().sum() for p in network.parameters()])
    least, most = sums.clone(), sums.clone()
    dist.all_reduce(least, op=dist.ReduceOp.MIN)
    dist.all_reduce(most, op=dist.ReduceOp.MAX)
    assert torch.equal(least, most), "the ranks do not start from the same weights"


def _divergence(step: int, losses: dict[str, float], norm: float, folder: RunFolder) -> str:
    good = max((checkpoint.step for checkpoint in folder.checkpoints()), default=None)
    values = ", ".join(f"{name} {value:g}" for name, value in losses.items())
    advice = "Lower the learning rate, set Stage.clip_norm, or look at the episode of this step."
    last = f"The last good checkpoint is {folder.checkpoint_at(good).path}" if good else "There is no checkpoint yet"
    return f"training diverged at step {step}: {values}, gradient norm {norm:g}. {last}. {advice}"


def _truncate_metrics(folder: RunFolder, start: int) -> None:
    """Forget the steps after the checkpoint that training goes on from: they will be taken, and written, again."""
    kept = [line for line in read_metrics(folder.metrics) if line["step"] < start]
    write_whole(folder.metrics, "".join(json.dumps(line) + "\n" for line in kept))


def _append(path: Path, line: dict[str, float]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
