"""How the gradients of a step's episodes become one: the same step, whatever the number of workers.

A step has E episodes; rank r of W holds a contiguous slice of them. After `Reduction.step` every rank's parameters
carry the gradient of the mean loss over all E episodes, every buffer is the mean over the episodes (each of which
started from the step's own buffers), and the returned losses are those means. Two ways stand behind this one
interface:

- `DDPReduction`: torch's DistributedDataParallel, overlapped with backward. Equal across worker counts up to rounding.
- `ExactReduction`: one flat float64 accumulator and one all_reduce a step. A sum of a few float32 numbers is exact in
  float64 unless
  their sizes differ by more than about 2^26, so neither the slicing nor the order of reduction shows: float32 training
  is bit-identical for any W. It costs 8 bytes a parameter, twice the traffic, and the overlap.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from raydg.methods import Objective
from raydg.types import Episode

Autocast = Callable[[], AbstractContextManager]


def episodes_of_rank(num_episodes: int, rank: int, world_size: int) -> range:
    """The contiguous slice of a step's episodes that a rank owns; sizes differ by one at most and none is empty.

    Raises:
        ValueError: more ranks than episodes.
    """
    if world_size > num_episodes:
        raise ValueError(
            f"{world_size} workers for {num_episodes} episodes a step: a worker would have none. "
            f"Use at most {num_episodes} workers or raise Sampling.episodes_per_step."
        )
    share, rest = divmod(num_episodes, world_size)
    start = rank * share + min(rank, rest)
    return range(start, start + share + (rank < rest))


class Reduction(ABC):
    """Runs a rank's episodes of one step and reduces them over the ranks.

    Args:
        objective: the objective, in training mode, on its device.
        num_episodes: episodes of a step, over all ranks.
        autocast: makes the context in which every forward runs, for example bf16 autocast.
    """

    def __init__(self, objective: Objective, num_episodes: int, autocast: Autocast = nullcontext) -> None:
        self.objective = objective
        self.num_episodes = num_episodes
        self.autocast = autocast
        self.parameters = [p for p in objective.parameters() if p.requires_grad]
        self.buffers = list(objective.buffers())
        rank, self.world_size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        self.num_own = len(episodes_of_rank(num_episodes, rank, self.world_size))

    def step(self, episodes: Iterable[Episode]) -> dict[str, float]:
        """Run this rank's episodes; leave the mean gradient in `.grad` and the mean buffers in place on every rank.

        Returns:
            The mean of every loss over the step's episodes, equal on every rank.
        """
        start = [buffer.clone() for buffer in self.buffers]
        names = self.objective.method.loss_names
        # Buffers, then losses. Integer buffers (BatchNorm's counter) come out of the float64 mean unchanged: every
        # episode moves them alike.
        means = torch.zeros(sum(b.numel() for b in self.buffers) + len(names), dtype=torch.float64, device=self.device)
        self.begin()
        for number, episode in enumerate(episodes):
            _copy(start, self.buffers)
            losses = self.run(episode, last=number == self.num_own - 1)
            means += _flat([*self.buffers, *(losses[name].detach() for name in names)])
        gathered = self.finish(means) / self.num_episodes
        _unflatten(gathered, self.buffers)
        return dict(zip(names, gathered[-len(names) :].tolist(), strict=True))

    @property
    def device(self) -> torch.device:
        return self.parameters[0].device

    @abstractmethod
    def begin(self) -> None:
        """Clear the gradients of the step before."""

    @abstractmethod
    def run(self, episode: Episode, last: bool) -> dict[str, Tensor]:
        """Forward and backward of one episode; `last` of this rank's."""

    @abstractmethod
    def finish(self, sums: Tensor) -> Tensor:
        """Put the mean gradient in place and return `sums` added over the ranks."""


class DDPReduction(Reduction):
    """DistributedDataParallel averages over ranks, so an episode's loss is weighted by workers / episodes; a rank's
    last backward communicates, those before it only accumulate (`no_sync`)."""

    def __init__(self, objective: Objective, num_episodes: int, autocast: Autocast = nullcontext) -> None:
        super().__init__(objective, num_episodes, autocast)
        self.parallel = DistributedDataParallel(objective) if dist.is_initialized() else None
        if self.parallel:
            # Every episode starts from buffers that are equal on all ranks already. The attribute, for torch 2.15 warns
            # of the argument, and what it names instead is not in 2.11.
            self.parallel.broadcast_buffers = False

    def begin(self) -> None:
        self.objective.zero_grad(set_to_none=True)

    def run(self, episode: Episode, last: bool) -> dict[str, Tensor]:
        with self.parallel.no_sync() if self.parallel and not last else nullcontext():
            with self.autocast():
                losses = (self.parallel or self.objective)(episode)
            (losses["loss"] * (self.world_size / self.num_episodes)).backward()
        return losses

    def finish(self, sums: Tensor) -> Tensor:
        return all_reduce(sums)


class ExactReduction(Reduction):
    """Adds unscaled episode gradients in float64, with buffers and losses behind them, in one all_reduce."""

    def __init__(self, objective: Objective, num_episodes: int, autocast: Autocast = nullcontext) -> None:
        super().__init__(objective, num_episodes, autocast)
        size = sum(p.numel() for p in self.parameters)
        self.gradients = torch.zeros(size, dtype=torch.float64, device=self.device)

    def begin(self) -> None:
        self.gradients.zero_()

    def run(self, episode: Episode, last: bool) -> dict[str, Tensor]:
        self.objective.zero_grad(set_to_none=True)
        with self.autocast():
            losses = self.objective(episode)
        losses["loss"].backward()
        offset = 0
        for p in self.parameters:
            if p.grad is not None:
                self.gradients[offset : offset + p.numel()] += p.grad.flatten()
            offset += p.numel()
        return losses

    def finish(self, sums: Tensor) -> Tensor:
        flat = all_reduce(torch.cat([self.gradients, sums]))
        mean = flat[: len(self.gradients)].div_(self.num_episodes)
        gradients = [torch.empty_like(p) for p in self.parameters]
        _unflatten(mean, gradients)
        for p, gradient in zip(self.parameters, gradients, strict=True):
            p.grad = gradient
        return flat[len(self.gradients) :]


def _flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten().double() for tensor in tensors])


def _unflatten(flat: Tensor, targets: list[Tensor]) -> None:
    """Copy the front of a flat vector into tensors of any shape and type."""
    offset = 0
    for target in targets:
        target.copy_(flat[offset : offset + target.numel()].view_as(target))
        offset += target.numel()


def _copy(sources: list[Tensor], targets: list[Tensor]) -> None:
    for source, target in zip(sources, targets, strict=True):
        target.copy_(source)


def all_reduce(tensor: Tensor) -> Tensor:
    """The sum of a tensor over the ranks, in place."""
    if dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor
