"""Study open/fusion_dim: accuracy against the fusion dimension d."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from ifl.analysis.charts import (
    UPLINK_AXES,
    along,
    draw_line,
    draw_points,
    finish,
    logarithmic,
    panels,
)
from ifl.analysis.collect import Group, Run
from ifl.analysis.looks import parts, styled
from ifl.analysis.metrics import PER_CLIENT
from ifl.analysis.studies.accuracy_vs_uplink import PAPER_MB
from ifl.analysis.studies.base import (  # fmt: skip
    COUNT,
    ENDED,
    Claim,
    Study,
    accuracy_at,
    accuracy_of,
    final,
    in_step,
    outcome,
)
from ifl.analysis.studies.open.clients import PARTS
from ifl.analysis.tables import Cell, Table

DIM = "fusion.dim"


def name_of(run: Run) -> str:
    """Name the fusion dimension."""
    name = f"d = {run.config[DIM]}"
    return name if run.method.choice == "ifl" else f"{run.method.title}, {name}"


def draw(groups: Sequence[Group]) -> dict[str, Figure]:
    """Draw the last accuracy against d, and accuracy against uplink for each d."""
    dims, chosen = in_step(groups, DIM)
    figure, (left, right) = panels(2, 4.6, sharey=True)
    for style, (column, name) in zip(parts("ifl", len(PARTS)), PARTS.items(), strict=True):
        draw_points(left, dims, chosen, final(column), style, name)
    left.set(xlabel="fusion dimension d, after the last round")
    left.set(ylabel="test accuracy (%)", ylim=(0, 100))
    along(left, dims, [f"{dim:g}" for dim in dims])
    for group, style in styled(chosen):
        draw_line(right, group, PER_CLIENT, style, group.name)
    logarithmic(right)
    right.set_xlabel(UPLINK_AXES[PER_CLIENT])
    title = f"{groups[0].data}: accuracy against the fusion dimension"
    return {"fusion-dim": finish(figure, title)}


def tabulate(groups: Sequence[Group]) -> list[Table]:
    """Return accuracies at equal uplinks, and what all came to."""
    chosen, sizes = in_step(groups, DIM)[1], (1, 2, 4, PAPER_MB)
    rows: list[list[Cell]] = [
        [g.name, *(accuracy_at(g, mb, PER_CLIENT) for mb in sizes)] for g in chosen
    ]
    caption = f"{groups[0].data}: accuracy (%) at equal uplink per client"
    head = ["setting", *(f"at {mb} MB (%)" for mb in sizes)]
    notes = f'"-": the first evaluation comes later. {ENDED} {COUNT}'
    return [Table("accuracy-at-uplink", caption, head, rows, notes), outcome(chosen)]


def claim(groups: Sequence[Group]) -> list[Claim]:
    """Give the accuracy of every d after as many rounds, and at as many bytes."""
    chosen = in_step(groups, DIM)[1]
    claims = []
    for group in chosen:
        ended = accuracy_of(group)
        equal = accuracy_at(group, 4, PER_CLIENT)
        what = f"accuracy, {group.name}: at the end; at 4 MB per client (%)"
        claims.append(Claim(what, "open", f"{ended}; {equal}"))
    return claims


STUDIES = [Study("open/fusion_dim", name_of, draw, tabulate, claim)]
