"""Streams episodes to a worker: assembled by Ray Data tasks anywhere on the cluster, delivered in order to the rank
that owns them.

Every rank builds its own pipeline, from the step of the checkpoint it starts at, over exactly the episodes that it
owns. So there is no split to drop rows, no barrier between ranks, and nothing to resume: a restarted or resized group
asks for other rows.
"""

from collections.abc import Iterator

import ray.data

from raydg.assembly import assemble, to_episode
from raydg.cluster.outcome import Row, pack, unpack
from raydg.experiment import Experiment
from raydg.loop import Feed
from raydg.reduction import episodes_of_rank
from raydg.types import Episode

WINDOW = 2_000
"""Episodes that one pipeline plans: Ray Data holds a record of every block it will make, so a long training is several
pipelines."""


def ray_feed(data: str, rank: int, world_size: int) -> Feed:
    """A feed whose episodes are made by Ray Data tasks; each is one task and one block."""

    def feed(experiment: Experiment, start: int) -> Iterator[Episode]:
        def make(row: dict[str, int]) -> Row:
            return pack(assemble, experiment, data, int(row["step"]), int(row["episode"]))

        own = episodes_of_rank(experiment.sampling.episodes_per_step, rank, world_size)
        steps_per_window = max(1, WINDOW // len(own))
        for first in range(start, experiment.steps, steps_per_window):
            steps = range(first, min(first + steps_per_window, experiment.steps))
            rows = [{"step": step, "episode": episode} for step in steps for episode in own]
            dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map(make)
            # Without it blocks arrive in the order in which they are done.
            dataset.context.execution_options.preserve_order = True
            for row in dataset.iter_rows():
                yield to_episode(unpack(row))

    return feed
