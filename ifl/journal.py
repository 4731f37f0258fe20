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
from typing import Any

JOURNAL = "IFL_JOURNAL"  # the environment variable that names the folder to every run


class Journal:
    """The outcomes of runs by number; one process reads them while others write.

    Args:
        folder: where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ended: dict[str, dict[str, Any]] = {}

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
        return [self._ended[stem] for stem in sorted(self._ended, key=int)]
