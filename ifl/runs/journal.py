"""Records the outcomes of a sweep's runs, across processes and machines.

A folder with a file per run, replaced in one step: machines that share a file system may not
append to one file without losing lines.
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
from ifl.runs.lock import HOLDER, Lock

JOURNAL = "IFL_JOURNAL"  # the environment variable that names the folder to every run


class Journal:
    """The outcomes of runs by number; one process reads them while others write.

    Args:
        folder: where they are kept.
    """

    _locks: ClassVar[dict[Path, Lock]] = {}  # of the folders that this process began

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ended: dict[str, dict[str, Any]] = {}

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
        path = self.folder / f"{run}.json"
        with suppress(FileNotFoundError):  # the sweep was given up, its folder removed
            path.with_suffix(".new").write_text(json.dumps(outcome), encoding="utf-8")
            os.replace(path.with_suffix(".new"), path)

    def read(self) -> tuple[list[dict[str, Any]], int]:
        """Return the outcomes in the order in which they were seen, and how many runs go on."""
        running = 0
        for path in sorted(self.folder.glob("*.json"), key=lambda path: int(path.stem)):
            if path.stem not in self._ended:
                outcome = json.loads(path.read_text(encoding="utf-8"))
                if outcome is None:
                    running += 1
                else:
                    self._ended[path.stem] = outcome
        return list(self._ended.values()), running

    def remove(self) -> list[dict[str, Any]]:
        """Remove the folder and return the outcomes in the order of the runs."""
        self.read()
        if self.folder in self._locks:
            self._locks.pop(self.folder).release()
        shutil.rmtree(self.folder, ignore_errors=True)
        return [self._ended[stem] for stem in sorted(self._ended, key=int)]
