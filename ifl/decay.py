"""Learning rates that fall over the rounds.

Source: Loshchilov & Hutter 2017, "SGDR: Stochastic Gradient Descent with Warm Restarts",
equation 5, without restarts.
"""

import math
from collections.abc import Iterable

from torch.optim import Optimizer


def anneal(optimizers: Iterable[Optimizer], round_number: int, rounds: int) -> None:
    """Set the learning rates of a round: half a cosine from their start in round 1 to 0.

    lr(r) = lr * (1 + cos(pi * (r - 1) / rounds)) / 2 for r = 1 ... rounds, and lr(rounds)
    afterwards, which is above 0.

    Args:
        optimizers: those of a block without parameters too.
        round_number: r, from 1.
        rounds: over which they fall.
    """
    passed = min(round_number, rounds) - 1
    factor = (1 + math.cos(math.pi * passed / rounds)) / 2
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            if "lr" in group:
                group["lr"] = factor * group.setdefault("initial_lr", group["lr"])
