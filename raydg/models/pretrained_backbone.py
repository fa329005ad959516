"""Backbones with published weights: how these, or those of a file, get into the encoder."""

import importlib
import logging
from abc import abstractmethod
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from types import ModuleType
from typing import ClassVar, Literal, Self

import torch

from raydg.licence import CommercialUse, Licence
from raydg.models.backbone import Backbone
from raydg.models.network import Encoder
from raydg.models.weights import IMAGENET, SUFFIXES, State, misfit, read, suffix
from raydg.values import subclasses

logger = logging.getLogger(__name__)

Library = Literal["torchvision", "timm", "transformers"]


@dataclass(frozen=True)
class PretrainedBackbone(Backbone):
    """A network of a library, with its layers, its initialisation and its key names."""

    weights: str | None = field(default=None, kw_only=True)
    """First weights of the encoder. None: random; "imagenet" ("pretrained" for DINOv2): the published ones, downloaded
    once by the library; otherwise the path of a .pth, .safetensors or .npz file with the library's key names. The
    file's head is left out."""

    library: ClassVar[Library]
    """Whose network it is."""
    published: ClassVar[str] = IMAGENET
    """The value of `weights` that stands for the published ones."""
    terms: ClassVar[tuple[str, CommercialUse]]
    """Under what terms these are published, and whether the terms allow commercial use."""
    head: ClassVar[str | tuple[str, ...]]
    """What the keys that a file may have and the encoder has not begin with: the layers that the decoder replaces."""

    def __post_init__(self) -> None:
        super().__post_init__()
        known = self.weights in (None, self.published) or suffix(str(self.weights)) in SUFFIXES
        self.require(known, "weights", f"None, {self.published!r} or a path that ends in {', '.join(SUFFIXES)}")

    @classmethod
    @abstractmethod
    def variants(cls) -> tuple[Self, ...]:
        """Every network of the family."""

    @abstractmethod
    def download(self) -> State:
        """The published weights, by the library's own code and in its cache.

        Raises:
            ValueError: they are not there yet and cannot be downloaded, or what is there cannot be read.
        """

    def translate(self, state: State) -> State:
        """The weights under the encoder's key names; those that are not the encoder's keep theirs."""
        return state

    def head_of(self, encoder: Encoder) -> str | tuple[str, ...]:
        """`head`, for networks with encoders of several kinds."""
        return self.head

    @property
    def name(self) -> str:
        """The value without its weights and what is at its default, as code: SqueezeNet('1.0')."""
        given = [(f, getattr(self, f.name)) for f in fields(self) if f.name != "weights"]
        told = [(f, value) for f, value in given if value != f.default]
        which = ", ".join(repr(value) if f.default is MISSING else f"{f.name}={value!r}" for f, value in told)
        return f"{type(self).__name__}({which})"

    @property
    def licences(self) -> tuple[Licence, ...]:
        if self.weights is None:
            return ()
        if self.weights == self.published:
            of = "ImageNet" if self.published == IMAGENET else self.published
            return (Licence(f"{of} weights of {self.name}", *self.terms),)
        return (Licence(f"weights {Path(self.weights).name} of {self.name}", "The file states none.", "unknown"),)

    def load_weights(self, encoder: Encoder) -> None:
        if self.weights is None:
            return
        if any(parameter.is_meta for parameter in encoder.parameters()):
            raise ValueError(f"{self.name} on the meta device holds no numbers: build it with pretrained=False.")
        state = self.translate(self.download() if self.weights == self.published else read(self.weights))
        head = self.head_of(encoder)
        if problem := misfit(encoder, state, head):
            advice = recognise(state, self.library)
            raise ValueError(f"The weights {self.weights!r} do not fit {self.name}: {problem}.{advice}")
        left_out = [key for key in state if key.startswith(head)]
        # A plain dict carries no format version, so torch supplies the num_batches_tracked that old files lack.
        encoder.load_state_dict({key: tensor for key, tensor in state.items() if key not in left_out})
        if left_out:
            logger.info("%s: the head starts anew; left out of %r: %s.", self.name, self.weights, ", ".join(left_out))

    def imported(self, module: str) -> ModuleType:
        """A module of the library, which need not be installed.

        Raises:
            ValueError: it is not.
        """
        try:
            return importlib.import_module(module)
        except ImportError as error:
            raise ValueError(
                f"{self.name} is built by {self.library}, which cannot be imported ({error}): "
                "pip install 'raydg[transformers]'."
            ) from error


def recognise(state: State, library: Library) -> str:
    """A sentence, after a blank, on whose weights these are; empty if no backbone of `library` has exactly these keys
    and shapes."""
    with torch.device("meta"):
        for family in subclasses(PretrainedBackbone):
            for variant in family.variants() if family.library == library else ():
                encoder, _ = variant.classifier(num_classes=1)
                if not misfit(encoder, state, variant.head_of(encoder)):
                    return f" They look like the weights of {variant.name}."
    return ""
