"""The cut of a classifier into what makes one vector of an image, and the linear layer that makes logits of it."""

from torch import Tensor, nn

from raydg.adaptation.learning import network_inside, uncached
from raydg.models.layers import Head

SITE = "before_last"
"""Where a classifier's vector enters its last layer."""


class LinearHead:
    """A classifier cut before its last layer, which must be linear: SqueezeNet's, for one, pools behind it.

    Raises:
        ValueError: a network that segments, whose last layer is another, or of which there are several.
    """

    def __init__(self, module: nn.Module, name: str) -> None:
        """`name` is who asks."""
        self.module, self.network = module, network_inside(module, name)
        if self.network.task != "classification":
            raise ValueError(
                f"{name} looks at one vector of an image, and this network segments: take SegTTT, CoTTA or TTA."
            )
        head = self.network.decoder
        if not (isinstance(head, Head) and isinstance(head.last, nn.Linear)):
            last = type(head.last if isinstance(head, Head) else head).__name__
            raise ValueError(
                f"{name} needs a classifier that ends in a linear layer on one vector of an image, and this one ends "
                f"in {last}: take a backbone such as ResNet, AlexNet or SmallNet, or an adaptation such as TTA."
            )
        self.last = head.last

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What enters the last layer, (b, c), and the logits (b, k)."""
        seen: list[Tensor] = []

        def look(vectors: Tensor) -> Tensor:
            seen.append(vectors)
            return vectors

        with self.network.transformed({SITE: look}):
            logits = uncached(self.module, images)
        (vectors,) = seen
        return vectors, logits
