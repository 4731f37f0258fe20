"""The two ends of a tunnel, back to back in one process, in place of what FLARE carries."""

import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ifl.engines.flare.entrance import Entrance
from ifl.engines.flare.local import Server
from ifl.engines.flare.tunnel import Send, Tunnel
from ifl.engines.grpc.engine import Grpc
from ifl.engines.grpc.hosting import serve
from ifl.engines.hosts import Host


class Pair:
    """A site's end and the server's.

    Args:
        address: that the server's end leads to.
        through: makes of what carries frames between the ends what really does.
    """

    def __init__(
        self, address: str, patience: float = 30.0, through: type["Faithful"] | None = None
    ) -> None:
        made = through or Faithful
        self.up, self.down = made(), made()
        self.said: list[str] = []
        connected = Server(address).connected
        self.site = Tunnel(self.up, None, patience, self.said.append)
        self.server = Tunnel(self.down, connected, patience, self.said.append)
        self.up.take = lambda peer, frame: self.server.take("ann", frame)
        self.down.take = lambda peer, frame: self.site.take("server", frame)

    def called(self) -> socket.socket:
        """Return a connection to the site's end."""
        mine, theirs = socket.socketpair()
        mine.settimeout(20)
        self.site.adopt(theirs, "server")
        return mine

    def close(self) -> None:
        self.site.close()
        self.server.close()


class Faithful:
    """Carries every frame once."""

    take: Send

    def __call__(self, peer: str, frame: bytes) -> bytes:
        return self.take(peer, frame)


@contextmanager
def short_folder() -> Iterator[Path]:
    """Give a folder whose name is short enough for a socket, as pytest's are not everywhere."""
    with tempfile.TemporaryDirectory(prefix="ifl-") as folder:
        yield Path(folder).resolve()


@contextmanager
def entrance(address: str) -> Iterator[str]:
    """Lead a Unix socket to an address; give what a party is to call."""
    pair = Pair(address)
    with short_folder() as folder:
        path = folder / "own" / "ifl"
        door = Entrance(path, lambda found: pair.site.adopt(found, "server"))
        try:
            yield f"unix:{path}"
        finally:
            door.close()
            pair.close()


class Tunnelled(Grpc):
    """``engine=grpc`` whose parties call a socket that leads through a tunnel."""

    def _started(self, number: int) -> Host:
        listener, folder = self._listening()
        self._way = entrance(listener.address)
        return Host(number, serve, self._way.__enter__(), str(folder), str(self._message_mb))

    def close(self) -> None:
        super().close()
        if hasattr(self, "_way"):
            self._way.__exit__(None, None, None)
            del self._way


TUNNELLED = Tunnelled(hosts=1)


def tunnelled() -> Tunnelled:
    """A ``_target_``: this process, whatever federation it had before."""
    return TUNNELLED
