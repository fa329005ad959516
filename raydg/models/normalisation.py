"""What may stand in BatchNorm's place in a backbone: instance normalisation, alone or mixed with other statistics."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raydg.models.backbone import Normalisation
from raydg.models.network import Site

Norm = Literal["batch", "ibn-a", "ibn-b", "robustnet", "switchable", "batch-instance"]
"""Which layers normalise in an encoder.

batch: BatchNorm everywhere.
ibn-a, ibn-b: IBN-Net (Pan et al., "Two at Once", ECCV 2018), as its authors' ibnnet/resnet_ibn.py builds it. a: the
    first normalisation of every block of layer1 to layer3 is an `InstanceBatchNorm`. b: instance normalisation with
    scale and shift for the stem's (last) BatchNorm, and after the sum, before the ReLU, of the last block of layer1 and
    of layer2. RobustNet's table calls b "IBN-Net" (its train.py: wt_layer 0 0 4 4 4 0 0).
robustnet: as ibn-b without scale and shift, what the whitening losses `IW` and `ISW` look at (RobustNet, Choi et al.,
    CVPR 2021; network/Resnet.py, wt_layer 0 0 1 1 1 0 0 and 0 0 2 2 2 0 0).
switchable, batch-instance: `SwitchableNorm`, `BatchInstanceNorm` everywhere.
"""


def layer_of(norm: Norm) -> Callable[[int], nn.Module]:
    """The layer, made from a number of channels, of all places that `norm` does not single out."""
    layers: dict[str, Callable[[int], nn.Module]] = {"switchable": SwitchableNorm, "batch-instance": BatchInstanceNorm}
    return layers.get(norm, nn.BatchNorm2d)


def normalisation_of(norm: Norm) -> Normalisation:
    """Whether there are BatchNorm layers, whose statistics an adaptation can replace. The two that mix statistics are
    none: with others in one part of the mixture only, they would not be what the adaptation says."""
    return "none" if norm in ("switchable", "batch-instance") else "batch"


class InstanceNorm(nn.InstanceNorm2d):
    """torch's, which refuses to train on a single position (1 x 1 maps); here that position becomes the shift."""

    def forward(self, input: Tensor) -> Tensor:
        cudnn = torch.backends.cudnn.enabled
        return torch.instance_norm(input, self.weight, self.bias, None, None, True, 0.0, self.eps, cudnn)


class InstanceBatchNorm(nn.Module):
    """IBN: the first half of the channels has instance normalisation with scale and shift, the others BatchNorm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.sizes = (channels // 2, channels - channels // 2)
        # The authors' names, so that their files fit.
        self.IN = InstanceNorm(self.sizes[0], affine=True)
        self.BN = nn.BatchNorm2d(self.sizes[1])

    def forward(self, maps: Tensor) -> Tensor:
        first, second = maps.split(self.sizes, dim=1)
        return torch.cat([self.IN(first), self.BN(second)], dim=1)


class InstanceStandardisation(Site):
    """Instance normalisation without scale and shift; its output is a site."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.norm = InstanceNorm(channels)

    def forward(self, activations: Tensor) -> Tensor:
        return super().forward(self.norm(activations))


def standardisation(place: str, channels: int) -> nn.Sequential:
    """An `InstanceStandardisation` that is the site `standardised_<place>`."""
    return nn.Sequential(OrderedDict({f"standardised_{place}": InstanceStandardisation(channels)}))


class Mixture(nn.modules.batchnorm._BatchNorm):
    """What the two mixtures share: BatchNorm's parameters, buffers and key names, so that its weights fit.

    It is no `BatchNorm2d`: adaptations of BatchNorm leave it alone. `track_running_stats` means what it means there.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    @property
    def tracks(self) -> bool:
        """Whether this forward moves the running statistics."""
        return self.training and self.track_running_stats


class SwitchableNorm(Mixture):
    """Switchable Normalisation (Luo et al., ICLR 2019; self-adaptation's Table 2).

        y = weight (x - mean) / sqrt(variance + eps) + bias
        mean = sum over IN, LN, BN of softmax(mean_weight) mean_k,   variance likewise with its own softmax

    IN's statistics are over the positions of an image and channel, LN's over an image, BN's over the batch and
    positions of a channel, or in evaluation mode the running ones. The shares start equal (their
    models/switchable_norm.py).

    **Theirs and ours.** Their code takes IN's variance over n - 1; we take all three over n, as BatchNorm does. Their
    default there sums the batches' statistics for an average after training; we keep BatchNorm's moving average, which
    that code has as an option, with torch's momentum and its unbiased running variance, so that BatchNorm's weights
    mean the same.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.mean_weight, self.var_weight = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))

    def forward(self, input: Tensor) -> Tensor:
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        var_in, mean_in = torch.var_mean(x, (2, 3), correction=0, keepdim=True)  # (b, c, 1, 1)
        mean_ln, var_ln = pooled(mean_in, var_in, dim=1)
        if self.training:
            mean_bn, var_bn = pooled(mean_in, var_in, dim=0)
            if self.tracks:
                self.track(mean_bn.flatten(), var_bn.flatten(), count=x.numel() // x.shape[1])
        else:
            mean_bn, var_bn = self.running_mean.view(1, -1, 1, 1), self.running_var.view(1, -1, 1, 1)
        m, v = self.mean_weight.softmax(0), self.var_weight.softmax(0)
        mean = m[0] * mean_in + m[1] * mean_ln + m[2] * mean_bn
        variance = v[0] * var_in + v[1] * var_ln + v[2] * var_bn
        scale = torch.rsqrt(variance + self.eps) * self.weight.view(1, -1, 1, 1)
        return torch.addcmul(self.bias.view(1, -1, 1, 1), x - mean, scale).to(input.dtype)

    @torch.no_grad()
    def track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics, as BatchNorm does, towards those of a batch with `count` values a channel."""
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
        self.running_var.lerp_((variance * (count / max(1, count - 1))).to(self.running_var), self.momentum)


def pooled(means: Tensor, variances: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of equally large groups together, whose own lie along `dim`."""
    mean = means.mean(dim, keepdim=True)
    return mean, (variances + (means - mean).square()).mean(dim, keepdim=True)


class BatchInstanceNorm(Mixture):
    """Batch-Instance Normalisation (Nam and Kim, NeurIPS 2018; self-adaptation's Table 2).

        y = weight (gate BN(x) + (1 - gate) IN(x)) + bias,    one gate in [0, 1] for every channel, at first 1

    BN and IN have no scale and shift of their own; so BatchNorm's weights fit and predict the same at first.

    **Theirs and ours.** Their code (main.py) cuts the gates off after the optimiser's step. Here a forward cuts them
    off and a gradient that would push one further out is dropped, so nothing but the optimiser moves parameters. Their
    gates learn ten times as fast as the rest, without weight decay; here all parameters of an encoder are treated
    alike.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.gate = nn.Parameter(torch.ones(channels))

    def forward(self, input: Tensor) -> Tensor:
        gate = _Bounded.apply(self.gate)
        assert isinstance(gate, Tensor)
        if self.tracks:
            self.num_batches_tracked.add_(1)
        used = not self.training or self.track_running_stats
        batch = F.batch_norm(
            input,
            self.running_mean if used else None,
            self.running_var if used else None,
            self.weight * gate,
            self.bias,
            self.training,
            self.momentum or 0.0,
            self.eps,
        )
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        variance, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
        scale = torch.rsqrt(variance + self.eps) * (self.weight * (1 - gate)).view(1, -1, 1, 1)
        return batch + ((x - mean) * scale).to(input.dtype)


class _Bounded(torch.autograd.Function):
    """Values cut off at 0 and 1. The gradient passes, but for what descent would follow further out."""

    @staticmethod
    def forward(ctx, gate: Tensor) -> Tensor:
        ctx.save_for_backward(gate)
        return gate.clamp(0, 1)

    @staticmethod
    def backward(ctx, grad_output: Tensor) -> Tensor:
        (gate,) = ctx.saved_tensors
        outwards = ((gate >= 1) & (grad_output < 0)) | ((gate <= 0) & (grad_output > 0))
        return grad_output.masked_fill(outwards, 0)
