"""The network that every method trains: normalisation, encoder, decoder, and the way back to the images' own size."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raydg.types import Task

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Features = tuple[Tensor, ...]
"""From encoder to decoder: maps (b, c, h', w') from fine to coarse, the deepest last, or a single vector (b, c)."""

Upsampling = Callable[[Tensor, Sequence[int]], Tensor]
"""Maps (b, c, h', w') and a size (h, w) to maps (b, c, h, w)."""


def bilinear_aligned(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear interpolation that leaves the corner pixels' centres where they are (torch's `align_corners=True`)."""
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=True)


class Encoder(nn.Module):
    """What pretrained weights fill. Maps normalised images (b, 3, h, w) to `Features`."""

    channels: tuple[int, ...]
    """c of each of the features, in their order."""
    minimum_size: int = 1
    """Shortest side of an image, in pixels, that leaves anything of the deepest map."""


class Network(nn.Module):
    """Images in, logits out; every parameter belongs to `encoder` or to `decoder`, and to one of them only.

    Called with images (b, 3, h, w), float in [0, 1], it gives logits: (b, k, h, w) if it segments, (b, k) if it
    classifies. A forward changes nothing but BatchNorm's buffers, so `torch.func.functional_call` sees all the state
    there is. Mean and std are buffers that stay out of the state dict.

    Raises:
        ValueError: images of another shape or dtype, or smaller than the encoder can see.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: Encoder, decoder: nn.Module, upsample: Upsampling | None = None) -> None:
        """With `upsample`, which brings the decoder's maps to the images' size, it segments; without, it classifies."""
        super().__init__()
        self.task: Task = "classification" if upsample is None else "segmentation"
        self.encoder = encoder
        self.decoder = decoder
        self.upsample = upsample
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        self._check(images)
        logits = self.decoder(self.encoder((images - self.mean) / self.std))
        return logits if self.upsample is None else self.upsample(logits, images.shape[-2:])

    def _check(self, images: Tensor) -> None:
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"Images have the shape {tuple(images.shape)}: it must be (b, 3, h, w).")
        if not images.is_floating_point():
            raise ValueError(f"Images are {images.dtype}: they must be float in [0, 1]; Batch.to() converts them.")
        height, width = images.shape[-2:]
        if min(height, width) < self.encoder.minimum_size:
            raise ValueError(f"Images are {height} x {width}: each side must be at least {self.encoder.minimum_size}.")
