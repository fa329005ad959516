"""The loss of a network's auxiliary head beside that of the main one (PSPNet's; Pin the Memory, supplement B.2)."""

from torch import Tensor

from raydg.methods.method import cross_entropy
from raydg.models import Architecture, Network
from raydg.types import Batch


def check_auxiliary_head(method: str, auxiliary_weight: float, model: Architecture) -> None:
    """Raise a ValueError if the loss is asked for and the architecture has no auxiliary head, or the other way
    round."""
    has_head = bool(getattr(model, "auxiliary", False))
    if auxiliary_weight and not has_head:
        raise ValueError(
            f"{method}.auxiliary_weight is {auxiliary_weight}, but {type(model).__name__} has no auxiliary head: "
            "set its auxiliary=True, where it has that field."
        )
    if has_head and not auxiliary_weight:
        raise ValueError(
            f"{type(model).__name__}.auxiliary is True, but {method}.auxiliary_weight is 0: the head would never learn."
        )


def cross_entropies(network: Network, batch: Batch) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the main head and of the auxiliary one, the encoder run once.

    Pin the Memory's code compares the auxiliary head with labels shrunk to the logits' size; here, as for the main
    head, its logits are brought to the labels' size.
    """
    logits, auxiliary_logits = network.with_auxiliary(batch.images)
    return cross_entropy(logits, batch.labels), cross_entropy(auxiliary_logits, batch.labels)
