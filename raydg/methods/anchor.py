"""How far a network has moved from where a stage began: the distance regularisation of DeFT's Eq. 3, and the distances
of its Figure 3."""

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

    @torch.no_grad()
    def distances(self, network: nn.Module) -> dict[str, float]:
        """The three distances from the start of Figure 3, whose captions name the norms and say no more.

        - "distance/l2": Euclidean norm over all parameters as one vector (Nagarajan and Kolter, 2019).
        - "distance/mars": the sum over linear layers and convolutions of the largest absolute row sum of the change of
          weights, a row being all that leads to one output (Gouk et al., 2021).
        - "distance/operator": likewise the sum of the largest singular values (Long and Sedghi, 2020). They take the
          operator of a whole map with periodic borders, which depends on the map's size; ours is the kernel as a matrix
          (outputs, inputs x positions), no more than theirs and no less than theirs over the square root of the
          kernel's positions. Where a convolution has groups it is the largest of theirs.
        """
        start = dict(zip((name for name, _ in network.named_parameters()), self.start, strict=True))
        change = {name: p - start[name] for name, p in network.named_parameters()}
        mars = operator = 0.0
        for name, layer in network.named_modules():
            weight = change.get(f"{name}.weight" if name else "weight")
            if weight is None or not isinstance(layer, nn.Linear | nn.modules.conv._ConvNd):
                continue
            groups = 1 if isinstance(layer, nn.Linear) else layer.groups
            blocks = weight.double().flatten(1).unflatten(0, (groups, -1))
            mars += float(blocks.abs().sum(2).max())
            operator += float(torch.linalg.matrix_norm(blocks, 2).max())
        squares = torch.stack([moved.double().square().sum() for moved in change.values()])
        return {"distance/l2": float(squares.sum().sqrt()), "distance/mars": mars, "distance/operator": operator}
