"""Runs a federation on this machine as one among machines: gRPC, TLS, processes of its own.

Certificates are made for the run, of an authority that nobody else has. The tables of a run are
those of ``engine=local``, to the byte but for the seconds.
"""

import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from ifl.checks import check_above
from ifl.engines.base import Answer, Packet
from ifl.engines.grpc.certificates import SERVER, Authority, read_certificates
from ifl.engines.grpc.exchange import exchanged
from ifl.engines.grpc.hosting import name_of, serve
from ifl.engines.grpc.listener import Listener, options
from ifl.engines.grpc.needed import check_installed
from ifl.engines.hosts import Host
from ifl.engines.processes import Processes
from ifl.errors import LostError, PartyError

ADDRESS = "127.0.0.1:0"
MOST = 1000  # parties
GRACE_SECONDS = 3.0  # for a party whose stream broke to call again
CALL_SECONDS = 60.0  # for parties that are ready to call


class Grpc(Processes):
    """W processes with N / W parties each, which call a server over gRPC with mutual TLS.

    Args:
        hosts: W; more than there are clients are not started. None for one per core.
        timeout: seconds in which an answer has to come.
        message_mb: MiB of a message at most.

    Raises:
        ConfigError: a value is out of range, or gRPC is not installed.
    """

    name = "grpc"

    def __init__(
        self, hosts: int | None = None, timeout: float = 600.0, message_mb: int = 512
    ) -> None:
        super().__init__(hosts)
        check_above("engine.timeout", timeout, 0)
        options(message_mb)
        check_installed("engine=grpc")
        self._timeout, self._message_mb = timeout, message_mb
        self._listener: Listener | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def close(self) -> None:
        """End the hosts and the server; what they hold is gone."""
        if self._listener is not None:
            self._listener.close()
        if self._folder is not None:
            self._folder.cleanup()
        self._listener = self._folder = None
        super().close()

    def _deal(self) -> None:
        listener, folder = self._listening()
        names = [*map(name_of, self._parties)]
        Authority(folder).issue(names)
        listener.begin(names)
        super()._deal()
        if missing := listener.wait(CALL_SECONDS):
            raise PartyError(
                f"{', '.join(missing)} did not call the server of engine=grpc at "
                f"{listener.address} within {CALL_SECONDS:g} s; engine=processes does without one"
            )

    def _listening(self) -> tuple[Listener, Path]:
        if self._listener is None or self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="ifl-grpc-")
            folder = Path(self._folder.name)
            Authority(folder).issue([SERVER])
            certificates = read_certificates(folder / SERVER, SERVER)
            self._listener = Listener(ADDRESS, certificates, MOST, self._message_mb)
        return self._listener, Path(self._folder.name)

    def _started(self, number: int) -> Host:
        listener, folder = self._listening()
        return Host(number, serve, listener.address, str(folder), str(self._message_mb))

    def _exchange(self, asked: Mapping[int, Sequence[Packet]]) -> dict[int, list[Answer]]:
        assert self._listener is not None
        self.exchanges += 1
        start = time.perf_counter()
        names = {k: name_of(k) for k in asked}
        answers, spent = exchanged(self._listener, asked, names, self._timeout, GRACE_SECONDS)
        homes = {k: host for host in self._running for k in host.clients}
        by_host: dict[int, float] = defaultdict(float)  # each works on one client at a time
        for k, seconds in spent.items():
            by_host[id(homes[k])] += seconds
        for k, theirs in answers.items():
            lost = isinstance(theirs[-1], LostError)
            answers[k] = self._lost(homes[k], [k])[k] if lost else self._named(k, theirs)
        self._waited += time.perf_counter() - start - max(by_host.values(), default=0.0)
        return answers
