"""Detects divergence: ends a run at the first training loss that is not finite."""

import torch
from torch import Tensor
from torch.optim import Optimizer

from ifl.client.steps import descend
from ifl.errors import DivergenceError


class Watch:
    """Takes a party's training steps, and looks at their losses where the party communicates.

    Not at every step: to read a loss is to wait for the device.

    Args:
        party: how messages call it, such as "client 2 (conv_base)".
    """

    def __init__(self, party: str) -> None:
        self.party = party
        self._unseen: list[Tensor] = []
        self._seen, self.last = 0, ""  # the second: what to say of the last finite loss, if any

    def begin_round(self) -> None:
        """Count the steps from 1 again."""
        self._seen, self._unseen = 0, []

    def descend(self, loss: Tensor, *optimizers: Optimizer) -> Tensor:
        """Take one step of each optimiser down a scalar loss; return its value without graph."""
        value = descend(loss, *optimizers)
        self._unseen.append(value)
        return value

    def check(self) -> None:
        """Look at the losses since the last look.

        Raises:
            DivergenceError: one is not finite; names party, step and the last finite loss.
        """
        if not self._unseen:
            return
        values, self._unseen = torch.stack(self._unseen), []
        finite = values.isfinite()
        if not finite.all():
            bad = int((~finite).int().argmax())
            if bad:
                self._note(values[bad - 1])
            raise DivergenceError(
                f"the training loss of {self.party} is {float(values[bad])} in step "
                f"{self._seen + bad + 1}{self.last or ', its first since the run began or went on'}"
            )
        self._seen += len(values)
        self._note(values[-1])

    def _note(self, loss: Tensor) -> None:
        self.last = f", the last finite loss was {float(loss):.4g}"
