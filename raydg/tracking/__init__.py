"""MLflow: the record of a study, and models made of its checkpoints."""

from raydg.tracking.models import checkpoint_of_run, export, register
from raydg.tracking.runs import FLUSH_SECONDS, SweepTracker, Tracker, attach, row_metrics
from raydg.tracking.store import unreachable

__all__ = [
    "FLUSH_SECONDS",
    "SweepTracker",
    "Tracker",
    "attach",
    "checkpoint_of_run",
    "export",
    "register",
    "row_metrics",
    "unreachable",
]
