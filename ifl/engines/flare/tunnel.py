"""Joins sockets at two places over a function that sends bytes and returns an answer.

A connection's frames are numbered in each direction, and one of them is on its way at a time: one
that nobody answered goes again, and is not taken twice. What is read meanwhile goes with the next
one. Who does not read what comes is not sent more.
"""

import socket
from collections import deque
from collections.abc import Callable
from functools import partial
from secrets import randbits
from threading import Lock, Thread

from ifl.engines.flare.carried import Carried
from ifl.engines.flare.frames import CUT, DATA, GONE, OPEN, TAKEN, Piece, packed, unpacked

MOST = 512  # connections at a time
REMEMBERED = 4096  # connections that have ended, of which frames may still be on their way
PATIENCE_SECONDS = 30.0
Send = Callable[[str, bytes], bytes]
Key = tuple[str, int]


class Tunnel:
    """One end of a tunnel.

    Args:
        send: takes who is to hear and a frame, returns the answer; raises OSError if none comes.
        connect: makes the connection here that one from the other end leads to; None where nobody
            may open one from there.
        patience: seconds in which a frame has to be answered, else its connection is cut.
        say: is told in a sentence what was cut, and why.
    """

    def __init__(
        self,
        send: Send,
        connect: Callable[[], socket.socket] | None = None,
        patience: float = PATIENCE_SECONDS,
        say: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self._send, self._connect, self._patience, self._say = send, connect, patience, say
        self._lock = Lock()
        self._carried: dict[Key, Carried] = {}
        self._ended: deque[Key] = deque(maxlen=REMEMBERED)
        self._opening: set[Key] = set()
        self._closed = False

    @property
    def connections(self) -> int:
        """The number of those that are carried."""
        return len(self._carried)

    def adopt(self, own: socket.socket, peer: str) -> None:
        """Carry a connection that was made here to a peer; close it if there are too many."""
        self._begin((peer, randbits(63)), own, opens=True)

    def take(self, peer: str, frame: object) -> bytes:
        """Take a frame of a peer; return its answer.

        Raises:
            MessageError: it is no frame.
        """
        piece = unpacked(frame)
        key = peer, piece.connection
        if piece.kind == OPEN:
            return self._open(key)
        carried = self._carried.get(key)
        if carried is None:
            return TAKEN if key in self._ended and piece.kind != DATA else GONE
        if piece.kind == CUT:
            carried.cut("", known=True)
            return TAKEN
        return carried.put(piece.number, piece.data)

    def close(self) -> None:
        """Cut all connections; none is carried any more."""
        with self._lock:
            self._closed = True
            left = [*self._carried.values()]
        for carried in left:
            carried.cut("")

    def _open(self, key: Key) -> bytes:
        """Make the connection that one from the other end leads to."""
        with self._lock:
            if key in self._carried or key in self._opening:
                return TAKEN  # it was asked for before, and the answer was lost
            if self._connect is None or self._closed or key in self._ended:
                return GONE
            self._opening.add(key)
        try:
            self._begin(key, self._connect(), opens=False)
        except OSError:  # nobody is there: who called learns it from a connection that is closed
            return GONE
        finally:
            self._opening.discard(key)
        return TAKEN if key in self._carried or key in self._ended else GONE

    def _begin(self, key: Key, own: socket.socket, opens: bool) -> None:
        with self._lock:
            if self._closed or len(self._carried) >= MOST:
                own.close()
                return
            carried = Carried(own, partial(self._sent, key), self._patience)
            self._carried[key] = carried
        run = partial(self._run, key, carried, opens)
        Thread(target=run, name="ifl-tunnel-read", daemon=True).start()

    def _run(self, key: Key, carried: Carried, opens: bool) -> None:
        why = carried.run(opens)
        with self._lock:
            del self._carried[key]
            self._ended.append(key)
        if why and not self._closed:
            self._say(f"A connection with {key[0]} was cut: {why}")

    def _sent(self, key: Key, kind: int, number: int, data: bytes) -> bytes:
        peer, connection = key
        return self._send(peer, packed(Piece(kind, connection, number, data)))
