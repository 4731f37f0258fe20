"""Describes a round that was conducted: losses, who took part, and what is still on its way."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from ifl.engines.base import Packet


class Outcome(NamedTuple):
    """The outcome of a round."""

    train_loss: float | None  # mean of all training losses; None if there are none
    clients: int  # that took part to the end
    refused: int  # uploads


@dataclass
class Conducted:
    """A round that the server is done with; its last replies may still be on their way.

    Args:
        present: clients in it.
        refused: uploads.
        lost: clients that left in the middle of it.
        losses: (steps,) of each client that is done, if it has any.
        of_server: likewise.
        left: the last reply of each client that has not got it.
        settled: nothing is left, and nothing went wrong.
    """

    number: int
    present: int = 0
    refused: int = 0
    lost: int = 0
    losses: dict[int, Tensor | None] = field(default_factory=dict)
    of_server: Tensor | None = None
    left: dict[int, Packet] = field(default_factory=dict)
    settled: bool = False

    @property
    def outcome(self) -> Outcome:
        """The outcome, once it is settled."""
        loss = mean_loss([*self.losses.values(), self.of_server])
        return Outcome(loss, self.present - self.refused - self.lost, self.refused)


def mean_loss(losses: Iterable[Tensor | None]) -> float | None:
    """Return the mean over all parties' losses (steps,) of a round; None if there are none."""
    known = [values for values in losses if values is not None]
    return float(torch.cat(known).mean()) if known else None
