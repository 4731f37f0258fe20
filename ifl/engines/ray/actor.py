"""Hosts parties in a Ray actor, and talks to it: a frame is the argument of a call, and its result.

The actor is sent its parties once, pickled; it imports this project where it runs.
"""

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch

from ifl.engines.frames import Frame, framed
from ifl.engines.hosts import Guests, made
from ifl.engines.party import Party
from ifl.engines.ray.cluster import installed, line

DEAD = "The actor is dead because "  # Ray's own words before the reason


class Actor:
    """Holds some of the parties, in a process that Ray has started."""

    def __init__(self) -> None:
        self._guests = Guests()

    def take(self, threads: int, path: list[str], pickled: bytes) -> Frame:
        """Hold these parties, in place of others; answer nothing, or why it cannot.

        Args:
            threads: of torch.
            path: where modules are looked for, after those of this machine.
        """
        torch.set_num_threads(threads)
        sys.path += [folder for folder in path if folder not in sys.path]
        return framed(self._guests.take(*made(pickled)))

    def answer(self, frame: Frame) -> Frame:
        """Let parties answer what a frame asks of them.

        Raises:
            MessageError: it is no frame.
        """
        start = time.perf_counter()
        return framed(self._guests.answer(frame), time.perf_counter() - start)


class ActorHost:
    """An actor, as the server's process sees it.

    Args:
        seconds: in which an answer has to come.

    Attributes:
        clients: the numbers of its parties.
        call: the answer that is waited for, as Ray names it.
        due: when it has to be there, on the clock of ``time.monotonic``.
    """

    def __init__(self, seconds: float) -> None:
        self.clients: list[int] = []
        self.call: Any = None
        self.due = 0.0
        self._seconds, self._why = seconds, "is not answering"
        self._ray = installed()
        placed = self._ray.remote(Actor).options(num_cpus=1, max_restarts=0, max_task_retries=0)
        self._actor = placed.remote()

    def deal(self, parties: Sequence[Party], pickled: bytes) -> None:
        """Let it hold these parties, in place of others.

        Raises:
            OSError: it is not there any more.
        """
        self.clients = [party.number for party in parties]
        self._ask(self._actor.take, torch.get_num_threads(), sys.path, pickled)

    def say(self, frame: Frame) -> None:
        """Send a frame.

        Raises:
            OSError: it is not there any more.
        """
        self._ask(self._actor.answer, frame)

    def hear(self) -> Frame:
        """Return the answer to the last frame.

        Raises:
            EOFError: there is none, and will be none.
        """
        errors = self._ray.exceptions
        try:
            frame: Frame = self._ray.get(self.call, timeout=max(self.due - time.monotonic(), 1.0))
        except errors.GetTimeoutError:
            self._why = f"has not answered within {self._seconds:g} s (engine.timeout)"
            raise EOFError from None
        except errors.RayError as error:
            self._why = f"ended, says Ray: {reason(error)}"
            raise EOFError from error
        return frame

    def lost(self) -> str:
        """Return what became of an actor that answers no more."""
        return self._why

    def hang_up(self) -> None:
        """End the actor, if Ray is there at all."""
        if self._ray.is_initialized():
            with suppress(self._ray.exceptions.RayError, OSError):
                self._ray.kill(self._actor)

    def end(self, seconds: float) -> None:
        """Do nothing: Ray ends what has been hung up on."""

    def _ask(self, method: Any, *told: Any) -> None:
        self.due = time.monotonic() + self._seconds
        try:
            self.call = method.remote(*told)
        except self._ray.exceptions.RayError as error:
            self._why = f"ended, says Ray: {reason(error)}"
            raise OSError("the actor takes no call") from error


def reason(error: Exception) -> str:
    """Return what Ray says of an actor's end, in a line.

    Its texts run over many, with the reason after some known words, or in the last of them.
    """
    lines = [said for said in str(error).splitlines() if said.strip()] or [type(error).__name__]
    known = [said.partition(DEAD)[2].partition(". ")[0] for said in lines if DEAD in said]
    return line(Exception(known[0] if known else lines[-1]))
