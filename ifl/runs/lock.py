"""Locks a folder for one process at a time; the lock ends with its process, so none is stale."""

import os
import socket
from pathlib import Path

from filelock import FileLock, Timeout

from ifl.errors import BusyError

HOLDER = "holder"  # says who holds the lock: Windows lets nobody read a file that is locked


class Lock:
    """An exclusive lock on ``PATH/lock``; ``PATH/holder`` names its process. Both files stay.

    Raises:
        BusyError: a live process holds it.
        OSError: the files cannot be written or locked.
    """

    def __init__(self, path: Path) -> None:
        self._lock = FileLock(path / "lock", timeout=0, thread_local=False)
        holder = path / HOLDER
        try:
            self._lock.acquire()
        except Timeout:
            name = holder.read_text(encoding="utf-8").strip() if holder.exists() else ""
            raise BusyError(
                f"{path} is already being executed by {name or 'another process'}"
            ) from None
        try:
            name = f"process {os.getpid()} on {socket.gethostname()}\n"
            holder.write_text(name, encoding="utf-8")
        except OSError:
            self.release()
            raise

    def release(self) -> None:
        """Let the next one in."""
        self._lock.release()


def held(path: Path) -> bool:
    """Return whether a live process holds the lock on a folder; False if there is no folder."""
    if not path.is_dir():  # filelock would make one
        return False
    lock = FileLock(path / "lock", timeout=0, thread_local=False)
    try:
        lock.acquire()
    except FileNotFoundError:
        return False
    except (Timeout, OSError):  # a file system that hesitates is no sign that the process ended
        return True
    lock.release()
    return False
