"""Answers the server for one client: a party, the same in every engine."""

from safetensors.torch import load, save
from torch import Tensor

from ifl import __version__
from ifl.client.adversary import Adversary, Honest
from ifl.client.client import Client
from ifl.client.steps import anneal
from ifl.comm.channel import UPLINK, Channel
from ifl.comm.message import Message, Place
from ifl.engines.base import Packet
from ifl.engines.testing import outputs, tested
from ifl.errors import MessageError
from ifl.methods.base import Conversation, Method, Reply
from ifl.runs.checkpoint import from_bytes, to_bytes
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
            DivergenceError: a loss is not finite.
            MessageError: it is no packet that is expected here.
            Exception: whatever a user's block or method raises.
        """
        operation = OPERATIONS.get(asked.op)
        if operation is None:
            raise MessageError(f"{self.client.name} cannot do {asked.op!r}")
        return operation(self, asked)

    def hello(self, asked: Packet) -> Packet:
        """Say who it is."""
        told = {"client": self.number, "name": self.client.name, "version": __version__}
        return Packet({"op": "hello", **told})

    def begin(self, asked: Packet) -> Packet:
        """Begin a round; what is left of the one before is closed."""
        if self._talk is not None:
            self._talk.close()
        self._round, self._sent = int(asked.head["round"]), 0
        self._anneal()
        self.client.watch.begin_round()
        missed = self._received(asked)
        self._talk = self.method.client_round(self.client, self._round, missed)
        return self._spoken(0, None)

    def reply(self, asked: Packet) -> Packet:
        """Go on with the server's reply, or none, to the next upload or the end."""
        return self._spoken(int(asked.head["turn"]), self._received(asked))

    def leave(self, asked: Packet) -> Packet:
        """Leave the round: the server has refused the upload."""
        if self._talk is not None:
            self._talk.close()
        self._talk = None
        return Packet({"op": "left"})

    def keep(self, asked: Packet) -> Packet:
        """Return the client's state after a round, in which it may have been absent."""
        self._round = int(asked.head["round"])
        self._anneal()
        return Packet({"op": "state"}, to_bytes(self.client.state()))

    def load(self, asked: Packet) -> Packet:
        """Go on from a state.

        Raises:
            ConfigError: it is that of another network.
        """
        self.client.load_state(from_bytes(asked.body))
        return Packet({"op": "loaded"})

    def show(self, asked: Packet) -> Packet:
        """Keep the test set."""
        device, shown = self.client.training.device, load(asked.body)
        self._shown = shown["x"].to(device), shown["y"].to(device)
        return Packet({"op": "shown"})

    def z(self, asked: Packet) -> Packet:
        """Return z of the test set by the own base block."""
        assert self._shown is not None
        return Packet({"op": "z"}, save({"z": outputs(self.client.model.base, self._shown[0])}))

    def judge(self, asked: Packet) -> Packet:
        """Return what the own modular block makes of others' z: guesses, or counts of them."""
        assert self._shown is not None
        _, y = self._shown
        z = load(asked.body)
        found = {
            name: tested(self.client.model.modular, z[name].to(y.device), y, asked.op == "score")
            for name in asked.head["bases"]
        }
        return Packet({"op": asked.op}, save(found))

    def _anneal(self) -> None:
        rounds = self.client.training.optimizers.decay_rounds
        if rounds and self._round:
            anneal(self.client.optimizers, self._round, rounds)

    def _received(self, asked: Packet) -> Reply:
        """Return the server's message, if there is one."""
        if asked.message is not None or "place" not in asked.head:
            return asked.message
        return self.channel.decoded(asked.body, Place(*asked.head["place"]))

    def _spoken(self, turn: int, reply: Reply) -> Packet:
        if self._talk is None:
            raise MessageError(f"{self.client.name} has no round to go on with")
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


def losses_of(end: Packet, device: str) -> Tensor | None:
    """Return the losses (steps,) that an answer "end" holds, on a device; None if it has none."""
    if end.message is not None:
        return end.message["losses"]
    return load(end.body)["losses"].to(device) if end.body else None
