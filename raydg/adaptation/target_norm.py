"""TN, also called p-BN: target images normalised with the statistics of their own batch."""

from dataclasses import dataclass

import torch
from torch import Tensor

from raydg.adaptation.adaptation import Sees
from raydg.adaptation.batchnorm import BatchNorm, BatchNormAdaptation, Renormalization, image_statistics


@dataclass(frozen=True)
class TargetNorm(BatchNormAdaptation):
    """Target-specific normalisation: mean and biased variance over images and positions of the batch.

    TSMLDG section 3.3, Eq. 11 and 12; prediction-time BN, p-BN, of Nado et al. (2020). Dropout is off, running
    statistics stay as they are, nothing is carried from batch to batch. With `batch_size` 1 it is instance
    normalisation, of each image by itself however many share a forward.

    A batch may hold fewer images, as the last one of a size does, and is then normalised with those (the published
    code's way too). A channel with a single value, one image at 1 x 1 positions as after global pooling, has the
    variance 0: its output is the layer's bias.

    Raises:
        ValueError: `batch_size` or `orders` below 1. From a predictor: more images than `batch_size`, unless that is 1;
            or features (b, c) of a single image, whose statistics are undefined, naming the layer.
    """

    batch_size: int = 16
    """Images that share statistics, M of Eq. 11."""
    orders: int = 5
    """Random orders to average a score over, since it depends on who shares a batch. Batches of 1 need only one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.batch_size >= 1, "batch_size", "at least 1")
        self.require(self.orders >= 1, "orders", "at least 1")

    @property
    def label(self) -> str:
        return f"TN(batch_size={self.batch_size})"

    @property
    def sees(self) -> Sees:
        return "one image" if self.batch_size == 1 else "a batch"

    @property
    def num_orders(self) -> int:
        return 1 if self.batch_size == 1 else self.orders

    def check(self, name: str, layer: BatchNorm) -> None:
        """Every BatchNorm layer will do."""

    def statistics(self, features: Tensor, layer: Renormalization) -> tuple[Tensor, Tensor]:
        if self.batch_size == 1 or features.shape[0] == 1:
            return image_statistics(features, layer)
        if features.shape[0] > self.batch_size:
            raise ValueError(f"{self.label} got {features.shape[0]} images at once: pass at most {self.batch_size}.")
        dim = tuple(d for d in range(features.ndim) if d != 1)
        return torch.var_mean(features, dim=dim, correction=0, keepdim=True)
