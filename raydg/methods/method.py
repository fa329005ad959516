"""What a training method is, and the module that turns one into a single differentiable forward."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raydg.methods.inference import Inference, Plain
from raydg.models import Architecture, Network
from raydg.types import Batch, Episode, Role, ignore_label
from raydg.values import Value

Part = Literal["encoder", "decoder", "both"]
Forward = Callable[[Tensor], Tensor]
Total = Callable[[Tensor], Tensor]
"""Adds a tensor over all ranks: what it returns is alike on each."""


class Extended(nn.Module):
    """A network with what a method learns or remembers beside it. All of its state is saved in checkpoints.

    Parameters outside `network` form the optimiser's group "extras".
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def extras(self) -> list[nn.Parameter]:
        """The parameters that are the method's own."""
        of_network = {id(parameter) for parameter in self.network.parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in of_network]


@dataclass(frozen=True, kw_only=True)
class Method(Value, ABC):
    """A training objective: its fields are the hyper-parameters, `losses` is the mathematics.

    A method holds no state; what it is evaluated on comes in the episode. `losses` may differentiate inside itself
    (`torch.autograd.grad`), for the whole of it is one forward to DistributedDataParallel.
    """

    trains: Part = "both"
    """Which part of the network learns. The other keeps its parameters and its BatchNorm statistics."""
    batchnorm: Literal["pooled", "per-domain"] = "pooled"
    """Whose images share BatchNorm statistics in a forward: all domains of it (as the published codes do), or each its
    own."""

    loss_names: ClassVar[tuple[str, ...]] = ("loss",)
    """Keys of what `losses` returns; "loss" is differentiated, the others are logged. May be a property."""
    revisits_episodes: ClassVar[bool] = False
    """Whether `after_step` needs the step's episodes, which then stay in memory until it has run."""
    minimum_sources: ClassVar[int] = 1
    """Fewest source domains, pseudo-domains counted, that the method is defined for."""
    inferences: ClassVar[tuple[type[Inference], ...]] = (Plain,)
    """Ways to predict with what it trains; the first, with its defaults, is its own."""

    def roles(self, num_sources: int, seed: int, step: int, episode: int) -> tuple[Role, ...]:
        """The role of every source domain in an episode: a pure function of its arguments. By default all are
        meta-train."""
        return ("meta-train",) * num_sources

    def check_sources(self, num_sources: int) -> None:
        """Raise a ValueError if the method is not defined for so many source domains."""
        if num_sources < self.minimum_sources:
            raise ValueError(
                f"{type(self).__name__} needs at least {self.minimum_sources} source domains, it has "
                f"{num_sources}. With one "
                "dataset, list it twice and give the meta-test role a stronger augmentation (Augmentation.meta_test)."
            )

    def check_model(self, model: Architecture) -> None:
        """Raise a ValueError if a network of this architecture lacks what the method needs, or has an auxiliary head
        that the method does not train; builds at most a shape."""
        weight, has_head = getattr(self, "auxiliary_weight", 0.0), bool(getattr(model, "auxiliary", False))
        if weight and not has_head:
            raise ValueError(
                f"{type(self).__name__}.auxiliary_weight is {weight}, but {type(model).__name__} has no auxiliary "
                "head: set its auxiliary=True, where it has that field."
            )
        if has_head and not weight:
            fix = "give it a weight" if hasattr(self, "auxiliary_weight") else "set it False"
            raise ValueError(
                f"{type(model).__name__}.auxiliary is True, but {type(self).__name__} has no loss for that head, which "
                f"would never learn: {fix}."
            )

    @property
    def needs_every_source(self) -> bool:
        """Whether every episode must hold images of every source."""
        return self.minimum_sources > 1

    @property
    def smallest_forward(self) -> Literal["one domain", "all domains"]:
        """Whose images the smallest forward of an episode holds."""
        return "one domain" if self.batchnorm == "per-domain" else "all domains"

    def wrap(self, network: Network, num_sources: int, num_classes: int) -> Network | Extended:
        """The network with what the method learns or remembers beside it; by default the network alone.

        Random numbers come from torch's global generator, which the caller seeds.

        Raises:
            ValueError: the network lacks what the method needs, such as a site.
        """
        return network

    def initial_steps(self, steps_of_a_pass: int) -> int:
        """How many steps' worth of episodes `start` is to see, where so many show every training image once."""
        return 0

    def start(self, model: Network | Extended, episodes: Iterable[Episode], total: Total) -> None:
        """What comes before a stage's first step, such as filling a memory.

        `episodes` are this rank's of `initial_steps`, augmented as for meta-training; `total` adds over the ranks.
        """

    def after_step(self, model: Network | Extended, episodes: Sequence[Episode], total: Total) -> None:
        """What follows the optimiser's step, such as a moving average; alike on every rank.

        `episodes` are this rank's of the step where `revisits_episodes`, else empty; `total` adds over the ranks.
        """

    def default_inference(self) -> Inference:
        """The method's own way to predict, for validation and wherever an experiment names none."""
        return self.inferences[0]()

    def validation_inference(self) -> Inference:
        """How checkpoints are validated: by default as the method itself predicts."""
        return self.default_inference()

    def measurements(self, model: Network | Extended) -> dict[str, float]:
        """What is worth logging beside the losses at every checkpoint, under names of letters, digits and `_-./`."""
        return {}

    @abstractmethod
    def losses(self, network: nn.Module, episode: Episode) -> dict[str, Tensor]:
        """Scalars under the keys `loss_names`, each a mean over the labelled pixels (or images) that it looks at.

        `network` is what `wrap` made.
        """

    def risks(self, forward: Forward, episode: Episode) -> Tensor:
        """Cross-entropy of each source in an episode, each from a forward of its own: (d,), in the sources' order."""
        return torch.stack([cross_entropy(forward(b.images), b.labels) for b in episode.batch.by_domain()])

    def loss(self, forward: Forward, batch: Batch) -> Tensor:
        """Cross-entropy of a batch under this method's BatchNorm pooling: the mean over all its labelled pixels
        (TSMLDG Eq. 1)."""
        if self.batchnorm == "pooled":
            return cross_entropy(forward(batch.images), batch.labels)
        groups = batch.by_domain()
        logits = torch.cat([forward(group.images) for group in groups])
        return cross_entropy(logits, torch.cat([group.labels for group in groups]))


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over the labels that are not ignored; zero, not NaN, where there are none.

    Args:
        logits: (b, k, h, w) or (b, k), any floating type; the sum is taken in float32 at least.
        labels: (b, h, w) or (b,) int64.
    """
    logits = precise(logits)
    ignored = ignore_label(logits.shape[1])
    total = F.cross_entropy(logits, labels, ignore_index=ignored, reduction="sum")
    return total / (labels != ignored).sum().clamp(min=1)


def precise(tensor: Tensor) -> Tensor:
    """In float32 where it was of half precision, else as it is."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


class Objective(nn.Module):
    """A method and the network it trains, as one module whose forward is the whole objective.

    DistributedDataParallel wraps this module, so its hooks fire once, on the outer backward, whatever the method
    differentiates inside.
    """

    def __init__(self, method: Method, model: Network | Extended) -> None:
        super().__init__()
        self.method = method
        self.model = model
        for part in (self.network.encoder, self.network.decoder):
            part.requires_grad_(part not in self.frozen)

    @property
    def network(self) -> Network:
        """The network, without what the method has beside it."""
        return self.model.network if isinstance(self.model, Extended) else self.model

    @property
    def frozen(self) -> list[nn.Module]:
        """The parts of the network that the method does not train."""
        parts = {"encoder": self.network.encoder, "decoder": self.network.decoder}
        return [part for name, part in parts.items() if self.method.trains not in (name, "both")]

    def train(self, mode: bool = True) -> "Objective":
        """Training mode for what learns; a frozen part stays in evaluation mode, so that its statistics are frozen
        too."""
        super().train(mode)
        for part in self.frozen:
            part.eval()
        return self

    def forward(self, episode: Episode) -> dict[str, Tensor]:
        return self.method.losses(self.model, episode)
