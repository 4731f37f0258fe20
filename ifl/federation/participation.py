"""Selects the clients of a round (partial participation); some of them drop out."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

import torch

from ifl.checks import check_above
from ifl.client.client import Client
from ifl.errors import ConfigError
from ifl.seeding import rng


@dataclass(frozen=True)
class Participation:
    """Partial participation (McMahan et al. 2017, C), each round from streams of its own.

    Args:
        fraction: C in (0, 1]; of N clients, C*N rounded half up are drawn, at least one.
        dropout: probability in [0, 1) that a client that is drawn is gone before its first step.

    Raises:
        ConfigError: one of them is out of its range.
    """

    fraction: float = 1.0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_above("participation.fraction", self.fraction, 0, "; 1 lets all clients take part")
        if self.fraction > 1:
            raise ConfigError(
                f"participation.fraction must be <= 1, got {self.fraction}; write 0.5 for 50 %"
            )
        number = isinstance(self.dropout, int | float) and not isinstance(self.dropout, bool)
        if not number or not 0 <= self.dropout < 1:
            raise ConfigError(
                "participation.dropout must be a probability >= 0 and < 1, got "
                f"{self.dropout}; 0 lets nobody drop out"
            )

    def drawn(self, count: int) -> int:
        """Return how many of ``count`` clients are drawn.

        >>> Participation(0.29).drawn(50), Participation(0.5).drawn(5), Participation(0.1).drawn(4)
        (15, 3, 1)
        """
        share = Decimal(str(self.fraction)) * count  # 0.29 * 50 is below 14.5 in binary
        return max(1, int(share.to_integral_value(ROUND_HALF_UP)))

    def fewest(self, count: int) -> int:
        """Return how many of ``count`` clients take part in the smallest round that has any.

        >>> Participation(0.5).fewest(6), Participation(dropout=0.1).fewest(6)
        (3, 1)
        """
        return 1 if self.dropout else self.drawn(count)

    def present(self, clients: Sequence[Client], seed: int, round_number: int) -> list[Client]:
        """Return the clients that take part in a round, in their order; maybe nobody."""
        order = torch.randperm(len(clients), generator=rng(seed, "participation", round_number))
        luck = torch.rand(len(clients), generator=rng(seed, "dropout", round_number))
        chosen = sorted(order[: self.drawn(len(clients))].tolist())
        return [clients[k] for k in chosen if luck[k] >= self.dropout]
