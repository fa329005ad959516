"""Trains an experiment: in this process, or with Ray Train on any number of workers. One loop, `raydg.loop.train`,
either way."""

from typing import Any

import ray.train
import ray.train.torch
import torch
from ray.train import ControllerError, FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchConfig, TorchTrainer

from raydg import loop
from raydg.assembly import open_sources
from raydg.checkpoint import RunFolder
from raydg.cluster import session
from raydg.cluster.data import ray_feed
from raydg.experiment import Experiment
from raydg.reduction import episodes_of_rank
from raydg.resources import Resources

LASTING = (ValueError, loop.Diverged)
"""Errors that would come again: a group of workers is not started again for them."""


def train(experiment: Experiment, resources: Resources) -> RunFolder:
    """Train to the end and return the run's folder; what an earlier, interrupted call has done is not done again.

    The caller holds the folder's `lock`.

    Raises:
        ValueError: more workers than episodes a step, folders or data that do not fit, or a cluster that is too small.
        Diverged: a loss or gradient that is not finite.
    """
    resources = resources.resolved()
    if resources.workers:
        episodes_of_rank(experiment.sampling.episodes_per_step, 0, resources.workers)
    open_sources(experiment, resources.data)  # a domain that is missing or wrong is noticed before a worker starts
    folder = RunFolder.of(experiment, resources.runs).open(experiment)
    if folder.is_complete(experiment):
        return folder
    if resources.workers == 0:
        torch.set_num_threads(resources.cpus_per_worker)
        feed = loop.in_process_feed(resources.data)
        loop.train(experiment, folder, feed, resources.data, torch.device(resources.device))
        return folder

    session.start(resources.address, resources.workers * resources.cpus_per_worker)
    per_worker = {"CPU": resources.cpus_per_worker, "GPU": resources.gpus_per_worker}
    trainer = TorchTrainer(
        _train_worker,
        train_loop_config={"experiment": experiment, "folder": folder, "resources": resources},
        scaling_config=ScalingConfig(
            num_workers=resources.workers,
            use_gpu=resources.gpus_per_worker > 0,
            resources_per_worker={name: amount for name, amount in per_worker.items() if amount},
            accelerator_type=resources.accelerator_type,
        ),
        torch_config=TorchConfig(backend="nccl" if resources.gpus_per_worker else "gloo"),
        run_config=RunConfig(
            name="ray",
            storage_path=str(folder.path),
            failure_config=FailureConfig(max_failures=resources.max_failures),
            callbacks=[_EndAtOnce()],
        ),
    )
    try:
        trainer.fit()
    except ControllerError as error:
        if isinstance(error.controller_failure, LASTING):
            raise error.controller_failure from None
        raise
    return folder


class _EndAtOnce(UserCallback):
    """Ends the run with a lasting error of a rank. The others may wait for that rank in a collective: Ray's controller,
    where this is called, ends them with itself, for it starts a group again after errors of workers, not after its
    own."""

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        for error in worker_exceptions.values():
            if isinstance(error, LASTING):
                raise error


def _train_worker(config: dict[str, Any]) -> None:
    """One rank."""
    experiment, folder, resources = config["experiment"], config["folder"], config["resources"]
    context = ray.train.get_context()
    torch.set_num_threads(resources.cpus_per_worker)
    feed = ray_feed(resources.data, context.get_world_rank(), context.get_world_size())
    loop.train(experiment, folder, feed, resources.data, ray.train.torch.get_device(), report=_report)


def _report(step: int) -> None:
    """Tell the controller how far the group is; checkpoints are raydg's own (see raydg.checkpoint)."""
    ray.train.report({"step": step})
