"""Selects rows: the samples a client uploads z of, and the rows a server passes on."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ifl.checks import check_made_of, check_one_of, check_whole, typed
from ifl.client.client import Client
from ifl.client.learner import Batch
from ifl.client.steps import frozen
from ifl.errors import ConfigError
from ifl.seeding import rng

CANDIDATES = 4  # of them, for each sample that is sent by loss


def sample(y: Tensor, rows: int, draws: torch.Generator) -> Tensor:
    """Return the places of ``rows`` samples, each as likely as another, in ascending order.

    Args:
        y: (n,) int64 labels.
        rows: all of them if n is no larger.
        draws: a CPU generator.

    Returns:
        (min(rows, n),) int64, on the device of y.
    """
    return torch.randperm(len(y), generator=draws)[:rows].sort().values.to(y.device)


def balanced(y: Tensor, rows: int, draws: torch.Generator) -> Tensor:
    """Return the places of samples whose classes are as equally many as they can be.

    Those of a class are drawn at random, and so are the classes that get one more than others;
    a class with too few samples gives all that it has. Arguments and result as of ``sample``.
    """
    order = torch.randperm(len(y), generator=draws)
    labels = y.cpu()[order]
    members = torch.nn.functional.one_hot(labels)  # (n, classes)
    earlier = members.cumsum(dim=0).gather(1, labels.unsqueeze(1)).squeeze(1)  # of its class
    first = earlier.argsort(stable=True)[:rows]
    return order[first].sort().values.to(y.device)


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

    def batch(self, me: Client, round_number: int) -> Batch:
        """Return the samples of a round, ``rows`` of them."""
        if self == Upload():
            return me.batch()
        rows, y = self.rows or me.training.batch_size, me.shard.y
        draws = rng(me.training.seed, "client", me.number, "upload", round_number)
        if self.pick == "random":
            return me.samples(sample(y, rows, draws))
        if self.pick == "balanced":
            return me.samples(balanced(y, rows, draws))
        tried = me.samples(sample(y, CANDIDATES * rows, draws))
        with frozen(me.model), torch.no_grad():
            losses = cross_entropy(me.model(tried.x), tried.y, reduction="none")
        largest = losses.topk(rows).indices
        return Batch(tried.x[largest], tried.y[largest], tried.places[largest])


def check_upload(upload: Upload, upload_batch: str) -> None:
    """Raise ConfigError if samples are to be chosen in two ways."""
    check_made_of("method.upload", upload, Upload)
    if upload_batch == "last" and upload != Upload():
        raise ConfigError(
            "method.upload chooses other samples than method.upload_batch=last; use "
            "method.upload_batch=fresh"
        )


PICKS = {"sample": sample, "balanced": balanced}


def check_relay(relay: object, rows: object, stage2: str) -> None:
    """Raise ConfigError unless a server can relay so many rows, or all of them."""
    check_one_of("method.relay", relay, "all", *PICKS)
    if (relay == "all") != (rows is None):
        raise ConfigError(
            "method.relay_rows goes with method.relay=sample or balanced, got "
            f"method.relay={relay} and method.relay_rows={typed(rows)}"
        )
    if rows is None:
        return
    check_whole("method.relay_rows", rows, 1)
    if stage2 == "per_client":
        raise ConfigError(
            f"method.stage2=per_client needs each client's pair whole, got method.relay={relay}; "
            "use method.stage2=pooled or method.relay=all"
        )
