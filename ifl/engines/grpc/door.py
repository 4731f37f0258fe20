"""Passes connections on to the gRPC server behind it, and says whom that did not let in.

gRPC itself refuses a wrong certificate and says so to nobody. The door sees every connection come
and go, and what TLS encrypts it passes on as it is: the keys are those of the two ends.
"""

import socket
from collections.abc import Callable
from contextlib import suppress
from threading import Lock, Thread, Timer

from ifl.errors import ConfigError

HANDSHAKE_SECONDS = 20.0  # in which somebody has to have said who it is
HANDSHAKE = b"\x16"  # the first byte of TLS
CHUNK = 2**18
MOST = 1000  # connections at a time
PLAIN = "it spoke plain text, and here is TLS with certificates of both sides alone"
SILENT = (
    "it showed no certificate, one of another authority, or left before it said who it is; give it "
    "a folder of the same ifl certificates as the server's"
)


class Door:
    """A listening port, before the port of this machine that it leads to.

    Args:
        host, port: where to listen; port 0 for any that is free.
        inner: the port that it leads to.
        say: is told in a sentence who was not let in, each address once for each reason.

    Raises:
        ConfigError: there is no such place, or it is taken.
    """

    def __init__(self, host: str, port: int, inner: int, say: Callable[[str], None]) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._listening = socket.create_server((host, port), family=family, backlog=128)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"address {host}:{port} cannot be listened at ({reason}); choose another one"
            ) from error
        self.port = int(self._listening.getsockname()[1])
        self._inner, self._say = inner, say
        self._lock = Lock()
        self._inside: dict[int, bool] = {}  # by the port behind: whether it has said who it is
        self._said: set[tuple[str, str]] = set()
        Thread(target=self._accept, name="ifl-door", daemon=True).start()

    def let_in(self, port: int) -> None:
        """Learn that who comes from this port behind the door has said who it is."""
        with self._lock:
            if port in self._inside:
                self._inside[port] = True

    def close(self) -> None:
        """Listen no longer; who is inside stays."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                outside, address = self._listening.accept()
            except OSError:
                return
            if len(self._inside) >= MOST:
                outside.close()
                continue
            Thread(target=self._pass_on, args=(outside, address[0]), daemon=True).start()

    def _pass_on(self, outside: socket.socket, address: str) -> None:
        with outside, suppress(OSError):
            outside.settimeout(HANDSHAKE_SECONDS)
            first = outside.recv(1, socket.MSG_PEEK)
            if first not in (HANDSHAKE, b""):
                self._refuse(address, PLAIN)
                text = f"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n{PLAIN}\n"
                outside.sendall(text.encode())
            elif first:
                outside.settimeout(None)
                with socket.create_connection(("127.0.0.1", self._inner)) as inside:
                    self._between(outside, inside, address)

    def _between(self, outside: socket.socket, inside: socket.socket, address: str) -> None:
        port = inside.getsockname()[1]
        for one in (outside, inside):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._inside[port] = False

        def end() -> None:
            if not self._inside.get(port, True):
                _shut(outside, inside)

        timer = Timer(HANDSHAKE_SECONDS, end)
        timer.daemon = True
        timer.start()
        back = Thread(target=_pump, args=(inside, outside), daemon=True)
        back.start()
        _pump(outside, inside)
        back.join()
        timer.cancel()
        with self._lock:
            entered = self._inside.pop(port)
        if not entered:
            self._refuse(address, SILENT)

    def _refuse(self, address: str, reason: str) -> None:
        with self._lock:
            if (address, reason) in self._said or len(self._said) >= MOST:
                return
            self._said.add((address, reason))
        self._say(f"Somebody at {address} is refused: {reason}")


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Pass on all that comes, to the end of it; what is still on its way back is left alone."""
    try:
        while data := source.recv(CHUNK):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        _shut(source, target)


def _shut(*sockets: socket.socket) -> None:
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
