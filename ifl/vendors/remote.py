"""Reaches the vendors' parties for their server: a transport over a listener."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ifl.engines.base import Answer, Each, Packet
from ifl.engines.grpc.exchange import exchanged
from ifl.engines.grpc.line import Line
from ifl.engines.grpc.listener import Listener
from ifl.engines.party import Party


class Remote:
    """The way to vendors.

    Args:
        listener: that they call.
        names: of the parties, by client number.
        seconds: in which an answer has to come.
        grace: in which a vendor has to come back whose connection broke.
    """

    live, ahead = False, True

    def __init__(
        self, listener: Listener, names: Sequence[str], seconds: float, grace: float
    ) -> None:
        self.listener, self.names = listener, dict(enumerate(names))
        self._seconds, self._grace = seconds, grace
        self.exchanges, self._waited = 0, 0.0  # seconds that were not those of the slowest vendor

    def open(self, parties: Sequence[Party], each: Each) -> None:
        """Take nothing: the parties are where they are."""

    def line(self, client: int) -> Line:
        """Return the way to a client's party."""
        return self.listener.line(self.names[client])

    def exchange(self, asked: Mapping[int, Sequence[Packet]]) -> dict[int, list[Answer]]:
        """Let vendors answer, all at a time; a LostError for one that is lost."""
        self.exchanges += 1
        start = time.perf_counter()
        found, spent = exchanged(self.listener, asked, self.names, self._seconds, self._grace)
        self._waited += time.perf_counter() - start - max(spent.values(), default=0.0)
        return found

    def close(self) -> None:
        """Say goodbye to the vendors."""
        self.listener.part()

    def told(self) -> Mapping[str, Any]:
        """Return how often the vendors were asked, and what that cost each time."""
        cost = 1e3 * self._waited / max(self.exchanges, 1)
        told = {"exchanges": self.exchanges, "overhead_ms_per_exchange": round(cost, 2)}
        return {"name": "vendors", **told}
