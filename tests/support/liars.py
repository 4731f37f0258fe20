"""A method among whose clients one lies."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ifl.client.client import Client
from ifl.client.settings import Training
from ifl.comm.message import Message
from ifl.methods.base import Blocks, Conversation, Method, Reply, Server
from ifl.methods.ifl import IFL


def lie(truth: Message, kind: str) -> Message:
    """Return an upload whose first tensor is cut ("shape"), not finite ("nan") or renamed."""
    (name, tensor), *others = truth.tensors.items()
    if name == "samples":
        (name, tensor), *others = [*others, (name, tensor)]
    if kind == "shape":
        tensor = tensor[1:]
    elif kind == "nan":
        tensor = torch.full_like(tensor, float("nan"))
    else:
        name = "secret"
    return Message(**{name: tensor}, **dict(others))


@dataclass(frozen=True)
class Liar:
    """The honest method, but for one upload of client 1.

    Args:
        round: in which it lies.
        turn: which of its uploads is a lie, from 0.
    """

    honest: Method
    kind: str = "shape"
    round: int = 2
    turn: int = 0

    def open(self, clients: Sequence[Client], training: Training) -> Server:
        return self.honest.open(clients, training)

    def blocks(self, clients: Sequence[Client], server: Server) -> tuple[Blocks, Blocks]:
        return self.honest.blocks(clients, server)

    def client_round(self, me: Client, round_number: int, missed: Reply = None) -> Conversation:
        talk, reply, turn = self.honest.client_round(me, round_number, missed), None, 0
        try:
            while True:
                said = talk.send(reply)
                lies = (me.number, round_number, turn) == (1, self.round, self.turn)
                reply = yield lie(said, self.kind) if lies else said
                turn += 1
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        finally:
            talk.close()


def lying_ifl(**settings: Any) -> Liar:
    """A ``_target_`` for the command line."""
    return Liar(IFL(**settings))
