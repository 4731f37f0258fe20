"""Averages fusion outputs by class.

What a client sends has one row for each class that it holds, with its label. Classes that it
does not hold do not travel, and no row stands for them.
"""

import torch
from torch import Tensor

from ifl.client.client import Client
from ifl.client.steps import frozen


class ClassMeans:
    """Weighted means of vectors by class, added up in portions, in float64.

    Args:
        classes: (C,) int64, no class twice; vectors of others are left out.
    """

    def __init__(self, classes: Tensor) -> None:
        self.classes = classes
        self.weights = torch.zeros(len(classes), dtype=torch.float64, device=classes.device)
        self._sums: Tensor | float = 0.0

    def add(self, vectors: Tensor, y: Tensor, weights: Tensor | None = None) -> None:
        """Add vectors (n, m) of classes y (n,), each counted ``weights`` (n,) times, or once."""
        members = (self.classes[:, None] == y).double()  # (C, n)
        if weights is not None:
            members *= weights
        self.weights += members.sum(dim=1)
        self._sums = self._sums + members @ vectors.double()

    def means(self) -> Tensor:
        """Return the means (C, m) float32; zeros where nothing was added."""
        return self.exact().float()

    def exact(self) -> Tensor:
        """Return the means (C, m) as they were added up, float64."""
        assert isinstance(self._sums, Tensor)
        seen = self.weights > 0
        return self._sums / torch.where(seen, self.weights, 1.0)[:, None]


def fusion_means(me: Client) -> ClassMeans:
    """Return the means of z by class over a client's shard, and how many samples are behind them.

    In evaluation mode, as z is at inference:
        C_k^(c) = 1/|D_k,c| sum of f_b,k(x) over the samples (x, c) of D_k,c.
    """
    means = ClassMeans(me.classes)
    with frozen(me.model.base), torch.no_grad():
        for x, y in me.portions():
            means.add(me.model.base(x), y)
    return means
