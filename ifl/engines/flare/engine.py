"""Runs a federation on this machine as one behind FLARE: a server, a site for each host, a job.

All of it is made for the run and removed after it. The tables of a run are those of
``engine=local``, to the byte but for the seconds.
"""

import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from ifl.engines.flare.needed import check_installed
from ifl.engines.grpc.engine import Grpc
from ifl.engines.grpc.hosting import serve
from ifl.engines.grpc.places import UNIX, check_socket_path
from ifl.engines.hosts import Host
from ifl.errors import PartyError

PREFIX = "ifl-flare-"
END_SECONDS = 20.0  # for FLARE's processes to be ended


class Flare(Grpc):
    """W processes with N / W parties each, which call a FLARE site of their own each.

    Args:
        hosts: W; more than there are clients are not started. None for one per core.
        timeout: seconds in which an answer has to come.
        message_mb: MiB of a message at most.

    Raises:
        ConfigError: a value is out of range, or FLARE or gRPC is not installed.
    """

    name = "flare"

    def __init__(
        self, hosts: int | None = None, timeout: float = 600.0, message_mb: int = 512
    ) -> None:
        super().__init__(hosts, timeout, message_mb)
        check_installed("engine=flare")
        self._keeper: subprocess.Popen[str] | None = None
        self._sockets: list[str] = []

    def close(self) -> None:
        """End the hosts, the server, and FLARE; what they hold is gone."""
        super().close()
        if self._keeper is not None:
            _end(self._keeper)
        self._keeper, self._sockets = None, []

    def _deal(self) -> None:
        count = len(self._used())
        if self._keeper is not None and count > len(self._sockets):
            self.close()  # another federation, which takes more sites
            self._closed = False
        if self._keeper is None:
            self._begin(count)
        super()._deal()

    def _begin(self, count: int) -> None:
        """Start FLARE with so many sites, and a job that carries what they are told."""
        check_socket_path(f"{tempfile.gettempdir()}/{PREFIX}12345678/site{count}/ifl")
        listener, certificates = self._listening()
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._sockets = [str(folder / f"site{w}" / "ifl") for w in range(count)]
        paths = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path if entry)
        self._keeper = subprocess.Popen(
            [sys.executable, "-m", "ifl.engines.flare.keeper"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": paths},
            start_new_session=True,  # Ctrl-C is for the run, which ends it
            text=True,
        )
        orders_to, answers = _pipes(self._keeper)
        sockets = {Path(path).parent.name: path for path in self._sockets}
        orders: dict[str, Any] = {"folder": str(folder), "certificates": str(certificates)}
        orders |= {"sockets": sockets, "address": listener.address}
        print(json.dumps(orders), file=orders_to, flush=True)
        answer = answers.readline().strip()
        if answer != "ready":
            why = answer or "its keeper ended"
            raise PartyError(f"FLARE did not start: {why}; engine=grpc does without it")

    def _started(self, number: int) -> Host:
        _, folder = self._listening()
        address = f"{UNIX}{self._sockets[number]}"
        return Host(number, serve, address, str(folder), str(self._message_mb))


def _end(keeper: "subprocess.Popen[str]") -> None:
    orders_to, answers = _pipes(keeper)
    with suppress(OSError):
        orders_to.close()
    try:
        keeper.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        keeper.kill()
        keeper.wait()
    answers.close()


def _pipes(keeper: "subprocess.Popen[str]") -> tuple[IO[str], IO[str]]:
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    return keeper.stdin, keeper.stdout
