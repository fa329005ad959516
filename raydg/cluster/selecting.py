"""Scores adaptations where they may be chosen: on the sources' validation splits or the development domain, with one
checkpoint, by the fleet that scores targets. No target can be asked for.

Choosing how BatchNorm normalises on the sources' own validation splits favours what changes nothing: these images are
what the running statistics were measured on. A development domain can tell more.
"""

from raydg.assembly import VALIDATION
from raydg.checkpoint import RunFolder
from raydg.cluster.evaluate import Watch, score_selecting
from raydg.evaluation import Row, RowRole
from raydg.experiment import Experiment
from raydg.resources import Resources


def selection_rows(
    experiment: Experiment,
    folder: RunFolder,
    step: int,
    resources: Resources,
    on: RowRole,
    watch: Watch = lambda scored: None,
) -> list[Row]:
    """Scores of a checkpoint under the experiment's adaptations, by the inference that validates and shown as in
    validation.

    What has been scored before is read, not run, and a scoring that was killed goes on where it stopped.

    Args:
        experiment: whose checkpoint.
        folder: of its training.
        step: of the checkpoint.
        resources: what it runs on.
        on: "source-validation" or "development", whichever decides; the other is not scored.
        watch: is told of progress.

    Returns:
        Rows of the role `on`, one per domain, variant of an adaptation and order.

    Raises:
        ValueError: another role, no such checkpoint, or nothing to score on.
    """
    rows = score_selecting(experiment, folder, [step], experiment.adaptations, on, resources, watch)
    if not rows:
        raise ValueError(
            f"{experiment.name!r} has no image that may choose an adaptation: its sources have no {VALIDATION!r} "
            "split. Prepare one, or choose on a development domain."
        )
    return rows
