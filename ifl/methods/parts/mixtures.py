"""Publishes mixtures of clients' own samples as anchors, where there are no public samples.

What leaves a client is a number of means, each over some of its samples. Sources: means of samples
as training data, Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization", arXiv 1710.09412;
as what devices upload, Oh et al. 2020, "Mix2FLD: Downlink Federated Learning After Uplink Federated
Distillation With Two-Way Mixup", arXiv 2006.09801, which un-mixes them at the server and needs
their labels: here they stay mixed and have none.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ifl.client.client import Client
from ifl.client.memory import Kept
from ifl.comm.message import Message
from ifl.comm.schema import Expected, Form, floats
from ifl.data.dataset import Shard
from ifl.errors import ConfigError
from ifl.methods.parts.row_selection import balanced
from ifl.seeding import rng

MIXTURES = "x"  # of a message: (mixtures, ...), as networks take samples
MIXES = ("across", "within")  # of several classes, or of one
ASK = "ask"  # (0,) uint8: the server asks for them
ASKED: Form = {ASK: Expected((0,), torch.uint8)}


@dataclass
class Published(Kept):
    """The mixtures (A, ...) of all clients of the round that published them, in their order."""

    mixtures: Tensor | None = None


def check_mixtures(me: Client, count: int, mixed: int, mix: str) -> None:
    """Raise ConfigError unless a client has samples that can be mixed, and no anchors besides."""
    field = f"method.anchors.mixtures={count}"
    if me.anchors is not None:
        raise ConfigError(
            f"{field} stands in for public samples, and there are {len(me.anchors)}; set "
            "anchors=none, or method.anchors.mixtures=0"
        )
    me.memory  # noqa: B018 (a server of vendors has none of it, and no samples: it says so)
    if me.shard.kind == "tokens":
        raise ConfigError(
            f"{field} publishes means of samples, and {me.name} has tokens, which have no mean; "
            "set method.anchors.mixtures=0"
        )
    most = len(me.shard) if mix == "across" else int(me.shard.y.bincount().max())
    if mixed > most:
        of = "" if mix == "across" else " of one class"
        raise ConfigError(
            f"method.anchors.mixed must not exceed the smallest shard, got {mixed} while {me.name} "
            f"has {most} samples{of}; lower it or clients.count"
        )


def mixtures(me: Client, count: int, mixed: int, mix: str = "across") -> Tensor:
    """Return means (count, ...) of a client's samples, each of ``mixed`` different ones.

    Args:
        mix: "across", the samples of a mean are of as many classes, and as equally many of each,
            as the client has; "within", they are of one class, in turn one of those that have
            ``mixed`` or more.
    """
    draws = rng(me.training.seed, "client", me.number, "mixtures")
    y = me.shard.y.cpu()
    large = (y.bincount() >= mixed).nonzero().flatten()
    means = []
    for number in range(count):
        if mix == "across":
            some = balanced(y, mixed, draws)
        else:
            own = (y == large[number % len(large)]).nonzero().flatten()
            some = own[torch.randperm(len(own), generator=draws)[:mixed]]
        some = some.to(me.shard.x.device)
        means.append(Shard(me.shard.x[some], me.shard.y[some]).inputs().mean(dim=0))
    return torch.stack(means)


class Holders:
    """Knows at the server which clients hold mixtures, and asks for them until some do."""

    def __init__(self) -> None:
        self.numbers: set[int] | None = None  # None: nobody was heard yet

    def asks(self, clients: Collection[int]) -> Mapping[int, Message]:
        """Return what is said to those who take part in a round that begins."""
        if self.numbers is not None:
            return {}
        return dict.fromkeys(clients, Message(**{ASK: torch.empty(0, dtype=torch.uint8)}))

    def joined(self, uploads: Mapping[int, Message]) -> dict[str, Tensor]:
        """Return all mixtures that came, in client order, by name; remember whose they are."""
        some = {k: m for k, m in sorted(uploads.items()) if MIXTURES in m}
        if not some:
            return {}
        self.numbers = set(some)
        return {MIXTURES: torch.cat([message[MIXTURES] for message in some.values()])}


def form(count: int, shape: Collection[int]) -> Form:
    """Expect so many mixtures, each of the shape of a sample."""
    return {MIXTURES: floats(count, *shape)}
