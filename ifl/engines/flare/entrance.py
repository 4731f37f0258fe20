"""Listens at a Unix socket that nobody but its owner can call."""

import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread

from ifl.errors import ConfigError

FOLDER_MODE, SOCKET_MODE = 0o700, 0o600


class Entrance:
    """A Unix socket with mode 0600 in a folder with mode 0700.

    Args:
        path: of it; its folder is made if it is not there.
        enter: is given each connection that is made to it.

    Raises:
        ConfigError: the folder is open to others, or something else is at the path.
    """

    def __init__(self, path: Path, enter: Callable[[socket.socket], None]) -> None:
        self.path, self._enter = path, enter
        try:
            path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            _check_own(path.parent)
            _clear(path)
            self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._listening.bind(str(path))
            path.chmod(SOCKET_MODE)
            self._listening.listen(128)
        except OSError as error:
            raise ConfigError(f"socket {path} cannot be listened at ({error})") from error
        Thread(target=self._accept, name="ifl-entrance", daemon=True).start()

    def close(self) -> None:
        """Listen no longer; who is inside stays."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept
        self._listening.close()
        self.path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while True:
            try:
                found, _ = self._listening.accept()
            except OSError:
                return
            self._enter(found)


def _check_own(folder: Path) -> None:
    found = folder.stat()
    if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigError(
            f"socket: {folder} must be a folder that its owner alone can enter; chmod 700 {folder}"
        )


def _clear(path: Path) -> None:
    """Remove the socket of somebody who listens no more."""
    if not path.exists():
        return
    if path.is_socket():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as tried:
            try:
                tried.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
                return
    raise ConfigError(f"socket {path} is taken; end who listens there, or name another path")
