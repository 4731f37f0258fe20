"""Methods whose clients fail, for processes that import them by name."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ifl.client.client import Client
from ifl.client.settings import Training
from ifl.comm.message import Message
from ifl.methods.base import Blocks, Conversation, Reply, Server
from ifl.methods.ifl import IFL


@dataclass(frozen=True)
class Failing:
    """IFL, but for client 1 in round 2.

    Args:
        how: "raise" an exception that is not ours, "exit" the process, send "again" after the
            reply, or hold a "lambda", which cannot be pickled.
    """

    how: str
    honest: IFL = field(default_factory=partial(IFL, tau=1))

    def open(self, clients: Sequence[Client], training: Training) -> Server:
        if self.how == "lambda":
            clients[1].model.base.act = lambda x: x  # type: ignore[assignment]
        return self.honest.open(clients, training)

    def blocks(self, clients: Sequence[Client], server: Server) -> tuple[Blocks, Blocks]:
        return self.honest.blocks(clients, server)

    def client_round(self, me: Client, round_number: int, missed: Reply = None) -> Conversation:
        now = (me.number, round_number) == (1, 2)
        if now and self.how == "raise":
            raise RuntimeError("the disk is full of cats")
        if now and self.how == "exit":
            os._exit(7)
        losses = yield from self.honest.client_round(me, round_number, missed)
        if now and self.how == "again":
            yield Message()
        return losses


def failing_ifl(how: str, **settings: Any) -> Failing:
    """A ``_target_`` for the command line."""
    return Failing(how, IFL(**settings))
