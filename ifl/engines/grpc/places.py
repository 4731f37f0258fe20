"""Says where a server is: at a port of a machine, or at a Unix socket of this one."""

import socket
from dataclasses import dataclass

from ifl.errors import ConfigError

UNIX = "unix:"
LONGEST = 100  # bytes of a socket's path; kernels take 103 or 107


@dataclass(frozen=True)
class Place:
    """Where a server is called.

    Args:
        host, port: of it; port 0 for a Unix socket.
        path: of the Unix socket, or empty.
    """

    host: str
    port: int
    path: str = ""

    def __str__(self) -> str:
        return f"{UNIX}{self.path}" if self.path else f"{self.host}:{self.port}"

    @property
    def called(self) -> str:
        """The place as gRPC spells it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else str(self)

    def connected(self, seconds: float) -> socket.socket:
        """Return a connection; raise OSError if nobody is there within so many seconds."""
        if not self.path:
            return socket.create_connection((self.host, self.port), seconds)
        found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        found.settimeout(seconds)
        try:
            found.connect(self.path)
        except OSError:
            found.close()
            raise
        return found


def place_of(address: str) -> tuple[str, int]:
    """Return host and port of an address.

    Raises:
        ConfigError: it has not both.
    """
    host, colon, port = str(address).rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f"address must be HOST:PORT such as 127.0.0.1:7440, got {address}")
    return host.strip("[]"), int(port)


def called_place(address: str) -> Place:
    """Return where an address leads that is called: HOST:PORT or unix:PATH.

    Raises:
        ConfigError: it is neither.
    """
    if not str(address).startswith(UNIX):
        return Place(*place_of(address))
    path = str(address)[len(UNIX) :]
    check_socket_path(path)
    return Place("", 0, path)


def check_socket_path(path: str) -> None:
    """Raise ConfigError if no Unix socket can have this path."""
    if not hasattr(socket, "AF_UNIX"):
        raise ConfigError("this system has no Unix sockets; name a server by HOST:PORT")
    if not path.startswith("/") or not 1 < len(path.encode()) <= LONGEST or "\0" in path:
        raise ConfigError(
            f"the path of a socket must start with / and have at most {LONGEST} bytes, got {path}; "
            "choose a shorter one such as /run/user/1000/ifl/ann"
        )
