"""The network that every method trains: normalisation, encoder, decoder, and the way back to the images' own size."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raydg.types import Task

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Features = tuple[Tensor, ...]
"""From encoder to decoder: maps (b, c, h', w') from fine to coarse, the deepest last, or a single vector (b, c)."""

Transform = Callable[[Tensor], Tensor]
"""What a method does to the activations at a site."""

Upsampling = Callable[[Tensor, Sequence[int]], Tensor]
"""Maps (b, c, h', w') and a size (h, w) to maps (b, c, h, w)."""


def bilinear_aligned(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear interpolation that leaves the corner pixels' centres where they are (torch's `align_corners=True`)."""
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=True)


def bilinear(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear interpolation that leaves the corner pixels' outer edges where they are (`align_corners=False`)."""
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)


class Site(nn.Identity):
    """A named place in a network where a method may change the activations on their way: DMG masks them, Pin the Memory
    replaces them by what it reads. Without a transform it does nothing; it has no parameters and no buffers."""

    def __init__(self, channels: int, early: bool = False) -> None:
        """`channels` is c of the maps (b, c, h, w), or of the vectors (b, c), that pass. An `early` site sees style
        more than content: MixStyle's place, and none that DMG masks unless it is named."""
        super().__init__()
        self.channels = channels
        self.early = early
        self.transform: Transform | None = None

    def forward(self, activations: Tensor) -> Tensor:
        return activations if self.transform is None else self.transform(activations)


class Encoder(nn.Module):
    """What pretrained weights fill. Maps normalised images (b, 3, h, w) to `Features`.

    Its sites are the `Site`s among its modules, by the names that they have there.
    """

    channels: tuple[int, ...]
    """c of each of the features, in their order."""
    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Layer groups from the image on, such as ("stem", ("conv1", "bn1")), each with its modules' names: what can be
    frozen together."""
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
        logits = self.decoder(self._features(images))
        return logits if self.upsample is None else self.upsample(logits, images.shape[-2:])

    def with_auxiliary(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The logits that the call gives, and those of the auxiliary head, both (b, k, h, w) at the images' size.

        The encoder runs once. The auxiliary head is the decoder's `auxiliary`, which a call does not compute.

        Raises:
            ValueError: images that the call refuses, or a network without such a head.
        """
        auxiliary = getattr(self.decoder, "auxiliary", None)
        if auxiliary is None or self.upsample is None:
            raise ValueError("The network has no auxiliary head: build it from an architecture with auxiliary=True.")
        features, size = self._features(images), images.shape[-2:]
        return self.upsample(self.decoder(features), size), self.upsample(auxiliary(features), size)

    def _features(self, images: Tensor) -> Features:
        self._check(images)
        return self.encoder((images - self.mean) / self.std)

    @property
    def sites(self) -> dict[str, Site]:
        """Every site of encoder and decoder, by its name: the last part of its module's name."""
        return {name.rpartition(".")[2]: module for name, module in self.named_modules() if isinstance(module, Site)}

    @contextmanager
    def transformed(self, transforms: Mapping[str, Transform]) -> Iterator[None]:
        """Forwards in this block apply `transforms` at their sites.

        Raises:
            ValueError: the network has no site of that name.
        """
        sites = self.sites
        strangers = transforms.keys() - sites.keys()
        if strangers:
            raise ValueError(
                f"the network has no site {', '.join(sorted(strangers))}: it has {', '.join(sites) or 'none'}."
            )
        try:
            for name, transform in transforms.items():
                sites[name].transform = transform
            yield
        finally:
            for name in transforms:
                sites[name].transform = None

    def activations_at(self, site: str, images: Tensor) -> Tensor:
        """What arrives at a site, (b, c, h', w') or (b, c); nothing behind it is computed.

        Raises:
            ValueError: images that the call refuses, or no site of that name.
        """

        def stop(activations: Tensor) -> Tensor:
            raise _Arrived(activations)

        with self.transformed({site: stop}):
            try:
                self.decoder(self._features(images))
            except _Arrived as arrived:
                return arrived.activations
        raise AssertionError(f"the forward does not pass the site {site}")

    def _check(self, images: Tensor) -> None:
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"Images have the shape {tuple(images.shape)}: it must be (b, 3, h, w).")
        if not images.is_floating_point():
            raise ValueError(f"Images are {images.dtype}: they must be float in [0, 1]; Batch.to() converts them.")
        height, width = images.shape[-2:]
        if min(height, width) < self.encoder.minimum_size:
            raise ValueError(f"Images are {height} x {width}: each side must be at least {self.encoder.minimum_size}.")


class _Arrived(Exception):
    """Ends a forward at a site."""

    def __init__(self, activations: Tensor) -> None:
        super().__init__()
        self.activations = activations
