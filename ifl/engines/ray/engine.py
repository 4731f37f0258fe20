"""Keeps parties in Ray actors: on this machine, or on the machines of one owner's cluster.

Ray runs whatever code a program sends it, and so is no way between organisations. The tables of a
run are those of ``engine=local``, to the byte but for the seconds.

Source: Moritz et al., Ray: A Distributed Framework for Emerging AI Applications (2018).
"""

import time
from collections.abc import Sequence

from ifl.checks import check_above
from ifl.engines.hosted import Hosted
from ifl.engines.ray.actor import ActorHost
from ifl.engines.ray.cluster import Cluster, installed
from ifl.errors import PartyError


class Ray(Hosted[ActorHost]):
    """W actors with N / W parties each, of one CPU each, started at the first exchange.

    Those that run already take the parties of another federation, too.

    Args:
        hosts: W; more than there are clients are not started. None for one per core of this
            machine.
        address: of a cluster that runs, which is left running: "auto" or "ray://host:port". None
            starts Ray on this machine, and ends it.
        timeout: seconds in which an answer has to come.

    Raises:
        ConfigError: a value is out of range, or Ray is not installed.
    """

    name = "ray"

    def __init__(
        self, hosts: int | None = None, address: str | None = None, timeout: float = 600.0
    ) -> None:
        super().__init__(hosts)
        check_above("engine.timeout", timeout, 0)
        self._cluster, self._timeout = Cluster(address), timeout
        installed()

    def close(self) -> None:
        """End the actors, and Ray if it was started here; what they hold is gone."""
        super().close()
        self._cluster.leave()

    def _deal(self) -> None:
        count = len(self._used())
        if 0 < self._cluster.cpus < count:  # started for a smaller federation
            self.close()
            self._closed = False
        self._cluster.join(count)
        super()._deal()

    def _started(self, number: int) -> ActorHost:
        """Return an actor that waits for parties."""
        return ActorHost(self._timeout)

    def _ready(self, waiting: Sequence[ActorHost]) -> list[ActorHost]:
        hosts = {host.call: host for host in waiting}
        patience = min(host.due for host in waiting) - time.monotonic()
        found, _ = installed().wait([*hosts], num_returns=1, timeout=max(patience, 0.0))
        late = [host for host in waiting if host.due <= time.monotonic()]
        return [hosts[call] for call in found] or late

    def _not_begun(self, host: ActorHost) -> PartyError:
        return PartyError(
            f"an actor of engine=ray {host.lost()} before it was ready; the cluster has to have "
            f"{len(self._used())} CPUs that are free, and on each node this project with the same "
            "versions of Python, Ray and torch; engine=processes does without a cluster"
        )
