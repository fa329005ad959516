"""Where and how wide an experiment runs. Nothing here decides a result or enters a fingerprint."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from raydg.values import Value


@dataclass(frozen=True, kw_only=True)
class Resources(Value):
    """Workers, their hardware, and the folders that all of them see.

    Raises:
        ValueError: a negative number, or actors that score where everything runs in this process.
    """

    workers: int = 1
    """Training workers; 0 trains in this process, without Ray."""
    cpus_per_worker: int = 1
    """CPUs, and torch threads, of each worker. Sums in another number of threads differ in the last bits."""
    gpus_per_worker: float = 0.0
    """GPUs of each worker; 0 trains on the CPU, over gloo; any other number over NCCL."""
    accelerator_type: str | None = None
    """Ray's name of the accelerator that workers must be placed on (`H100`), or None for any."""
    scorers: int | None = None
    """Actors that score targets, each with a worker's hardware; None: as many as workers, or none where this process
    does everything."""
    max_failures: int = 3
    """How many times a group of workers that died is started again, from the newest checkpoint; and an actor that
    scores, with the shard that it had. -1: without limit."""
    address: str | None = None
    """Ray cluster to join (`auto`, `ray://host:10001`), or None for one on this machine."""
    data: str = "data"
    """Folder of the prepared domains, or its URI (s3://bucket/data); on several machines one that all of them see."""
    runs: str = "runs"
    """Folder of checkpoints and scores; on several machines one that all of them see."""
    tracking_uri: str | None = None
    """MLflow server or store; None: a sqlite file in `runs`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.workers >= 0, "workers", "0 or more")
        self.require(self.cpus_per_worker >= 1, "cpus_per_worker", "1 or more")
        self.require(self.gpus_per_worker >= 0, "gpus_per_worker", "0 or more")
        self.require(self.scorers is None or self.scorers >= 1, "scorers", "None or 1 or more")
        self.require(
            self.scorers is None or self.workers > 0,
            "scorers",
            "None where workers is 0, which scores in this process: set Resources.workers to 1 or more for actors",
        )
        self.require(self.max_failures >= -1, "max_failures", "-1 (no limit) or more")

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        return "cuda" if self.gpus_per_worker else "cpu"

    def resolved(self) -> "Resources":
        """With absolute folders, for Ray's workers start in another directory, and the tracking store spelled out."""
        runs = os.path.abspath(os.path.expanduser(self.runs))
        return replace(
            self,
            data=self.data if "://" in self.data else os.path.abspath(os.path.expanduser(self.data)),
            runs=runs,
            tracking_uri=self.tracking_uri or f"sqlite:///{Path(runs) / 'mlflow.db'}",
        )
