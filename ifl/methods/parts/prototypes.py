"""Predicts the class of the nearest prototype: a modular block that is learned by averaging alone.

Source: Tan et al. 2022, "FedProto: Federated Prototype Learning across Heterogeneous Clients",
arXiv 2105.00243, section 4 (inference by the distance to the global prototypes).
"""

from typing import Any

import torch
from torch import Tensor, nn


class NearestPrototype(nn.Module):
    """A modular block without weights: logits are -|z - P_c|^2, minus infinity without a P_c.

    So the class that is guessed is the one of the nearest prototype, and never one that has none.

    Args:
        fusion_dim: d.
        classes: of the data, with a prototype or not.
    """

    prototypes: Tensor  # (classes, d) float32
    known: Tensor  # (classes,) bool

    def __init__(self, fusion_dim: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("prototypes", torch.zeros(classes, fusion_dim))
        self.register_buffer("known", torch.zeros(classes, dtype=torch.bool))

    @property
    def made_of(self) -> dict[str, Any]:
        """The configuration of such a block, as a yaml would say it: it is like no client's."""
        kind, (classes, dim) = type(self), self.prototypes.shape
        address = f"{kind.__module__}.{kind.__qualname__}"
        return {"_target_": address, "fusion_dim": dim, "classes": classes}

    def learn(self, prototypes: Tensor, y: Tensor) -> None:
        """Take over prototypes (n, d) of classes y (n,); those of other classes stay."""
        self.prototypes[y] = prototypes
        self.known[y] = True

    def held(self) -> tuple[Tensor, Tensor]:
        """Return copies of the prototypes (n, d) that there are, and their classes (n,)."""
        y = self.known.nonzero().squeeze(1)
        return self.prototypes[y], y

    def forward(self, z: Tensor) -> Tensor:
        """Return logits (B, classes) float32 of fusion outputs z (B, d) float32."""
        # Not by |z|^2 - 2 z P + |P|^2, which loses the small distances of large z.
        distances = torch.cdist(
            z, self.prototypes, compute_mode="donot_use_mm_for_euclid_dist"
        )  # (B, classes)
        return (-distances.square()).masked_fill(~self.known, -torch.inf)
