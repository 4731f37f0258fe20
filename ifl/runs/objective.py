"""Reads from run.json the number that a search makes as good as it can."""

from collections.abc import Mapping
from dataclasses import fields
from math import nan
from typing import Any

from ifl.checks import check_one_of
from ifl.runs.folder import TABLES, Round

RESULT = (
    *(f.name for f in fields(Round) if f.name.startswith("accuracy")),
    *(name for name in TABLES["metrics"] if name not in TABLES["compositions"]),
)
TOTALS = (
    *("rounds", "uplink_bytes", "downlink_bytes", "downlink_bytes_multicast"),
    *("uplink_bytes_per_client", "downlink_bytes_per_client", "seconds"),
)


def check_objective(name: object) -> None:
    """Raise ConfigError unless this is an entry of "result" or "totals" of run.json."""
    check_one_of("objective", name, *RESULT, *TOTALS)


def value_of(outcome: Mapping[str, Any], name: str | None) -> float:
    """Return an entry of "result" or "totals"; NaN where a run has none, or failed."""
    value = {**outcome.get("totals", {}), **outcome.get("result", {})}.get(name)
    return nan if value is None else float(value)


def direction_of(name: str) -> str:
    """Return "maximize" for accuracies, "minimize" for what is the better the less it is.

    >>> direction_of("accuracy_mean"), direction_of("accuracy_sd"), direction_of("uplink_bytes")
    ('maximize', 'minimize', 'minimize')
    """
    return "minimize" if name in TOTALS or name.endswith("_sd") else "maximize"
