"""Takes training steps: optimisers, descent, frozen blocks, adjusted losses, falling rates.

Source of the falling rates: Loshchilov & Hutter 2017, "SGDR: Stochastic Gradient Descent with
Warm Restarts", equation 5, without restarts. Of the adjusted losses: Menon et al. 2021, "Long-tail
learning via logit adjustment", arXiv 2007.07314, equation 10; in federated learning Zhang et al.
2022, "Federated Learning with Label Distribution Skew via Logits Calibration", arXiv 2209.00189,
whose term is another one.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ifl.client.optimizers import step

OptimizerMaker = Callable[[Iterable[nn.Parameter]], Optimizer]
PORTION = 250  # samples at a time, where no gradient is needed: more maps fall out of the cache


def optimizer_of(block: nn.Module, maker: OptimizerMaker) -> Optimizer:
    """Return an optimiser of the block's parameters; a block without any gets an idle one."""
    return maker(list(block.parameters()) or [nn.Parameter(torch.empty(0))])


def descend(loss: Tensor, *optimizers: Optimizer, gradient: Tensor | None = None) -> Tensor:
    """Take one step of each optimiser down ``loss``; return its value without graph.

    Args:
        gradient: of what is to fall with respect to ``loss``, where that is no scalar.
    """
    if loss.requires_grad:  # a base block without parameters has nothing to learn
        loss.backward(gradient)
    for optimizer in optimizers:
        step(optimizer)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None  # zero_grad() costs as much as a small step
    return loss.detach()


@contextmanager
def frozen(block: nn.Module) -> Iterator[None]:
    """Hold a block fixed inside: no weight gradients, no running statistics, no dropout."""
    training, learning = block.training, [p for p in block.parameters() if p.requires_grad]
    block.eval().requires_grad_(False)
    try:
        yield
    finally:
        block.train(training)
        for parameter in learning:
            parameter.requires_grad_(True)


def batched(x: Tensor, y: Tensor, rows: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield consecutive batches of at most ``rows`` samples of x (n, ...) and y (n,)."""
    for start in range(0, len(y), rows):
        yield x[start : start + rows], y[start : start + rows]


def log_shares(y: Tensor, classes: int) -> Tensor:
    """Return the log of each class's share of labels y (n,) int64: (classes,) float32.

    A client that lacks a class meets no sample that speaks for it, and each local step pushes its
    logit down: what was learned of it from others is lost. With these added to the logits in the
    loss, and in the loss alone, a network learns what tells classes apart, not how many of each
    there are. A class without a sample counts as if it had one, since the log of none is no number.
    """
    counts = torch.bincount(y, minlength=classes).to(torch.float32)
    return (counts.clamp(min=1) / len(y)).log()


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
