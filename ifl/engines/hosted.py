"""Engines whose parties live on hosts: W of them with N / W parties each, which answer frames.

Client k is always on host k mod W, so that its state stays where it is. What passes is what would
pass a network; the tables of a run are those of ``engine=local``, to the byte but for the seconds.
"""

import atexit
import os
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from ifl.checks import check_whole
from ifl.cores import available_cores
from ifl.engines.base import Answer, Each, Packet
from ifl.engines.frames import Frame, busy, framed, unframed
from ifl.engines.hosts import GRACE_SECONDS, pickled
from ifl.engines.party import Party
from ifl.errors import ConfigError, MessageError, PartyError


class Hosting(Protocol):
    """What holds some of the parties: a process, or an actor.

    Attributes:
        clients: the numbers of its parties.
    """

    clients: list[int]

    def deal(self, parties: Sequence[Party], pickled: bytes) -> None:
        """Let it hold these parties, in place of others.

        Raises:
            OSError: it is not there any more.
        """

    def say(self, frame: Frame) -> None:
        """Send a frame.

        Raises:
            OSError: it is not there any more.
        """

    def hear(self) -> Frame:
        """Return the next frame.

        Raises:
            EOFError, OSError: none will come.
            MessageError: it is none.
        """

    def lost(self) -> str:
        """Return what became of it, that answers no more."""

    def hang_up(self) -> None:
        """Say nothing more, so that it ends."""

    def end(self, seconds: float) -> None:
        """End it, which has been hung up on; at once if it has not by itself in these seconds."""


H = TypeVar("H", bound=Hosting)


class Hosted(Generic[H]):
    """W hosts with N / W parties each, started at the first exchange.

    Those that run already take the parties of another federation, too.

    Args:
        hosts: W; more than there are clients are not started. None for one per core.

    Raises:
        ConfigError: it is no whole number from 1.
    """

    live, ahead = False, True
    name: str  # after engine=

    def __init__(self, hosts: int | None = None) -> None:
        if hosts is not None:
            check_whole("engine.hosts", hosts, 1)
        self.hosts = hosts or available_cores()
        self.exchanges, self._waited = 0, 0.0  # seconds that were not those of the slowest host
        self._parties: dict[int, Party] = {}
        self._dealt = False
        self._running: list[H] = []
        self._closed = False
        self._end = weakref.finalize(self, _end, self._running, os.getpid())
        atexit.register(self._end)  # before multiprocessing's own, which would wait for them

    def open(self, parties: Sequence[Party], each: Each) -> None:
        """Take these parties; hosts get copies of them at the first exchange."""
        self._parties = {party.number: party for party in parties}
        self._dealt, self._closed, self.exchanges, self._waited = False, False, 0, 0.0

    def exchange(self, asked: Mapping[int, Sequence[Packet]]) -> dict[int, list[Answer]]:
        """Let the hosts of the parties named answer, all of them at a time."""
        if self._closed:
            raise PartyError("the processes of this federation have been ended; build it anew")
        try:
            if not self._dealt:
                self._deal()
                self._dealt = True
            return self._exchange(asked)
        except BaseException:  # Ctrl-C, too: answers may be on their way that nobody waits for
            self.close()
            raise

    def _exchange(self, asked: Mapping[int, Sequence[Packet]]) -> dict[int, list[Answer]]:
        self.exchanges += 1
        start, busiest = time.perf_counter(), 0.0
        found: dict[int, list[Answer]] = {}
        waiting: list[H] = []
        for host in self._running:
            theirs = {k: asked[k] for k in host.clients if k in asked}
            if theirs:
                try:
                    host.say(framed(theirs))
                    waiting.append(host)
                except OSError:
                    found |= self._lost(host, [*theirs])
        while waiting:
            for host in self._ready(waiting):
                waiting.remove(host)
                try:
                    frame = host.hear()
                    busiest = max(busiest, busy(frame))
                    found |= {k: self._named(k, its) for k, its in unframed(frame).items()}
                except (EOFError, OSError, MessageError):
                    found |= self._lost(host, [k for k in host.clients if k in asked])
        self._waited += time.perf_counter() - start - busiest
        return {k: found[k] for k in asked}

    def close(self) -> None:
        """End the hosts; what they hold is gone."""
        self._dealt, self._closed = False, True
        _end(self._running, os.getpid())

    def told(self) -> Mapping[str, Any]:
        """Return where the parties were, how often they were asked, and what that cost each time.

        The cost is the time of an exchange beyond that of its slowest host.
        """
        cost = 1e3 * self._waited / max(self.exchanges, 1)
        told = {"hosts": len(self._used()), "exchanges": self.exchanges}
        return {"name": self.name, **told, "overhead_ms_per_exchange": round(cost, 2)}

    def _used(self) -> list[range]:
        """Return the clients of each host."""
        count = min(self.hosts, len(self._parties))
        return [range(w, len(self._parties), count) for w in range(count)]

    def _deal(self) -> None:
        shares = self._used()
        numbers = [*self._parties]
        groups = [[self._parties[numbers[place]] for place in share] for share in shares]
        bundles = [self._pickled(group) for group in groups]
        while len(self._running) < len(groups):
            self._running.append(self._started(len(self._running)))
        for host in self._running[len(groups) :]:
            host.clients = []
        pairs = [*zip(self._running, groups, bundles, strict=False)]
        for host, group, bundle in pairs:
            try:
                host.deal(group, bundle)
            except OSError:
                raise self._not_begun(host) from None
        for host, group, _ in pairs:
            try:
                answers = unframed(host.hear())
            except (EOFError, OSError):
                raise self._not_begun(host) from None
            if answers:
                names = ", ".join(party.client.name for party in group)
                raise ConfigError(
                    f"engine={self.name} cannot make {names} again in a process of their own: "
                    f"{answers[-1][0]}; put their classes where a process can import them, or use "
                    f"engine=local"
                )

    def _started(self, number: int) -> H:
        """Return a host that waits for parties."""
        raise NotImplementedError

    def _ready(self, waiting: Sequence[H]) -> list[H]:
        """Wait until some of these hosts can be heard, or are gone; return those."""
        raise NotImplementedError

    def _pickled(self, group: Sequence[Party]) -> bytes:
        try:
            return pickled(group)
        except Exception as first:  # whatever a user's class makes of it
            for party in group:
                try:
                    pickled([party])
                except Exception as error:
                    raise ConfigError(
                        f"engine={self.name} cannot send {party.client.name} to a process of its "
                        f"own: {error}; let what its network, optimisers and method hold be what "
                        "pickle takes (no lambda, no class within a function), or use engine=local"
                    ) from error
            raise ConfigError(f"engine={self.name}: {first}; use engine=local") from first

    def _not_begun(self, host: H) -> PartyError:
        return PartyError(
            f"a process of engine={self.name} {host.lost()} before it was ready; a script of your "
            'own needs if __name__ == "__main__": around what it does; engine=local starts none'
        )

    def _named(self, client: int, answers: list[Answer]) -> list[Answer]:
        """Let an exception that is not ours name its client."""
        return [
            PartyError(
                f"{self._parties[client].client.name} failed in its process: {one}; "
                "engine=local shows where"
            )
            if isinstance(one, PartyError)
            else one
            for one in answers
        ]

    def _lost(self, host: H, clients: Sequence[int]) -> dict[int, list[Answer]]:
        why = host.lost()
        return {
            k: [
                PartyError(
                    f"{self._parties[k].client.name} is lost: its process {why}; the same command "
                    "resumes from the last checkpoint"
                )
            ]
            for k in clients
        }


def _end(hosts: list[H], owner: int) -> None:
    """End hosts of the process with this number, all at a time; a fork of it has none."""
    if os.getpid() == owner:
        for host in hosts:
            host.hang_up()
        deadline = time.monotonic() + GRACE_SECONDS
        for host in hosts:
            host.end(deadline - time.monotonic())
    hosts.clear()
