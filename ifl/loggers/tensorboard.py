"""Logs a run for TensorBoard, as event files in its folder."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ifl.checks import typed
from ifl.loggers.base import missing_package, outcome_of, settings_of, started

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER = "tensorboard"  # in that of a run
EVENTS = "events.out.tfevents."


class TensorBoard:
    """Writes ``RUN/tensorboard``: scalars by round, and at the end settings and results (hparams).

    A run that goes on writes its log anew. Times are those of training: what lies between an
    interruption and its end is left out.

    Raises:
        ConfigError: tensorboard is not installed.
    """

    def __init__(self) -> None:
        _writer()
        self._last = 0

    def begin(self, about: Mapping[str, Any], folder: Path, number: int) -> None:
        """Begin the log anew."""
        place = folder / FOLDER
        before = [path.name for path in place.glob(f"{EVENTS}*")]
        if any(name >= f"{EVENTS}{int(time.time())}" for name in before):
            time.sleep(1)  # files are read in the order of the second in their names
        # Files of before stay, for who is reading them; purge_step makes their rounds forgotten.
        self._writer: SummaryWriter = _writer()(str(place), purge_step=1 if before else None)
        self._started = started(about)

    def log(self, number: int, values: Mapping[str, float]) -> None:
        """Write an evaluation, to disk."""
        at = self._started + values["seconds"]
        for name, value in values.items():
            self._writer.add_scalar(name, value, number, walltime=at)
        self._writer.flush()
        self._last = number

    def end(self, about: Mapping[str, Any]) -> None:
        """Write results and settings of a finished run, and close the file."""
        if about.get("finished"):
            from torch.utils.tensorboard.summary import hparams

            settings = settings_of(about).items()
            plain = {k: typed(v) if v is None else v for k, v in settings}
            results = outcome_of(about)
            for summary in hparams(plain, results):
                self._writer._get_file_writer().add_summary(summary)
            for name, value in results.items():
                self._writer.add_scalar(name, value, self._last)
        self._writer.close()


def _writer() -> "type[SummaryWriter]":
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise missing_package("tensorboard", "tensorboard") from error
    return SummaryWriter
