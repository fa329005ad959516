"""The loss of a network's auxiliary head beside that of the main one (PSPNet's; Pin the Memory, supplement B.2)."""

from torch import Tensor

from raydg.methods.method import cross_entropy
from raydg.models import Network
from raydg.types import Batch


def cross_entropies(network: Network, batch: Batch) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the main head and of the auxiliary one, the encoder run once.

    Pin the Memory's code compares the auxiliary head with labels shrunk to the logits' size; here, as for the main
    head, its logits are brought to the labels' size.
    """
    logits, auxiliary_logits = network.with_auxiliary(batch.images)
    return cross_entropy(logits, batch.labels), cross_entropy(auxiliary_logits, batch.labels)
