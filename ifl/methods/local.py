"""Local: every client alone, no communication. The floor of every figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from ifl.checks import check_made_of, check_whole
from ifl.client.client import Client
from ifl.client.settings import Training
from ifl.comm.schema import Form
from ifl.errors import ConfigError
from ifl.methods.base import Blocks, Conversation, Reply, Server, StatelessServer, own_blocks
from ifl.methods.parts.anchors import Anchored
from ifl.runs.method import Sends


@dataclass(frozen=True)
class Local:
    """Tau steps on the whole network a round, on the client's own shard.

    Its compositions are all N x N: what interoperability is worth shows where nobody
    worked for it. Bytes per round: none.

    With anchors a client teaches itself what it thinks of them (self-training): the fair rival of
    methods that exchange predictions on them. It says nothing all the same.

    Args:
        tau: local steps on the whole network.
        anchors: as of method=ifl, but for what goes over the wire.
        title: its name in figures and tables.
    """

    sends: ClassVar[Sends] = "never"
    hides: ClassVar[bool] = False
    kinds: ClassVar[Mapping[str, str]] = {}

    tau: int = 10
    anchors: Anchored = field(default_factory=Anchored)
    title: str = "no communication"

    def __post_init__(self) -> None:
        check_whole("local.tau", self.tau, 1)
        check_made_of("method.anchors", self.anchors, Anchored)
        told = self.anchors.send, self.anchors.mixtures, self.anchors.balance
        if told != ("predictions", 0, False):
            raise ConfigError(
                "method=local sends nothing, so that method.anchors.send, mixtures and balance are "
                "not for it; leave them out"
            )

    def open(self, clients: Sequence[Client], training: Training) -> Server:
        """Return a server that is never spoken to.

        Raises:
            ConfigError: there are fewer anchors than a client is to learn from.
        """
        for client in clients:
            self.anchors.check(client)
        return StatelessServer()

    def client_round(self, me: Client, round_number: int, missed: Reply = None) -> Conversation:
        """Train tau steps and say nothing."""
        term = self.anchors.term(me, round_number)
        losses = [me.step(x, y, term=term) for x, y in me.batches(self.tau)]
        self.anchors.teach_oneself(me, round_number)
        return torch.stack(losses)
        yield  # a conversation without an upload is a generator all the same

    def hears(self, me: Client, agreed: Mapping[str, int]) -> Sequence[Form]:
        """Expect nothing."""
        return []

    def blocks(self, clients: Sequence[Client], server: Server) -> tuple[Blocks, Blocks]:
        """Return N base and N modular blocks."""
        return own_blocks(clients)
