"""The only path between parties: what passes is serialised, counted and parsed again."""

from collections import defaultdict
from collections.abc import Mapping

from ifl.codecs import Codec
from ifl.errors import MessageError
from ifl.forms import Form
from ifl.message import Message, decode, encode, sizes

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
    """

    def __init__(
        self,
        codec: Codec,
        classes: int,
        device: str = "cpu",
        agreed: Mapping[str, int] | None = None,
    ) -> None:
        self.codec = codec
        self.classes = classes
        self.device = device
        self.agreed = {**(agreed or {}), "classes": classes}
        self.ledger = Ledger()

    def up(
        self, messages: Mapping[int, Message], forms: Mapping[int, Form]
    ) -> tuple[dict[int, Message], dict[int, MessageError]]:
        """Carry each client's message to the server.

        Args:
            forms: what is expected of each client; of one not named, nothing.

        Returns:
            What arrives, and why the rest is refused, by client. Both are counted; what is no
            message at all counts as header.
        """
        arrived: dict[int, Message] = {}
        refused: dict[int, MessageError] = {}
        for client, message in messages.items():
            payload = encode(message, self.codec, self.classes)
            counts = {"header": len(payload)}
            try:
                counts = sizes(payload)
                if client not in forms:
                    raise MessageError("it is one upload too many")
                decoded = decode(payload, self.codec, forms[client], self.agreed)
                arrived[client] = self._placed(decoded)
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
        carried: dict[int, tuple[Mapping[str, int], Message]] = {}
        for client, message in messages.items():
            if id(message) not in carried:
                payload = encode(message, self.codec, self.classes)
                received = self._placed(decode(payload, self.codec))
                carried[id(message)] = sizes(payload), received
                self.ledger.totals[MULTICAST] += len(payload)
            counts, arrived[client] = carried[id(message)]
            self.ledger.add(DOWNLINK, client, counts)
        return arrived

    def _placed(self, message: Message) -> Message:
        return Message(**{name: t.to(self.device) for name, t in message.tensors.items()})
