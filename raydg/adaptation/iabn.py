"""IaBN: the statistics of training blended with those of the one image at hand."""

from dataclasses import dataclass

from torch import Tensor

from raydg.adaptation.adaptation import Sees
from raydg.adaptation.batchnorm import (
    BatchNorm,
    BatchNormAdaptation,
    Renormalization,
    image_statistics,
    per_channel,
    require_running_statistics,
)


@dataclass(frozen=True)
class IaBN(BatchNormAdaptation):
    """Instance-adaptive BatchNorm: mean and variance between those of training and those of the image.

    Self-adaptation section 3, Eq. 3 and 4. Per image and channel, with a = `instance_weight`, the mean is (1 - a) times
    the running mean plus a times the image's, the variance likewise. The image's variance over its positions is biased,
    the running one is what training left (PyTorch: unbiased). Eq. 4 also reads as if standard deviations were blended;
    the published code blends variances, and so does this. It takes statistics over the batch, though, which is the same
    for its batches of one; here they are each image's own however many share a forward.

    At a single position (1 x 1, as after global pooling) the image's variance is 0 and the variance used (1 - a) times
    the running one; with a = 1 the output is then the layer's bias.

    Raises:
        ValueError: `instance_weight` outside 0 to 1; a layer without running statistics. From a predictor: features
            (b, c), whose statistics per image are undefined. The last two name the layer.
    """

    instance_weight: float = 0.1
    """Share of the image in the statistics: 0 is t-BN, 1 instance normalisation (TN with batches of 1)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(0 <= self.instance_weight <= 1, "instance_weight", "between 0 and 1")

    @property
    def label(self) -> str:
        return f"IaBN(instance_weight={self.instance_weight:g})"

    @property
    def sees(self) -> Sees:
        return "one image"

    def check(self, name: str, layer: BatchNorm) -> None:
        require_running_statistics(name, layer)

    def statistics(self, features: Tensor, layer: Renormalization) -> tuple[Tensor, Tensor]:
        variance, mean = image_statistics(features, layer)
        return self.blend(layer.running_var, variance), self.blend(layer.running_mean, mean)

    def blend(self, source: Tensor, image: Tensor) -> Tensor:
        """Statistics (c,) of training and (b, c, 1, ...) of each image, weighted."""
        return (1 - self.instance_weight) * per_channel(source, image) + self.instance_weight * image


IABN = IaBN()
"""With self-adaptation's weight for ResNet-50."""
