"""Reads and writes what a site or the server says of itself in its startup kit: ``local/ifl.json``.

Where a site's socket is, and where ``ifl server`` is, nobody says who submits a job: the file is in
the kit's own ``local`` folder, as is what may run in a job, ``resources.json``.
"""

import json
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ifl.checks import check_above, check_text
from ifl.engines.grpc.places import check_socket_path, place_of
from ifl.errors import ConfigError, OutputError

FILE, RESOURCES = "ifl.json", "resources.json"
SITE, SERVER = "ifl.engines.flare.site.Site", "ifl.engines.flare.server.Server"
KITS = {SITE: "fed_client.json", SERVER: "fed_server.json"}


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


def write_local(kit: Path, settings: Site | Server) -> None:
    """Write settings into a startup kit, and let nothing but ours run in its jobs.

    No log of a job is sent to the server. The server keeps its jobs in its kit, not in /tmp.

    Raises:
        ConfigError: it is no startup kit, or that of another kind of participant.
        OutputError: it cannot be written.
    """
    allowed = SITE if isinstance(settings, Site) else SERVER
    local = kit / "local"
    if not (kit / "startup" / KITS[allowed]).is_file():
        raise ConfigError(
            f"{kit} holds no startup/{KITS[allowed]}; name the folder that nvflare provision made "
            f"for {'a site' if allowed == SITE else 'the server'}"
        )
    try:
        resources = json.loads((local / f"{RESOURCES}.default").read_text(encoding="utf-8"))
        resources |= {"class_list_enforcement_mode": "enforce", "class_allow_list": [allowed]}
        if isinstance(settings, Site):
            resources["allow_log_streaming"] = False
        else:
            resources = _kept(resources, str(kit.resolve() / "kept"))
        for name, said in ((RESOURCES, resources), (FILE, asdict(settings))):
            (local / name).write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
    except (OSError, ValueError) as error:
        raise OutputError(f"{local} cannot be set up ({error})") from error


def _kept(said: Any, folder: str) -> Any:
    """Return resources with every folder of /tmp/nvflare in a folder of the server's own."""
    if isinstance(said, dict):
        return {key: _kept(value, folder) for key, value in said.items()}
    if isinstance(said, list):
        return [_kept(value, folder) for value in said]
    return said.replace("/tmp/nvflare", folder) if isinstance(said, str) else said


def _read(folder: Path, known: set[str], command: str) -> dict[str, Any]:
    path = folder / FILE
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); {command} writes it") from error
    if not isinstance(said, dict) or not said or said.keys() - known:
        raise ConfigError(f"{path} must hold {', '.join(sorted(known))}; {command} writes it")
    return said
