"""From the plan's draws to the arrays of an episode: read, decode, augment, stack."""

from functools import lru_cache

import numpy as np
import torch
from torchvision import tv_tensors

from raydg.augmentation import Sample
from raydg.experiment import Experiment
from raydg.licence import Licence
from raydg.plan import Plan
from raydg.shards import PreparedDomain
from raydg.types import Batch, Episode, Role

TRAIN, VALIDATION = "train", "val"

Arrays = dict[str, np.ndarray]


@lru_cache(maxsize=2)
def open_sources(experiment: Experiment, data: str) -> tuple[Plan, tuple[PreparedDomain, ...]]:
    """The plan of an experiment and its opened sources, once per process.

    Raises:
        ValueError: a source that is not prepared, is labelled otherwise, or has no training split.
    """
    domains = tuple(PreparedDomain.open(data, experiment.label_space, name) for name in experiment.sources)
    for domain in domains:
        if TRAIN not in domain.splits:
            raise ValueError(
                f"source {domain.name!r} has no {TRAIN!r} split, it has {', '.join(domain.splits)}: it cannot "
                "be trained on."
            )
    return Plan(experiment.seed, experiment.sampling, [domain.present(TRAIN) for domain in domains]), domains


def licences(experiment: Experiment, data: str) -> tuple[Licence, ...]:
    """Terms of all that the experiment's weights are made from: its sources, and the weights it starts with."""
    _, domains = open_sources(experiment, data)
    of_sources = (domain.manifest.licence for domain in domains)
    return tuple(dict.fromkeys((*of_sources, *experiment.model.backbone.licences)))


def assemble(experiment: Experiment, data: str, step: int, episode: int) -> Arrays:
    """The arrays of one episode, ready to travel.

    Returns:
        `images` (b, 3, h, w) uint8; `labels` (b, h, w) uint8 or (b,) int64; `domains` (b,) int64 sorted; `positions`
        (b,) int64 in each domain's training split; `meta_test` (d,) bool, the role of each source; `step` and
        `episode`, by which the receiver checks that it holds what the plan gives it.
    """
    plan, domains = open_sources(experiment, data)
    stage, _ = experiment.stage_at(step)
    roles = experiment.stages[stage].method.roles(len(domains), experiment.seed, step, episode)
    images, labels, draws = [], [], plan.draws(step, episode)
    for draw in draws:
        raw = domains[draw.source].read(TRAIN, draw.position)
        image = tv_tensors.Image(torch.from_numpy(raw.image).permute(2, 0, 1))
        label = raw.label if isinstance(raw.label, int) else tv_tensors.Mask(torch.from_numpy(raw.label))
        sample = experiment.augmentation.apply(Sample(image, label, draw.focus), draw.seed, roles[draw.source])
        images.append(sample.image.numpy())
        labels.append(sample.label if isinstance(sample.label, int) else sample.label.numpy())
    return {
        "images": np.stack(images),
        "labels": np.stack(labels),
        "domains": np.array([draw.source for draw in draws]),
        "positions": np.array([draw.position for draw in draws]),
        "meta_test": np.array([role == "meta-test" for role in roles]),
        "step": np.array(step),
        "episode": np.array(episode),
    }


def to_episode(arrays: Arrays) -> Episode:
    """The episode that the arrays of `assemble` hold, as tensors on the CPU."""
    tensors = {name: torch.from_numpy(arrays[name]) for name in ("images", "labels", "domains")}
    roles = tuple[Role, ...]("meta-test" if is_test else "meta-train" for is_test in arrays["meta_test"])
    return Episode(int(arrays["step"]), int(arrays["episode"]), Batch(**tensors), roles)
