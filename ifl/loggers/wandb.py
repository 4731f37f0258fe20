"""Logs a run for Weights & Biases: files in its folder, sent later or as they come."""

import json
import os
import shutil
import time
import uuid
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ifl.checks import check_one_of, check_text
from ifl.loggers.base import missing_package, outcome_of, settings_of

if TYPE_CHECKING:
    from wandb import Run

FOLDER = "wandb"  # in that of a run
KEPT = "logged.json"  # in that: the id there, and the rounds that each file has


class WandB:
    """Writes ``RUN/wandb``: evaluations by round, settings as config, results as summary.

    A run that goes on has the same id, and adds the rounds that are new.

    Args:
        mode: offline, or online to send them too.
        project: of which the run is one.
        entity: user or team; None for the account's default.
        group: of runs, such as a study.

    Raises:
        ConfigError: a setting is out of its range, or wandb is not installed.
    """

    def __init__(
        self,
        mode: str = "offline",
        project: str = "ifl",
        entity: str | None = None,
        group: str | int | None = None,
    ) -> None:
        check_one_of("logger.mode", mode, "offline", "online")
        check_text("logger.project", project)
        if entity is not None:
            check_text("logger.entity", entity)
        _wandb()
        group = None if group is None else str(group)
        self._chosen = {"mode": mode, "project": project, "entity": entity, "group": group}

    def begin(self, about: Mapping[str, Any], folder: Path, number: int) -> None:
        """Open the run whose id the folder keeps, or a new one."""
        wandb, self._place = _wandb(), folder / FOLDER
        self._place.mkdir(exist_ok=True)
        self._id, self._files = _kept(self._place)
        if any(f"-{datetime.now():%Y%m%d_%H%M%S}-" in file for file in self._files):
            time.sleep(1)  # wandb names its files after the second
        self._run: Run = wandb.init(
            **self._chosen,
            id=self._id,
            name=folder.name,
            dir=str(folder),
            config=settings_of(about),
            allow_val_change=True,
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off", disable_git=True, save_code=False),
        )
        self._run.define_metric("*", step_metric="round")
        self._held = {held for file in self._files.values() for held in file["rounds"]}
        if self._chosen["mode"] == "online":  # the server knows better what it has
            self._held = {held for held in self._held if held < self._run.starting_step}
        self._file: dict[str, Any] = {"rounds": [], "closed": False}
        self._files[Path(self._run.dir).parent.name] = self._file
        self._keep()

    def log(self, number: int, values: Mapping[str, float]) -> None:
        """Write an evaluation, unless it is there."""
        if number not in self._held:
            # commit: without it the row would wait for the next.
            self._run.log({"round": number, **values}, step=number, commit=True)
            self._file["rounds"].append(number)
            self._keep()

    def end(self, about: Mapping[str, Any]) -> None:
        """Write the results of a finished run, and how it ended."""
        if about.get("finished"):
            self._run.summary.update(outcome_of(about))
        self._run.finish(exit_code=0 if about.get("finished") else 1)
        self._file["closed"] = True
        self._keep()

    def _keep(self) -> None:
        temporary = self._place / f"{KEPT}.new"
        text = json.dumps({"id": self._id, "files": self._files})
        temporary.write_text(f"{text}\n", encoding="utf-8")
        os.replace(temporary, self._place / KEPT)


def _kept(place: Path) -> tuple[str, dict[str, dict[str, Any]]]:
    """Return a run's id, a new one at first, and what each of its files has.

    A file that was not closed, since the process was killed, lacks its last seconds: unless it has
    been sent it is removed, and what it had is logged again.
    """
    try:
        kept = json.loads((place / KEPT).read_text(encoding="utf-8"))
        name, files = str(kept["id"]), dict(kept["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return uuid.uuid4().hex[:8], {}
    for torn in [file for file, had in files.items() if not had["closed"]]:
        if torn.startswith("offline-") and not any((place / torn).glob("*.synced")):
            shutil.rmtree(place / torn, ignore_errors=True)
            del files[torn]
    return name, files


def _wandb() -> ModuleType:
    try:
        import wandb
    except ImportError as error:
        raise missing_package("wandb", "wandb") from error
    return wandb
