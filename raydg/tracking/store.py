"""The MLflow server or store that is written to and read from."""

import os
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from raydg.locking import held

SQLITE = "sqlite:///"
"""What stands before a file in the URI of a store."""

# A server that is down should cost a request seconds, not MLflow's default of minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")


def unreachable(uri: str) -> str | None:
    """Why a tracking server or store cannot be used from this process, or None if it answers."""
    try:
        MlflowClient(uri).search_experiments(max_results=1)
    except (MlflowException, OSError, ImportError) as fault:  # the last where a database's driver is not installed
        return str(fault).partition("\n")[0]
    return None


def opened(uri: str | None) -> MlflowClient:
    """A client that writes. Who opens a sqlite file first makes its tables, which MLflow lets two processes begin at
    once, and then one of them fails: here they do it one after the other."""
    if uri is None or not uri.startswith(SQLITE):
        return MlflowClient(uri)
    with held(Path(f"{uri.removeprefix(SQLITE)}.lock"), wait=True):
        return MlflowClient(uri)
