"""Records the outcomes of a command's runs, across processes and machines.

A folder with a file per run, replaced in one step: machines that share a file system may not
append to one file without losing lines. A command that starts no other process keeps them in
its memory.
"""

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

from ifl.errors import BusyError
from ifl.runs.lock import HOLDER, Lock, held

JOURNAL = "IFL_JOURNAL"  # the environment variable that names the folder to every run
TRIES = 10
STOP = "stop"  # the file in it that tells runs to end


class Journal:
    """The outcomes of runs by number; one process reads them while others write.

    Args:
        folder: where they are kept; None for the memory of this process.
    """

    _locks: ClassVar[dict[Path, Lock]] = {}  # of the folders that this process began
    _memory: ClassVar[dict[str, Any]] = {}  # by number, as the files have them

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._ended: dict[str, dict[str, Any]] = {}

    @classmethod
    def current(cls) -> "Journal":
        """Return that which the environment names to this process, or that in its memory."""
        return cls(Path(os.environ[JOURNAL]) if JOURNAL in os.environ else None)

    @classmethod
    def begin(cls, study: Path) -> "Journal":
        """Begin one in a study's folder, and remove those whose sweep was killed."""
        for left_over in study.glob(".journal-*"):
            with suppress(BusyError, FileNotFoundError):
                lock = Lock(left_over)
                shutil.rmtree(left_over, ignore_errors=True)
                lock.release()  # Windows removes no file that is open: the rest goes now
                shutil.rmtree(left_over, ignore_errors=True)
        while True:
            folder = study / f".journal-{uuid4().hex}"
            folder.mkdir(parents=True)
            # Another sweep that begins now may take the folder, not locked yet, for left over.
            with suppress(BusyError, FileNotFoundError):
                lock = Lock(folder)
                if (folder / HOLDER).exists():
                    cls._locks[folder] = lock
                    return cls(folder)
                lock.release()

    def note(self, run: int, outcome: Mapping[str, Any] | None) -> None:
        """Note the outcome of a run, or None as it begins."""
        text = json.dumps(outcome)
        if self.folder is None:
            self._memory[str(run)] = json.loads(text)
            return
        path = self.folder / f"{run}.json"
        with suppress(FileNotFoundError):  # the sweep was given up, its folder removed
            path.with_suffix(".new").write_text(text, encoding="utf-8")
            os.replace(path.with_suffix(".new"), path)

    def forget(self, run: int) -> None:
        """Note that a run was left before its end: it has no outcome, and does not go on."""
        if self.folder is None:
            self._memory.pop(str(run), None)
        else:
            (self.folder / f"{run}.json").unlink(missing_ok=True)

    def read(self) -> tuple[list[dict[str, Any]], int]:
        """Return the outcomes in the order in which they were seen, and how many runs go on."""
        running = 0
        for number, outcome in self._new():
            if outcome is None:
                running += 1
            else:
                self._ended[number] = outcome
        return list(self._ended.values()), running

    def outcome(self, run: int) -> dict[str, Any] | None:
        """Return that of one run, if it is noted."""
        self.read()
        return self._ended.get(str(run))

    def _new(self) -> list[tuple[str, dict[str, Any] | None]]:
        """Return what is noted beyond the outcomes that were seen, by number."""
        found = {} if self.folder else dict(self._memory)
        for path in self.folder.glob("*.json") if self.folder else ():
            if path.stem not in self._ended:
                with suppress(FileNotFoundError):  # forgotten in between
                    found[path.stem] = json.loads(path.read_text(encoding="utf-8"))
        return [(n, found[n]) for n in sorted(found, key=int) if n not in self._ended]

    def stop(self) -> None:
        """Tell the runs of a sweep to end."""
        if self.folder is not None:
            (self.folder / STOP).touch()

    def stopped(self) -> bool:
        """Return whether they were told to, or the sweep has ended without them."""
        if self.folder is None:
            return False
        return (self.folder / STOP).exists() or not self.folder.exists()

    def abandoned(self) -> bool:
        """Return whether the process that began it has ended, of whatever."""
        return self.folder is not None and not held(self.folder)

    def remove(self) -> list[dict[str, Any]]:
        """Remove it and return the outcomes in the order of the runs."""
        self.read()
        if self.folder is None:
            self._memory.clear()
        else:
            if self.folder in self._locks:
                self._locks.pop(self.folder).release()
            for _ in range(TRIES):  # a run may write while its folder is being removed
                shutil.rmtree(self.folder, ignore_errors=True)
                if not self.folder.exists():
                    break
        return [self._ended[number] for number in sorted(self._ended, key=int)]
