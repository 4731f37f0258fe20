"""Tests blocks where they are: z of a test set by a base block, guesses by a modular block."""

import torch
from torch import Tensor, nn

from ifl.client.steps import PORTION, frozen


def outputs(base: nn.Module, x: Tensor) -> Tensor:
    """Return z (n, d) of samples x (n, ...) by a base block, as at inference."""
    with frozen(base), torch.inference_mode():
        return torch.cat([base(some) for some in x.split(PORTION)])


def tested(modular: nn.Module, z: Tensor, y: Tensor, counted: bool) -> Tensor:
    """Return what a modular block guesses of z (n, d), in the portions of every evaluation.

    Args:
        y: (n,) int64 labels.
        counted: return counts of guesses by class, (3, C) int64 as ``tallied``; else the guesses,
            (n,) int64.
    """
    parts = []
    with frozen(modular), torch.inference_mode():
        for some, labels in zip(z.split(PORTION), y.split(PORTION), strict=True):
            logits = modular(some)
            parts.append(tallied(logits, labels) if counted else logits.argmax(dim=1))
    return torch.stack(parts).sum(dim=0) if counted else torch.cat(parts)


def tallied(logits: Tensor, labels: Tensor) -> Tensor:
    """Return (3, C) int64: samples, guesses and right guesses of each class.

    Args:
        logits: (n, C) float32.
        labels: (n,) int64.
    """
    guesses, classes = logits.argmax(dim=1), logits.shape[1]
    right = labels[guesses == labels]
    return torch.stack([torch.bincount(of, minlength=classes) for of in (labels, guesses, right)])
