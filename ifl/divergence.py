"""Ends a run at the first training loss that is not finite, and says what was before it."""

import math

from torch import Tensor
from torch.optim import Optimizer

from ifl.errors import DivergenceError
from ifl.learner import descend


class Watch:
    """Takes a party's training steps.

    Args:
        party: how messages call it, such as "client 2 (conv_base)".
    """

    def __init__(self, party: str) -> None:
        self.party = party
        self._step, self._last = 0, "and none was before it since the run began or went on"

    def begin_round(self) -> None:
        """Count the steps from 1 again."""
        self._step = 0

    def descend(self, loss: Tensor, *optimizers: Optimizer) -> Tensor:
        """Take one step of each optimiser down a scalar loss; return its value without graph.

        Raises:
            DivergenceError: it is not finite, and no step is taken; names party and step.
        """
        self._step += 1
        value = loss.item()
        if not math.isfinite(value):
            raise DivergenceError(
                f"the training loss of {self.party} is {value} in step {self._step}, {self._last}"
            )
        self._last = f"the last finite one was {value:.4g} in the step before"
        return descend(loss, *optimizers)
