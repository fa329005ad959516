"""An ensemble of networks, each of which meets the images by itself: the mean of what they predict."""

from collections.abc import Sequence

from torch import Tensor

from raydg.adaptation.adaptation import Predictor


class EnsemblePredictor(Predictor):
    """The mean of the members' probabilities, variant by variant; the members adapt each by itself.

    Self-adaptation section 5.3 compares with "a model ensemble comprising 10 DeepLabv1 networks, initialized with a
    random seed" and does not say what of theirs is averaged; its published code has no ensemble. We take the
    arithmetic mean of probabilities: so the paper fuses views of an image (Eq. 5), and DMG its masks' predictions. It
    is a confidence, which calibration needs, as votes are not; and unlike in a mean of logits, a single member that
    rules a class out does not rule it out for all. Resizing to the label and averaging overlapping windows are linear,
    so it does not matter that they come after this mean.

    Every member's weights stay on the device; members predict one after another, so that the features of one and a
    running sum are there at a time. The sum is in the order of the members: give them in a fixed order for equal bits.

    Args:
        members: predictors of one adaptation, or of several with equally many variants.

    Raises:
        ValueError: no member.
    """

    def __init__(self, members: Sequence[Predictor]) -> None:
        if not members:
            raise ValueError("An ensemble has no member: it must have at least 1.")
        self._members = tuple(members)

    @property
    def members(self) -> tuple[Predictor, ...]:
        return self._members

    def __call__(self, images: Tensor) -> Tensor:
        return self.all(images)[-1]

    def all(self, images: Tensor) -> Tensor:
        first, *others = self.members
        total = first.all(images)
        for member in others:
            total = total + member.all(images)
        return total / len(self.members)
