"""Answers the server for one client: a party, the same in every engine."""

from safetensors.torch import save
from torch import Tensor

from ifl import __version__
from ifl.client.adversary import Adversary, Honest
from ifl.client.client import Client
from ifl.client.steps import anneal
from ifl.comm.channel import UPLINK, Channel
from ifl.comm.message import Message, Place
from ifl.engines.base import Packet
from ifl.engines.hearing import Hearing, refusing
from ifl.engines.strict import check_samples, cut, floats, load_client, tensors, texts, whole
from ifl.engines.testing import outputs, tested
from ifl.errors import MessageError
from ifl.methods.base import Conversation, Method, Reply
from ifl.runs.checkpoint import to_bytes
from ifl.seeding import global_stream, rng


class Party:
    """A client's half of a method with all that is the client's own, behind packets.

    What it is asked, by "op", and what it answers:

        hello                     -> hello: its number, name and version
        begin: round; welcome     -> upload or end, as reply
        reply: turn; the reply    -> upload: the message, what to say of its last finite loss;
                                     end: losses (steps,), if there are any
        leave                     -> left: its upload is refused, the conversation is closed
        show: x, y                -> shown: the test set that all have
        z                         -> z: (n, d) of that set by its own base block
        score, guess: bases; z's  -> counts (3, C), or guesses (n,), by its own modular block
        keep: round               -> state: all that its next round depends on
        load: the state           -> loaded

    Args:
        client: its own; here alone where the engine is not live.
        channel: encodes and decodes what passes. It counts nothing here.
        strict: whether a loss that is not finite ends the run before an upload, not only at the
            end of a round.
        adversary: changes what it uploads, if it is one of those that lie.
    """

    def __init__(
        self,
        client: Client,
        method: Method,
        channel: Channel,
        strict: bool,
        adversary: Adversary = Honest(),  # noqa: B008 (frozen)
    ) -> None:
        self.client = client
        self.method = method
        self.channel = channel
        self.strict = strict
        self.adversary = adversary if client.number in adversary.clients else None
        self._talk: Conversation | None = None
        self._round = self._sent = 0
        self._shown: tuple[Tensor, Tensor] | None = None
        self.hearing = Hearing(client, method, channel)

    @property
    def number(self) -> int:
        """The client's number."""
        return self.client.number

    @property
    def alone(self) -> bool:
        """True if it draws from generators that are one for all threads of a process."""
        return self.client.draws or self.channel.draws

    def answer(self, asked: Packet) -> Packet:
        """Do what a packet asks for.

        Raises:
            DivergenceError: a loss is not finite, or what the server says is not.
            MessageError: it is no packet that is expected here, or does not fit.
            Exception: whatever a user's block or method raises.
        """
        operation = OPERATIONS.get(asked.op)
        if operation is None:
            raise MessageError(f"{self.client.name} cannot do {cut(asked.op)}")
        return operation(self, asked)

    def hello(self, asked: Packet) -> Packet:
        """Say who it is."""
        told = {"client": self.number, "name": self.client.name, "version": __version__}
        return Packet({"op": "hello", **told})

    def begin(self, asked: Packet) -> Packet:
        """Begin a round; what is left of the one before is closed."""
        with refusing(self.client, asked):
            number = whole(asked.head, "round", 1)
            if number <= self._round:
                raise MessageError(f"its round is {number}, and round {self._round} has been")
        if self._talk is not None:
            self._talk.close()
        self._round, self._sent = number, 0
        self.hearing.begin_round()
        self._anneal()
        self.client.watch.begin_round()
        missed = self.received(asked)
        self._talk = self.method.client_round(self.client, self._round, missed)
        return self._spoken(0, None)

    def reply(self, asked: Packet) -> Packet:
        """Go on with the server's reply, or none, to the next upload or the end."""
        with refusing(self.client, asked):
            turn = whole(asked.head, "turn", 1)
            if self._talk is None:
                raise MessageError("it has no round to go on with")
            if turn != self._sent:
                raise MessageError(f"its turn is {turn}, expected {self._sent}")
        return self._spoken(turn, self.received(asked))

    def received(self, asked: Packet) -> Reply:
        """Return what ``Hearing.message`` does of this round."""
        return self.hearing.message(asked, self._round)

    def leave(self, asked: Packet) -> Packet:
        """Leave the round: the server has refused the upload."""
        if self._talk is not None:
            self._talk.close()
        self._talk = None
        return Packet({"op": "left"})

    def keep(self, asked: Packet) -> Packet:
        """Return the client's state after a round, in which it may have been absent."""
        with refusing(self.client, asked):
            if (number := whole(asked.head, "round")) < self._round:
                raise MessageError(f"its round is {number}, and round {self._round} has been")
        self._round = number
        self._anneal()
        return Packet({"op": "state"}, to_bytes(self.client.state()))

    def load(self, asked: Packet) -> Packet:
        """Go on from a state.

        Raises:
            ConfigError: it is that of another network.
            MessageError: it is no state.
        """
        load_client(self.client, asked.body)
        self.forget()
        return Packet({"op": "loaded"})

    def forget(self) -> None:
        """Take any round for the next one, as after another state."""
        self._round, self._talk = 0, None

    def show(self, asked: Packet) -> Packet:
        """Keep the test set."""
        device = self.client.training.device
        with refusing(self.client, asked):
            found = tensors(asked.body, {"x", "y"})
            check_samples(found["x"], found["y"], self.client, self.channel.classes)
        self._shown = found["x"].to(device), found["y"].to(device)
        return Packet({"op": "shown"})

    def z(self, asked: Packet) -> Packet:
        """Return z of the test set by the own base block."""
        x, _ = self._test_set(asked)
        return Packet({"op": "z"}, save({"z": outputs(self.client.model.base, x)}))

    def judge(self, asked: Packet) -> Packet:
        """Return what the own modular block makes of others' z: guesses, or counts of them."""
        _, y = self._test_set(asked)
        with refusing(self.client, asked):
            shape = (len(y), self.channel.agreed["d"])
            z = floats(tensors(asked.body, None, shape))
            bases = texts(asked.head, "bases")
            if unknown := [name for name in bases if name not in z]:
                raise MessageError(f"it has no z of {cut(unknown[0])}")
        found = {
            name: tested(self.client.model.modular, z[name].to(y.device), y, asked.op == "score")
            for name in bases
        }
        return Packet({"op": asked.op}, save(found))

    def _anneal(self) -> None:
        rounds = self.client.training.optimizers.decay_rounds
        if rounds and self._round:
            anneal(self.client.optimizers, self._round, rounds)

    def _test_set(self, asked: Packet) -> tuple[Tensor, Tensor]:
        with refusing(self.client, asked):
            if self._shown is None:
                raise MessageError("it has not been shown a test set")
        return self._shown

    def _spoken(self, turn: int, reply: Reply) -> Packet:
        assert self._talk is not None
        try:
            said = self._next(turn, reply)
        except StopIteration as end:
            self._talk = None
            self.client.watch.check()
            losses: Tensor | None = end.value
            if losses is None:
                return Packet({"op": "end"})
            return Packet({"op": "end"}, save({"losses": losses}), Message(losses=losses))
        if self.strict:
            self.client.watch.check()
        place = Place(UPLINK, self.number, self._round, self._sent)
        self._sent += 1
        if self.adversary:
            said = self._spoilt(said, self.adversary, place)
        payload = self.encoded(said, place)
        said.opener = lambda: self.channel.decoded(payload, place)
        return Packet({"op": "upload", "last": self.client.watch.last}, payload, said)

    def _spoilt(self, said: Message, adversary: Adversary, place: Place) -> Message:
        """Return what a client that lies says instead."""
        draws = rng(self.client.training.seed, "client", self.number, "adversary", *place[2:])
        return Message(**adversary.spoil(said.tensors, self.channel.classes, draws))

    def encoded(self, said: Message, place: Place) -> bytes:
        """Return the bytes of an upload."""
        return self.channel.encoded(said, place)

    def _next(self, turn: int, reply: Reply) -> Message:
        """Let the conversation run to its next upload.

        A client whose modules, augmentation or optimisers draw from global generators does so
        from a stream of its own and of this turn.
        """
        assert self._talk is not None
        client = self.client
        if not client.draws:
            return next(self._talk) if turn == 0 else self._talk.send(reply)
        purpose = ("client", client.number, "modules", self._round, turn)
        training = client.training
        with global_stream(training.seed, *purpose, device=training.device):
            return next(self._talk) if turn == 0 else self._talk.send(reply)


OPERATIONS = {
    "hello": Party.hello,
    "begin": Party.begin,
    "reply": Party.reply,
    "leave": Party.leave,
    "show": Party.show,
    "z": Party.z,
    "score": Party.judge,
    "guess": Party.judge,
    "keep": Party.keep,
    "load": Party.load,
}
