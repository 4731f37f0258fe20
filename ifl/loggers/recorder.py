"""Tells a logger of a run; a logger that fails is said to, once, and the run goes on."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

from ifl.loggers.base import Logger, check_logger, values_of
from ifl.runs.folder import Round, RunFolder, read_about, read_rounds


class Recorder:
    """Tells a logger of the run in a folder, and ends its log with the folder at the latest.

    Raises:
        ConfigError: the logger lacks a method.
    """

    def __init__(self, logger: Logger, folder: RunFolder) -> None:
        check_logger(logger)
        self._logger, self._folder = logger, folder
        self._open = self._works = False

    def begin(self, about: Mapping[str, Any], number: int) -> None:
        """Open the log, and tell it the evaluations that the folder has, up to this round."""
        self._works = True
        self._tell("begin", self._logger.begin, about, self._folder.path, number)
        self._open = self._works
        self._folder.closing.callback(self._close)
        for row in read_rounds(self._folder.path) if number and self._works else ():
            if row.round <= number:
                self.log(row)

    def log(self, row: Round) -> None:
        """Tell it a round, if that was evaluated."""
        if self._works and row.accuracy_mean is not None:
            self._tell("log", self._logger.log, row.round, values_of(row))

    def end(self, about: Mapping[str, Any]) -> None:
        """Close the log, once.

        Args:
            about: what run.json holds.
        """
        if self._open:
            self._open = False
            self._tell("end", self._logger.end, about)

    def _close(self) -> None:
        self.end(read_about(self._folder.path) or {"finished": False})

    def _tell(self, name: str, method: Callable[..., object], *told: object) -> None:
        try:
            method(*told)
        except Exception as error:
            if self._works:
                why = " ".join(f"{type(error).__name__}: {error}".split())
                print(
                    f"Note: the logger {type(self._logger).__name__} failed to {name} ({why}); "
                    f"the run goes on without, and {self._folder.path} has all of it",
                    file=sys.stderr,
                )
            self._works = False
