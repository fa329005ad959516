"""Backbones that are torchvision's networks, and how pretrained weights get into them."""

import logging
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import nn

from raydg.licence import Licence
from raydg.models.backbone import Backbone
from raydg.models.network import Encoder
from raydg.models.weights import IMAGENET, SUFFIXES, State, download, misfit, read, suffix
from raydg.values import subclasses

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TorchvisionBackbone(Backbone):
    """A network of torchvision's, with its layers, its initialisation and its key names."""

    weights: str | None = field(default=None, kw_only=True)
    """First weights of the encoder. None: random; "imagenet": torchvision's IMAGENET1K_V1, downloaded once; otherwise
    the path of a .pth, .safetensors or .npz file with torchvision's key names. The file's head is left out."""

    head: ClassVar[str]
    """What the keys of the layers that the decoder replaces begin with."""

    def __post_init__(self) -> None:
        super().__post_init__()
        known = self.weights in (None, IMAGENET) or suffix(str(self.weights)) in SUFFIXES
        self.require(known, "weights", f"None, {IMAGENET!r} or a path that ends in {', '.join(SUFFIXES)}")

    @property
    @abstractmethod
    def builder(self) -> Callable[..., nn.Module]:
        """torchvision's function for the whole network."""

    @classmethod
    @abstractmethod
    def variants(cls) -> tuple[Self, ...]:
        """Every network of the family."""

    @property
    def name(self) -> str:
        """The value without its weights, as code: SqueezeNet('1.0')."""
        which = ", ".join(repr(getattr(self, f.name)) for f in fields(self) if f.name != "weights")
        return f"{type(self).__name__}({which})"

    @property
    def licences(self) -> tuple[Licence, ...]:
        if self.weights is None:
            return ()
        if self.weights == IMAGENET:
            terms = "torchvision, BSD-3-Clause, states none for its weights; the images of ImageNet are for research."
            return (Licence(f"ImageNet weights of {self.name}", terms, "unknown"),)
        return (Licence(f"weights {Path(self.weights).name} of {self.name}", "The file states none.", "unknown"),)

    def load_weights(self, encoder: Encoder) -> None:
        if self.weights is None:
            return
        if any(parameter.is_meta for parameter in encoder.parameters()):
            raise ValueError(f"{self.name} on the meta device holds no numbers: build it with pretrained=False.")
        state = download(self.builder) if self.weights == IMAGENET else read(self.weights)
        if problem := misfit(encoder, state, self.head):
            advice = recognise(state)
            raise ValueError(f"The weights {self.weights!r} do not fit {self.name}: {problem}.{advice}")
        left_out = [key for key in state if key.startswith(self.head)]
        # A plain dict carries no format version, so torch supplies the num_batches_tracked that old files lack.
        encoder.load_state_dict({key: tensor for key, tensor in state.items() if key not in left_out})
        if left_out:
            logger.info("%s: the head starts anew; left out of %r: %s.", self.name, self.weights, ", ".join(left_out))


def recognise(state: State) -> str:
    """A sentence, after a blank, on whose weights these are; empty if no backbone has exactly these keys and shapes."""
    with torch.device("meta"):
        for family in subclasses(TorchvisionBackbone):
            for variant in family.variants():
                encoder, _ = variant.classifier(num_classes=1)
                if not misfit(encoder, state, variant.head):
                    return f" They look like the weights of {variant.name}."
    return ""
