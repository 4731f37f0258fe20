"""Lets blocks compute in bfloat16, with weights, optimisers, z and losses in float32.

Source: mixed precision, Micikevicius et al. 2018, arXiv 1710.03740; in bfloat16, whose exponents
are those of float32 so that no loss is scaled, Kalamkar et al. 2019, arXiv 1905.12322.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

PRECISIONS = ("float32", "bfloat16")


def compute_in(precision: str, block: nn.Module) -> None:
    """Let a block compute in this precision from now on; what it returns stays float32.

    Args:
        precision: one of ``PRECISIONS``.
        block: whose copies do likewise; its parameters and buffers are left as they are.
    """
    if precision != PRECISIONS[0]:
        block.forward = partial(_lower, block.forward, getattr(torch, precision))


def _lower(forward: Callable[[Tensor], Tensor], dtype: torch.dtype, x: Tensor) -> Tensor:
    """Return what a block makes of x, in float32; matrix products and convolutions in dtype."""
    with torch.autocast(x.device.type, dtype):
        out = forward(x)
    return out.float()
