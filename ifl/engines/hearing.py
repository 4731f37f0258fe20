"""Checks what the server says to one client: decodes it, refuses what no honest one would say.

That is: names, shapes, types and ranges that the method does not declare (``Method.hears``), more
bytes than these take, values that are not finite, and what was said before.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property

from ifl.client.client import Client
from ifl.comm.channel import Channel
from ifl.comm.message import Message, Place
from ifl.comm.replies import Forms, check_reply, most_of
from ifl.engines.base import Packet
from ifl.engines.strict import place
from ifl.errors import DivergenceError, MessageError, NotFiniteError
from ifl.methods.base import Method, Reply


class Hearing:
    """Hears the server for one client, and remembers what it said in a round."""

    def __init__(self, client: Client, method: Method, channel: Channel) -> None:
        self.client = client
        self.method = method
        self.channel = channel
        self._heard: set[Place] = set()

    def begin_round(self) -> None:
        """Let what is heard from now on belong to another round."""
        self._heard.clear()

    def message(self, asked: Packet, number: int) -> Reply:
        """Return the server's message in this round, if there is one.

        Raises:
            DivergenceError: it is not finite.
            MessageError: it fits no form, or is of another round, or has been said before.
        """
        if "place" not in asked.head:
            with refusing(self.client, asked):
                if asked.op == "reply" and self._forms:
                    raise MessageError("it holds no message, and the method expects one")
            return None
        with refusing(self.client, asked):
            where = place(asked.head, number)
            if where in self._heard:
                raise MessageError("it has been said before")
            self._heard.add(where)
            message = asked.message or self.decoded(asked.body, where)
            check_reply(message, self._forms, self._agreed)
            return message

    def decoded(self, body: bytes, where: Place) -> Message:
        """Return a message of the server, of no more bytes than its forms allow.

        Raises:
            MessageError: it is none.
        """
        return self.channel.decoded(body, where, most_of(self._forms, self._agreed))

    @cached_property
    def _forms(self) -> Forms:
        hears = getattr(self.method, "hears", None)
        return None if hears is None else list(hears(self.client, self._agreed))

    @property
    def _agreed(self) -> Mapping[str, int]:
        return self.channel.agreed_with(self.client.number)


@contextmanager
def refusing(client: Client, asked: Packet) -> Iterator[None]:
    """Let what does not fit name the client, and what it was asked."""
    try:
        yield
    except NotFiniteError as error:
        said = f"the server tells {client.name}: {error}{client.watch.last}"
        raise DivergenceError(said) from error
    except MessageError as error:
        raise MessageError(f"{client.name} refuses {asked.op!r}: {error}") from error
