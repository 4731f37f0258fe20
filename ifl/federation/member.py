"""Describes an architecture that clients have, with the training settings of its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from torch import nn

from ifl.checks import check_above, check_whole, typed
from ifl.client.settings import Training
from ifl.errors import ConfigError

BLOCKS = {"base", "modular"}


@dataclass(frozen=True)
class Member:
    """An architecture: what a user calls it, and how to make a fresh block of either kind.

    Args:
        name: in tables and sentences.
        base, modular: make a block, anew for each client.
        batch_size: B of its clients' steps and uploads; None for that of all.
        lr: learning rate of their optimisers, one for both blocks or {"base": ..., "modular": ...};
            None for that of all.

    Raises:
        ConfigError: the batch size or a rate is out of range.
    """

    name: str
    base: Callable[[], nn.Module]
    modular: Callable[[], nn.Module]
    batch_size: int | None = None
    lr: float | Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        where = f"of {self.name} in clients.members"
        if self.batch_size is not None:
            check_whole(f"batch_size {where}", self.batch_size, 1)
        if isinstance(self.lr, Mapping) and not (self.lr and {*self.lr} <= BLOCKS):
            raise ConfigError(
                f"lr {where} must be a number, or have base or modular, got {typed(self.lr)}"
            )
        for rate in self.rates().values():
            check_above(f"lr {where}", rate, 0, "; leave it out for that of optimizer")

    def rates(self) -> Mapping[str, float]:
        """Return the learning rates of its own by block."""
        if self.lr is None or isinstance(self.lr, Mapping):
            return self.lr or {}
        return dict.fromkeys(sorted(BLOCKS), self.lr)

    def training(self, common: Training) -> Training:
        """Return the settings that its clients train with.

        Raises:
            ConfigError: an optimiser takes no learning rate.
        """
        size = common.batch_size if self.batch_size is None else self.batch_size
        if size == common.batch_size and not self.rates():
            return common
        try:
            optimizers = common.optimizers.at(self.rates())
        except ConfigError as error:
            raise ConfigError(f"{self.name} in clients.members: {error}") from error
        return replace(common, batch_size=size, optimizers=optimizers)
