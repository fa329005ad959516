"""t-BN: the network as training left it."""

from dataclasses import dataclass

from torch import nn

from raydg.adaptation.adaptation import Sees
from raydg.adaptation.batchnorm import batchnorm_layers, require_running_statistics
from raydg.adaptation.normalization import Normalization


@dataclass(frozen=True)
class TrainBN(Normalization):
    """t-BN: BatchNorm normalises with the running statistics of training; the usual way to predict, for any network.

    Self-adaptation, section 3, Eq. 2 with running estimates; TSMLDG Eq. 10.
    """

    @property
    def label(self) -> str:
        return "t-BN"

    @property
    def sees(self) -> Sees:
        return "one image"

    def normalise(self, network: nn.Module) -> None:
        for name, layer in batchnorm_layers(network):
            require_running_statistics(name, layer)


T_BN = TrainBN()
