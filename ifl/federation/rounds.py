"""Conducts the rounds of any method among parties, wherever these are."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

from torch import Generator

from ifl.client.adversary import Adversary, Honest
from ifl.client.client import Client
from ifl.client.contract import check_learns_from_one
from ifl.client.settings import Training
from ifl.client.steps import anneal
from ifl.comm.channel import Channel
from ifl.comm.message import Message
from ifl.engines.admission import Reception
from ifl.engines.base import Answer, Packet, Transport, packet_of
from ifl.engines.local import Local
from ifl.engines.outcome import Conducted, Outcome
from ifl.engines.parties import Parties, answered
from ifl.engines.party import Party
from ifl.engines.residence import Residence
from ifl.engines.strict import losses_of
from ifl.errors import DivergenceError, LostError, MessageError
from ifl.federation.evaluation import Evaluation
from ifl.federation.participation import Participation
from ifl.federation.workers import Workers
from ifl.methods.base import Method, Server
from ifl.methods.parts.passing import alike
from ifl.seeding import global_stream


class Rounds:
    """Runs the clients' halves in lockstep with the server half, all traffic by the channel.

    Args:
        training: what all parties agreed on.
        workers: do the clients' turns between two exchanges, several at a time.
        participation: who takes part in a round.
        on_bad_upload: "stop", an upload that is refused ends the run; "skip", its client is
            out for the rest of the round.
        evaluation: which compositions are tested.
        transport: the way to the parties, which are in this process if it is not given.
        adversary: changes what the clients that lie upload.
        residence: the home of clients that are made when they are drawn; None: all are here.

    Attributes:
        skips_lost: a round goes on without a client that is lost in it, and does not end the run.
    """

    skips_lost = False

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
        transport: Transport | None = None,
        adversary: Adversary = Honest(),  # noqa: B008 (frozen)
        residence: Residence | None = None,
    ) -> None:
        self.residence = residence
        self.adversary = adversary
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
        strict = on_bad_upload == "stop"
        self.parties = Parties(
            transport or Local(),
            [Party(client, method, channel, strict, adversary) for client in clients],
            lambda function, numbers: self.workers.map(function, numbers),
        )
        self._last = Conducted(0)
        if residence:
            residence.trim()

    def _check_smallest_pool(self, on_bad_upload: str) -> None:
        """Raise ConfigError if a step may have a single row, and a block cannot learn from one."""
        smallest = getattr(self.method, "smallest_pool", None)
        if smallest is None:
            return
        fewest = self.participation.fewest(len(self.clients)) if on_bad_upload != "skip" else 1
        least = min((client.training for client in self.clients), key=lambda its: its.batch_size)
        if smallest(least, fewest) > 1:
            return
        for client in alike(self.clients):
            check_learns_from_one(
                client,
                f"stage 2 may have steps of one row here, with {fewest} of {len(self.clients)} "
                "clients in a round; raise method.relay_rows, method.replay.rows, "
                "method.upload.rows or batch_size to 2 or more",
            )

    def round(self, number: int) -> Outcome:
        """Conduct one round to its end; where nobody came, nothing happens in it.

        Raises:
            DivergenceError: a loss, or an upload that is not skipped, is not finite.
            MessageError: an upload that is not skipped is refused. Both name method, round, party.
            PartyError: one failed or is lost.
        """
        self.advance(number)
        self.settle()
        return self._last.outcome

    def advance(self, number: int) -> Conducted:
        """Conduct one round, and leave its last replies to the next exchange.

        The next round settles this one first, and so does whatever needs the clients after it.

        Raises what ``round`` does, of this one and of the one before, which is settled here.
        """
        before, self._last = self._last, Conducted(number)
        self.channel.begin_round(number)
        self._anneal(number, ())
        present = self._present(number)
        if not present:
            self._settle(before)
            self._last.settled = True
            return self._last
        self._last.present = len(present)
        if self.residence:
            self.residence.hold(present)
        missed = self.channel.down(self.server.welcome([c.number for c in present]))
        asked: dict[int, list[Packet]] = {k: [packet] for k, packet in before.left.items()}
        for client in present:
            begin = packet_of(missed.get(client.number), op="begin", round=number)
            asked.setdefault(client.number, []).append(begin)
        answers = self.parties.exchange(asked)
        first = {k: its.pop(0) if len(its) > 1 else its[0] for k, its in answers.items()}
        self._finish(before, {k: first[k] for k in before.left})
        with self._told(number):
            self._conduct({c.number: (answers[c.number] or [first[c.number]])[0] for c in present})
        if self.residence:
            self.residence.trim()
        return self._last

    def _present(self, number: int) -> Sequence[Client]:
        """Return the clients that take part in a round."""
        return self.participation.present(self.clients, self.training.seed, number)

    def settle(self) -> None:
        """Deliver the last replies of the last round, if they are left."""
        self._settle(self._last)

    def _settle(self, done: Conducted) -> None:
        if done.left:
            self._finish(done, self._exchanged(done.left))

    def _exchanged(self, packets: Mapping[int, Packet]) -> Mapping[int, Answer]:
        answers = self.parties.exchange({k: [packet] for k, packet in packets.items()})
        return {k: its[0] for k, its in answers.items()}

    def _finish(self, done: Conducted, answers: Mapping[int, Answer]) -> None:
        """Take the answers to the last replies of a round: losses, or an upload too many."""
        done.left, turn = {}, max((p.head["turn"] for p in done.left.values()), default=0)
        with self._told(done.number):
            uploads = self._sorted(done, answers)
            if uploads:
                self.reception.receive(uploads, turn)
                done.refused += len(uploads)
        done.settled = True

    def _sorted(self, done: Conducted, answers: Mapping[int, Answer]) -> dict[int, Packet]:
        """Keep the losses of those who are done; return the uploads of the others."""
        uploads = {}
        for k, answer in answers.items():
            if isinstance(answer, LostError) and self.skips_lost:
                done.lost += 1
                continue
            packet = answered(answer)
            if packet.op == "upload":
                uploads[k] = packet
            else:
                done.losses[k] = losses_of(packet, self.training.device)
        return uploads

    def _conduct(self, answers: Mapping[int, Answer]) -> None:
        """Go on with a round from the answers to its beginning."""
        this, turn = self._last, 0
        while answers:
            uploads = self._sorted(this, answers)
            arrived = self.reception.receive(uploads, turn)
            gone = uploads.keys() - arrived.keys()
            left = self._exchanged({k: Packet({"op": "leave"}) for k in gone})
            for answer in left.values():
                if not (isinstance(answer, LostError) and self.skips_lost):
                    answered(answer)
            this.refused += len(gone)
            replies: Mapping[int, Message] = {}
            if arrived:
                with self._stream("server", "modules", this.number, turn) as draws:
                    replies = self.server.reply(arrived, draws)
                replies = self.channel.down(replies)
                self.server.delivered(replies)
            turn += 1
            following = {k: packet_of(replies.get(k), op="reply", turn=turn) for k in arrived}
            last = all(len(self.server.expects(k)) <= turn for k in arrived)
            if arrived and last and self.parties.transport.ahead:
                this.left, answers = following, {}
                turn += 1
            else:
                answers = self._exchanged(following)
        with self._stream("server", "modules", this.number, turn):
            this.of_server = self.server.end_round()
        this.settled = not this.left

    @contextmanager
    def _told(self, number: int) -> Iterator[None]:
        """Let errors within name method and round."""
        where = f"{type(self.method).__name__} in round {number}"
        try:
            yield
        except DivergenceError as error:
            raise DivergenceError(
                f"{where}: {error}; lower optimizer.lr, or choose another optimizer"
            ) from error
        except MessageError as error:
            raise MessageError(f"{where}: {error}") from error

    def _anneal(self, number: int, clients: Sequence[Client]) -> None:
        """Set a round's learning rates at the server and, in place of their parties, at clients."""
        if rounds := self.training.optimizers.decay_rounds:
            learners = [optimizer for client in clients for optimizer in client.optimizers]
            anneal([*learners, *self.server.optimizers()], number, rounds)

    def _stream(self, *purpose: str | int) -> AbstractContextManager[Generator]:
        """Let modules draw from the named stream: what they draw hangs on nothing before it."""
        return global_stream(self.training.seed, *purpose, device=self.training.device)
