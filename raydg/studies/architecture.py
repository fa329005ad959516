"""What a network is before it is trained: its parameters and its multiplications. Nothing is computed, memory is not
taken: tensors have shapes only."""

from functools import cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from raydg.experiment import Experiment
from raydg.loop import begin_stage
from raydg.methods import Extended
from raydg.models import Network


@cache
def _built(experiment: Experiment) -> Network | Extended:
    """What the last stage trains."""
    last = len(experiment.stages) - 1
    with torch.device("meta"):
        network = experiment.model.build(experiment.label_space, pretrained=False)
        return begin_stage(experiment, last, network)


def parameters(experiment: Experiment) -> float:
    """Millions of parameters of what the last stage trains: heads that only train are counted, as Pin the Memory's
    Table 8 counts them, and what the method has beside the network."""
    return sum(p.numel() for p in _built(experiment).parameters()) / 1e6


def multiplications(experiment: Experiment, height: int, width: int) -> float:
    """Billions of multiplications with an addition (GMAC) of convolutions, linear layers and matrix products when the
    method's own inference predicts an image of `height` x `width` pixels."""
    model = _built(experiment)
    inference = experiment.stages[-1].method.default_inference()
    with torch.device("meta"):
        module = inference.module(model, experiment.source_names, None).eval()
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), counter:
            module(torch.empty(1, 3, height, width))
    return counter.get_total_flops() / 2 / 1e9
