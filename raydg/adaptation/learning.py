"""Which part of a network learns at test time, and how it is run while it does."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from raydg.models import Network

DECODER = "decoder"
"""Name, beside those of the encoder's groups, of all that is not encoder."""

Layers = int | tuple[str, ...]
"""How many of the encoder's last groups learn beside the decoder, or the names of what learns."""


@runtime_checkable
class Companion(Protocol):
    """One network with what a method learns beside it, such as a memory's parts: its forward gives one prediction."""

    network: Network

    def extras(self) -> list[nn.Parameter]:
        """The parameters that are the method's own."""
        ...


def network_inside(module: nn.Module, name: str) -> Network:
    """The one network whose prediction a module gives.

    Raises:
        ValueError: the module is neither a `Network` nor one with a companion; `name` is who asks.
    """
    if isinstance(module, Network):
        return module
    if isinstance(module, nn.Module) and isinstance(module, Companion) and isinstance(module.network, Network):
        return module.network
    raise ValueError(
        f"{name} works on the parts of one raydg Network, and {type(module).__name__} is none, nor one network "
        "with what a method has beside it (an ensemble averages several): take an inference of one network, such as "
        "Plain or WithMemory, or an adaptation that fits any module, such as TTA or Tent."
    )


def group_names(network: Network) -> tuple[str, ...]:
    """What can learn, from the image on: the encoder's groups and the decoder."""
    return (*(name for name, _ in network.encoder.groups), DECODER)


def learning_groups(network: Network, layers: Layers, name: str) -> tuple[str, ...]:
    """The names of what learns, in the order of the forward.

    Raises:
        ValueError: more groups than the encoder has, or a name that is none of its; `name` is who asks.
    """
    legal = group_names(network)
    if isinstance(layers, int):
        if layers >= len(legal):
            raise ValueError(
                f"{name}.layers is {layers}: the encoder has {len(legal) - 1} groups, {', '.join(legal[:-1])}."
            )
        return legal[len(legal) - 1 - layers :]
    for layer in layers:
        if layer not in legal:
            raise ValueError(f"{name}.layers names {layer!r}: this network has {', '.join(legal)}.")
    return tuple(group for group in legal if group in layers)


def learning_parameters(module: nn.Module, network: Network, groups: tuple[str, ...]) -> list[nn.Parameter]:
    """The parameters of these groups, each once; the decoder's with those that a method has beside the network."""
    found = []
    for group, members in network.encoder.groups:
        if group in groups:
            found += [p for member in members for p in network.encoder.get_submodule(member).parameters()]
    if DECODER in groups:
        found += network.decoder.parameters()
        if module is not network and isinstance(module, Companion):
            found += module.extras()
    return list(dict.fromkeys(found))


def trunk_groups(network: Network, groups: tuple[str, ...]) -> tuple[str, ...]:
    """The encoder's groups before the first that learns."""
    frozen = []
    for name, _ in network.encoder.groups:
        if name in groups:
            break
        frozen.append(name)
    return tuple(frozen)


def uncached(network: nn.Module, images: Tensor) -> Tensor:
    """Logits under the caller's autocast but without its cache, which would hold weights of before a step."""
    kind = images.device.type
    enabled, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
    with torch.autocast(kind, dtype, enabled=enabled, cache_enabled=False):
        return network(images)


def learnable(images: Tensor) -> Tensor:
    """The same images as autograd may keep them, in whatever mode they were made."""
    return images.clone() if images.is_inference() else images.detach()


def precise(logits: Tensor) -> Tensor:
    """In float32 at least."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def probabilities(logits: Tensor) -> Tensor:
    """Of float32 at least."""
    return precise(logits).softmax(1)


def entropies(logits: Tensor) -> Tensor:
    """Entropy, in nats, of the predictions that logits (b, k, ...) stand for: (b, ...), float32 at least."""
    of_class = precise(logits).log_softmax(1)
    return -(of_class.exp() * of_class).sum(1)
