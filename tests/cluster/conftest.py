import warnings
from collections.abc import Iterator

import pytest
import ray

from raydg.cluster import session


@pytest.fixture(scope="session")
def local_ray(object_store: str) -> Iterator[None]:
    """A cluster of this machine that all tests of a process share, for starting one takes longer than most of them. It
    has CPUs for two training workers or three actors, and for data; its workers have the credentials of the store."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray warns of itself
        session.start(worker_cpus=3)
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.shutdown()
