"""Conducts rounds and evaluations of any method among parties in this process."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from ifl.client.client import Client
from ifl.client.contract import check_learns_from_one
from ifl.client.settings import Training
from ifl.client.steps import anneal
from ifl.comm.channel import Channel
from ifl.comm.message import Message
from ifl.errors import DivergenceError, MessageError
from ifl.federation.admission import Reception
from ifl.federation.class_counts import Pair
from ifl.federation.evaluation import Compositions, Evaluation, compose, guesses
from ifl.federation.participation import Participation
from ifl.federation.workers import Workers
from ifl.methods.base import Blocks, Conversation, Method, Server
from ifl.runs.checkpoint import State
from ifl.seeding import global_stream


class Outcome(NamedTuple):
    """The outcome of a round."""

    train_loss: float | None  # mean of all training losses; None if there are none
    clients: int  # that took part to the end
    refused: int  # uploads


class Engine:
    """Runs the clients' halves in lockstep with the server half, all traffic by the channel.

    Args:
        training: what all parties agreed on.
        workers: do the clients' turns between two exchanges, several at a time.
        participation: who takes part in a round.
        on_bad_upload: "stop", an upload that is refused ends the run; "skip", its client is
            out for the rest of the round.
        evaluation: which compositions are tested.
    """

    def __init__(
        self,
        method: Method,
        clients: Sequence[Client],
        channel: Channel,
        training: Training,
        workers: Workers | None = None,
        participation: Participation = Participation(),  # noqa: B008 (frozen)
        on_bad_upload: str = "stop",
        evaluation: Evaluation = Evaluation(),  # noqa: B008 (frozen)
    ) -> None:
        self.evaluation = evaluation
        self.method = method
        self.clients = clients
        self.channel = channel
        self.training = training
        self.workers = workers or Workers()
        self.participation = participation
        self.server: Server = method.open(clients, training)
        self._check_smallest_pool(on_bad_upload)
        self.reception = Reception(self.server, channel, clients, on_bad_upload)

    def _check_smallest_pool(self, on_bad_upload: str) -> None:
        """Raise ConfigError if a step may have a single row, and a block cannot learn from one."""
        smallest = getattr(self.method, "smallest_pool", None)
        if smallest is None:
            return
        fewest = self.participation.fewest(len(self.clients)) if on_bad_upload != "skip" else 1
        least = min((client.training for client in self.clients), key=lambda its: its.batch_size)
        if smallest(least, fewest) > 1:
            return
        for client in self.clients:
            check_learns_from_one(
                client,
                f"stage 2 may have steps of one row here, with {fewest} of {len(self.clients)} "
                "clients in a round; raise method.relay_rows, method.upload.rows or batch_size to "
                "2 or more",
            )

    def round(self, number: int) -> Outcome:
        """Conduct one round; where nobody came, nothing happens in it.

        Raises:
            DivergenceError: a loss, or an upload that is not skipped, is not finite.
            MessageError: an upload that is not skipped is refused. Both name method, round, party.
        """
        where = f"{type(self.method).__name__} in round {number}"
        try:
            return self._conduct(number)
        except DivergenceError as error:
            raise DivergenceError(
                f"{where}: {error}; lower optimizer.lr, or choose another optimizer"
            ) from error
        except MessageError as error:
            raise MessageError(f"{where}: {error}") from error

    def _conduct(self, number: int) -> Outcome:
        self.channel.begin_round(number)
        self._anneal(number)
        present = self.participation.present(self.clients, self.training.seed, number)
        if not present:
            return Outcome(None, 0, 0)
        missed = self.channel.down(self.server.welcome([c.number for c in present]))
        talks = {}
        for client in present:
            client.watch.begin_round()
            reply = missed.get(client.number)
            talks[client.number] = self.method.client_round(client, number, reply)
        inbox: Mapping[int, Message] = {}
        losses: dict[str, Tensor | None] = {}
        turn = refused = 0
        while talks:
            outbox: dict[int, Message] = {}
            for client, said in self._turns(talks, inbox, number, turn):
                if isinstance(said, Message):
                    outbox[client.number] = said
                else:
                    client.watch.check()
                    losses[client.name] = said
                    del talks[client.number]
            arrived = self.reception.receive(outbox, turn)
            for k in outbox.keys() - arrived.keys():
                talks.pop(k).close()
                refused += 1
            if arrived:
                with self._stream("server", "modules", number, turn) as draws:
                    replies = self.server.reply(arrived, draws)
                inbox = self.channel.down(replies)
                self.server.delivered(inbox)
            turn += 1
        with self._stream("server", "modules", number, turn):
            losses["the server"] = self.server.end_round()
        return Outcome(mean_loss(losses.values()), len(present) - refused, refused)

    def _anneal(self, number: int) -> None:
        """Set this round's learning rates, of those who are absent too."""
        if rounds := self.training.optimizers.decay_rounds:
            learners = [optimizer for client in self.clients for optimizer in client.optimizers]
            anneal([*learners, *self.server.optimizers()], number, rounds)

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

    def evaluate(self, x: Tensor, y: Tensor, number: int = 0) -> Compositions:
        """Test compositions on samples x (n, ...) and labels y (n,): all, or those chosen.

        Blocks that draw random numbers even here do so in turn, in every evaluation the same.

        Args:
            number: of the round, which names what is drawn.
        """
        every = self.method.blocks(self.clients, self.server)
        some, local_only = self._evaluated(number), self.evaluation.local_only
        if any(client.draws_tested for client in self.clients):
            with self._stream("evaluation"):
                tested = compose(*some, x, y, local_only=local_only)
        else:
            tested = compose(*some, x, y, self.workers, local_only)
        if [*map(len, some)] == [*map(len, every)]:
            return tested
        return replace(tested, of=len(every[0]) * len(every[1]))

    def guesses(self, x: Tensor, number: int = 0) -> dict[Pair, Tensor]:
        """Return the guessed classes (n,) int64 of every composition that ``evaluate`` tests."""
        with self._stream("evaluation"):
            return guesses(*self._evaluated(number), x, self.evaluation.local_only)

    def _evaluated(self, number: int) -> tuple[Blocks, Blocks]:
        bases, modulars = self.method.blocks(self.clients, self.server)
        seed, drawn = self.training.seed, self.evaluation.drawn
        return drawn("bases", bases, seed, number), drawn("modulars", modulars, seed, number)

    def _turns(
        self, talks: dict[int, Conversation], inbox: Mapping[int, Message], number: int, turn: int
    ) -> list[tuple[Client, Message | Tensor | None]]:
        """Let every client that still talks run to its next upload, or to its end and losses.

        Clients whose modules, augmentation or optimisers draw from global generators take turns
        alone, since these are one for all threads.
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

    def _stream(self, *purpose: str | int) -> AbstractContextManager[Generator]:
        """Let modules draw from the named stream: what they draw hangs on nothing before it."""
        return global_stream(self.training.seed, *purpose, device=self.training.device)


def _speak(
    client: Client, talk: Conversation, inbox: Mapping[int, Message], turn: int
) -> Message | Tensor | None:
    try:
        return next(talk) if turn == 0 else talk.send(inbox.get(client.number))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def mean_loss(losses: Iterable[Tensor | None]) -> float | None:
    """Return the mean over all parties' losses (steps,) of a round; None if there are none."""
    known = [values for values in losses if values is not None]
    return float(torch.cat(known).mean()) if known else None
