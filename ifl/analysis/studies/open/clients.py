"""Study open/clients: bytes and accuracy against the number of clients."""

from collections.abc import Sequence
from math import nan

import numpy as np
from matplotlib.figure import Figure

from ifl.analysis.charts import along, draw_points, finish, look, panels
from ifl.analysis.collect import Group, Run
from ifl.analysis.looks import parts
from ifl.analysis.studies.base import Claim, Study, accuracy_of, final, in_step, outcome
from ifl.analysis.tables import Cell, Table, Value, fixed

CLIENTS = "clients.count"
TRAFFIC = {
    ("downlink_mb", "all clients"): "down, all clients",
    ("uplink_mb", "all clients"): "up, all clients",
    ("downlink_mb", "per client"): "down per client",
    ("uplink_mb", "per client"): "up per client",
}
PARTS = {"accuracy_mean": "all compositions", "accuracy_local": "own blocks"}
PARTS |= {"accuracy_cross": "across clients"}


def name_of(run: Run) -> str:
    """Name the number of clients."""
    name = f"N = {run.config[CLIENTS]}"
    return name if run.method.choice == "ifl" else f"{run.method.title}, {name}"


def megabytes(group: Group, column: str, way: str) -> float:
    """Return MB per round, all clients together or per client."""
    per_round = [final(column)(run) / final("round")(run) for run in group.runs]
    return float(np.mean(per_round)) / (1 if way == "all clients" else group.setting(CLIENTS))


def exponent(counts: Sequence[float], values: Sequence[float]) -> float:
    """Return the slope of the least-squares line through the logarithms; NaN for one point.

    >>> round(exponent([2, 4, 8], [12, 48, 192]), 6)
    2.0
    """
    if len({*counts}) < 2 or min(values) <= 0:
        return nan
    return float(np.polyfit(np.log(counts), np.log(values), 1)[0])


def draw(groups: Sequence[Group]) -> dict[str, Figure]:
    """Draw bytes with their fitted exponents, and accuracy, against the number of clients."""
    counts, chosen = in_step(groups, CLIENTS)
    figure, (left, right) = panels(2, 5)
    for n, ((column, way), name) in enumerate(TRAFFIC.items()):
        values = [megabytes(group, column, way) for group in chosen]
        grows = exponent(counts, values)
        fitted = "" if np.isnan(grows) else f": N^{fixed(grows, 2)}"
        left.plot(counts, values, **look(n), label=f"{name}{fitted}")
    left.set(yscale="log", xlabel="clients N", ylabel="MB per round")
    left.yaxis.set(major_formatter="{x:g}")
    for style, (column, name) in zip(parts("ifl", len(PARTS)), PARTS.items(), strict=True):
        draw_points(right, counts, chosen, final(column), style, name)
    right.set(xlabel="clients N", ylabel="test accuracy (%)", ylim=(0, 100))
    for axes in (left, right):
        along(axes, counts, [f"{count:g}" for count in counts])
    title = f"{groups[0].data}: bytes per round and accuracy against the number of clients"
    return {"clients": finish(figure, title)}


def tabulate(groups: Sequence[Group]) -> list[Table]:
    """Return the fitted exponents, and what all came to."""
    counts, chosen = in_step(groups, CLIENTS)
    rows: list[list[Cell]] = []
    for (column, way), name in TRAFFIC.items():
        values = [megabytes(group, column, way) for group in chosen]
        grows = Value(exponent(counts, values), digits=3)
        rows.append([name, *(Value(value, digits=3) for value in values), grows])
    head = ["MB per round", *(group.name for group in chosen), "exponent of N"]
    caption = f"{groups[0].data}: MB per round against the number of clients"
    notes = "Exponent: slope of the least-squares line through the logarithms."
    return [Table("growth", caption, head, rows, notes), outcome(chosen)]


def claim(groups: Sequence[Group]) -> list[Claim]:
    """Give the exponents, and the accuracy at both ends."""
    counts, chosen = in_step(groups, CLIENTS)
    claims = []
    for (column, way), name in TRAFFIC.items():
        grows = exponent(counts, [megabytes(group, column, way) for group in chosen])
        here = "too few N" if np.isnan(grows) else f"N^{fixed(grows, 2)}"
        claims.append(Claim(f"growth of bytes {name}", "open", here))
    for group in chosen[:1] + chosen[1:][-1:]:
        value = accuracy_of(group)
        claims.append(Claim(f"accuracy, {group.name} (%)", "open", str(value)))
    return claims


STUDIES = [Study("open/clients", name_of, draw, tabulate, claim)]
