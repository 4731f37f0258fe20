"""Ends commands that are told to: by SIGTERM, by a closed terminal, by the sweep or with it.

While a run trains, it is only noted that it is to end: the run asks after every round, and keeps
a checkpoint. At any other time a signal ends the command where it stands, as Ctrl-C does. Runs in
processes of a sweep (``launcher=local``) ask its journal too, and a thread sees to it that none
of these processes outlives the sweep, killed or not.
"""

import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Thread, current_thread, main_thread
from types import FrameType

from ifl.errors import Terminated
from ifl.runs.journal import Journal

SWEEP = "IFL_SWEEP"  # the environment variable that names the process of a sweep to those it starts
SIGNALS = [n for name in ("SIGTERM", "SIGHUP") if (n := getattr(signal, name, None)) is not None]
POLL_SECONDS = 1.0
PATIENCE_SECONDS = 60.0  # of a sweep that was told to end, with runs that end their round


class Ending:
    """The end that this process is asked for; there is one, as there is one of each signal."""

    def __init__(self) -> None:
        self.told: int | None = None  # the signal
        self.time = 0.0  # of the last one, seconds
        self.training = False
        self.orphaned = False
        self.noting: Callable[[], None] | None = lambda: None  # None: a signal raises
        self.following: Thread | None = None

    def hear(self, number: int, frame: FrameType | None) -> None:
        """Take a signal; of two at once, as a shell and timeout send them, the second is one."""
        if number == getattr(signal, "SIGHUP", None):
            _leave_terminal()
        again = self.told is not None and time.monotonic() - self.time < 1
        self.told, self.time = number, time.monotonic()
        if self.noting is not None:
            self.noting()
        elif not again:
            raise Terminated(signal.Signals(number).name)

    def reason(self) -> str | None:
        """Return why the run that goes on here is to end, if it is."""
        if self.told is not None:
            return signal.Signals(self.told).name
        if in_sweep() and (self.orphaned or Journal.current().stopped()):
            return "the sweep was told to end"
        return None


ENDING = Ending()


def in_sweep() -> bool:
    """Return whether this process was started by a sweep's, on the same machine."""
    return os.environ.get(SWEEP, str(os.getpid())) != str(os.getpid())


@contextmanager
def listening() -> Iterator[None]:
    """Take signals inside that nobody else listens to: nohup and submitit keep theirs.

    Raises:
        Terminated: one came outside of ``noted``.
    """
    ENDING.told, ENDING.noting = None, None
    taken = _listen()
    try:
        yield
    finally:
        ENDING.noting = lambda: None
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _listen() -> list[int]:
    taken = []
    if current_thread() is main_thread():  # no other may
        for number in SIGNALS:
            if signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, ENDING.hear)
                taken.append(number)
    return taken


@contextmanager
def noted(at_once: Callable[[], None] = lambda: None) -> Iterator[Callable[[], str | None]]:
    """Only note inside what tells this process to end; yield what returns it.

    Args:
        at_once: called with every signal.

    Raises:
        Terminated: it was told before.
    """
    before = ENDING.noting, ENDING.training
    ENDING.noting, ENDING.training = at_once, True
    try:
        check()
        yield ENDING.reason
    finally:
        ENDING.noting, ENDING.training = before


def check() -> None:
    """Raise Terminated if this process was told to end."""
    if told := ENDING.reason():
        raise Terminated(told)


def exit_code() -> int:
    """Return that of a process that a signal ended."""
    return 128 + (ENDING.told or signal.SIGTERM)


def leave_if_overdue(journal: Journal) -> None:
    """End a sweep that was told to long ago, without its runs, and say so."""
    if ENDING.told is None or time.monotonic() - ENDING.time < PATIENCE_SECONDS:
        return
    running = journal.read()[1]
    with suppress(OSError):
        print(
            f"\nTerminated; {running} runs end with the round that they are in, and their "
            "processes with them. Run the same command then to resume.",
            file=sys.stderr,
            flush=True,
        )
    os._exit(exit_code())


@contextmanager
def following() -> Iterator[None]:
    """Run a job of a sweep inside; where that has a process of its own, it follows the sweep's.

    There a signal that came before this job was for another one.
    """
    if not in_sweep():
        yield
        return
    ENDING.told = None
    if ENDING.following is None:
        ENDING.noting, ENDING.training = lambda: None, False  # a fork has its sweep's
        _listen()
        ENDING.following = Thread(target=_follow, args=[Journal.current()], daemon=True)
        ENDING.following.start()
    yield


def _follow(journal: Journal) -> None:
    while not journal.abandoned():
        time.sleep(POLL_SECONDS)
    ENDING.orphaned = True
    while ENDING.training:
        time.sleep(POLL_SECONDS / 10)
    os._exit(1)


def _leave_terminal() -> None:
    """Write to nowhere what would go to a terminal: it is closed, and takes no more."""
    for descriptor in (1, 2):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(descriptor).st_mode):
                os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
