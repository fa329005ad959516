"""The one place that joins or starts a Ray cluster."""

import logging
import os

import ray
import ray.data
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
        local = (
            {}
            if address
            else {
                "num_cpus": max(os.cpu_count() or 1, worker_cpus + SPARE_CPUS),
                "include_dashboard": kills,
                "runtime_env": {"worker_process_setup_hook": _know_cluster},
            }
        )
        # "local": else Ray joins one that it finds running on this machine.
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **local)
    # A cluster that grows on demand has no worker before somebody asks for one.
    grown = state.get_max_resources_from_cluster_config() or {}
    available = max(ray.cluster_resources().get("CPU", 0), grown.get("CPU", 0))
    if available < worker_cpus + 1:
        raise ValueError(
            f"the workers take {worker_cpus} CPUs and data needs one more, but the cluster has {available:g}. "
            "Use fewer workers, lower "
            "Resources.cpus_per_worker, or start Ray with more CPUs."
        )


def _know_cluster() -> None:
    """Tell a worker's process which cluster it belongs to.

    Ray Train's actor that frees what a killed training held otherwise looks for one on the machine: of several it takes
    none, and of one that `ray start` began, or that jobs are submitted to, it asks after trainings that are not there
    and thinks them dead.
    """
    os.environ.pop("RAY_API_SERVER_ADDRESS", None)  # stronger than the other
    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
