"""Risk extrapolation: no source may be served much better than another."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from raydg.methods.method import Method
from raydg.types import Episode


@dataclass(frozen=True, kw_only=True)
class VREx(Method):
    """V-REx of Krueger et al., "Out-of-Distribution Generalization via Risk Extrapolation", ICML 2021, Eq. 8.

        loss = mean of the sources' risks + variance_weight variance of the sources' risks

    The paper adds the risks up and has their variance over d sources without correction; the mean in the place of the
    sum only scales the learning rate, and is what DomainBed has. Each source has a forward of its own, and so its own
    BatchNorm statistics.

    Raises:
        ValueError: a negative weight.
    """

    variance_weight: float = 1.0
    """Weight of the variance (the paper's beta)."""

    loss_names: ClassVar[tuple[str, ...]] = ("loss", "risk", "variance")
    minimum_sources: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.variance_weight >= 0, "variance_weight", "0 or more")

    @property
    def smallest_forward(self) -> Literal["one domain", "all domains"]:
        return "one domain"

    def losses(self, network: nn.Module, episode: Episode) -> dict[str, Tensor]:
        risks = self.risks(network, episode)
        risk, variance = risks.mean(), risks.var(correction=0)
        return {
            "loss": risk + self.variance_weight * variance,
            "risk": risk.detach(),
            "variance": variance.detach(),
        }
