"""Studies paper/composition, open/diversity and open/depth: accuracy of every composition."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from ifl.analysis import metrics
from ifl.analysis.charts import draw_matrices
from ifl.analysis.collect import Group, Run
from ifl.analysis.metrics import owner_name
from ifl.analysis.studies.base import (
    Claim,
    Study,
    accuracy_of,
    final,
    method_name,
    of_method,
    outcome,
)
from ifl.analysis.tables import PERCENT, Cell, Table, over_seeds

PAPER_SD = 0.6  # percentage points
DEPTHS = {
    "shallow": "1 convolution",
    "deep": "10 convolutions",
    "shallow_and_deep": "both, by turns",
}


def owner_and_network(run: Run, owner: str) -> str:
    """Name the owner of a block by number and network."""
    return f"{owner}: {owner_name(run, owner)}" if owner.isdecimal() else owner


def draw(groups: Sequence[Group]) -> dict[str, Figure]:
    """Draw the matrix of every group."""
    figure = draw_matrices(groups, owner_and_network)
    return {"compositions": figure} if figure else {}


def blocks(groups: Sequence[Group]) -> Table:
    """Return what becomes of every base block behind all modular blocks."""
    rows: list[list[Cell]] = []
    for group in groups:
        found = group.each(metrics.by_base)
        for base in found[0]:
            row: list[Cell] = [group.name, owner_and_network(group.runs[0], base), len(found)]
            for part in ("mean", "own", "cross"):
                row.append(
                    over_seeds([getattr(f[base], part) for f in found], 1, 100, limits=PERCENT)
                )
            rows.append([*row, over_seeds([f[base].sd for f in found], 2)])
    head = ["setting", "base block", "seeds", "mean (%)", "own (%)", "cross (%)", "SD (points)"]
    caption = f"{groups[0].data}: every base block with all modular blocks, after the last round"
    notes = "Own: with its client's modular block; cross: with the others'. SD: population SD over "
    notes += "modular blocks, mean over seeds."
    return Table("base-blocks", caption, head, rows, notes)


def families(groups: Sequence[Group]) -> list[Table]:
    """Return the accuracy across clients by networks, where several clients share one."""
    rows: list[list[Cell]] = []
    for group in groups:
        found = group.each(metrics.by_family)
        kinds = {base for base, _ in found[0]}
        if 1 < len(kinds) < group.setting("clients.count"):
            for base, modular in found[0]:
                value = over_seeds([f[base, modular] for f in found], 1, 100, limits=PERCENT)
                rows.append([group.name, base, modular, value])
    head = ["setting", "base block of", "modular block of", "accuracy across clients (%)"]
    caption = f"{groups[0].data}: accuracy across clients by their networks, after the last round"
    return [Table("networks", caption, head, rows)] if rows else []


def tabulate(groups: Sequence[Group]) -> list[Table]:
    """Return base blocks and what all came to."""
    return [blocks(groups), *families(groups), outcome(groups)]


def claim(groups: Sequence[Group]) -> list[Claim]:
    """Set the SD, and cross less local, beside the paper's."""
    claims = []
    for group in of_method(groups, "ifl"):
        sd = over_seeds(group.each(final("accuracy_sd")), 2)
        what = f"SD over modular blocks, {group.name} (points)"
        claims.append(Claim(what, "below 0.6", str(sd), sd.mean < PAPER_SD))
        wide = over_seeds(group.each(metrics.sd_of_all), 2)
        what = f"SD over all compositions, {group.name} (points)"
        claims.append(Claim(what, "below 0.6", str(wide), wide.mean < PAPER_SD))
        lead = over_seeds(group.each(metrics.cross_minus_local), 1, 100)
        what = f"cross less local accuracy, {group.name} (points; comparable: above -1)"
        claims.append(Claim(what, "comparable or better", str(lead), lead.mean > -1))
    return claims


def open_claim(groups: Sequence[Group]) -> list[Claim]:
    """Say how well every group's blocks fit together."""
    claims = []
    for group in groups:
        for part, name in (("accuracy_local", "own"), ("accuracy_cross", "cross")):
            what = f"{name} accuracy, {group.name} (%)"
            claims.append(Claim(what, "open", str(accuracy_of(group, part))))
        what = f"SD over modular blocks, {group.name} (points)"
        claims.append(Claim(what, "open", str(over_seeds(group.each(final("accuracy_sd")), 2))))
    return claims


def depth(run: Run) -> str:
    """Name the depths that meet."""
    chosen = str(run.choices["clients"])
    name = DEPTHS.get(chosen, chosen)
    return name if run.method.choice == "ifl" else f"{run.method.title}, {name}"


STUDIES = [
    Study("paper/composition", method_name, draw, tabulate, claim),
    Study("open/diversity", method_name, draw, tabulate, open_claim),
    Study("open/depth", depth, draw, tabulate, open_claim),
]
