"""Logs a run for Weights & Biases: files in its folder, sent later or as they come."""

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ifl.checks import check_one_of, check_text
from ifl.loggers.base import missing_package, outcome_of, settings_of

if TYPE_CHECKING:
    from wandb import Run

FOLDER = "wandb"  # in that of a run
KEPT = "logged.json"  # in that: the id there and the rounds that are logged


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
        _wandb()
        group = None if group is None else str(group)
        self._chosen = {"mode": mode, "project": project, "entity": entity, "group": group}

    def begin(self, about: Mapping[str, Any], folder: Path, number: int) -> None:
        """Open the run whose id the folder keeps, or a new one."""
        wandb = _wandb()
        place = folder / FOLDER
        place.mkdir(exist_ok=True)
        self._kept = place / KEPT
        try:
            kept = json.loads(self._kept.read_text(encoding="utf-8"))
            self._id, self._held = str(kept["id"]), {int(n) for n in kept["rounds"]}
        except (OSError, ValueError, KeyError, TypeError):
            self._id, self._held = uuid.uuid4().hex[:8], set()
        self._keep()
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

    def log(self, number: int, values: Mapping[str, float]) -> None:
        """Write an evaluation, unless it is there."""
        if number not in self._held:
            self._run.log({"round": number, **values}, step=number)
            self._held.add(number)
            self._keep()

    def end(self, about: Mapping[str, Any]) -> None:
        """Write the results of a finished run, and how it ended."""
        if about.get("finished"):
            self._run.summary.update(outcome_of(about))
        self._run.finish(exit_code=0 if about.get("finished") else 1)

    def _keep(self) -> None:
        temporary = self._kept.with_name(f"{KEPT}.new")
        text = json.dumps({"id": self._id, "rounds": sorted(self._held)})
        temporary.write_text(f"{text}\n", encoding="utf-8")
        os.replace(temporary, self._kept)


def _wandb() -> ModuleType:
    try:
        import wandb
    except ImportError as error:
        raise missing_package("wandb", "wandb") from error
    return wandb
