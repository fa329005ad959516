"""The training loop: stages, steps, checkpoints. It runs in this process or inside any torch.distributed group; Ray is not needed.

It reads sources and the development domain, and has no way to a target: `train` opens no other domain.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.distributed as dist

from raydg.adaptation import TrainBN
from raydg.assembly import VALIDATION, assemble, open_sources, to_episode
from raydg.checkpoint import Checkpoint, RunFolder, as_precise_as, read_metrics, write_whole
from raydg.evaluation import Confusion, Row
from raydg.experiment import Experiment
from raydg.methods import Objective
from raydg.models import Network
from raydg.optimization import set_lr
from raydg.reduction import Autocast, DDPReduction, ExactReduction, episodes_of_rank
from raydg.scoring import count, scoring_batches
from raydg.selection import select
from raydg.shards import PreparedDomain
from raydg.types import Episode

Feed = Callable[[int], Iterator[Episode]]
"""From a step on, this rank's episodes in order: for every step those of `episodes_of_rank`."""


class Diverged(ArithmeticError):
    """A loss or a gradient that is not finite. Starting again would repeat it, for a step is a function of its number."""


def in_process_feed(experiment: Experiment, data: str, rank: int = 0, world_size: int = 1) -> Feed:
    """A feed that assembles each episode in this process when it is asked for."""

    def feed(start: int) -> Iterator[Episode]:
        for step in range(start, experiment.steps):
            for episode in episodes_of_rank(experiment.sampling.episodes_per_step, rank, world_size):
                yield to_episode(assemble(experiment, data, step, episode))

    return feed


def checked(feed: Iterator[Episode], step: int, own: range) -> Iterator[Episode]:
    """The next episodes of a feed, each asserted to be the one that the plan gives this rank at this step."""
    for index in own:
        episode = next(feed)
        assert (episode.step, episode.index) == (step, index), (
            f"fed episode {episode.index} of step {episode.step}, the plan gives episode {index} of step {step}"
        )
        yield episode


def train(
    experiment: Experiment,
    folder: RunFolder,
    feed: Feed,
    data: str,
    device: torch.device,
    report: Callable[[int], None] = lambda step: None,
) -> int:
    """Train to the end from the newest whole checkpoint, or from the start where there is none.

    Args:
        experiment: what to train.
        folder: where checkpoints and metrics go; seen by every rank, written by rank 0.
        feed: this rank's episodes.
        data: folder of the prepared domains.
        device: this rank's.
        report: called on every rank after each checkpoint with its step.

    Returns:
        The number of steps taken in all.

    Raises:
        Diverged: a loss or gradient norm is not finite; names the step and the last good checkpoint.
        ValueError: more ranks than episodes, or a domain that is not as the experiment says.
    """
    rank, world_size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    own = episodes_of_rank(experiment.sampling.episodes_per_step, rank, world_size)
    dtype = torch.float64 if experiment.precision == "float64" else torch.float32

    newest = _newest_checkpoint(folder)
    network = build_network(experiment, newest).to(device)
    start = newest.step if newest else 0
    _check_same_start(network)
    if rank == 0:
        _truncate_metrics(folder, start)
    episodes = feed(start)
    state = newest.training_state() if newest else None

    first = 0  # global number of the stage's first step
    for stage in experiment.stages:
        end = first + stage.steps
        if start >= end:
            first = end
            continue
        objective = Objective(stage.method, network).to(device)
        optimizer = stage.optimizer.build(network.encoder.parameters(), network.decoder.parameters())
        if state and start > first:
            optimizer.load_state_dict(state)
        reduction_type = ExactReduction if experiment.reduction == "exact" else DDPReduction
        reduction = reduction_type(objective, experiment.sampling.episodes_per_step, autocast(experiment, device))
        for step in range(max(start, first), end):
            began = time.perf_counter()
            objective.train()
            lr_factor = stage.schedule.factor(step - first, stage.steps)
            set_lr(optimizer, lr_factor)
            losses = reduction.step(
                _seeded(experiment, (e.to(device, dtype) for e in checked(episodes, step, own)))
            )
            limit = stage.clip_norm or math.inf
            norm = float(torch.nn.utils.clip_grad_norm_(reduction.parameters, limit))
            if not all(map(math.isfinite, [norm, *losses.values()])):
                raise Diverged(_divergence(step, losses, norm, folder))
            optimizer.step()
            if rank == 0:
                seconds = time.perf_counter() - began
                _append(folder.metrics, {"step": step, **losses, "gradient_norm": norm, "lr_factor": lr_factor, "seconds": seconds})
            done = step + 1
            if done == end or (experiment.validate_every and done % experiment.validate_every == 0):
                rows = validate(experiment, network, data, done, device)
                if rank == 0:
                    # The next stage's optimiser starts afresh, so a stage's last checkpoint carries none.
                    folder.save(experiment, done, network, optimizer.state_dict() if done < end else {}, rows)
                    prune(experiment, folder)
                report(done)
        first = end
    return experiment.steps


def build_network(experiment: Experiment, checkpoint: Checkpoint | None = None) -> Network:
    """The network at the start of training, the same in every process, or as a checkpoint left it."""
    if checkpoint:
        return checkpoint.network().train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(experiment.fold("network") >> 1)
        network = experiment.model.build(experiment.label_space)
    return as_precise_as(experiment, network)


def autocast(experiment: Experiment, device: torch.device) -> Autocast:
    """The context of every forward: bf16 autocast or nothing."""
    if experiment.precision == "bf16":
        return lambda: torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext


def validate(experiment: Experiment, network: Network, data: str, step: int, device: torch.device) -> list[Row]:
    """Scores on the sources' validation splits and the development domain, counted over all ranks; plain inference."""
    rank, world_size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    _, sources = open_sources(experiment, data)
    asked = [("source-validation", d) for d in dict.fromkeys(sources) if VALIDATION in d.splits]
    if experiment.development:
        asked.append(("development", PreparedDomain.open(data, experiment.label_space, experiment.development)))
    adaptation = TrainBN()
    predictor = adaptation.predictor(network)
    dtype = next(network.parameters()).dtype
    rows = []
    for role, domain in asked:
        splits = (VALIDATION,) if VALIDATION in domain.splits else domain.splits
        batches = scoring_batches(domain, splits, adaptation, experiment.evaluation_size, experiment.seed, 0)
        total = Confusion.empty(experiment.label_space.num_classes)
        for batch in batches[rank::world_size]:
            total = total + count(predictor, domain, batch, experiment.evaluation_size, device, dtype)
        counts = torch.from_numpy(total.counts.copy()).to(device)
        if dist.is_initialized():
            dist.all_reduce(counts)
        rows.append(
            Row(
                step=step,
                role=role,
                domain=domain.name,
                split="+".join(splits),
                adaptation=adaptation.label,
                order=0,
                num_images=sum(domain.num_samples(split) for split in splits),
                counts=Confusion(counts.cpu().numpy()).to_json(),
            )
        )
    return rows


def prune(experiment: Experiment, folder: RunFolder) -> None:
    """Keep the best checkpoints by each rule that can be told from validation, and the last, as the experiment asks."""
    if experiment.keep_checkpoints is None:
        return
    rows = folder.validation_rows()
    steps = [checkpoint.step for checkpoint in folder.checkpoints()]
    keep = {steps[-1]}
    rules = ["source-validation"] if any(row.role == "source-validation" for row in rows) else []
    rules += ["development"] if experiment.development else []
    for rule in rules:
        left = rows
        for _ in range(min(experiment.keep_checkpoints, len(steps))):
            best = select(left, rule, experiment.label_space.task).step
            keep.add(best)
            left = [row for row in left if row.step != best]
    folder.prune(keep)


def _seeded(experiment: Experiment, episodes: Iterator[Episode]) -> Iterator[Episode]:
    """Seed torch (dropout, sampled masks) for every episode by its own numbers, whichever rank runs it."""
    for episode in episodes:
        torch.manual_seed(experiment.fold("forward", episode.step, episode.index) >> 1)
        yield episode


def _newest_checkpoint(folder: RunFolder) -> Checkpoint | None:
    """The newest whole checkpoint as rank 0 sees it, so that all ranks start from the same one."""
    steps = [max((c.step for c in folder.checkpoints()), default=-1)]
    if dist.is_initialized():
        dist.broadcast_object_list(steps, src=0)
    return folder.checkpoint_at(steps[0]) if steps[0] >= 0 else None


def _check_same_start(network: Network) -> None:
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
