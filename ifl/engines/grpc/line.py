"""Asks one party, over whatever stream it has at the moment, each thing once."""

import time
from collections.abc import Iterator, Mapping
from threading import Condition
from typing import Any

from ifl.engines.frames import Frame
from ifl.engines.grpc.envelopes import Envelope, packed, unpacked
from ifl.errors import ConfigError, LostError, MessageError

LISTEN_SECONDS = 0.5  # between two looks at what nobody tells of


class Line:
    """The way to a party.

    A stream that breaks is followed by another one, over which a question that was not answered
    goes again; the party knows it by its number. A party that was started anew in the meantime has
    forgotten what it did, and is lost to whoever asked.

    Args:
        name: of the party.
        most: bytes of a message.
        session: tells this server from one that is started anew.
    """

    def __init__(self, name: str, most: int, session: str) -> None:
        self.name, self._most, self._session = name, most, session
        self.told: Mapping[str, Any] = {}  # by its last hello
        self._changed = Condition()
        self._stream = self._number = 0
        self._asked: bytes | None = None
        self._answer: Envelope | None = None
        self._here, self._since = False, time.monotonic()
        self._process: str | None = None
        self._closed = self._restarted = False

    @property
    def here(self) -> bool:
        """True if it has a stream."""
        return self._here

    @property
    def restarted(self) -> bool:
        """True if its party was started anew since ``renew``."""
        return self._restarted

    def serve(self, requests: Iterator[bytes], context: Any, hello: Envelope) -> Iterator[bytes]:
        """Yield what is asked of the party, and take in its answers, while this stream lasts."""
        import grpc

        with self._changed:
            self._stream += 1
            mine = self._stream
            process = str(hello.told["session"])
            self._restarted |= self._process not in (None, process)
            self.told, self._process, self._here = hello.told, process, True
            self._changed.notify_all()
        if not context.add_callback(lambda: self._left(mine)):
            self._left(mine)
            return
        yield packed(Envelope("welcome", {"session": self._session}))
        sent = 0
        try:
            while (asked := self._next(mine, sent)) is not None:
                sent, payload = asked
                yield payload
                self._take(unpacked(next(requests)))
            if self._closed:
                yield packed(Envelope("bye"))
        except (StopIteration, grpc.RpcError, MessageError):
            pass  # the party has left, or speaks another language: it is lost if it does not return
        finally:
            self._left(mine)

    def ask(self, frame: Frame) -> None:
        """Ask something; what was asked before and not answered is asked no more.

        Raises:
            ConfigError: it is too large.
        """
        with self._changed:
            self._number += 1
            payload = packed(Envelope("ask", {"number": self._number}, frame))
            check_size(payload, self._most)
            self._asked, self._answer = payload, None
            self._changed.notify_all()

    def answer(self, until: float, grace: float) -> Frame:
        """Return the answer to what was asked.

        Args:
            until: a time (``time.monotonic``).
            grace: seconds that a party whose stream broke has to come back.

        Raises:
            LostError: it does not come.
        """
        with self._changed:
            while self._answer is None or self._restarted:  # what it says then is of no round
                now = time.monotonic()
                if why := self._why(now, until, grace):
                    self._asked = None
                    raise LostError(f"{self.name} is lost: {why}")
                self._changed.wait(LISTEN_SECONDS)
            self._asked = None
            return self._answer.frame

    def wait(self, until: float) -> bool:
        """Wait until the party has a stream; return whether it has."""
        with self._changed:
            while not self._here and time.monotonic() < until:
                self._changed.wait(LISTEN_SECONDS)
            return self._here

    def renew(self) -> None:
        """Take the party as it is now, started anew or not."""
        with self._changed:
            self._restarted = False

    def close(self) -> None:
        """Say goodbye, now or when it calls again."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def gone(self, until: float) -> None:
        """Wait until its stream has ended."""
        with self._changed:
            while self._here and time.monotonic() < until:
                self._changed.wait(LISTEN_SECONDS)

    def _why(self, now: float, until: float, grace: float) -> str:
        if self._restarted:
            return "it was started anew, and has forgotten this round"
        if not self._here and now - self._since >= grace:
            return f"its connection broke, and it did not come back within {grace:g} s"
        return "it did not answer in time" if now >= until else ""

    def _next(self, mine: int, sent: int) -> tuple[int, bytes] | None:
        """Return what is to be asked over this stream, with its number; None at its end."""
        with self._changed:
            while True:
                if mine != self._stream or not self._here or self._closed:
                    return None
                if self._asked is not None and self._answer is None and self._number != sent:
                    return self._number, self._asked
                self._changed.wait(LISTEN_SECONDS)

    def _take(self, envelope: Envelope) -> None:
        if envelope.kind != "answer":
            raise MessageError(f"{self.name} answers with a {envelope.kind}")
        with self._changed:
            if envelope.number == self._number and self._asked is not None:
                self._answer = envelope
                self._changed.notify_all()

    def _left(self, stream: int) -> None:
        with self._changed:
            if self._stream == stream and self._here:
                self._here, self._since = False, time.monotonic()
                self._changed.notify_all()


def check_size(payload: bytes, most: int) -> None:
    """Raise ConfigError if a message is too large to be sent."""
    if len(payload) > most:
        raise ConfigError(
            f"a message of {len(payload) / 2**20:.0f} MiB is to be sent, and {most / 2**20:.0f} "
            "are the most; raise message_mb (engine.message_mb) on both sides, or lower batch_size "
            "or fusion.dim"
        )
