"""Carries messages between parties: serialises them, counts their bytes, parses them again."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

from torch import Generator

from ifl.comm.codecs import Codec
from ifl.comm.message import Message, Place, decode, encode, sizes
from ifl.comm.replies import UNPACKED_LIMIT
from ifl.comm.schema import Form, most_bytes
from ifl.comm.wire import HEADER_LIMIT, Parsed, parse
from ifl.comm.zstd import compress, decompress, shared_out
from ifl.errors import MessageError
from ifl.seeding import global_stream, rng

UPLINK, DOWNLINK = "up", "down"
MULTICAST = "down, multicast"  # the downlink again, each message once, however many receive it


class Ledger:
    """Bytes by (direction, client, kind) of the round in progress, and totals so far.

    All but the total MULTICAST are unicast: a message counts once per receiver.
    """

    def __init__(self) -> None:
        self.totals = {UPLINK: 0, DOWNLINK: 0, MULTICAST: 0}
        self._round: dict[tuple[str, int, str], int] = defaultdict(int)

    def add(self, direction: str, client: int, payload_sizes: Mapping[str, int]) -> None:
        """Count one payload, given its bytes by kind."""
        for kind, count in payload_sizes.items():
            self._round[direction, client, kind] += count
            self.totals[direction] += count

    def close_round(self) -> list[tuple[str, int, str, int]]:
        """Return the round's sorted rows (direction, client, kind, bytes); start the next."""
        rows = [(*key, count) for key, count in sorted(self._round.items())]
        self._round.clear()
        return rows


class Channel:
    """Carries messages between the clients and the server and keeps the ledger.

    Args:
        agreed: what the symbols of forms stand for, beside classes.
        own: what some stand for in the messages of a client, where that is of its own, by client.
        seed: names the streams of codecs that draw random numbers. Each tensor has its own, by
            direction, client, round, number of the message to or from this client in the round,
            and name; so nobody's presence shifts what another's message draws.
        draws: whether the codec draws from a global generator, too: that is then such a stream.
    """

    def __init__(
        self,
        codec: Codec,
        classes: int,
        device: str = "cpu",
        agreed: Mapping[str, int] | None = None,
        seed: int = 0,
        draws: bool = False,
        own: Mapping[int, Mapping[str, int]] | None = None,
    ) -> None:
        self.draws = draws
        self.codec = codec
        self.classes = classes
        self.device = device
        self.agreed = {**(agreed or {}), "classes": classes}
        self._own = {k: {**self.agreed, **symbols} for k, symbols in (own or {}).items()}
        self.ledger = Ledger()
        self.seed = seed
        self.begin_round(0)

    def begin_round(self, number: int) -> None:
        """Let what passes from now on belong to this round."""
        self._number = number
        self._carried: Counter[tuple[str, int]] = Counter()

    def agreed_with(self, client: int) -> Mapping[str, int]:
        """Return what the symbols of forms stand for in a client's messages."""
        return self._own.get(client, self.agreed)

    def up(
        self, messages: Mapping[int, Message], forms: Mapping[int, Form]
    ) -> tuple[dict[int, Message], dict[int, MessageError]]:
        """Carry each client's message to the server.

        Args:
            forms: what is expected of each client; of one not named, nothing.

        Returns:
            What arrives, and why the rest is refused, by client. Both are counted; what is no
            message at all counts as header. Compressed bytes are shared out among the kinds.
        """
        payloads = {
            k: self.encoded(message, Place(UPLINK, k, self._number, self._carried[UPLINK, k]))
            for k, message in messages.items()
        }
        arrived, refused = self.receive(payloads, forms)
        for client, message in arrived.items():
            messages[client].arrived = message
        return arrived, refused

    def receive(
        self, payloads: Mapping[int, bytes], forms: Mapping[int, Form]
    ) -> tuple[dict[int, Message], dict[int, MessageError]]:
        """Take in what clients sent, as ``up`` does what they have to say."""
        arrived: dict[int, Message] = {}
        refused: dict[int, MessageError] = {}
        for client, payload in payloads.items():
            place = self._next(UPLINK, [client])
            counts, agreed = {"header": len(payload)}, self.agreed_with(client)
            try:
                limit = HEADER_LIMIT + most_bytes(forms.get(client, {}), agreed)
                received = parse(self._unpacked(payload, limit))
                counts = shared_out(sizes(received), len(payload))
                if client not in forms:
                    raise MessageError("it is one upload too many")
                arrived[client] = self._decoded(received, place, forms[client], agreed)
            except MessageError as error:
                refused[client] = error
            self.ledger.add(UPLINK, client, counts)
        return arrived, refused

    def down(self, messages: Mapping[int, Message]) -> dict[int, Message]:
        """Carry the server's messages to the clients named; return what arrives, by client.

        A message sent to several clients (the same object) is serialised and parsed once
        and counted once per receiver: unicast. The total MULTICAST counts it once.
        """
        arrived: dict[int, Message] = {}
        receivers: dict[int, list[int]] = defaultdict(list)
        for client, message in messages.items():
            receivers[id(message)].append(client)
        for clients in receivers.values():
            place = self._next(DOWNLINK, clients)
            payload = self.encoded(messages[clients[0]], place)
            received = parse(self._unpacked(payload, UNPACKED_LIMIT))
            counts = shared_out(sizes(received), len(payload))
            self.ledger.totals[MULTICAST] += len(payload)
            decoded = self._decoded(received, place, None, self.agreed)
            decoded.payload, decoded.place = payload, place
            for client in clients:
                arrived[client] = decoded
                self.ledger.add(DOWNLINK, client, counts)
        return {client: arrived[client] for client in messages}

    def encoded(self, message: Message, place: Place) -> bytes:
        """Return the bytes of a message, drawn in the streams of its place; counts nothing."""

        def stream(name: str) -> Generator:
            return rng(self.seed, "codec", *place, name)

        with self._streams(place, "encoding", *place):
            payload = encode(message, self.codec, self.classes, stream)
        return payload if self.codec.zstd is None else compress(payload, self.codec.zstd)

    def decoded(self, payload: bytes, place: Place, limit: int = UNPACKED_LIMIT) -> Message:
        """Return the message of such bytes, as every other party decodes it; counts nothing.

        Args:
            limit: bytes that it may have, packed or not.

        Raises:
            MessageError: they are none, or more.
        """
        if len(payload) > limit:
            raise MessageError(f"it has {len(payload)} bytes, allowed are {limit}")
        return self._decoded(parse(self._unpacked(payload, limit)), place, None, self.agreed)

    def counted(self, payload: bytes) -> dict[str, int]:
        """Return the bytes by kind of a payload, as the ledger counts one.

        Raises:
            MessageError: it is no message.
        """
        return shared_out(sizes(parse(self._unpacked(payload, UNPACKED_LIMIT))), len(payload))

    def _decoded(
        self, received: Parsed, place: Place, form: Form | None, agreed: Mapping[str, int]
    ) -> Message:
        with self._streams(place, "decoding", place.direction, place.client):
            return self._placed(decode(received, self.codec, form, agreed))

    def _next(self, direction: str, clients: Sequence[int]) -> Place:
        """Return the place of the next message from a client or to some, and count it."""
        place = Place(direction, clients[0], self._number, self._carried[direction, clients[0]])
        self._carried.update((direction, client) for client in clients)
        return place

    def _streams(self, place: Place, *purpose: str | int) -> AbstractContextManager[object]:
        if not self.draws:
            return nullcontext()
        return global_stream(self.seed, "codec", *purpose, place.round, place.before + 1)

    def _unpacked(self, payload: bytes, limit: int) -> bytes:
        return payload if self.codec.zstd is None else decompress(payload, limit)

    def _placed(self, message: Message) -> Message:
        return Message(**{name: t.to(self.device) for name, t in message.tensors.items()})
