"""Trains a surrogate for another client's base block, which never leaves it.

An attacker who sees only z and y of a client lets a block of its own learn to put its own images
where the client's lie: in each class the distributions of z are drawn together, and a modular
block that was trained on the client's z is to tell the classes of the attacker's. Cf. He, Zhang &
Lee 2019 (their shadow model, for an attacker without queries) and Gao & Zhang 2023, "PCAT" (a
pseudo-client behind the other side's network). The distance of distributions is the sliced
Wasserstein distance (Bonneel et al. 2015), which needs no network of its own.
"""

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import OneCycleLR

from ifl.client.steps import descend, frozen
from ifl.errors import ConfigError

LR, PER_CLASS, DIRECTIONS = 1e-3, 8, 128
TASK = 0.1  # weight of the task's loss: with little of it, few steps get nearer


def sliced_distance(z: Tensor, others: Tensor, draws: Generator) -> Tensor:
    """Return the squared sliced 2-Wasserstein distance of two samples, times d.

    Both are projected on random unit vectors, sorted, and compared rank by rank; times d, that is
    the squared distance of the means where one sample is the other one, shifted.

    Args:
        z, others: (..., n, d) float32, as many rows of each; leading dimensions go in pairs.
        draws: of 128 directions.

    Returns:
        The mean over pairs, a scalar; gradients pass.
    """
    directions = torch.randn(z.shape[-1], DIRECTIONS, generator=draws).to(z.device)
    directions = directions / directions.norm(dim=0)
    ranked, other_ranked = ((s @ directions).sort(dim=-2).values for s in (z, others))
    apart: Tensor = (ranked - other_ranked).square().mean()
    return apart * z.shape[-1]


def fit_surrogate(
    block: nn.Module,
    modular: nn.Module,
    x: Tensor,
    y: Tensor,
    seen_z: Tensor,
    seen_y: Tensor | None,
    steps: int,
    draws: Generator,
) -> nn.Module:
    """Let a block learn to give own images such z as were seen; return it, held fixed.

    Adam on the sliced distance of block(x) to the z that were seen, class by class, in units of
    their mean square norm, plus 0.1 CE(modular(block(x)), y); 8 images and 8 z of each class that
    both sides have, a step.

    Args:
        block: a base block (n, C, H, W) -> (n, d); with initial weights, or trained before.
        modular: (n, d) -> logits, trained on z of the other client, or on those of others; held
            fixed.
        x, y: (n, C, H, W) float32 and (n,) int64, the attacker's own.
        seen_z, seen_y: (m, d) float32 and (m,) int64, of the other client; without its labels
            all rows count as of one class, and as many of them are compared.
        steps: at least 1.
        draws: of batches and directions.

    Raises:
        ConfigError: the two sides have no class in common.
    """
    if seen_y is None:
        rows_each = PER_CLASS * len(y.unique())
        mine, theirs = [torch.arange(len(y))], [torch.arange(len(seen_z))]
    else:
        rows_each = PER_CLASS
        shared = [int(c) for c in y.unique() if (seen_y == c).any()]
        if not shared:
            raise ConfigError(
                "the attacker has no image of a class that the victim has; choose a more even "
                "partition"
            )
        mine = [(y == c).nonzero()[:, 0] for c in shared]
        theirs = [(seen_y == c).nonzero()[:, 0] for c in shared]
    unit = seen_z.square().sum(dim=1).mean().clamp_min(1e-12)
    block.train().requires_grad_(True)
    optimizer = torch.optim.Adam(block.parameters(), LR)
    schedule = OneCycleLR(optimizer, LR, total_steps=steps + 1)
    by_class = (len(mine), rows_each)
    with frozen(modular):
        for _ in range(steps):
            rows = _some(mine, rows_each, draws)
            z, wanted = block(x[rows]), seen_z[_some(theirs, rows_each, draws)]
            apart = sliced_distance(z.unflatten(0, by_class), wanted.unflatten(0, by_class), draws)
            descend(apart / unit + TASK * cross_entropy(modular(z), y[rows]), optimizer)
            schedule.step()
    return block.eval().requires_grad_(False)


def _some(places: list[Tensor], count: int, draws: Generator) -> Tensor:
    """Return so many of each class's places at random, one class after the other."""
    return torch.cat([p[torch.randint(len(p), (count,), generator=draws)] for p in places])
