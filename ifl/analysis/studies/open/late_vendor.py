"""Study open/late_vendor: a vendor that joins late, its accuracy against its own bytes."""

from collections.abc import Sequence
from math import nan
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from ifl.analysis.charts import finish, level, logarithmic, look, panels
from ifl.analysis.collect import Group, Run
from ifl.analysis.studies.base import Claim, Study
from ifl.analysis.tables import PERCENT, Cell, Table, over_seeds
from ifl.runs.folder import BYTES_PER_MB

AFTER, CLIENTS = "method.after", "clients.count"
NEAR = 0.01  # of the others' accuracy, a fraction: as good as they
WAYS = {"block": "joins by a modular block", "ifl": "joins by IFL"}
OWNERS = {"base": str, "modular": str}


def name_of(run: Run) -> str:
    """Name the way in which the last client comes in."""
    if run.method.choice != "late_vendor":
        return f"there from the start, {run.method.title}"
    return WAYS.get(str(run.config["method.join"]), run.method.title)


def joined(run: Run) -> int:
    """Return the round before the first one of the last client."""
    return int(run.config.get(AFTER) or 0)


def compositions(run: Run) -> pd.DataFrame:
    """Return round, base, modular and accuracy, with others' modular blocks alone.

    Base blocks are named "others" and "late".
    """
    late = str(int(run.config[CLIENTS]) - 1)
    rows = pd.read_csv(run.path / "compositions.csv", dtype=OWNERS)
    rows = rows[rows["modular"] != late]
    return rows.assign(base=rows["base"].map(lambda owner: "late" if owner == late else "others"))


def others(run: Run) -> float:
    """Return the others' accuracy among themselves when the last client joins, a fraction.

    Where it is there from the start, after the last round.
    """
    rows = compositions(run)
    mean = rows[rows["base"] == "others"].groupby("round")["accuracy"].mean()
    before = mean[mean.index <= joined(run)]
    return float((before if len(before) else mean).iloc[-1])


def newcomer(run: Run, partner: bool = False) -> pd.DataFrame:
    """Return what became of the last client since it joined, a row per evaluated round.

    Args:
        partner: with its partner's modular block alone, in place of all that are others'.

    Columns: ``rounds`` since then; ``accuracy`` of its base block with the others' modular blocks,
    a fraction; ``up``, ``down`` and ``mb``, the MB that it has sent, received, and both.
    """
    rows = compositions(run)
    if partner:
        rows = rows[rows["modular"] == str(run.config["method.partner"])]
    mean = rows[rows["base"] == "late"].groupby("round")["accuracy"].mean()
    mean = mean[mean.index > joined(run)]
    sent = pd.read_csv(run.path / "traffic.csv")
    sent = sent[sent["client"] == int(run.config[CLIENTS]) - 1]
    told = {
        way: [
            float(sent[(sent["direction"] == way) & (sent["round"] <= n)]["bytes"].sum())
            for n in mean.index
        ]
        for way in ("up", "down")
    }
    table = pd.DataFrame({"rounds": mean.index - joined(run), "accuracy": mean.to_numpy(), **told})
    table[["up", "down"]] /= BYTES_PER_MB
    return table.assign(mb=table["up"] + table["down"])


def at_the_end(run: Run, partner: bool = False) -> float:
    """Return the last client's last accuracy, a fraction; NaN where it has not joined."""
    found = newcomer(run, partner)
    return float(found["accuracy"].iloc[-1]) if len(found) else nan


def until_as_good(run: Run, partner: bool, column: str) -> float | None:
    """Return a column of ``newcomer`` in the first row that is within a point of the others."""
    found = newcomer(run, partner)
    good = found[found["accuracy"] >= others(run) - NEAR]
    return float(good[column].iloc[0]) if len(good) else None


class Line(NamedTuple):
    """A line of the figure, and a row of the table."""

    name: str
    group: Group
    partner: bool  # with the partner's modular block alone


def lines(groups: Sequence[Group]) -> list[Line]:
    """Return a line for every group, and one more where a modular block was handed over."""
    found = []
    for group in groups:
        found.append(Line(group.name, group, False))
        if group.setting("method.join") == "block":
            found.append(Line(f"{group.name}, with that block", group, True))
    return found


def curve(line: Line) -> pd.DataFrame:
    """Return the mean over seeds of ``newcomer``, by rounds that all have."""
    rows = pd.concat(line.group.each(newcomer, line.partner)).groupby("rounds")
    mean: pd.DataFrame = rows.mean()[rows.size() == len(line.group.runs)].reset_index()
    return mean


def draw(groups: Sequence[Group]) -> dict[str, Figure]:
    """Draw the last client's accuracy against its rounds and against its own bytes."""
    figure, both = panels(2, 4.4)
    tables = [(line.name, curve(line)) for line in lines(groups)]
    waited = [group for group in groups if group.setting("method.join")] or groups
    reached = [100 * value for value in waited[0].each(others)]
    for axes, column in zip(both, ("rounds", "mb"), strict=True):
        for n, (name, table) in enumerate(tables):
            axes.plot(table[column], 100 * table["accuracy"], **look(n), label=name)
        style = level(look(len(tables)))
        axes.axhline(sum(reached) / len(reached), **style, label="the others when it joins")
        axes.set(ylim=(0, 100))
    both[0].set(xlabel="rounds since it joined", ylabel="test accuracy (%)")
    both[1].set(xlabel="what it sent and received (MB)")
    if all(len(table) and table["mb"].min() > 0 for _, table in tables):
        logarithmic(both[1])
    title = f"{groups[0].data}: the last vendor's base block with the others' modular blocks"
    return {"late-vendor": finish(figure, title)}


def tabulate(groups: Sequence[Group]) -> list[Table]:
    """Return accuracies, and the rounds and MB until the last client is as good as the others."""
    rows: list[list[Cell]] = []
    for name, group, partner in lines(groups):
        row: list[Cell] = [name, len(group.runs)]
        row.append(over_seeds(group.each(others), 1, 100, limits=PERCENT))
        row.append(over_seeds(group.each(at_the_end, partner), 1, 100, limits=PERCENT))
        for column, digits in (("rounds", 0), ("up", 3), ("down", 3)):
            found = group.each(until_as_good, partner, column)
            row.append(over_seeds(found, digits, none="not reached"))
        rows.append(row)
    head = ["the last vendor", "seeds", "others (%)", "it, at the end (%)"]
    head += ["rounds until as good", "up until then (MB)", "down until then (MB)"]
    caption = f"{groups[0].data}: the last vendor's base block with the others' modular blocks"
    notes = "Others: accuracy of all compositions of the other clients' blocks when it joins, or "
    notes += "at the end where it is there from the start. It: with all of their modular blocks, "
    notes += "or with the one that it got. As good: within a point of the others. MB are its own, "
    notes += "10^6 bytes. (k of n): k seeds reach it, and the mean is theirs."
    return [Table("late-vendor", caption, head, rows, notes)]


def claim(groups: Sequence[Group]) -> list[Claim]:
    """Give the accuracies, and the bytes until as good, of every way."""
    claims = []
    for name, group, partner in lines(groups):
        it = over_seeds(group.each(at_the_end, partner), 1, 100, limits=PERCENT)
        them = over_seeds(group.each(others), 1, 100, limits=PERCENT)
        mb = over_seeds(group.each(until_as_good, partner, "mb"), 3, none="not reached")
        what = f"{name}: its accuracy (%); the others' (%); MB until as good"
        claims.append(Claim(what, "open", f"{it}; {them}; {mb}"))
    return claims


STUDIES = [Study("open/late_vendor", name_of, draw, tabulate, claim)]
