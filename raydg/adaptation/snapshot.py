"""Tensors as they were, kept in memory: how a predictor that learns forgets."""

from collections.abc import Iterable

import torch
from torch import Tensor


class Snapshot:
    """Values of some tensors, to be written back into the very same tensors."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self.tensors = list(tensors)
        self.values = [tensor.detach().clone() for tensor in self.tensors]

    @torch.no_grad()
    def restore(self) -> None:
        """Write the values back, and drop gradients."""
        for tensor, value in zip(self.tensors, self.values, strict=True):
            tensor.copy_(value)
            tensor.grad = None
