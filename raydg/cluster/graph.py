"""Runs parts that wait for one another as Ray tasks, as many at once as the cluster has room for. A part that fails
takes those with it that need it; the others are done."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from raydg.cluster import session
from raydg.errors import MENDABLE
from raydg.resources import Resources


@dataclass(frozen=True)
class Part:
    """One part of a graph. What it leaves behind is on disk, so that a part that is run again does nothing twice."""

    name: str
    """Unlike every other part's."""
    run: Callable[[], Any]
    """What is called in a task; its result, and what it holds, must be picklable."""
    after: frozenset[str] = frozenset()
    """Parts that must have ended, well or not."""
    needs: frozenset[str] = frozenset()
    """Parts that must have ended well."""
    writes: frozenset[str] = frozenset()
    """Folders that no other part may write to meanwhile."""


@dataclass(frozen=True)
class Failed:
    """Why a part did not end well."""

    message: str
    defect: str | None = None
    """The traceback of an error that no user can mend."""


@dataclass(frozen=True)
class _Done:
    result: Any


def run_parts(
    parts: Sequence[Part],
    resources: Resources,
    ended: Callable[[Part, Any], None],
    concurrent: int | None = None,
) -> dict[str, Failed]:
    """Run all parts that can be run, in an order that fits; what a dead worker was doing is started again.

    A part has a worker's CPUs and GPUs where `resources.workers` is 0, for then it trains and scores by itself. Else it
    only drives workers of its own, and takes no CPU; then as many parts run at once as there is room for their workers
    and a data task each.

    Args:
        parts: each after those that it names.
        resources: resolved; joins or starts a cluster.
        ended: told of every part that ended well, with its result, in this process.
        concurrent: most parts at once; None: as many as there is room for.

    Returns:
        The parts that did not end well, by name.

    Raises:
        ValueError: a part names one that is not there, or parts wait for each other.
    """
    names = {part.name for part in parts}
    for part in parts:
        if unknown := sorted((part.after | part.needs) - names):
            raise ValueError(f"{part.name!r} waits for {', '.join(unknown)}, which is no part.")
    if not parts:
        return {}
    workers = max(resources.workers, resources.scorers or 0)
    # A part that books for itself needs no further CPU for data.
    cpus = workers * resources.cpus_per_worker if workers else resources.cpus_per_worker - 1
    session.start(resources.address, cpus, kills=True)
    attempt = ray.remote(_attempt).options(**_share(resources))
    waiting = {part.name: part for part in parts}
    running: dict[Any, Part] = {}
    well: set[str] = set()
    failed: dict[str, Failed] = {}
    while waiting or running:
        for part in list(waiting.values()):
            if lost := sorted(part.needs & failed.keys()):
                del waiting[part.name]
                failed[part.name] = Failed(f"not run, for it needs {', '.join(lost)}")
            elif (part.after | part.needs) <= well | failed.keys():
                free = not any(part.writes & other.writes for other in running.values())
                if free and len(running) < _room(resources, concurrent):
                    del waiting[part.name]
                    running[attempt.remote(part.run)] = part
        if not running:
            if waiting and not any((p.after | p.needs) <= well | failed.keys() for p in waiting.values()):
                raise ValueError(f"{', '.join(sorted(waiting))} wait for each other.")
            continue
        done, _ = ray.wait(list(running), num_returns=1)
        for reference in done:
            part = running.pop(reference)
            outcome = _outcome(reference)
            if isinstance(outcome, Failed):
                failed[part.name] = outcome
            else:
                well.add(part.name)
                ended(part, outcome.result)
    return failed


def _attempt(run: Callable[[], Any]) -> _Done | Failed:
    """Call it; an error that a user can mend is a result, for another try would end alike."""
    try:
        return _Done(run())
    except MENDABLE as error:
        return Failed(str(error))


def _outcome(reference: Any) -> _Done | Failed:
    try:
        return ray.get(reference)
    except RayTaskError as error:
        return Failed(f"{type(error.cause).__name__}: {error.cause}", defect=str(error))
    except RayError as error:  # a worker that died more often than it may
        return Failed(str(error).strip().splitlines()[0])


def _share(resources: Resources) -> dict[str, Any]:
    """What a part books of the cluster."""
    retries = {"max_retries": resources.max_failures}
    if resources.workers:
        return {"num_cpus": 0, **retries}
    booked: dict[str, Any] = {"num_cpus": resources.cpus_per_worker, **retries}
    if resources.gpus_per_worker:
        booked["num_gpus"] = resources.gpus_per_worker
    if resources.accelerator_type:
        booked["accelerator_type"] = resources.accelerator_type
    return booked


def _room(resources: Resources, concurrent: int | None) -> float:
    """Most parts at once: Ray queues those that book for themselves, the others must leave their workers room."""
    if concurrent is not None:  # nodes may come
        return concurrent
    if resources.workers == 0:
        return float("inf")
    workers, there = max(resources.workers, resources.scorers or 0), ray.cluster_resources()
    fits = int(there.get("CPU", 0) // (workers * resources.cpus_per_worker + 1))
    if resources.gpus_per_worker:
        # Shares such as 0.1 add up to a little more than a GPU.
        fits = min(fits, math.floor(there.get("GPU", 0) / (workers * resources.gpus_per_worker) + 1e-9))
    return max(1, fits)
