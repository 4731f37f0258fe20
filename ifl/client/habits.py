"""Finds out what a network does beside its outputs: random draws, changed inputs."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ifl.client.contract import copied, rows
from ifl.models import SplitModel
from ifl.seeding import draws


@dataclass(frozen=True)
class Habits:
    """Habits of a network beside its outputs.

    Args:
        draws: from the global generators, in training or at inference.
        draws_tested: at inference.
        changes: names of the blocks that change their input.
    """

    draws: bool
    draws_tested: bool
    changes: tuple[str, ...]


def habits(model: SplitModel, name: str, x: Tensor) -> Habits:
    """Run a copy of a network on two of the samples x (n, ...) and tell what it does."""
    trial, x, changes = copied(model, name).cpu(), rows(x, 2).cpu(), dict[str, None]()

    def run() -> None:
        out = x.clone()
        for block in ("base", "modular"):
            version = out._version
            after = getattr(trial, block)(out)
            if out._version != version:
                changes[block] = None
            out = after

    with torch.no_grad():
        trial.eval()
        tested = draws(run)
        trial.train()
        return Habits(draws(run) or tested, tested, tuple(changes))


def on_a_copy(module: nn.Module, inputs: tuple[object, ...]) -> tuple[object, ...]:
    """Give a block copies of its inputs: a hook for blocks that change them in place."""
    return tuple(i.clone() if isinstance(i, Tensor) else i for i in inputs)
