"""Starts the command line in processes that can be killed."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torchvision  # noqa: F401 (which a run imports as it goes; a fork has it)

import ifl.federation.runner  # noqa: F401
from ifl.cli.config import CONF
from ifl.cli.run import main

TINY = (
    *("clients=mlp_homogeneous", "clients.count=3", "clients.members.0.base.widths=[16]"),
    *("fusion.dim=16", "batch_size=8", "local.tau=2", "rounds=60", "eval_every=7"),
    *("checkpoint_every=2", "runtime.workers=1", "runtime.threads=1"),
)
PATIENCE = 600  # seconds for what takes a few on an idle machine


class FaultError(Exception):
    """Something did not come to the end that it has to come to after a fault."""


class Process(Protocol):
    """The part of ``subprocess.Popen`` that is used here."""

    def poll(self) -> int | None:
        """Return the exit code, if it has ended."""

    def kill(self) -> None:
        """Send SIGKILL."""

    def wait(self) -> int:
        """Return the exit code once it has ended."""


class Fork:
    """The command line in a fork of this process, which has loaded what it needs.

    Args:
        typed: the arguments.
        log: where its output goes.
    """

    def __init__(self, typed: Sequence[str], log: Path) -> None:
        context = multiprocessing.get_context("fork")
        self._process = context.Process(target=self._main, args=(typed, log))
        self._process.start()

    @staticmethod
    def _main(typed: Sequence[str], log: Path) -> None:
        sys.stdout = sys.stderr = log.open("w", buffering=1, encoding="utf-8")
        sys.argv = ["ifl", f"--config-path={CONF}", *typed]
        sys.exit(main())

    def poll(self) -> int | None:
        """Return the exit code, if it has ended."""
        return self._process.exitcode

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.kill()

    def wait(self) -> int:
        """Return the exit code once it has ended."""
        self._process.join()
        assert self._process.exitcode is not None
        return self._process.exitcode


def command(typed: Sequence[str], log: Path) -> "subprocess.Popen[bytes]":
    """Start the command line in an interpreter and a process group of its own."""
    with log.open("w", encoding="utf-8") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "ifl", *typed],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
            start_new_session=True,
        )


class temporary_folder(tempfile.TemporaryDirectory[str]):  # noqa: N801 (a context manager)
    """A folder for everything, also for the temporary files that killed processes leave."""

    def __init__(self) -> None:
        super().__init__(prefix="ifl-faults-")

    def __enter__(self) -> Path:  # type: ignore[override]
        os.environ["TMPDIR"] = tempfile.tempdir = self.name
        return Path(self.name)

    def __exit__(self, *error: object) -> None:
        del os.environ["TMPDIR"]
        tempfile.tempdir = None
        self.cleanup()
