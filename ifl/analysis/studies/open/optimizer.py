"""Study open/optimizer: each method's best optimiser, on validation data."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ifl.analysis import metrics
from ifl.analysis.alone import optimizer_name
from ifl.analysis.charts import (
    UPLINK_AXES,
    along,
    draw_line,
    draw_points,
    finish,
    logarithmic,
    look,
    panels,
)
from ifl.analysis.collect import Group, Run
from ifl.analysis.looks import styled
from ifl.analysis.metrics import PER_CLIENT
from ifl.analysis.studies import terms
from ifl.analysis.studies.accuracy_vs_uplink import PAPER_MB
from ifl.analysis.studies.base import (  # fmt: skip
    COUNT,
    ENDED,
    Claim,
    Study,
    accuracy_at,
    in_step,
    outcome,
)
from ifl.analysis.tables import PERCENT, Cell, Table, over_seeds

STATED = "sgd 0.01"  # by the paper
FIRST = ("sgd", "momentum", "adam")  # of the optimisers, in this order


def name_of(run: Run) -> str:
    """Name method, optimiser and learning rate."""
    return f"{terms.name_of(run)}, {optimizer_name(run)}"


def by_method(groups: Sequence[Group]) -> dict[str, list[Group]]:
    """Return the groups of each method, FL by its common architecture, with what it has else."""
    found: dict[str, list[Group]] = {}
    for group in groups:
        found.setdefault(terms.name_of(group.runs[0]), []).append(group)
    return found


def chosen_at(run: Run) -> float:
    """Return the accuracy (%) at 8.5 MB per client, or where there is none before, the first."""
    at = metrics.accuracy_at(run, PAPER_MB, PER_CLIENT).accuracy
    return 100 * (float(run.rounds["accuracy_mean"].iloc[0]) if at is None else at)


def best(groups: Sequence[Group]) -> Group | None:
    """Return the best at 8.5 MB per client of those of which most seeds ended well."""
    seeds = max((len(group.runs) for group in groups), default=0)
    whole = [group for group in groups if len(group.runs) == seeds]
    return max(whole, key=lambda g: float(np.mean(g.each(chosen_at))), default=None)


def draw(groups: Sequence[Group]) -> dict[str, Figure]:
    """Draw accuracy at 8.5 MB against the learning rate, and curves of two choices."""
    methods = by_method(groups)
    figure, all_axes = panels(len(methods), 3.6, 2.6 if len(methods) > 1 else 5, sharey=True)
    chosen = {str(g.runs[0].choices["optimizer"]) for g in groups}
    names = [name for name in FIRST if name in chosen] + sorted(chosen.difference(FIRST))
    every = [float(group.setting("optimizer.base.lr")) for group in groups]
    for axes, (method, own) in zip(all_axes, methods.items(), strict=True):
        for n, name in enumerate(names):
            mine = [g for g in own if g.runs[0].choices["optimizer"] == name]
            rates, steps = in_step(mine, "optimizer.base.lr")
            if steps:
                draw_points(axes, rates, steps, chosen_at, look(n), name)
            else:
                axes.plot([], [], label=name)
        along(axes, every)
        axes.set(title=method, xlabel="learning rate", ylim=(0, 100))
        axes.xaxis.set(major_formatter="{x:g}", minor_formatter="")
        axes.tick_params(axis="x", labelsize="small")
    all_axes[0].set_ylabel("accuracy (%)")
    title = f"{groups[0].data}: accuracy at {PAPER_MB} MB of uplink per client"
    return {
        "learning-rates": finish(figure, title, 3),
        "paper-and-best": draw_choices(groups),
    }


def draw_choices(groups: Sequence[Group]) -> Figure:
    """Draw accuracy against uplink with the paper's stated optimiser, and with each one's best."""
    figure, (left, right) = panels(2, 4.6, sharey=True)
    methods = by_method(groups)
    stated = [g for own in methods.values() for g in own if optimizer_name(g.runs[0]) == STATED]
    for group, style in styled(stated):
        draw_line(left, group, PER_CLIENT, style, terms.name_of(group.runs[0]))
    for group, style in styled([winner for own in methods.values() if (winner := best(own))]):
        draw_line(right, group, PER_CLIENT, style, group.name)
    for axes, title in ((left, "SGD 0.01, as the paper states"), (right, "each method's best")):
        if axes.lines:
            logarithmic(axes)
        else:
            axes.text(0.5, 50, "no such run yet", ha="center")
        axes.set(title=title, xlabel=UPLINK_AXES[PER_CLIENT], ylim=(0, 100))
    left.set_ylabel("accuracy (%)")
    title = f"{groups[0].data}: accuracy against uplink (shaded: 95 % interval)"
    return finish(figure, title)


def tabulate(groups: Sequence[Group]) -> list[Table]:
    """Return every setting at 8.5 MB per client, the best of each method marked."""
    rows: list[list[Cell]] = []
    for method, own in by_method(groups).items():
        winner = best(own)
        for group in own:
            found = [metrics.accuracy_at(r, PAPER_MB, PER_CLIENT) for r in group.runs]
            row: list[Cell] = [method, optimizer_name(group.runs[0]), len(group.runs)]
            row.append(over_seeds([at.mb for at in found], 2))
            row.append(accuracy_at(group, PAPER_MB, PER_CLIENT))
            rows.append([*row, "best" if group is winner else ""])
    head = [
        "method",
        "optimiser",
        "seeds",
        "evaluated at (MB)",
        f"at {PAPER_MB} MB per client (%)",
        "choice",
    ]
    caption = f"{groups[0].data}: accuracy (%) at {PAPER_MB} MB of uplink per client, by optimiser"
    notes = f"Best: the highest mean of the settings of which most seeds ended. {ENDED} {COUNT}"
    return [Table("choice", caption, head, rows, notes), outcome(groups)]


def claim(groups: Sequence[Group]) -> list[Claim]:
    """Name each method's best, and what the paper's stated optimiser comes to."""
    claims = []
    for method, own in by_method(groups).items():
        stated = [group for group in own if optimizer_name(group.runs[0]) == STATED]
        winner = best(own)
        for name, group in (
            ("best optimiser", winner),
            ("SGD 0.01", stated[0] if stated else None),
        ):
            if group is not None:
                value = over_seeds(group.each(chosen_at), limits=PERCENT)
                here = f"{optimizer_name(group.runs[0])}: {value}"
                claims.append(
                    Claim(f"{name} of {method} at {PAPER_MB} MB per client (%)", STATED, here)
                )
    return claims


STUDIES = [Study("open/optimizer", name_of, draw, tabulate, claim)]
