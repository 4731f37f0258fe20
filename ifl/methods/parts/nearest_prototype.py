"""Classifies fusion outputs by the nearest prototype.

Sources: Tan et al. 2022, "FedProto", arXiv 2105.00243, section "Inference"; Snell et al. 2017,
"Prototypical Networks for Few-shot Learning".
"""

import torch
from torch import Tensor

from ifl.models import Remade


class NearestPrototype(Remade):
    """A modular block without parameters: the nearest prototype's class has the largest logit.

    Args:
        classes, dim: the shape of the prototypes, of which none is known before ``learn``.
    """

    prototypes: Tensor  # (classes, d) float32
    known: Tensor  # (classes,) bool

    def __init__(self, classes: int, dim: int) -> None:
        address = f"{__name__}.{type(self).__name__}"
        super().__init__({"_target_": address, "classes": classes, "dim": dim})
        self.register_buffer("prototypes", torch.zeros(classes, dim))
        self.register_buffer("known", torch.zeros(classes, dtype=torch.bool))

    def learn(self, prototypes: Tensor, y: Tensor) -> None:
        """Take over prototypes (n, d) of classes y (n,) int64; others stay as they are."""
        self.prototypes[y] = prototypes
        self.known[y] = True

    def forward(self, z: Tensor) -> Tensor:
        """Return -|z - P_c|^2 (B, classes) of z (B, d); -inf for classes without a prototype."""
        squares = (z[:, None] - self.prototypes).square().sum(dim=2)
        return torch.where(self.known, -squares, -torch.inf)
