"""What a submitted job makes sure of, on the cluster, before it runs: that it is the job that was printed, and that
what it makes outlives it."""

from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from rich.console import Console

import raydg
from raydg.cluster import nodes, session
from raydg.experiment import Study
from raydg.overview import overview
from raydg.resources import Resources
from raydg.shards.manifest import MANIFEST
from raydg.storage import Place
from raydg.submission import HEAD_TRACKING_URI, refuse_unfit
from raydg.tracking import unreachable


def admitted(study: Study, resources: Resources, expected: str, console: Console) -> Resources:
    """The resources of a submitted job, with its tracking server.

    Args:
        expected: fingerprint of the study that was printed at submission.

    Raises:
        ValueError: another study was built here; a folder or tracking URI that would not outlive the job; a server
            that does not answer; a folder that a node of the cluster does not see.
    """
    refuse_another(study, expected, console)
    refuse_unfit(resources)
    uri = resources.tracking_uri or HEAD_TRACKING_URI
    fault = unreachable(uri)
    if fault:
        raise ValueError(
            f"no tracking server answers at {uri}, as the head sees it ({fault}): start one there, as cluster.yaml "
            "does (`mlflow server --host 127.0.0.1 --port 5000 …`), or give the URI of another with --tracking-uri."
        )
    session.start(resources.address)
    check_folders(study, resources)
    return replace(resources, tracking_uri=uri)


def refuse_another(study: Study, expected: str, console: Console) -> None:
    """Raise a ValueError if the study is not the one with the fingerprint `expected`; what it is is printed."""
    if study.fingerprint() != expected:
        console.print(overview(study))
        raise ValueError(
            f"the study above, built on the cluster, is {study.fingerprint()}, and {expected} was printed at "
            f"submission: nothing was run. The job file, or the raydg that it imports (here {raydg.__file__}), gives "
            "something else here; look for settings that it reads from its environment."
        )


def check_folders(study: Study, resources: Resources) -> None:
    """Ask every node of the cluster whether it sees the runs, and the same prepared domains, as this one.

    What can be known is said of the nodes that are there: one that comes later, or leaves, was not asked. A domain that
    is not prepared is the command's own error.

    Raises:
        ValueError: a folder that cannot be made, or a node that sees another.
    """
    runs = Path(resources.runs)
    if not runs.parent.is_dir():
        raise ValueError(f"--runs {runs}: there is no {runs.parent} on the head; mount it on every node.")
    runs.mkdir(exist_ok=True)
    if len(nodes.alive()) == 1:
        return
    marker = runs / f".probe-{uuid4().hex}"
    marker.touch()
    try:
        nodes.refuse_blind(nodes.digests([str(marker)]) | _manifests(study, resources.data))
    finally:
        marker.unlink()


def _manifests(study: Study, data: str) -> nodes.Digests:
    """Digests of the manifests of the study's domains in a folder; none for an object store, which all nodes share."""
    root = Place.at(data)
    if not root.is_local:
        return {}
    paths = set()
    for experiment in study.experiments:
        names = {*experiment.sources, *experiment.targets, experiment.development} - {None}
        paths |= {(root / experiment.label_space.name / str(name) / MANIFEST).path for name in names}
    return {path: digest for path, digest in nodes.digests(sorted(paths)).items() if digest}
