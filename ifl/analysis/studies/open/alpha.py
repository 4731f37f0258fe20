"""Study open/alpha: accuracy and spread against label skew."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from ifl.analysis import metrics
from ifl.analysis.charts import along, draw_points, finish, panels
from ifl.analysis.collect import Group, Run
from ifl.analysis.looks import parts
from ifl.analysis.studies.base import (  # fmt: skip
    Claim,
    Study,
    accuracy_of,
    final,
    in_step,
    outcome,
)
from ifl.analysis.studies.open.clients import PARTS
from ifl.analysis.tables import PERCENT, Table, over_seeds

ALPHA = "partition.alpha"


def name_of(run: Run) -> str:
    """Name the partition."""
    named = run.choices["partition"] == "dirichlet"
    name = f"alpha = {run.config[ALPHA]}" if named else str(run.choices["partition"])
    return name if run.method.choice == "ifl" else f"{run.method.title}, {name}"


def by_alpha(groups: Sequence[Group]) -> tuple[list[float], list[str], list[Group]]:
    """Return places on a logarithmic axis, their names and the groups; iid beyond the last."""
    alphas, chosen = in_step(groups, ALPHA)
    others = [group for group in groups if group not in chosen]
    beyond = [max(alphas, default=1) * 10 ** (n + 1) for n in range(len(others))]
    names = [*(f"{alpha:g}" for alpha in alphas), *(group.name for group in others)]
    return [*alphas, *beyond], names, [*chosen, *others]


def draw(groups: Sequence[Group]) -> dict[str, Figure]:
    """Draw accuracies, the worst composition's among them, and SD against alpha."""
    at, names, chosen = by_alpha(groups)
    numbered = len(in_step(groups, ALPHA)[1])
    figure, (left, right) = panels(2, 4.6)
    *styles, last = parts("ifl", len(PARTS) + 1)
    for style, (column, name) in zip(styles, PARTS.items(), strict=True):
        draw_points(left, at, chosen, final(column), style, name)
    draw_points(left, at, chosen, lambda r: 100 * metrics.worst(r), last, "worst composition")
    left.set(ylabel="test accuracy (%)", ylim=(0, 100))
    draw_points(right, at, chosen, final("accuracy_sd"), parts("ifl", 1)[0], "SD")
    right.set(ylabel="SD over modular blocks (points)")
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.set_xlabel("alpha of the Dirichlet partition; iid")
        along(axes, at, names)
        axes.tick_params(axis="x", labelsize="small", rotation=30)
        if 0 < numbered < len(at):  # iid is no value of alpha: it has a place of its own
            axes.axvline((at[numbered - 1] * at[numbered]) ** 0.5, color="black", linewidth=0.8)
    title = f"{groups[0].data}: accuracy and spread against label skew"
    return {"alpha": finish(figure, title)}


def claim(groups: Sequence[Group]) -> list[Claim]:
    """Give accuracy, SD and the worst composition of every partition."""
    claims = []
    for group in by_alpha(groups)[2]:
        accuracy = accuracy_of(group)
        sd = over_seeds(group.each(final("accuracy_sd")), 1)
        worst = over_seeds(group.each(metrics.worst), 1, 100, limits=PERCENT)
        what = f"{group.name}: accuracy (%); SD (points); worst composition (%)"
        claims.append(Claim(what, "open", f"{accuracy}; {sd}; {worst}"))
    return claims


def tabulate(groups: Sequence[Group]) -> list[Table]:
    """Return what all came to."""
    return [outcome(by_alpha(groups)[2])]


STUDIES = [Study("open/alpha", name_of, draw, tabulate, claim)]
