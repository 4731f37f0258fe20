"""Hosts parties of ``engine=grpc`` in a process of its own, each with a stream and a certificate.

The parties come over a pipe, pickled, from the process that started this one; what they say to
each other passes the network.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock, Thread

from ifl.engines.base import Answer
from ifl.engines.frames import Frame, framed
from ifl.engines.grpc.caller import Caller
from ifl.engines.grpc.certificates import read_certificates
from ifl.engines.grpc.envelopes import packets_of
from ifl.engines.hosts import decoded, follow_parent, taken
from ifl.engines.local import Local, in_turn
from ifl.engines.party import Party
from ifl.errors import ConfigError, IFLError


def name_of(client: int) -> str:
    """Return the name of a client's party."""
    return f"client{client}"


def serve(pipe: Connection, address: str, folder: str, message_mb: str) -> None:
    """Host the parties that come over the pipe, until it is closed.

    Args:
        address: of the server.
        folder: with a folder of certificates for each party.
        message_mb: MiB of a message at most.
    """
    follow_parent()
    turn, calling = Lock(), list[Thread]()
    with suppress(EOFError, OSError):
        while True:
            parties, answers = taken(pipe.recv_bytes(), pipe.recv_bytes())
            for thread in calling:  # the server has said goodbye to those of before
                thread.join()
            local = Local()
            local.open(parties, in_turn)
            calling = []
            for party in parties:
                answer = _answering(party, local, turn)
                its = read_certificates(Path(folder) / name_of(party.number), name_of(party.number))
                caller = Caller(
                    address,
                    its,
                    name_of(party.number),
                    dict,
                    answer,
                    _too_large(party.number),
                    int(message_mb),
                    patience=lambda: 60.0,
                )
                calling.append(Thread(target=_called, args=(caller,), daemon=True))
                calling[-1].start()
            for part in framed(answers):
                pipe.send_bytes(part)


def _called(caller: Caller) -> None:
    with suppress(IFLError):  # the server says what became of it
        caller.run()


def _answering(party: Party, local: Local, turn: Lock) -> Callable[[Frame], Frame]:
    """Return what answers a frame: a process works on one of its parties at a time."""
    number = party.number

    def answer(frame: Frame) -> Frame:
        with turn:
            start = time.perf_counter()
            found: dict[int, list[Answer]]
            try:
                asked = decoded({number: packets_of(frame, number)}, party)
                found = local.exchange(asked)
            except IFLError as error:
                found = {number: [error]}
            return framed(found, time.perf_counter() - start)

    return answer


def _too_large(client: int) -> Callable[[ConfigError], Frame]:
    return lambda error: framed({client: [error]})
