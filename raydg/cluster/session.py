"""The one place that joins or starts a Ray cluster."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import ray
import ray.data
import ray.util
from ray._private.state import state

# Workers share a machine with data tasks: a local cluster offers this many CPUs more than its workers take, else data
# would wait for a CPU that never comes free.
SPARE_CPUS = 2


def start(address: str | None = None, worker_cpus: int = 0, kills: bool = False) -> None:
    """Join the cluster at `address`, or start one in this machine; a session that is already open is used as it is.

    Args:
        address: as `ray.init` takes it, or None for a cluster of this process's own.
        worker_cpus: CPUs that training workers will hold; an own cluster offers at least these and some for data tasks.
        kills: whether trainings may be killed while others go on. What a killed one held is freed by an actor of Ray
            Train, which asks the dashboard whether the training lives; an own cluster has none otherwise.

    Raises:
        ValueError: the cluster, with all nodes that its autoscaler may start, has too few CPUs for the workers and one
            data task.
    """
    # Progress is ours to show: Ray Data's bars, and the lines it writes in their place, would print over it.
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    if not ray.is_initialized():
        os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        if address:
            ray.init(address, **quiet)
        else:
            cpus = max(os.cpu_count() or 1, worker_cpus + SPARE_CPUS)
            with _named():
                # "local": else Ray joins one that it finds running on this machine.
                ray.init("local", num_cpus=cpus, include_dashboard=kills, **quiet)
    # A cluster that grows on demand has no worker before somebody asks for one.
    grown = state.get_max_resources_from_cluster_config() or {}
    available = max(ray.cluster_resources().get("CPU", 0), grown.get("CPU", 0))
    if available < worker_cpus + 1:
        raise ValueError(
            f"the workers take {worker_cpus} CPUs and data needs one more, but the cluster has {available:g}. "
            "Use fewer workers, lower "
            "Resources.cpus_per_worker, or start Ray with more CPUs."
        )


@contextmanager
def _named() -> Iterator[None]:
    """While it lasts, what this process starts knows the cluster that begins here as its own.

    Ray Train's actor that frees what a killed training held otherwise looks for a cluster on the machine: of several it
    takes none, and of one that `ray start` began, or that jobs are submitted to, it asks after trainings that are not
    there and thinks them dead.
    """
    with socket.socket() as taken:
        taken.bind(("", 0))
        port = str(taken.getsockname()[1])
    given = {"RAY_GCS_SERVER_PORT": port, "RAY_ADDRESS": f"{ray.util.get_node_ip_address()}:{port}"}
    names = (*given, "RAY_API_SERVER_ADDRESS")  # the last is stronger than the address
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    os.environ.update(given)
    try:
        yield
    finally:
        for name in given:
            del os.environ[name]
        os.environ.update(before)
