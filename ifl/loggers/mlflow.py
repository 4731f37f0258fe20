"""Logs a run in a tracking store of MLflow's: a server, or a database in one file."""

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from ifl.checks import check_text, typed
from ifl.errors import ConfigError
from ifl.loggers.base import missing_package, outcome_of, settings_of, started

if TYPE_CHECKING:
    from mlflow.entities import Metric

KEPT = "mlflow.json"  # in a run's folder: which of the store's runs it is
SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")
SQLITE = "sqlite:///"
PARAMS = 100  # that a store takes at a time
LONGEST = 6000  # characters of a parameter's value


class MLflow:
    """Logs to a store: metrics by round, settings as parameters, results at the end as metrics.

    A run that goes on is the same one there, by the id that its folder keeps.

    Args:
        tracking_uri: sqlite:///PATH, that of another database, or a server's, http://...
        experiment: its name; made where it is not there.

    Raises:
        ConfigError: MLflow is not installed, or the store is of no kind that it keeps up.
    """

    def __init__(self, tracking_uri: str, experiment: str | int = "runs") -> None:
        check_text("logger.tracking_uri", tracking_uri)
        if tracking_uri.partition(":")[0].partition("+")[0] not in SCHEMES:
            raise ConfigError(
                f"logger.tracking_uri must begin with one of {', '.join(SCHEMES)}, got "
                f"{tracking_uri}; {SQLITE}PATH is a database in one file"
            )
        self._uri, self._experiment = tracking_uri, str(experiment)
        check_text("logger.experiment", self._experiment)
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # 7 take minutes
        try:
            import mlflow  # noqa: F401

            if not tracking_uri.startswith(("http", "databricks")):
                import alembic  # noqa: F401
                import sqlalchemy  # noqa: F401
        except ImportError as error:
            raise missing_package("mlflow", str(error.name)) from error
        for name in ("mlflow", "alembic"):  # they tell of every step
            logging.getLogger(name).setLevel(logging.WARNING)

    def begin(self, about: Mapping[str, Any], folder: Path, number: int) -> None:
        """Open the run that the folder names, if the store has it; else a new one."""
        from mlflow import MlflowClient
        from mlflow.entities import Param

        with self._alone():
            self._client = MlflowClient(tracking_uri=self._uri)
            self._run = self._found(folder) or self._new(folder, started(about))
        known = self._client.get_run(self._run).data.params
        params = [
            Param(key, typed(value)[:LONGEST])
            for key, value in settings_of(about).items()
            if key not in known
        ]
        for first in range(0, len(params), PARAMS):
            self._client.log_batch(self._run, params=params[first : first + PARAMS])
        past = self._client.get_metric_history(self._run, "uplink_mb")
        self._held = {metric.step for metric in past}
        self._started, self._last = started(about), number

    def log(self, number: int, values: Mapping[str, float]) -> None:
        """Send an evaluation, unless the store has it."""
        self._last = number
        if number not in self._held:
            at = self._started + values["seconds"]
            self._client.log_batch(self._run, metrics=_metrics(values, at, number))
            self._held.add(number)

    def end(self, about: Mapping[str, Any]) -> None:
        """Send the results of a finished run, and how it ended."""
        status = "FAILED" if about.get("stop_reason") else "KILLED"
        if about.get("finished"):
            self._client.log_batch(
                self._run, metrics=_metrics(outcome_of(about), time.time(), self._last)
            )
            status = "FINISHED"
        self._client.set_terminated(self._run, status)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one process at a time make what is not there yet in a database that is a file."""
        if not self._uri.startswith(SQLITE):
            yield
            return
        path = Path(self._uri.removeprefix(SQLITE).partition("?")[0])
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f"{path.name}.lock")):
            yield

    def _found(self, folder: Path) -> str | None:
        """Return the run of this folder, if the store has it, and let it go on."""
        from mlflow.exceptions import MlflowException

        try:
            kept = str(json.loads((folder / KEPT).read_text(encoding="utf-8"))["run_id"])
            found = self._client.get_run(kept)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        if found.info.lifecycle_stage != "active":
            return None
        self._client.update_run(kept, status="RUNNING")
        return kept

    def _new(self, folder: Path, start: float) -> str:
        from mlflow.exceptions import MlflowException

        there = self._client.get_experiment_by_name(self._experiment)
        if there is None:
            try:
                number = self._client.create_experiment(
                    self._experiment, artifact_location=self._artifacts()
                )
            except MlflowException:  # another process made it
                there = self._client.get_experiment_by_name(self._experiment)
                if there is None:
                    raise
        run = self._client.create_run(
            there.experiment_id if there else number,
            start_time=round(start * 1000),
            run_name=folder.name,
            tags={"ifl.folder": str(folder)},
        )
        text = json.dumps({"run_id": run.info.run_id, "tracking_uri": self._uri})
        (folder / KEPT).write_text(f"{text}\n", encoding="utf-8")
        return str(run.info.run_id)

    def _artifacts(self) -> str | None:
        """Return where a database that is a file says that files lie: beside it, not just here."""
        if not self._uri.startswith(SQLITE):
            return None
        path = Path(self._uri.removeprefix(SQLITE).partition("?")[0]).resolve()
        return path.with_name("mlartifacts").as_uri()


def _metrics(values: Mapping[str, float], at: float, step: int) -> "Sequence[Metric]":
    from mlflow.entities import Metric

    return [Metric(name, float(value), round(at * 1000), step) for name, value in values.items()]
