"""Measures a single run: accuracy at an uplink, uplink to an accuracy, spreads.

Nothing is interpolated and nothing comes from the future: the accuracy at X MB is that of the
last evaluation for which at most X MB had been sent.
"""

from math import nan
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from ifl.analysis.collect import Run

Column = Literal["uplink_mb", "uplink_mb_per_client", "total_mb_per_client"]
PER_CLIENT: Column = "uplink_mb_per_client"


class At(NamedTuple):
    """An accuracy at an uplink."""

    accuracy: float | None  # a fraction; None: the first evaluation comes later
    mb: float | None  # uplink of that evaluation
    ended: bool  # the run ended before it had sent so much


def accuracy_at(run: Run, mb: float, column: Column) -> At:
    """Return the mean accuracy of the last evaluation at or below this uplink."""
    before = run.rounds[run.rounds[column] <= mb]
    if before.empty:
        return At(None, None, False)
    last = before.iloc[-1]
    return At(float(last["accuracy_mean"]), float(last[column]), len(before) == len(run.rounds))


def first_reaching(run: Run, accuracy: float, column: str) -> float | None:
    """Return a column of the first evaluation whose mean accuracy, a fraction, is reached."""
    reached = run.rounds[run.rounds["accuracy_mean"] >= accuracy]
    return None if reached.empty else float(reached[column].iloc[0])


def last(run: Run, column: str) -> float:
    """Return a column of the last evaluation; NaN where it has none."""
    return float(run.rounds[column].iloc[-1])


def images(run: Run) -> float:
    """Return how many training images a client has, mean over clients."""
    held = pd.read_csv(run.path / "partition.csv").drop(columns="client").to_numpy()
    return float(held.sum(axis=1).mean())


def own_mix(run: Run) -> float:
    """Return the accuracy of each client's own blocks on its own class mix, a fraction.

    The mean over clients after the last round; NaN where no composition is a client's own.
    """
    table = pd.read_csv(run.path / "metrics.csv", dtype={"base": str, "modular": str})
    table = table[table["round"] == table["round"].max()]
    owners = table[["base", "modular"]]
    own = (owners["base"] == owners["modular"]) | owners.isin(["server"]).any(axis=1)
    return float(table[own]["accuracy_own"].mean())


def worst(run: Run) -> float:
    """Return the accuracy of the worst composition after the last round, a fraction."""
    return float(run.compositions["accuracy"].min())


def sd_of_all(run: Run) -> float:
    """Return the population SD over all compositions after the last round, in points.

    NaN where there is one alone.
    """
    values = run.compositions["accuracy"].to_numpy(dtype=float)
    return float(100 * np.std(values)) if values.size > 1 else nan


def cross_minus_local(run: Run) -> float:
    """Return cross less local accuracy after the last round, a fraction; NaN without cross."""
    return last(run, "accuracy_cross") - last(run, "accuracy_local")


class Row(NamedTuple):
    """A row of a composition matrix: what becomes of one base block."""

    mean: float  # fractions
    own: float | None  # with the modular block of the same owner
    cross: float | None
    sd: float | None  # population SD over modular blocks, percentage points


def by_base(run: Run) -> dict[str, Row]:
    """Return the row of every base block's owner, after the last round."""
    rows = {}
    for base, row in run.compositions.groupby("base", sort=False):
        values = row["accuracy"].to_numpy(dtype=float)
        same = np.array([base == i or "server" in (base, i) for i in row["modular"]], dtype=bool)
        own, cross = values[same], values[~same]
        rows[str(base)] = Row(
            float(values.mean()),
            float(own.mean()) if own.size else None,
            float(cross.mean()) if cross.size else None,
            float(100 * np.std(values)) if values.size > 1 else None,
        )
    return rows


def by_family(run: Run) -> dict[tuple[str, str], float]:
    """Return the mean cross accuracy by (network of the base, network of the modular block)."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in run.compositions.to_dict("records"):
        if row["base"] != row["modular"]:
            pair = owner_name(run, row["base"]), owner_name(run, row["modular"])
            found.setdefault(pair, []).append(row["accuracy"])
    return {pair: float(np.mean(values)) for pair, values in found.items()}


def owner_name(run: Run, owner: str) -> str:
    """Return the name of an owner's network: clients cycle through the members."""
    if not owner.isdecimal():
        return owner
    members = sum(
        key.startswith("clients.members.") and key.endswith(".name") for key in run.config
    )
    return str(run.config[f"clients.members.{int(owner) % members}.name"])
