import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from raydg.cluster import session


@pytest.fixture(scope="session")
def local_ray(object_store: str) -> Iterator[None]:
    """A cluster of this machine that all tests of a process share, for starting one takes longer than most of them. It
    has CPUs for two training workers or three actors, and for data; its workers have the credentials of the store, and
    import the tests' classes by name: one that is pickled by value can be met half made by another thread."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as inherited:
        inherited.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:1")  # of a cluster that jobs are submitted to
        inherited.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        warnings.simplefilter("ignore")  # Ray warns of itself
        session.start(worker_cpus=3, kills=True)
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.shutdown()
