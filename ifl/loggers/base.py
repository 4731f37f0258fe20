"""Defines what a logger is: told of a run's evaluations, besides the tables that the run writes."""

from collections.abc import Mapping
from datetime import datetime
from inspect import signature
from pathlib import Path
from typing import Any, Protocol

from ifl.errors import ConfigError
from ifl.runs.folder import BYTES_PER_MB, Round
from ifl.runs.identity import flatten

METHODS = {"begin": ("about", "folder", "number"), "log": ("number", "values"), "end": ("about",)}


class Logger(Protocol):
    """Keeps the log of one run at a time; a class of one's own needs these three methods.

    Whatever ``begin`` and ``log`` raise ends the log and not the run.
    """

    def begin(self, about: Mapping[str, Any], folder: Path, number: int) -> object:
        """Open the log of a run that begins, or goes on.

        ``log`` is called next with every evaluation so far, from the first: the log either begins
        anew, or passes over the rounds that it holds.

        Args:
            about: what run.json holds; "config" are the settings.
            folder: of the run.
            number: the round that the run goes on from; 0 for the start.
        """

    def log(self, number: int, values: Mapping[str, float]) -> object:
        """Take in an evaluation.

        Args:
            number: of the round, from 1.
            values: ``values_of`` its row of rounds.csv.
        """

    def end(self, about: Mapping[str, Any]) -> object:
        """Close the log, also where the run was interrupted or has diverged.

        Args:
            about: what run.json holds: "finished" is true, and "result" and "totals" are there; or
                it is false, and "stop_reason" says why, unless the run was interrupted.
        """


class Silent:
    """Logs nothing."""

    def begin(self, about: Mapping[str, Any], folder: Path, number: int) -> None:
        """Open nothing."""

    def log(self, number: int, values: Mapping[str, float]) -> None:
        """Take in nothing."""

    def end(self, about: Mapping[str, Any]) -> None:
        """Close nothing."""


SILENT = Silent()


def check_logger(logger: object) -> None:
    """Raise ConfigError unless an object has the methods of a logger, with their parameters."""
    for name, parameters in METHODS.items():
        call = f"{name}({', '.join(parameters)})"
        method = getattr(logger, name, None)
        lacking = not callable(method) or isinstance(logger, type)
        try:
            if not lacking:
                signature(method).bind(*parameters)  # type: ignore[arg-type]
        except TypeError:
            lacking = True
        except ValueError:  # of what is not written in Python nothing is known
            continue
        if lacking:
            raise ConfigError(
                f"logger is a {type(logger).__name__} without a method {call}; give its class "
                "the three that ifl.loggers.base.Logger describes"
            )


def values_of(row: Round) -> dict[str, float]:
    """Return the numbers of a row of rounds.csv by column, with bytes in MB (``uplink_mb``)."""
    values = {name: value for name, value in vars(row).items() if value is not None}
    del values["round"]
    for direction in ("uplink", "downlink"):
        values[f"{direction}_mb"] = values.pop(f"{direction}_bytes") / BYTES_PER_MB
    return values


def settings_of(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration that run.json holds by dotted key, but for that of the logger."""
    flat = flatten(about.get("config") or {})
    return {key: value for key, value in flat.items() if not f"{key}.".startswith("logger.")}


def outcome_of(about: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of "result" and "totals" of a finished run, as "result/accuracy_mean"."""
    return {
        f"{section}/{name}": value
        for section in ("result", "totals")
        for name, value in flatten(about.get(section) or {}).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def started(about: Mapping[str, Any]) -> float:
    """Return when a run started, in seconds since 1970."""
    return datetime.fromisoformat(str(about["started"])).timestamp()


def missing_package(option: str, package: str) -> ConfigError:
    """Return the error that names the extra which brings a logger's package."""
    return ConfigError(
        f'logger={option} needs the package {package}: pip install "ifl[{option}]", in a checkout '
        f'pip install -e ".[{option}]"; logger=none does without'
    )
