"""Defines a study: labels, figures, tables, and the paper's claim beside the result."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from matplotlib.figure import Figure

from ifl.analysis import metrics
from ifl.analysis.alone import beside_alone, optimizer_name
from ifl.analysis.collect import Group, Run
from ifl.analysis.tables import PERCENT, Cell, Table, Value, over_seeds

MARK = "†"
ENDED = f"{MARK} a run ended before it had sent so much: its last accuracy."
COUNT = "(k of n): the mean of k seeds, the others have no such value."


class Claim(NamedTuple):
    """A row of the table "paper / here"."""

    what: str  # with its unit
    paper: str
    here: str
    holds: bool | None = None  # None: the paper leaves it open


@dataclass(frozen=True)
class Study:
    """A study: shows the runs of an experiment of conf/experiment.

    Args:
        name: of the experiment.
        name_of: names a run by what the study varies; what else differs is added. None: what
            tells runs apart.
        draw: figures by name of their files.
        tabulate: tables.
        claim: what the study says of the paper's claim or question.
        remark: sentences that the results call for.
        folds: whether its figures fit a narrow screen with panels below each other; not where
            the legend is long.
    """

    name: str
    name_of: Callable[[Run], str] | None
    draw: Callable[[Sequence[Group]], Mapping[str, Figure]]
    tabulate: Callable[[Sequence[Group]], Sequence[Table]]
    claim: Callable[[Sequence[Group]], Sequence[Claim]] = field(default=lambda groups: [])
    remark: Callable[[Sequence[Group]], Sequence[str]] = field(default=lambda groups: [])
    folds: bool = True


def method_name(run: Run) -> str:
    """Name a method as figures do."""
    return run.method.title


def final(column: str) -> Callable[[Run], float]:
    """Return the measure of a column after the last round; accuracies in per cent."""
    scale = 100 if column.startswith("accuracy_") and column != "accuracy_sd" else 1
    return lambda run: scale * metrics.last(run, column)


def accuracy_of(group: Group, column: str = "accuracy_mean") -> Value:
    """Return an accuracy (%) after the last round, over seeds."""
    return over_seeds(group.each(final(column)), limits=PERCENT)


def outcome(groups: Sequence[Group], first: str = "setting", name: str = "results") -> Table:
    """Return what every group came to after the last round, and what it cost."""
    beside, remark = beside_alone(groups)
    head = [first, "optimiser", "seeds", "rounds", "mean (%)", "local (%)", "cross (%)", *beside]
    head += ["SD (points)", "SD of all (points)", "worst (%)", "up per client (MB)", "up, all (MB)"]
    head += ["down, all (MB)", "time (s)"]
    rows: list[list[Cell]] = []
    for n, g in enumerate(groups):
        row: list[Cell] = [g.name, optimizer_name(g.runs[0]), len(g.runs)]
        row.append(Value(over_seeds(g.each(final("round"))).mean, digits=0))
        for column in ("accuracy_mean", "accuracy_local", "accuracy_cross"):
            row.append(accuracy_of(g, column))
        row += [cells[n] for cells in beside.values()]
        row.append(over_seeds(g.each(final("accuracy_sd")), 2))
        row.append(over_seeds(g.each(metrics.sd_of_all), 2))
        row.append(over_seeds(g.each(metrics.worst), 1, 100, limits=PERCENT))
        for column in ("uplink_mb_per_client", "uplink_mb", "downlink_mb"):
            row.append(Value(over_seeds(g.each(final(column))).mean, digits=2))
        rows.append([*row, over_seeds(g.each(final("seconds")), 0)])
    caption = f"{groups[0].data}: after the last round"
    notes = "± is half the 95 % Student t interval over seeds; where it says nothing, the values "
    notes += "of the seeds stand in its place. Mean, local, cross: accuracy over all compositions, "
    notes += "those of one client's blocks, those across clients; SD: population SD over modular "
    notes += "blocks, mean over base blocks; SD of all: that over all compositions, which base "
    notes += "blocks widen; worst: composition. MB are 10^6 bytes. The time includes evaluations; "
    notes += f"all clients shared the cores that the run had. {remark}"
    return Table(name, caption, head, rows, notes.rstrip())


def accuracy_at(group: Group, mb: float, column: metrics.Column) -> Value:
    """Return the accuracy (%) at this uplink over seeds, marked where a run ended before it."""
    found = [metrics.accuracy_at(run, mb, column) for run in group.runs]
    note = MARK if any(at.ended for at in found) else ""
    return over_seeds([at.accuracy for at in found], 1, 100, note, limits=PERCENT)


def difference(group: Group, other: Group) -> Value:
    """Return how far a group ends above another, in points over the seeds that both have."""
    mine = {run.seed: metrics.last(run, "accuracy_mean") for run in group.runs}
    theirs = {run.seed: metrics.last(run, "accuracy_mean") for run in other.runs}
    apart = [mine[seed] - theirs[seed] for seed in sorted(mine.keys() & theirs.keys())]
    return over_seeds(apart, 1, 100)


def of_method(groups: Sequence[Group], method: str) -> list[Group]:
    """Return the groups of a choice of conf/method."""
    return [group for group in groups if group.method.choice == method]


def in_step(groups: Sequence[Group], key: str) -> tuple[list[float], list[Group]]:
    """Return the groups by the size of a number of their configuration, and these numbers."""
    chosen = sorted((g for g in groups if g.setting(key) is not None), key=lambda g: g.setting(key))
    return [float(group.setting(key)) for group in chosen], chosen
