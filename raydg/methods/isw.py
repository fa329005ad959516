"""Instance-selective whitening: only those covariances are suppressed that follow an image's colours."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from raydg.methods.iw import check_standardised, covariances, observed, standardised
from raydg.methods.method import Extended, Method, Total
from raydg.models import Architecture, Network
from raydg.types import Episode

RECOLOUR = v2.Compose([v2.ColorJitter(0.8, 0.8, 0.8, 0.3), v2.GaussianBlur(9, (0.15, 1.3))])
"""What makes an image's twin: strengths as in the published code (datasets/__init__.py); the blur's kernel holds more
than three of its widest standard deviation."""


@dataclass(frozen=True, kw_only=True)
class ISW(Method):
    """Instance-selective whitening (RobustNet, Choi et al., CVPR 2021), with ERM's loss.

        step < warmup_steps      loss = cross-entropy
        the last of these        V = mean over images of the variance of C between an image and its recoloured twin
        then                     mask = the pairs of channels that 3-means of V does not put into the lowest cluster
                                 loss = cross-entropy + penalty_weight mean over sites and images of
                                     the mean of |C| over the pairs in the mask

    C and the sites are as in `IW`. Twins are made on the device, by colour jitter and blur of the episode's images that
    follow from torch's generator, so no second image has to travel; C of both comes from the network in evaluation
    mode, without gradients. V is measured `trials` times over, each time clustered by itself, and a pair is in the mask
    if all trials say so. Variance, mask and count of steps are buffers: checkpoints have them, a resumed run goes on
    bit for bit.

    **Theirs and ours.** Read from the published code (train.py, network/deepv3.py, cov_settings.py). It stops after the
    sixth epoch, 4,650 steps of 16 for GTAV, to measure V ten times on 500 training images each, uncropped; we measure
    on the crops of the last steps of the warm-up, while the network learns on, since a method sees episodes only. The
    defaults reproduce start, trials and number of images at 16 images a step.

    Raises:
        ValueError: a number that is negative, or no steps to measure in; per-domain BatchNorm, or an encoder that does
            not learn.
    """

    penalty_weight: float = 0.6
    """Weight of the penalty (wt_reg_weight of their train_r50os16_gtav_isw.sh)."""
    warmup_steps: int = 4650
    """Steps before the penalty."""
    trials: int = 10
    """How many times V is measured and clustered."""
    trial_steps: int = 32
    """Steps whose images one measurement averages over; the last `trials` times as many of the warm-up measure."""
    clustered: Literal["matrix", "pairs"] = "matrix"
    """What 3-means sees of V: the whole matrix as the published code does, with zeros on the diagonal and below, which
    draw the lowest cluster down and so lengthen the mask; or the pairs alone."""

    loss_names: ClassVar[tuple[str, ...]] = ("loss", "cross_entropy", "penalty")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.penalty_weight >= 0, "penalty_weight", "0 or more")
        self.require(self.trials >= 1, "trials", "1 or more")
        self.require(self.trial_steps >= 1, "trial_steps", "1 or more")
        least = self.trials * self.trial_steps
        legal = f"at least trials x trial_steps = {least}, or there is no time to measure"
        self.require(self.warmup_steps >= least, "warmup_steps", legal)
        self.require(self.batchnorm == "pooled", "batchnorm", "'pooled'")
        self.require(self.trains != "decoder", "trains", "'both' or 'encoder': the penalty is the encoder's")

    def check_model(self, model: Architecture) -> None:
        super().check_model(model)
        check_standardised(self, model)

    def wrap(self, network: Network, num_sources: int, num_classes: int) -> "Selective":
        return Selective(network)

    def losses(self, network: nn.Module, episode: Episode) -> dict[str, Tensor]:
        selective = cast(Selective, network)
        plain, steps = selective.network, int(selective.steps)
        if steps < self.warmup_steps:
            error = self.loss(plain, episode.batch)
            if steps >= self.warmup_steps - self.trials * self.trial_steps:
                self.measure(selective, episode.batch.images)
            return {"loss": error, "cross_entropy": error.detach(), "penalty": torch.zeros_like(error)}
        with observed(plain, covariances) as found:
            error = self.loss(plain, episode.batch)
        penalties = []
        for name, c in found.items():
            mask = selective.mask(name)
            penalties.append((c.abs() * mask).sum(1).mean() / mask.sum().clamp(min=1))
        penalty = torch.stack(penalties).mean()
        return {
            "loss": error + self.penalty_weight * penalty,
            "cross_entropy": error.detach(),
            "penalty": penalty.detach(),
        }

    def measure(self, model: "Selective", images: Tensor) -> None:
        """Add the share of an episode's images (b, 3, h, w) to V."""
        with torch.no_grad(), evaluating(model.network) as network:
            seen = []
            for version in (images, recoloured(images)):
                with observed(network, covariances) as found:
                    network.encoder((version - network.mean) / network.std)
                seen.append(found)
        for name in seen[0]:
            # The variance of two numbers, over n - 1, is half the square of their difference.
            variances = (seen[0][name] - seen[1][name]).square() / 2
            model.variance(name).add_((variances.mean(0) / self.trial_steps).to(model.variance(name)))

    def after_step(self, model: Network | Extended, episodes: Sequence[Episode], total: Total) -> None:
        selective = cast(Selective, model)
        selective.steps += 1
        left = self.warmup_steps - int(selective.steps)
        if not 0 <= left < self.trials * self.trial_steps or left % self.trial_steps:
            return
        for name, site in standardised(selective.network).items():
            variances = selective.variance(name)
            zeros = site.channels * (site.channels + 1) // 2 if self.clustered == "matrix" else 0
            selective.mask(name).logical_and_(variances > lowest_of_three(variances, zeros))
            variances.zero_()


class Selective(Extended):
    """A network, and for every standardised site the variance of its covariances and the pairs that are selected."""

    steps: Tensor

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        for name, site in standardised(network).items():
            num_pairs = site.channels * (site.channels - 1) // 2
            self.register_buffer(f"variance_{name}", torch.zeros(num_pairs))
            self.register_buffer(f"mask_{name}", torch.ones(num_pairs, dtype=torch.bool))

    def variance(self, site: str) -> Tensor:
        """V of the trial that runs, (pairs,)."""
        return self.get_buffer(f"variance_{site}")

    def mask(self, site: str) -> Tensor:
        """Which pairs all trials so far have selected, (pairs,) bool."""
        return self.get_buffer(f"mask_{site}")


def recoloured(images: Tensor) -> Tensor:
    """Every image (b, 3, h, w) in [0, 1] with colours and sharpness of its own draw, from torch's CPU generator; in the
    images' own precision, whatever autocast says."""
    with torch.autocast(images.device.type, enabled=False):
        return torch.stack([RECOLOUR(image) for image in images])


@contextmanager
def evaluating(network: Network) -> Iterator[Network]:
    """The network in evaluation mode; afterwards every module is in the mode that it was in."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        yield network.eval()
    finally:
        for module, training in modes:
            module.training = training


def lowest_of_three(values: Tensor, zeros: int = 0) -> float:
    """The largest of the lowest of three clusters of some numbers >= 0, `zeros` more noughts among them.

    The clusters minimise the sum of squared distances from their means, exactly (kmeans1d, which the published code
    uses, does too). On a line clusters are runs of the sorted numbers; and where the first of two runs ends moves up
    with the end of the second, so that all ends are found in log n rounds of O(n).
    """
    ordered = np.concatenate([np.zeros(zeros), np.sort(values.double().cpu().numpy())])
    n = len(ordered)
    if n < 3:
        return float(ordered[0])
    # Centred, so that the sums of squares keep their digits.
    centred = ordered - ordered.mean()
    sums, squares = (np.concatenate([[0.0], np.cumsum(x)]) for x in (centred, centred**2))

    def cost(start: np.ndarray, stop: np.ndarray | int) -> np.ndarray:
        """Sum of squared distances from their mean of the numbers from `start` up to `stop`."""
        return squares[stop] - squares[start] - (sums[stop] - sums[start]) ** 2 / (stop - start)

    # first[i]: where the first of the best two runs of the first i numbers ends, for i = 2 to n - 1.
    first = np.zeros(n + 1, dtype=np.int64)
    least = np.full(n + 1, np.inf)
    first[1], first[n] = 1, n - 1
    stride = 1 << (n - 1).bit_length()
    while stride >= 1:
        ends = np.arange(stride, n, 2 * stride)
        ends = ends[ends >= 2]
        if len(ends):
            low = np.maximum(1, first[ends - stride])
            high = np.minimum(ends - 1, np.where(ends + stride < n, first[np.minimum(ends + stride, n)], n))
            counts = high - low + 1
            offsets = np.concatenate([[0], np.cumsum(counts)[:-1]])
            owner = np.repeat(np.arange(len(ends)), counts)
            split = np.arange(counts.sum()) - offsets[owner] + low[owner]
            costs = cost(np.zeros_like(split), split) + cost(split, ends[owner])
            least[ends] = np.minimum.reduceat(costs, offsets)
            best = np.flatnonzero(costs == least[ends][owner])
            owners, where = np.unique(owner[best], return_index=True)
            first[ends[owners]] = split[best[where]]
        stride //= 2
    second = np.arange(2, n)
    end = second[np.argmin(least[second] + cost(second, n))]
    return float(ordered[first[end] - 1])
