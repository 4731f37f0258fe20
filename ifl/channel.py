"""The only path between parties: what passes is serialised, counted and parsed again."""

from collections import defaultdict
from collections.abc import Mapping

from ifl.codecs import Codec
from ifl.message import Message, decode, encode, sizes

UPLINK, DOWNLINK = "up", "down"


class Ledger:
    """Bytes by (direction, client, kind) of the round in progress, and totals so far."""

    def __init__(self) -> None:
        self.totals = {UPLINK: 0, DOWNLINK: 0}
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

    A message sent to several clients (the same object) is serialised and parsed once
    and counted once per receiver: unicast.
    """

    def __init__(self, codec: Codec, classes: int, device: str = "cpu") -> None:
        self.codec = codec
        self.classes = classes
        self.device = device
        self.ledger = Ledger()

    def up(self, messages: Mapping[int, Message]) -> dict[int, Message]:
        """Carry each client's message to the server; return what arrives, by client."""
        return self._carry(UPLINK, messages)

    def down(self, messages: Mapping[int, Message]) -> dict[int, Message]:
        """Carry the server's messages to the clients named; return what arrives, by client."""
        return self._carry(DOWNLINK, messages)

    def _carry(self, direction: str, messages: Mapping[int, Message]) -> dict[int, Message]:
        arrived: dict[int, Message] = {}
        carried: dict[int, tuple[Mapping[str, int], Message]] = {}
        for client, message in messages.items():
            if id(message) not in carried:
                payload = encode(message, self.codec, self.classes)
                carried[id(message)] = sizes(payload), self._deliver(payload)
            counts, arrived[client] = carried[id(message)]
            self.ledger.add(direction, client, counts)
        return arrived

    def _deliver(self, payload: bytes) -> Message:
        message = decode(payload, self.codec)
        return Message(**{name: t.to(self.device) for name, t in message.tensors.items()})
