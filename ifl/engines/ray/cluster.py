"""Starts Ray on this machine and ends it, or joins the cluster at an address and leaves it running.

Ray puts a handler of its own in the place of that for SIGTERM; here it is put back, since a run
that is told to end keeps a checkpoint first.
"""

import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from ifl.checks import typed
from ifl.engines.hosts import deaf
from ifl.errors import ConfigError

ADDRESS = re.compile(r"auto|(ray://)?(?P<host>\[[0-9a-fA-F:.]+\]|[^\s/:]+):(?P<port>\d{1,5})")
PATIENCE = 10.0  # seconds for a cluster to take a connection
QUIET = {"log_to_driver": False, "logging_level": "error"}


def installed() -> Any:
    """Return the package ray.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise ConfigError('engine=ray needs the package ray: pip install "ifl[ray]"') from error
    return ray


class Cluster:
    """Ray, while it is needed.

    Args:
        address: of a cluster that runs: "auto" or "ray://host:port". None starts one here.

    Raises:
        ConfigError: it is no address.
    """

    def __init__(self, address: str | None) -> None:
        if address is not None and not (isinstance(address, str) and ADDRESS.fullmatch(address)):
            raise ConfigError(
                "engine.address must be null, auto or the address of a Ray cluster such as "
                f"ray://host:10001, got {typed(address)}"
            )
        self.address = address
        self.cpus = 0  # of the one started here
        self._joined = False

    def join(self, cpus: int) -> None:
        """Start Ray with so many CPUs, or join the cluster; a program that has joined one stays.

        Raises:
            ConfigError: there is no cluster, it takes no program of this kind, or Ray cannot start.
        """
        ray = installed()
        if ray.is_initialized():
            return
        with _undisturbed():
            if self.address is None:
                self._start(ray, cpus)
            else:
                self._connect(ray, self.address)
        self._joined = True

    def leave(self) -> None:
        """Leave the cluster; end it if it was started here."""
        if self._joined and (ray := installed()).is_initialized():
            ray.shutdown()
        self._joined, self.cpus = False, 0

    def _start(self, ray: Any, cpus: int) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        here = {"address": "local", "_node_ip_address": "127.0.0.1", "include_dashboard": False}
        try:
            ray.init(**here, num_cpus=cpus, **QUIET)
        except Exception as error:  # Ray has many
            raise ConfigError(
                f"engine=ray cannot start Ray on this machine: {line(error)}; engine=processes "
                "does without it"
            ) from error
        self.cpus = cpus

    def _connect(self, ray: Any, address: str) -> None:
        try:
            if (found := ADDRESS.fullmatch(address)) and found["host"]:  # Ray itself tries for long
                place = found["host"].strip("[]"), int(found["port"])
                socket.create_connection(place, PATIENCE).close()
            ray.init(address=address, **QUIET)
        except Exception as error:  # also of gRPC
            raise ConfigError(
                f"engine.address={address} leads to no Ray cluster that this program can join: "
                f"{line(error)}; start one (ray start --head), or let engine.address=null start "
                "Ray on this machine"
            ) from error


def line(error: Exception) -> str:
    """Return an exception's text on one line, without colours and a full stop."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)) or type(error).__name__
    return " ".join(text.split())[:500].rstrip(".")


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let what is started inside not hear a closed terminal, and put back what hears SIGTERM."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = signal.getsignal(signal.SIGTERM)
    with deaf("SIGHUP") if hasattr(signal, "SIGHUP") else nullcontext():
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, kept)
