"""Reads what a site or the server says of itself in its startup kit: ``local/ifl.json``.

Where a site's socket is, and where ``ifl server`` is, is not for a job to say.
"""

import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ifl.checks import check_above, check_text
from ifl.engines.grpc.places import check_socket_path, place_of
from ifl.errors import ConfigError

FILE = "ifl.json"


@dataclass(frozen=True)
class Site:
    """A site's own settings.

    Args:
        socket: path of the Unix socket that its vendor calls.

    Raises:
        ConfigError: there can be none.
    """

    socket: str

    def __post_init__(self) -> None:
        check_text("socket", self.socket)
        check_socket_path(self.socket)


@dataclass(frozen=True)
class Server:
    """The server's own settings.

    Args:
        server: HOST:PORT of ``ifl server``.
        wait: seconds in which it has to be there, from the beginning of the job.
        gone: seconds without it after which the job ends, once it was there.

    Raises:
        ConfigError: a value is out of range.
    """

    server: str
    wait: float = 600.0
    gone: float = 60.0

    def __post_init__(self) -> None:
        place_of(self.server)
        check_above("wait", self.wait, 0)
        check_above("gone", self.gone, 0)

    def connected(self, seconds: float = 5.0) -> socket.socket:
        """Return a connection; raise OSError if nobody is there."""
        found = socket.create_connection(place_of(self.server), seconds)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return found


def read_site(folder: Path) -> Site:
    """Return a site's own settings from its ``local`` folder.

    Raises:
        ConfigError: there are none, or not as they have to be.
    """
    return Site(**_read(folder, {"socket"}, "ifl flare site KIT --socket PATH"))


def read_server(folder: Path) -> Server:
    """Return the server's own settings from its ``local`` folder.

    Raises:
        ConfigError: there are none, or not as they have to be.
    """
    return Server(**_read(folder, {"server", "wait", "gone"}, "ifl flare server KIT"))


def _read(folder: Path, known: set[str], command: str) -> dict[str, Any]:
    path = folder / FILE
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); {command} writes it") from error
    if not isinstance(said, dict) or not said or said.keys() - known:
        raise ConfigError(f"{path} must hold {', '.join(sorted(known))}; {command} writes it")
    return said
