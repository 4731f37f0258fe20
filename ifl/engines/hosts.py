"""Hosts parties in a process of its own: starts it, talks to it over a pipe, ends it.

The process is spawned, not forked: a fork would copy locks that threads hold, and not everywhere
is there one. It is sent its parties once, pickled: it runs the same code on the same machine as
its parent, which is no other party. From then on only frames pass.
"""

import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any

import torch
from torch import Tensor

from ifl.comm.message import Message, Place
from ifl.engines.base import Answer, Packet
from ifl.engines.frames import Frame, bodies, framed, unframed
from ifl.engines.local import Local, in_turn
from ifl.engines.party import Party
from ifl.engines.strict import place
from ifl.errors import MessageError

GRACE_SECONDS = 2.0  # for a host to end by itself
DEAF = [n for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]  # the parent hears them


class Host:
    """A process that holds some of the parties; ends with its parent, whatever ends that.

    Args:
        number: tells it from others.
        serves: what it runs: ``serve``, or another function of its pipe and what follows.
        told: what it takes besides.
    """

    def __init__(self, number: int, serves: Callable[..., None] | None = None, *told: str) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=serves or serve, args=(theirs, *told), name=f"ifl-host-{number}", daemon=True
        )
        with deaf(*DEAF):
            self.process.start()
        theirs.close()
        self.clients: list[int] = []

    def deal(self, parties: Sequence[Party], pickled: bytes) -> None:
        """Let it hold these parties, in place of others.

        Raises:
            EOFError, OSError: it is not there any more.
        """
        self.clients = [party.number for party in parties]
        agreed = {"threads": torch.get_num_threads(), "path": sys.path}
        self.pipe.send_bytes(pickle.dumps(agreed))
        self.pipe.send_bytes(pickled)

    def say(self, frame: Frame) -> None:
        """Send a frame."""
        for part in frame:
            self.pipe.send_bytes(part)

    def hear(self) -> Frame:
        """Return the next frame."""
        return _read(self.pipe)

    def hang_up(self) -> None:
        """Say nothing more, so that it ends."""
        self.pipe.close()

    def lost(self) -> str:
        """Return what became of a process that answers no more."""
        self.process.join(GRACE_SECONDS)
        code = self.process.exitcode
        return "is not answering" if code is None else f"ended with exit code {code}"

    def end(self, seconds: float) -> None:
        """End it, whose pipe is closed; at once if it has not by itself in these seconds."""
        self.process.join(max(seconds, 0))
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


@contextmanager
def deaf(*names: str) -> Iterator[None]:
    """Start a process inside that never hears these signals, not even while it imports.

    Those that come in the meantime are delivered to this thread afterwards.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows: a host turns deaf once it runs
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [getattr(signal, n) for n in names])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def serve(pipe: Connection) -> None:
    """Answer frames until the pipe is closed, in a process of its own."""
    follow_parent()
    guests = Guests()
    with suppress(EOFError, OSError, MessageError):  # what is no frame is not gone on from
        while True:
            head, start = pipe.recv_bytes(), time.perf_counter()
            if head.startswith(b"{"):
                answers = guests.answer(_read(pipe, head))
            else:
                answers = guests.take(*taken(head, pipe.recv_bytes()))
            for part in framed(answers, time.perf_counter() - start):
                pipe.send_bytes(part)


class Guests:
    """The parties of a host, as frames reach them."""

    def __init__(self) -> None:
        self._local = Local()
        self._first: Party | None = None

    def take(
        self, parties: list[Party], answers: dict[int, list[Answer]]
    ) -> dict[int, list[Answer]]:
        """Take these parties in place of others; return the answers made with them."""
        self._first = parties[0] if parties else None
        self._local.open(parties, in_turn)
        return answers

    def answer(self, frame: Frame) -> dict[int, list[Answer]]:
        """Let parties answer what a frame asks of them.

        Raises:
            MessageError: it is no frame.
        """
        return self._local.exchange(decoded(unframed(frame), self._first))


def follow_parent() -> None:
    """Hear no signal that is for the parent, and end with it."""
    for name in DEAF:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    Thread(target=_watch_parent, daemon=True).start()


def taken(head: bytes, pickled: bytes) -> tuple[list[Party], dict[int, list[Answer]]]:
    """Return the parties, and an empty answer, or why there are none.

    Args:
        head, pickled: what ``Host.deal`` sent.
    """
    agreed = pickle.loads(head)
    torch.set_num_threads(agreed["threads"])
    sys.path[:] = agreed["path"]
    return made(pickled)


def made(pickled: bytes) -> tuple[list[Party], dict[int, list[Answer]]]:
    """Return parties made again, and an empty answer, or why there are none."""
    try:
        return pickle.loads(pickled), {}
    except Exception as error:  # a class that cannot be imported here, or whatever it does then
        return [], {-1: [error]}


def decoded(asked: dict[int, list[Answer]], party: Party | None) -> dict[int, list[Packet]]:
    """Return packets with what their bodies decode to: that of a broadcast once for all."""
    known: dict[tuple[int, Place], Message] = {}
    found: dict[int, list[Packet]] = {}
    for client, packets in asked.items():
        found[client] = []
        for packet in packets:
            if isinstance(packet, Exception):
                raise MessageError("a server asks with an error")
            if party is not None and "place" in packet.head:
                with suppress(MessageError):  # the party itself says what is wrong with it
                    key = id(packet.body), place(packet.head)
                    if key not in known:
                        known[key] = party.hearing.decoded(packet.body, key[1])
                    packet = Packet(packet.head, packet.body, known[key])
            found[client].append(packet)
    return found


def _read(pipe: Connection, head: bytes | None = None) -> Frame:
    head = pipe.recv_bytes() if head is None else head
    return [head, *(pipe.recv_bytes() for _ in range(bodies(head)))]


def _watch_parent() -> None:
    """End this process when its parent has, even in the middle of a step."""
    if parent := parent_process():
        connection.wait([parent.sentinel])
    os._exit(1)


class _Pickler(pickle.Pickler):
    """Writes tensors that are views of much larger ones, as shards are, without these."""

    def reducer_override(self, value: Any) -> Any:
        """Return how to make a value again; NotImplemented for the usual way."""
        if type(value) is Tensor and value.layout == torch.strided and not value.requires_grad:
            whole = value.untyped_storage().nbytes()
            if value.numel() * value.element_size() < whole:
                return value.clone().__reduce_ex__(pickle.HIGHEST_PROTOCOL)
        return NotImplemented


def pickled(parties: Sequence[Party]) -> bytes:
    """Return parties as bytes for a host.

    Raises:
        Exception: one of them holds what cannot be pickled.
    """
    buffer = BytesIO()
    _Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(list(parties))
    return buffer.getvalue()
