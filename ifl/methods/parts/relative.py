"""Describes fusion outputs by their cosines to those of anchors: relative representations.

Source: Moschella et al. 2023, "Relative representations enable zero-shot latent space
communication", arXiv 2209.15430, equation 2.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ifl.client.steps import PORTION, frozen


def cosines(z: Tensor, anchors: Tensor) -> Tensor:
    """Return r (B, A) of z (B, d) and the anchors' z (A, d): r_bi = <z_b, a_i> / (|z_b| |a_i|).

    Turning or scaling the space that both lie in changes nothing. Of a z of zeros it is 0.
    """
    return normalize(z) @ normalize(anchors).T


def fusion_of(base: nn.Module, x: Tensor) -> Tensor:
    """Return z (n, d) of samples x (n, ...) as at inference, without graph."""
    with frozen(base), torch.no_grad():
        return torch.cat([base(some) for some in x.split(PORTION)])


class Relative(nn.Module):
    """A base block whose output is relative to anchors: x (B, ...) -> r (B, anchors).

    Args:
        inner: the base block.
        anchors, dim: the shape of the anchors' z.
    """

    held: Tensor

    def __init__(self, inner: nn.Module, anchors: int, dim: int) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("held", torch.zeros(anchors, dim))

    @property
    def made_of(self) -> dict[str, Any]:
        """The configuration of such a block, as a yaml would say it, but for ``inner``."""
        anchors, dim = self.held.shape
        address = f"{__name__}.{type(self).__name__}"
        return {"_target_": address, "anchors": anchors, "dim": dim}

    def forward(self, x: Tensor) -> Tensor:
        """Return the cosines of x's z to the anchors'."""
        return cosines(self.inner(x), self.held)
