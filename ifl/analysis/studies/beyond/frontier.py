"""Study beyond/frontier: how many rounds a number of local steps should be spread over.

A designed grid over rounds x tau (the same local steps in all), alignment and learning rates.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure

from ifl.analysis.alone import optimizer_name
from ifl.analysis.charts import UPLINK_AXES, draw_points, finish, logarithmic, look, panels
from ifl.analysis.collect import Group, Run
from ifl.analysis.metrics import PER_CLIENT, last
from ifl.analysis.studies.base import Claim, Study, accuracy_of, difference, final, outcome
from ifl.analysis.tables import Cell, Table, Value, over_seeds

FLOOR = 75  # per cent, of the figure
GOALS = ((90, 0.02), (92, 0.035))  # per cent of all compositions, MB up per client


def aligned(run: Run) -> bool:
    """Return whether stage 1 pulls z towards class means."""
    return float(run.config["method.align.weight"]) > 0


def spread(run: Run) -> str:
    """Name rounds and the local steps of each."""
    return f"{last(run, 'round'):.0f} x {run.config['local.tau']}"


def way(run: Run) -> str:
    """Name what tells a line of the figure from another."""
    return f"{optimizer_name(run)}, {'aligned' if aligned(run) else 'not aligned'}"


def name_of(run: Run) -> str:
    """Name rounds, local steps, optimiser and alignment."""
    return f"{spread(run)}, {way(run)}"


def up(group: Group) -> float:
    """Return MB up per client in all."""
    return float(over_seeds(group.each(final("uplink_mb_per_client"))).mean)


def draw(groups: Sequence[Group]) -> dict[str, Figure]:
    """Draw the last accuracy against what was sent for it, a line for each way."""
    figure, all_axes = panels(2, 4.6, 5, sharey=True)
    optimisers = sorted({optimizer_name(group.runs[0]) for group in groups})
    for axes, with_it in zip(all_axes, (False, True), strict=True):
        for n, name in enumerate(optimisers):
            own = [
                group
                for group in groups
                if aligned(group.runs[0]) == with_it and optimizer_name(group.runs[0]) == name
            ]
            own.sort(key=up)
            draw_points(axes, [*map(up, own)], own, final("accuracy_mean"), look(n), name)
        for accuracy, mb in GOALS:
            axes.plot(mb, accuracy, "*", color="white", markeredgecolor="black", markersize=10)
        logarithmic(axes)
        title = "aligned" if with_it else "not aligned"
        axes.set(title=title, xlabel=UPLINK_AXES[PER_CLIENT], ylim=(FLOOR, 95))
    all_axes[0].set_ylabel("accuracy over compositions (%)")
    title = f"{groups[0].data}: as many local steps, in fewer and longer rounds (stars: the goals; "
    title += f"what ends below {FLOOR} % is in the table)"
    return {"frontier": finish(figure, title)}


def tabulate(groups: Sequence[Group]) -> list[Table]:
    """Return the grid, with what alignment is worth in each cell, and what all came to."""
    cells: dict[tuple[str, str], dict[bool, list[Group]]] = {}
    for group in sorted(groups, key=up):
        run = group.runs[0]
        pair = cells.setdefault((spread(run), optimizer_name(run)), {True: [], False: []})
        pair[aligned(run)].append(group)
    rows: list[list[Cell]] = []
    for (rounds, optimiser), pair in cells.items():
        row: list[Cell] = [rounds, optimiser]
        row.append(Value(max(up(group) for own in pair.values() for group in own), digits=4))
        row += [accuracy_of(pair[which][0]) if pair[which] else "-" for which in (False, True)]
        both = pair[True] and pair[False]
        rows.append([*row, difference(pair[True][0], pair[False][0]) if both else "-"])
    head = ["rounds x tau", "optimiser", "up per client (MB)", "not aligned (%)", "aligned (%)"]
    caption = f"{groups[0].data}: mean accuracy over compositions after the last round"
    table = Table("grid", caption, [*head, "alignment (points)"], rows, "Alignment: by seed.")
    return [table, outcome(groups)]


def claim(groups: Sequence[Group]) -> list[Claim]:
    """Say what is best within the bytes of each goal."""
    claims = []
    for accuracy, mb in GOALS:
        within = [group for group in groups if up(group) <= mb]
        if within:
            best = max(within, key=lambda group: accuracy_of(group).mean)
            what = f"most accuracy with at most {mb:g} MB up per client (%; goal: {accuracy})"
            claims.append(Claim(what, "-", f"{accuracy_of(best)}, by {best.name}"))
    return claims or [
        Claim("least uplink of all settings (MB)", "-", f"{min(map(up, groups)):.3f}")
    ]


STUDIES = [Study("beyond/frontier", name_of, draw, tabulate, claim)]
