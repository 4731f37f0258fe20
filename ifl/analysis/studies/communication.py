"""Study paper/communication: bytes sent, by kind and direction."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from ifl.analysis.charts import COLOURS, HATCHES, finish, panels
from ifl.analysis.collect import Group
from ifl.analysis.metrics import last
from ifl.analysis.studies.accuracy_vs_uplink import name_of
from ifl.analysis.studies.base import Claim, Study, accuracy_of, final, of_method
from ifl.analysis.tables import Cell, Table, Value, over_seeds
from ifl.runs.folder import BYTES_PER_MB

HEADER = {"header": "headers"}  # of every method's messages
DIRECTIONS = ("up", "down")  # as traffic.csv has them


def traffic(group: Group) -> pd.DataFrame:
    """Return MB by (direction, kind in words), all clients together, mean over seeds."""
    kinds = pd.concat([run.traffic() for run in group.runs])
    words = {**HEADER, **group.method.kinds}
    kinds["kind"] = [words.get(kind, kind) for kind in kinds["kind"]]
    return kinds.groupby(["direction", "kind"])[["bytes"]].sum() / BYTES_PER_MB / len(group.runs)


def table_of(groups: Sequence[Group]) -> pd.DataFrame:
    """Return MB: a row per direction and kind, the largest kinds first, a column per group."""
    parts = {group.name: traffic(group)["bytes"] for group in groups}
    table = pd.DataFrame(parts).fillna(0)
    order = table.sum(axis=1).groupby("kind").sum().sort_values(ascending=False).index
    wanted = [(d, k) for d in DIRECTIONS for k in order if (d, k) in table.index]
    return table.loc[wanted]


def draw(groups: Sequence[Group]) -> dict[str, Figure]:
    """Draw bars by kind, up and down, on one linear scale; the sums are written beside them."""
    table = table_of(groups)
    if table.empty:
        return {}
    kinds = table.index.get_level_values("kind").unique()
    figure, all_axes = panels(2, 1.6 + 0.6 * len(groups), sharey=True, sharex=True)
    most = float(table.groupby(level=0).sum().to_numpy().max())
    for axes, direction in zip(all_axes, DIRECTIONS, strict=True):
        nothing = pd.Series(0.0, index=table.columns)
        left = nothing
        for n, kind in enumerate(kinds):
            width = table.loc[direction, kind] if (direction, kind) in table.index else nothing
            style = {"color": COLOURS[n % len(COLOURS)], "hatch": HATCHES[n % len(HATCHES)]}
            axes.barh(table.columns, width, left=left, label=kind, **style)
            left = left + width
        for whose, total in left.items():
            axes.text(total + most / 60, whose, f"{total:.1f} MB", va="center", size="small")
        axes.set(xlabel=f"{direction}, all clients (MB)", xlim=(0, 1.4 * most))
    all_axes[0].invert_yaxis()
    rounds = sorted({int(last(run, "round")) for group in groups for run in group.runs})
    title = f"{groups[0].data}: what travels in {' or '.join(map(str, rounds))} rounds"
    return {"traffic": finish(figure, title, 4)}


def tabulate(groups: Sequence[Group]) -> list[Table]:
    """Return MB by kind, in total and per client."""
    table = table_of(groups)
    rows: list[list[Cell]] = []
    for direction, kind in table.index:
        values = [Value(float(table.loc[(direction, kind), g.name]), digits=4) for g in groups]
        rows.append([direction, kind, *values])
    for direction in DIRECTIONS:
        column = f"{direction}link_mb"
        for way in ("all clients", "per client"):
            sums = [
                Value(
                    over_seeds(group.each(final(column))).mean
                    / (1 if way == "all clients" else group.setting("clients.count")),
                    digits=3,
                )
                for group in groups
            ]
            rows.append([direction, f"in total, {way}", *sums])
    rounds = [Value(over_seeds(group.each(final("round"))).mean, digits=0) for group in groups]
    accuracy = [accuracy_of(group) for group in groups]
    rows += [["", "rounds", *rounds], ["", "accuracy after them (%)", *accuracy]]
    head = ["direction", "kind", *(f"{group.name} (MB)" for group in groups)]
    caption = f"{groups[0].data}: MB that travelled by kind, all clients together"
    notes = "MB are 10^6 bytes, as serialised; a broadcast counts once per receiver. Headers name "
    notes += "the tensors of a message and their shapes."
    return [Table("traffic", caption, head, rows, notes)]


def claim(groups: Sequence[Group]) -> list[Claim]:
    """Set the uplink of IFL beside the 10 MB of the paper, the others' beside it."""
    claims = []
    for group in groups:
        each = over_seeds(group.each(final("uplink_mb_per_client"))).mean
        total = over_seeds(group.each(final("uplink_mb"))).mean
        rounds = over_seeds(group.each(final("round"))).mean
        good = group in of_method(groups, "ifl")
        claims.append(
            Claim(
                f"uplink of {group.name} in {rounds:.0f} rounds, per client; all (MB)",
                "at most 10" if good else "-",
                f"{each:.1f}; {total:.1f}",
                each <= 10 if good else None,
            )
        )
    return claims


STUDIES = [Study("paper/communication", name_of, draw, tabulate, claim)]
