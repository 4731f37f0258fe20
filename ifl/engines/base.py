"""Defines an engine: a seam of one function between the server and the parties.

    exchange({client: packets}) -> {client: answers}

The server of a run (``ifl.federation.engine``) says all it has to say to parties through it, and
knows of them what they answer. Behind it are parties (``engines.party``): a client half with its
data, network, optimisers and random streams. In the process of the server (``engines.local``) they
are objects; in processes of their own (``engines.processes``), or on machines of their own, only
bytes pass. What makes this the same run anywhere:

- A packet is a head, plain values, and a body, bytes. The body of an upload or a reply is exactly
  what ``comm.channel`` encodes: its length is the ledger's number, heads are beside it.
- A party draws from its own streams and needs nobody else's; a codec's streams are named by the
  place of a message, which the head of a reply tells.
- Several packets to one party travel together and are answered in their order, so that the last
  reply of a round goes with the beginning of the next one.
- The server's process keeps a replica of each client, which method, checks and tables see. It is
  the client itself where the engine is ``live``, and else gets its state by ``keep`` where that is
  needed: for a checkpoint, at the end, and for an evaluation of blocks that stand around others.
- Else an evaluation moves no block: z goes up, counts of guesses come back.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ifl.comm.message import Message
from ifl.errors import ConfigError

if TYPE_CHECKING:
    from ifl.engines.party import Party

Each = Callable[[Callable[[int], list[Any]], Iterable[int]], list[list[Any]]]  # Workers.map


@dataclass(frozen=True)
class Packet:
    """A head and a body on their way between the server and a party, either way.

    Args:
        head: plain values, JSON where it leaves the process: "op" says what it is.
        body: a message as ``Channel.encoded`` makes it, a state, or tensors of an evaluation.
        message: what the body decodes to, where both ends are in one process. It never travels.
    """

    head: Mapping[str, Any]
    body: bytes = b""
    message: Message | None = field(default=None, compare=False)

    @property
    def op(self) -> str:
        """The operation asked for, or answered."""
        return str(self.head["op"])


def packet_of(message: Message | None, **head: str | int) -> Packet:
    """Return what is said to a party, with a message that went down, if there is one."""
    if message is None:
        return Packet(head)
    return Packet({**head, "place": message.place}, message.payload, message)


Answer = Packet | Exception  # an exception is the last answer: what comes after it is not done


class Transport(Protocol):
    """The way to the parties: what conf/engine names.

    Attributes:
        live: whether parties are the clients that they were opened with, not copies of them.
        ahead: whether the last reply of a round waits for the next packet to its receivers.
    """

    live: bool
    ahead: bool

    def open(self, parties: Sequence["Party"], each: Each) -> None:
        """Take these parties, in the order of their numbers, before the first exchange.

        Args:
            each: calls a function with each of some clients, several at a time, if it can.
        """

    def exchange(self, asked: Mapping[int, Sequence[Packet]]) -> dict[int, list[Answer]]:
        """Hand packets to parties; return their answers, of every party named.

        Raises:
            ConfigError: parties cannot be brought to where this engine has them.
        """

    def close(self) -> None:
        """Let go of the parties, and end what was started for them."""

    def told(self) -> Mapping[str, Any]:
        """Return what run.json is to say of the engine; nothing of the default one."""


def checked_transport(made: Any) -> Transport:
    """Return what a yaml of conf/engine made.

    Raises:
        ConfigError: it lacks what an engine has.
    """
    for name in ("live", "ahead", "open", "exchange", "close", "told"):
        if not hasattr(made, name):
            raise ConfigError(
                f"engine is a {type(made).__name__} without {name}; give its class what "
                "ifl.engines.base.Transport has, or choose an option of conf/engine"
            )
    transport: Transport = made
    return transport
