"""How far a network has moved from where a stage began: the distance regularisation of DeFT's Eq. 3."""

import torch
from torch import Tensor, nn


class Anchor(nn.Module):
    """The learning parameters of a network as they are now, to measure its distance from later."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        start = [p.detach().clone() for p in network.parameters()]
        self.start = nn.ParameterList(nn.Parameter(p, requires_grad=False) for p in start)

    def distance(self, network: nn.Module) -> Tensor:
        """Sum over the parameter tensors that learn of their Euclidean distance from the start, not squared (Eq. 3).

        The gradient of a distance that is 0 is taken as 0. A matrix has its Frobenius norm, a convolution likewise.
        """
        moved = [
            torch.linalg.vector_norm(p - start)
            for p, start in zip(network.parameters(), self.start, strict=True)
            if p.requires_grad
        ]
        return torch.stack(moved).sum()
