"""Keeps parties in processes of their own on this machine, a pipe to each of them.

Client k is always on host k mod W, so that its state stays where it is. What passes the pipes is
what would pass a network; the tables of a run are those of ``engine=local``, to the byte but for
the seconds.
"""

from collections.abc import Sequence
from multiprocessing import connection

from ifl.engines.hosted import Hosted
from ifl.engines.hosts import Host


class Processes(Hosted[Host]):
    """W processes with N / W parties each, started at the first exchange.

    Those that run already take the parties of another federation, too.

    Args:
        hosts: W; more than there are clients are not started. None for one per core.

    Raises:
        ConfigError: it is no whole number from 1.
    """

    name = "processes"

    def _started(self, number: int) -> Host:
        """Return a process that waits for parties."""
        return Host(number)

    def _ready(self, waiting: Sequence[Host]) -> list[Host]:
        ready = connection.wait([host.pipe for host in waiting])
        return [host for host in waiting if host.pipe in ready]
