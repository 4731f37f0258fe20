"""open/fusion_dim and open/alpha: accuracy against one number of the configuration."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from ifl import measures
from ifl.charts import UPLINK, along, draw_line, draw_points, finish, logarithmic, panels
from ifl.gather import Group, Run
from ifl.studies.clients import PARTS
from ifl.studies.study import (
    COUNT,
    ENDED,
    Claim,
    Study,
    accuracy_at,
    final,
    in_step,
    method_name,
    outcome,
)  # fmt: skip
from ifl.tables import Cell, Table, over_seeds

DIM, ALPHA = "fusion.dim", "partition.alpha"
PER_CLIENT: measures.Column = "uplink_mb_per_client"


def dim_label(run: Run) -> str:
    """Name the fusion dimension."""
    name = f"d = {run.config[DIM]}"
    return name if run.choices["method"] == "ifl" else f"{method_name(run)}, {name}"


def draw_dims(groups: Sequence[Group]) -> dict[str, Figure]:
    """Draw the last accuracy against d, and accuracy against uplink for each d."""
    dims, chosen = in_step(groups, DIM)
    figure, (left, right) = panels(2, 4.6, sharey=True)
    for n, (column, name) in enumerate(PARTS.items()):
        draw_points(left, dims, chosen, final(column), n, name)
    left.set(xlabel="fusion dimension d, after the last round")
    left.set(ylabel="test accuracy (%)", ylim=(0, 100))
    along(left, dims, [f"{dim:g}" for dim in dims])
    left.legend(fontsize="small")
    for n, group in enumerate(chosen):
        draw_line(right, group, PER_CLIENT, n, group.label)
    logarithmic(right)
    right.set_xlabel(UPLINK[PER_CLIENT])
    title = f"{groups[0].data}: accuracy against the fusion dimension"
    return {"fusion-dim": finish(figure, right, title, place="inside")}


def tabulate_dims(groups: Sequence[Group]) -> list[Table]:
    """Return accuracies at equal uplinks, and what all came to."""
    chosen, sizes = in_step(groups, DIM)[1], (1, 2, 4, 8.5)
    rows: list[list[Cell]] = [
        [g.label, *(accuracy_at(g, mb, PER_CLIENT) for mb in sizes)] for g in chosen
    ]
    caption = f"{groups[0].data}: accuracy (%) at equal uplink per client"
    head = ["setting", *(f"at {mb} MB (%)" for mb in sizes)]
    notes = f'"-": the first evaluation comes later. {ENDED} {COUNT}'
    return [Table("accuracy-at-uplink", caption, head, rows, notes), outcome(chosen)]


def claim_dims(groups: Sequence[Group]) -> list[Claim]:
    """Give the accuracy of every d after as many rounds, and at as many bytes."""
    chosen = in_step(groups, DIM)[1]
    claims = []
    for group in chosen:
        ended = over_seeds(group.each(final("accuracy_mean")))
        equal = accuracy_at(group, 4, PER_CLIENT)
        what = f"accuracy, {group.label}: at the end; at 4 MB per client (%)"
        claims.append(Claim(what, "open", f"{ended}; {equal}"))
    return claims


def alpha_label(run: Run) -> str:
    """Name the partition."""
    named = run.choices["partition"] == "dirichlet"
    name = f"alpha = {run.config[ALPHA]}" if named else str(run.choices["partition"])
    return name if run.choices["method"] == "ifl" else f"{method_name(run)}, {name}"


def by_alpha(groups: Sequence[Group]) -> tuple[list[float], list[str], list[Group]]:
    """Return places on a logarithmic axis, their names and the groups; iid beyond the last."""
    alphas, chosen = in_step(groups, ALPHA)
    others = [group for group in groups if group not in chosen]
    beyond = [max(alphas, default=1) * 10 ** (n + 1) for n in range(len(others))]
    names = [*(f"{alpha:g}" for alpha in alphas), *(group.label for group in others)]
    return [*alphas, *beyond], names, [*chosen, *others]


def draw_alphas(groups: Sequence[Group]) -> dict[str, Figure]:
    """Draw accuracies, the worst composition's among them, and SD against alpha."""
    at, names, chosen = by_alpha(groups)
    numbered = len(in_step(groups, ALPHA)[1])
    figure, (left, right) = panels(2, 4.6)
    for n, (column, name) in enumerate(PARTS.items()):
        draw_points(left, at, chosen, final(column), n, name)
    draw_points(left, at, chosen, lambda r: 100 * measures.worst(r), 3, "worst composition")
    left.set(ylabel="test accuracy (%)", ylim=(0, 100))
    draw_points(right, at, chosen, final("accuracy_sd"), 4, "SD")
    right.set(ylabel="SD over modular blocks (points)")
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.set_xlabel("alpha of the Dirichlet partition; iid")
        along(axes, at, names)
        axes.tick_params(axis="x", labelsize="small")
        if 0 < numbered < len(at):  # iid is no value of alpha: it has a place of its own
            axes.axvline((at[numbered - 1] * at[numbered]) ** 0.5, color="black", linewidth=0.8)
    title = f"{groups[0].data}: accuracy and spread against label skew"
    return {"alpha": finish(figure, left, title, place="inside")}


def claim_alphas(groups: Sequence[Group]) -> list[Claim]:
    """Give accuracy, SD and the worst composition of every partition."""
    claims = []
    for group in by_alpha(groups)[2]:
        accuracy = over_seeds(group.each(final("accuracy_mean")))
        sd = over_seeds(group.each(final("accuracy_sd")), 1)
        worst = over_seeds(group.each(measures.worst), 1, 100)
        what = f"{group.label}: accuracy (%); SD (points); worst composition (%)"
        claims.append(Claim(what, "open", f"{accuracy}; {sd}; {worst}"))
    return claims


STUDIES = [
    Study("open/fusion_dim", dim_label, draw_dims, tabulate_dims, claim_dims),
    Study(
        "open/alpha",
        alpha_label,
        draw_alphas,
        lambda groups: [outcome(by_alpha(groups)[2])],
        claim_alphas,
    ),
]
