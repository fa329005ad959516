"""TTA: the mean of the predictions on several views of an image."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from raydg.adaptation.adaptation import Predictor
from raydg.adaptation.iabn import IABN
from raydg.adaptation.normalization import Normalization, NormalizedPredictor, OnNormalization
from raydg.adaptation.train_bn import T_BN
from raydg.adaptation.views import PUBLISHED, Views, fused


@dataclass(frozen=True)
class TTA(OnNormalization):
    """Test-time augmentation: probabilities on scaled, flipped and grey views, averaged at the image's size.

    Self-adaptation section 5.2 and Eq. 5; any network, any normalisation. Where that sees one image, so does this, each
    view being normalised by itself; where it sees a batch, the views of one kind are one; where it is fitted on the
    whole target, that was on the images as they are, and all views are normalised with what was measured there.

    Raises:
        ValueError: from a predictor: a view smaller than the encoder can see.
    """

    norm: Normalization = T_BN
    """What BatchNorm layers normalise with."""
    views: Views = PUBLISHED
    """Which views vote."""

    @classmethod
    def table_6(cls, norm: Normalization | None = None) -> dict[str, "TTA"]:
        """The rows of the paper's Table 6 by their names: Baseline on t-BN, the others on `norm`, by default IaBN."""
        norm = norm or IABN
        return {name: cls(T_BN if name == "Baseline" else norm, views) for name, views in Views.TABLE_6.items()}

    @property
    def label(self) -> str:
        return f"TTA({self.norm.label}, {self.views.label})"

    def predictor(self, network: nn.Module) -> Predictor:
        return ViewsPredictor(network, self)


class ViewsPredictor(NormalizedPredictor):
    """Predicts by the mean over views."""

    def __init__(self, network: nn.Module, tta: TTA) -> None:
        super().__init__(network, tta.norm)
        self.tta = tta

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        together = self.norm.sees != "a batch"
        return fused(self.network, images, self.tta.views, together).to(images.dtype)
