"""How the runs of a sweep, in whatever process or on whatever machine, tell how they fare.

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
from ifl.runs.lock import Lock

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
                Lock(left_over).release()
                shutil.rmtree(left_over)
        name = uuid4().hex
        new = study / f".new-{name}"  # another sweep that begins removes what is not locked yet
        new.mkdir(parents=True)
        lock = Lock(new)
        folder = new.rename(study / f".journal-{name}")
        cls._locks[folder] = lock
        return cls(folder)

    def note(self, run: int, outcome: Mapping[str, Any] | None) -> None:
        """Note the outcome of a run, or None as it begins."""
        path = self.folder / f"{run}.json"
        with suppress(FileNotFoundError):  # the sweep was given up, its folder removed
            path.with_suffix(".new").write_text(json.dumps(outcome))
            os.replace(path.with_suffix(".new"), path)

    def read(self) -> tuple[list[dict[str, Any]], int]:
        """Return the outcomes in the order in which they were seen, and how many runs go on."""
        running = 0
        for path in sorted(self.folder.glob("*.json"), key=lambda path: int(path.stem)):
            if path.stem not in self._ended:
                outcome = json.loads(path.read_text())
                if outcome is None:
                    running += 1
                else:
                    self._ended[path.stem] = outcome
        return list(self._ended.values()), running

    def remove(self) -> list[dict[str, Any]]:
        """Remove the folder and return the outcomes in the order of the runs."""
        self.read()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder in self._locks:
            self._locks.pop(self.folder).release()
        return [self._ended[stem] for stem in sorted(self._ended, key=int)]
