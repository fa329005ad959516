"""Which files each node of a cluster sees. The nodes import this module to answer, so it imports little."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

ANSWER_SECONDS = 300.0
"""How long a node may take, which starts a process and gets the job's environment first."""

Digests = dict[str, str | None]
"""SHA-256 of files by their path; None where there is none that can be read."""


def alive() -> list[dict]:
    """The cluster's nodes, as Ray describes them."""
    return [node for node in ray.nodes() if node["Alive"]]


def refuse_blind(seen: Mapping[str, str | None]) -> None:
    """Ask every node for the files that this process sees.

    Raises:
        ValueError: a node that does not answer, or that sees other files or none.
    """
    asked = [(node, ask(node["NodeID"], list(seen))) for node in alive()]
    for node, answer in asked:
        name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, {node['NodeID'][:8]})"
        try:
            there = ray.get(answer, timeout=ANSWER_SECONDS)
        except RayError as error:
            raise ValueError(f"node {name} does not run a task: {str(error).splitlines()[0]}") from None
        missed = [path for path, digest in seen.items() if there[path] != digest]
        if missed:
            raise ValueError(
                f"node {name} does not see what the head has in {Path(missed[0]).parent}: runs and prepared domains "
                "must lie in folders that every node of the cluster mounts (--runs, --data)."
            )


def ask(node: str, paths: Sequence[str]) -> ray.ObjectRef:
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(num_cpus=0, max_retries=0)(digests).options(scheduling_strategy=there).remote(paths)


def digests(paths: Sequence[str]) -> Digests:
    return {path: digest(path) for path in paths}


def digest(path: str) -> str | None:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return None
