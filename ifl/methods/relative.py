"""Relative representations: any base block with any modular block, by public anchors alone.

Source: Moschella et al. 2023, "Relative representations enable zero-shot latent space
communication", arXiv 2209.15430.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ifl.checks import check_whole
from ifl.client.client import Client
from ifl.client.contract import tried
from ifl.client.memory import Kept
from ifl.client.settings import Training
from ifl.comm.message import Message
from ifl.data.dataset import Shard
from ifl.errors import ConfigError
from ifl.methods.base import (
    Blocks,
    Conversation,
    Reply,
    Server,
    StatelessServer,
    own_blocks,
)
from ifl.methods.parts.passing import of_clients
from ifl.methods.parts.relative import Relative, cosines, fusion_of
from ifl.runs.checkpoint import State
from ifl.runs.method import Sends
from ifl.seeding import rng


@dataclass
class Anchors(Kept):
    """The public samples (A, ...) as they came."""

    anchors: Tensor | None = None

    def inputs(self) -> Tensor:
        """Return them as networks take them."""
        assert self.anchors is not None
        return _inputs(self.anchors)


def _inputs(anchors: Tensor) -> Tensor:
    return Shard(anchors, torch.zeros(len(anchors), dtype=torch.int64)).inputs().to(anchors.device)


@dataclass(frozen=True)
class RelativeRepresentations:
    """Clients train alone; what they have in common are samples that everybody may see.

    With a_i = f_b,k(x_i) of the anchors x_1 ... x_A, client k's modular block takes
        r_i = <z, a_i> / (|z| |a_i|)   for z = f_b,k(x)
    in place of z, and so does anybody's: base blocks whose z differ by a rotation and a scale have
    the same r. A is the fusion dimension, so that modular blocks are those of other methods.
    Tau steps on both blocks of CE(f_m,k(r), y).

    Data sets here have no public part: the anchors are training samples, drawn from all shards
    alike, which their owners let be seen. They stay in the shards, which are those of other
    methods, and the server hands them out; labels are not needed.

    Bytes per round, one header a message more: downlink A*|x| for each client that comes for the
    first time, for |x| bytes of a sample as it is stored; otherwise none, and no uplink.

    Args:
        tau: local steps on the whole network.
        title: its name in figures and tables.
    """

    sends: ClassVar[Sends] = "never"
    hides: ClassVar[bool] = False
    kinds: ClassVar[Mapping[str, str]] = {"x": "anchors"}

    tau: int = 10
    title: str = "relative representations"

    def __post_init__(self) -> None:
        check_whole("local.tau", self.tau, 1)

    def open(self, clients: Sequence[Client], training: Training) -> Server:
        """Return a server that has the anchors.

        Raises:
            ConfigError: the clients have fewer samples than there have to be anchors.
        """
        count = tried(clients[0])[0].shape[1]
        owners = torch.cat([torch.full((len(c.shard),), k) for k, c in enumerate(clients)])
        places = torch.cat([torch.arange(len(c.shard)) for c in clients])
        if count > len(places):
            raise ConfigError(
                "method=relative takes as many anchors as fusion.dim from the training samples, "
                f"got fusion.dim={count} and {len(places)} samples; lower fusion.dim"
            )
        drawn = torch.randperm(len(places), generator=rng(training.seed, "server", "anchors"))
        anchors = [clients[int(owners[i])].shard.x[places[i]] for i in drawn[:count]]
        return RelativeServer(torch.stack(anchors))

    def client_round(self, me: Client, round_number: int, missed: Reply = None) -> Conversation:
        """Train tau steps on cosines to the anchors, and say nothing."""
        memory = me.memory.of(Anchors)
        if missed:
            memory.anchors = missed["x"]
        # Paper: encodes the anchors anew in every step and learns through them as well; here: once
        # a round, and held fixed in it, because as many anchors as d cost many batches a step.
        anchors = fusion_of(me.model.base, memory.inputs())
        losses = []
        for x, y in me.batches(self.tau):
            loss = me.loss(me.model.modular(cosines(me.model.base(x), anchors)), y)
            losses.append(me.watch.descend(loss, *me.both))
        return torch.stack(losses)
        yield  # a conversation without an upload is a generator all the same

    def blocks(self, clients: Sequence[Client], server: Server) -> tuple[Blocks, Blocks]:
        """Return N base blocks that are relative to the anchors, and N modular blocks."""
        assert isinstance(server, RelativeServer)

        def base(me: Client) -> Relative:
            has = me.memory.of(Anchors)
            x = has.inputs() if has.anchors is not None else _inputs(server.anchors)
            anchors = fusion_of(me.model.base, x.to(me.training.device))
            relative = Relative(me.model.base, *anchors.shape).to(anchors.device)
            relative.held.copy_(anchors)
            return relative

        return of_clients(clients, base), own_blocks(clients)[1]


class RelativeServer(StatelessServer):
    """Hands the anchors to each client that comes for the first time.

    Args:
        anchors: samples (A, ...) as they are stored.
    """

    def __init__(self, anchors: Tensor) -> None:
        self.anchors = anchors
        self.holders: set[int] = set()

    def welcome(self, clients: Collection[int]) -> Mapping[int, Message]:
        """Return the anchors to those who lack them."""
        lacking = [k for k in clients if k not in self.holders]
        self.holders.update(lacking)
        return dict.fromkeys(lacking, Message(x=self.anchors))

    def state(self) -> State:
        """Return who has them; which they are follows from the seed."""
        return {"holders": sorted(self.holders)}

    def load_state(self, state: State, clients: Sequence[Client]) -> None:
        """Go on from such a state."""
        self.holders = set(state["holders"])
