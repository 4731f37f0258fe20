"""One process at a time in a folder, by a lock that dies with its process: none can be stale."""

import fcntl
import os
import socket
from contextlib import suppress
from pathlib import Path

from ifl.errors import BusyError


class Lock:
    """An exclusive flock on ``PATH/lock``, which names its holder; the file itself stays.

    Raises:
        BusyError: a live process holds it.
        OSError: the file cannot be written or locked.
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path / "lock", "a+")  # noqa: SIM115 (open while it is held)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file.truncate(0)
            self._file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            self._file.flush()
        except BlockingIOError:
            self._file.seek(0)
            holder = self._file.read().strip() or "another process"
            self._file.close()
            raise BusyError(f"{path} is being run by {holder}") from None
        except OSError:
            with suppress(OSError):  # again what it was just told
                self._file.close()
            raise

    def release(self) -> None:
        """Let the next one in."""
        self._file.close()
