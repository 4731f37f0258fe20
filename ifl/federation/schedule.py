"""Schedules a run: evaluations, checkpoints, and the limit that ends it."""

from collections.abc import Sequence
from dataclasses import dataclass

from ifl.checks import check_above, check_flag, check_whole
from ifl.errors import ConfigError
from ifl.runs.folder import BYTES_PER_MB

SMALL = 50 * BYTES_PER_MB  # of what training needs: kept by a finished run without being asked


@dataclass(frozen=True)
class Schedule:
    """When a run is evaluated, kept and ended: after ``rounds``, or with a limit met before.

    A limit in bytes is met once the bytes sent reach it, so it is overshot by no more than
    the last round.

    Args:
        rounds: at the most; None for no limit.
        eval_every: rounds between evaluations; None for none before the last round, which is
            always evaluated.
        uplink_mb: MB (10^6 bytes) sent by all clients, or per client on average.
        per_client: whether ``uplink_mb`` is per client.
        accuracy: mean over all compositions, a fraction, at an evaluation.
        patience: evaluations in a row of which none has a better mean over all compositions than
            one before them.
        seconds: of training and evaluation.
        checkpoint_every: rounds between checkpoints; None for none.
        keep_state: whether a finished run keeps what training needs besides the networks, to go
            on from; None for where that takes at most ``SMALL`` bytes in all.
        keep_predictions: whether it keeps every guess of its last evaluation.

    Raises:
        ConfigError: a value is out of range, or there is no limit.
    """

    rounds: int | None
    eval_every: int | None = 1
    uplink_mb: float | None = None
    per_client: bool = False
    accuracy: float | None = None
    patience: int | None = None
    seconds: float | None = None
    checkpoint_every: int | None = None
    keep_state: bool | None = None
    keep_predictions: bool = False

    def __post_init__(self) -> None:
        if self.eval_every is not None:
            check_whole("eval_every", self.eval_every, 1)
        for name, value in (("accuracy", self.accuracy), ("patience", self.patience)):
            if value is not None and self.eval_every is None:
                raise ConfigError(
                    f"stop.{name}={value} needs evaluations before the end; set eval_every"
                )
        if self.patience is not None:
            check_whole("stop.patience", self.patience, 1)
        if self.checkpoint_every is not None:
            check_whole("checkpoint_every", self.checkpoint_every, 1)
        if self.keep_state is not None:
            check_flag("keep_state", self.keep_state)
        check_flag("keep_predictions", self.keep_predictions)
        check_flag("stop.per_client", self.per_client)
        if self.per_client and self.uplink_mb is None:
            raise ConfigError("stop.per_client=true says how to count stop.uplink_mb; set that too")
        limits = (self.rounds, self.uplink_mb, self.accuracy, self.patience, self.seconds)
        if all(limit is None for limit in limits):
            raise ConfigError("rounds=null needs another end: set stop.uplink_mb, or stop.seconds")
        if self.rounds is not None:
            check_whole("rounds", self.rounds, 1)
        for name, value in (("stop.uplink_mb", self.uplink_mb), ("stop.seconds", self.seconds)):
            if value is not None:
                check_above(name, value, 0, "; null means no such limit")
        if self.accuracy is not None:
            check_above("stop.accuracy", self.accuracy, 0, "; null means no such limit")
            if self.accuracy > 1:
                raise ConfigError(
                    f"stop.accuracy is a fraction and must be <= 1, got {self.accuracy}; "
                    "write 0.9 for 90 %"
                )

    def tests(self, number: int) -> bool:
        """Return whether a round is evaluated even if it is not the last."""
        return self.eval_every is not None and number % self.eval_every == 0

    def keeps(self, number: int) -> bool:
        """Return whether there is a checkpoint of a round even if it is not the last."""
        return self.checkpoint_every is not None and number % self.checkpoint_every == 0

    @property
    def only_bytes(self) -> bool:
        """Return whether nothing but ``uplink_mb`` ends the run."""
        others = (self.rounds, self.accuracy, self.patience, self.seconds)
        return all(limit is None for limit in others)

    def uplink_bytes(self, clients: int) -> float:
        """Return the limit on the bytes of all clients; infinite if there is none."""
        if self.uplink_mb is None:
            return float("inf")
        return self.uplink_mb * BYTES_PER_MB * (clients if self.per_client else 1)

    def reason(self, number: int, uplink_bytes: int, seconds: float, clients: int) -> str | None:
        """Return why the run ends with this round, but for what ``enough`` says later."""
        if self.rounds is not None and number >= self.rounds:
            return f"rounds={self.rounds} done"
        if uplink_bytes >= self.uplink_bytes(clients):
            per = " per client" if self.per_client else ""
            return f"stop.uplink_mb={self.uplink_mb}{per} reached"
        if self.seconds is not None and seconds >= self.seconds:
            return f"stop.seconds={self.seconds} reached"
        return None

    def enough(self, accuracies: Sequence[float]) -> str | None:
        """Return why the run ends with the last of its evaluations so far, if it does.

        Args:
            accuracies: means over all compositions, fractions, in the order of the evaluations.
        """
        if self.accuracy is not None and accuracies[-1] >= self.accuracy:
            return f"stop.accuracy={self.accuracy} reached"
        best = accuracies.index(max(accuracies))
        if self.patience is not None and len(accuracies) - 1 - best >= self.patience:
            return f"stop.patience={self.patience} reached"
        return None
