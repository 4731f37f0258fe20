"""Carries one connection: reads from its socket into frames, writes frames to its socket."""

import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import wait
from threading import Condition, Thread

from ifl.engines.flare.frames import CHUNK, CUT, DATA, END, FULL, GONE, OPEN, TAKEN, CutError

LARGE = 2**16  # bytes after which more is waited for
MORE_SECONDS = 0.002
WINDOW = 4 * CHUNK  # bytes that came and are not written yet, at most
FULL_SECONDS = 2.0  # that a frame waits for room before it has to be sent again
PAUSE_SECONDS = 0.2  # before a frame that nobody answered is sent again
Say = Callable[[int, int, bytes], bytes]


class Carried:
    """A connection that a tunnel carries, at one of its ends.

    Args:
        own: the socket here.
        say: sends kind, number and data of a frame, returns the answer; raises OSError if none
            comes.
        patience: seconds in which one has to come.
    """

    def __init__(self, own: socket.socket, say: Say, patience: float) -> None:
        self._own, self._say, self._patience = own, say, patience
        self._changed = Condition()
        self._waiting: deque[bytes] = deque()  # to be written; b"" for the end
        self._room, self._taken = WINDOW, 0
        self._cut: str | None = None
        self._known = False  # whether the other end knows that it is cut
        own.settimeout(None)

    def run(self, opens: bool) -> str:
        """Carry it to its end; return why it was cut, or nothing.

        Args:
            opens: whether the other end is to be told of it.
        """
        writing = Thread(target=self._write, name="ifl-tunnel-write", daemon=True)
        writing.start()
        try:
            if opens:
                self._deliver(OPEN, 0, b"")
            self._read()
        except CutError as error:
            self.cut(str(error))
        except OSError:  # who was connected here has gone
            self.cut("")
        writing.join()
        if self._cut is not None and not self._known:
            with suppress(OSError):
                self._say(CUT, 0, b"")
        self._own.close()
        return self._cut or ""

    def put(self, number: int, data: bytes) -> bytes:
        """Take what is to be written, b"" for the end of it; return the answer."""
        until = time.monotonic() + FULL_SECONDS
        with self._changed:
            while self._cut is None and number == self._taken + 1 and self._room < len(data):
                if not self._changed.wait(until - time.monotonic()):
                    return FULL
            if self._cut is not None:
                return GONE
            if number <= self._taken:
                return TAKEN  # it came before, and the answer was lost
            if number == self._taken + 1:
                self._taken, self._room = number, self._room - len(data)
                self._waiting.append(data)
                self._changed.notify_all()
                return TAKEN
        self.cut(f"frame {number} came after {self._taken}", known=True)
        return GONE

    def cut(self, why: str, known: bool = False) -> None:
        """End it at once, in both directions.

        Args:
            why: in a sentence, "" for no need of one.
            known: whether the other end knows.
        """
        with self._changed:
            self._known |= known
            if self._cut is None:
                self._cut = why
            self._changed.notify_all()
        with suppress(OSError):  # wakes who reads or writes
            self._own.shutdown(socket.SHUT_RDWR)

    def _read(self) -> None:
        number = 0
        while data := self._some():
            number += 1
            self._deliver(DATA, number, data)
        if self._cut is None:
            self._deliver(END, number + 1, b"")

    def _some(self) -> bytes:
        """Return what there is to be read, of a large message more than a socket holds at once."""
        data = self._own.recv(CHUNK)
        parts, size = [data], len(data)
        while data and LARGE <= size < CHUNK and wait([self._own], MORE_SECONDS):
            data = self._own.recv(CHUNK - size)
            parts.append(data)
            size += len(data)
        return b"".join(parts)

    def _deliver(self, kind: int, number: int, data: bytes) -> None:
        """Send a frame until it is taken.

        Raises:
            CutError: it is not.
        """
        until = time.monotonic() + self._patience
        while self._cut is None:
            try:
                answer = self._say(kind, number, data)
            except OSError as error:
                if time.monotonic() > until:
                    raise CutError(f"nobody answered for {self._patience:g} s ({error})") from error
                with self._changed:
                    self._changed.wait(PAUSE_SECONDS)
                continue
            if answer == TAKEN:
                return
            if answer != FULL:
                self._known = True
                raise CutError("" if kind == OPEN else "the other end has ended it")
            until = time.monotonic() + self._patience

    def _write(self) -> None:
        while True:
            with self._changed:
                while self._cut is None and not self._waiting:
                    self._changed.wait()
                if self._cut is not None:
                    return
                data = self._waiting.popleft()
            try:
                if not data:
                    self._own.shutdown(socket.SHUT_WR)
                    return
                self._own.sendall(data)
            except OSError:
                self.cut("")
                return
            with self._changed:
                self._room += len(data)
                self._changed.notify_all()
