"""Conducts rounds and evaluations of any method among parties in this process."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from ifl.channel import Channel
from ifl.client import Client
from ifl.errors import DivergenceError
from ifl.evaluate import Compositions, compose
from ifl.learner import State
from ifl.message import Message
from ifl.methods import Conversation, Method, Server
from ifl.runtime import Workers
from ifl.seeding import global_stream


class Engine:
    """Runs the clients' halves in lockstep with the server half, all traffic by the channel.

    Args:
        workers: do the clients' turns between two exchanges, several at a time.
    """

    def __init__(
        self,
        method: Method,
        clients: Sequence[Client],
        channel: Channel,
        workers: Workers | None = None,
    ) -> None:
        self.method = method
        self.clients = clients
        self.channel = channel
        self.workers = workers or Workers()
        self.server: Server = method.open(clients)

    def round(self, number: int) -> float:
        """Conduct one round; return the mean of all training losses in it.

        Raises:
            DivergenceError: a loss is not finite; names method, round, party and step.
        """
        try:
            return self._conduct(number)
        except DivergenceError as error:
            raise DivergenceError(
                f"{type(self.method).__name__} in round {number}: {error}; lower optimizer.lr, or "
                "choose another optimizer"
            ) from error

    def _conduct(self, number: int) -> float:
        for client in self.clients:
            client.watch.begin_round()
        talks = {c.number: self.method.client_round(c, number) for c in self.clients}
        inbox: Mapping[int, Message] = {}
        losses: dict[str, Tensor | None] = {}
        turn = 0
        while talks:
            outbox: dict[int, Message] = {}
            for client, said in self._turns(talks, inbox, number, turn):
                client.watch.check()
                if isinstance(said, Message):
                    outbox[client.number] = said
                else:
                    losses[client.name] = said
                    del talks[client.number]
            if outbox:
                arrived = self.channel.up(outbox)
                with self._stream("server", "modules", number, turn):
                    replies = self.server.reply(arrived)
                inbox = self.channel.down(replies)
            turn += 1
        with self._stream("server", "modules", number, turn):
            losses["the server"] = self.server.end_round()
        return mean_loss(losses.values())

    def state(self) -> State:
        """Return all that the next round depends on, between two rounds."""
        return {
            "clients": {str(client.number): client.state() for client in self.clients},
            "server": self.server.state(),
            "totals": dict(self.channel.ledger.totals),
        }

    def load_state(self, state: State) -> None:
        """Go on from such a state, before the first round of this engine.

        Raises:
            ConfigError: it is that of other networks.
        """
        for client in self.clients:
            client.load_state(state["clients"][str(client.number)])
        self.server.load_state(state["server"], self.clients)
        self.channel.ledger.totals.update(state["totals"])

    def evaluate(self, x: Tensor, y: Tensor) -> Compositions:
        """Test every composition that exists on images x (n, C, H, W) and labels y (n,)."""
        return compose(*self.method.blocks(self.clients, self.server), x, y, self.workers)

    def _turns(
        self, talks: dict[int, Conversation], inbox: Mapping[int, Message], number: int, turn: int
    ) -> list[tuple[Client, Message | Tensor | None]]:
        """Let every client that still talks run to its next upload, or to its end and losses.

        Clients whose modules draw random numbers take turns alone, since torch's global
        generator is one for all threads.
        """
        talking = [c for c in self.clients if c.number in talks]
        quiet = [c for c in talking if not c.draws]
        said = dict(
            zip(
                [c.number for c in quiet],
                self.workers.map(lambda c: _speak(c, talks[c.number], inbox, turn), quiet),
                strict=True,
            )
        )
        for client in talking:
            if client.draws:
                with self._stream("client", client.number, "modules", number, turn):
                    said[client.number] = _speak(client, talks[client.number], inbox, turn)
        return [(client, said[client.number]) for client in talking]

    def _stream(self, *purpose: str | int) -> AbstractContextManager[None]:
        """Let modules draw from the named stream: what they draw hangs on nothing before it."""
        training = self.clients[0].training
        return global_stream(training.seed, *purpose, device=training.device)


def _speak(
    client: Client, talk: Conversation, inbox: Mapping[int, Message], turn: int
) -> Message | Tensor | None:
    try:
        return next(talk) if turn == 0 else talk.send(inbox.get(client.number))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def mean_loss(losses: Iterable[Tensor | None]) -> float:
    """Return the mean over all parties' losses (steps,) of a round."""
    return float(torch.cat([values for values in losses if values is not None]).mean())
