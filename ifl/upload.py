"""Which of its samples a client sends the fusion outputs of."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ifl.checks import check_made_of, check_one_of, check_whole
from ifl.client.client import Client
from ifl.client.steps import frozen
from ifl.errors import ConfigError
from ifl.seeding import rng
from ifl.selection import balanced, sample

CANDIDATES = 4  # of them, for each sample that is sent by loss


@dataclass(frozen=True)
class Upload:
    """A choice among a client's samples, by a stream of its own in each round.

    Args:
        pick: "random", as they come (paper); "balanced", of each class as many, or all that
            the client has; "loss", of four times as many at random those with the largest loss
            of the client's own network.
        rows: how many; None for a mini-batch's B. With "random", None is the next mini-batch.

    Raises:
        ConfigError: a value is out of range.
    """

    pick: str = "random"
    rows: int | None = None

    def __post_init__(self) -> None:
        check_one_of("method.upload.pick", self.pick, "random", "balanced", "loss")
        if self.rows is not None:
            check_whole("method.upload.rows", self.rows, 1)

    def check(self, me: Client) -> None:
        """Raise ConfigError unless the client has as many samples."""
        if self.rows is not None and self.rows > len(me.shard):
            raise ConfigError(
                f"method.upload.rows must not exceed the smallest shard, got {self.rows} while "
                f"{me.name} has {len(me.shard)} samples; lower it or clients.count"
            )

    def batch(self, me: Client, round_number: int) -> tuple[Tensor, Tensor]:
        """Return the samples of a round: x (rows, C, H, W) float32, y (rows,) int64."""
        if self == Upload():
            return me.batch()
        rows, y = self.rows or me.training.batch_size, me.shard.y
        draws = rng(me.training.seed, "client", me.number, "upload", round_number)
        if self.pick == "random":
            return me.samples(sample(y, rows, draws))
        if self.pick == "balanced":
            return me.samples(balanced(y, rows, draws))
        x, y = me.samples(sample(y, CANDIDATES * rows, draws))
        with frozen(me.model), torch.no_grad():
            largest = cross_entropy(me.model(x), y, reduction="none").topk(rows).indices
        return x[largest], y[largest]


def check_upload(upload: Upload, upload_batch: str) -> None:
    """Raise ConfigError if samples are to be chosen in two ways."""
    check_made_of("method.upload", upload, Upload)
    if upload_batch == "last" and upload != Upload():
        raise ConfigError(
            "method.upload chooses other samples than method.upload_batch=last; use "
            "method.upload_batch=fresh"
        )
