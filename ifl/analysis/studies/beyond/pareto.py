"""Study beyond/pareto: accuracy against bytes, all methods on equal terms."""

from collections.abc import Sequence
from math import isnan

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ifl.analysis import metrics
from ifl.analysis.alone import gain
from ifl.analysis.charts import UPLINK_AXES, draw_line, finish, logarithmic, panels
from ifl.analysis.collect import Group, Run
from ifl.analysis.looks import MOST, styled
from ifl.analysis.metrics import PER_CLIENT, Column
from ifl.analysis.studies.accuracy_vs_uplink import (
    PAPER_MB,
    TARGETS,
    levels,
    mb_to,
    references,
    silent,
    talking,
)
from ifl.analysis.studies.base import (
    COUNT,
    ENDED,
    Claim,
    Study,
    accuracy_at,
    accuracy_of,
    final,
    outcome,
)
from ifl.analysis.studies.terms import bytes_of, name_of, settings, terms
from ifl.analysis.tables import Cell, Table, Value, over_seeds

BYTE_AXES: dict[Column, str] = {
    PER_CLIENT: UPLINK_AXES[PER_CLIENT],
    "total_mb_per_client": "both directions, per client (MB)",
}
SIZES = (0.02, 0.035, 0.07, 0.4, 1, PAPER_MB)  # MB
ACCURACIES = {"accuracy_local": "own blocks", "accuracy_worst": "worst composition"}
PAPER_SD = 0.6  # points


def under_the_rules(groups: Sequence[Group]) -> list[Group]:
    """Return those that keep the paper's rules: what is learned stays with the clients."""
    return [group for group in talking(groups) if keeps_the_rules(group.runs[0])]


def keeps_the_rules(run: Run) -> bool:
    """Return whether no image and no parameter travelled, and every block is a client's.

    Prototypes are every client's: each of them has all that the server has.
    """
    owners = {*run.compositions["base"], *run.compositions["modular"]}
    kinds = {*run.traffic()["kind"]}
    if run.config.get("method.predict") == "prototypes" or "prototypes" in kinds:
        owners.discard("server")
    return "server" not in owners and not {"x", "params"} & kinds


def draw(groups: Sequence[Group]) -> dict[str, Figure]:
    """Draw accuracies against bytes: the mean for all methods, own blocks and the worst."""
    data, most = groups[0].data, talking(groups)
    figure, all_axes = panels(2, 6, sharey=True)
    for axes, (column, name) in zip(all_axes, BYTE_AXES.items(), strict=True):
        for group, style in styled(most, most=MOST - levels(ceilings(groups))):
            draw_line(axes, group, column, style, group.name)
        mark_paper(axes)
        logarithmic(axes)
        for group in ceilings(groups):
            references(axes, group)
        axes.set(xlabel=name, ylim=(0, 100))
    all_axes[0].set_ylabel("test accuracy (%)")
    title = f"{data}: mean accuracy over compositions against bytes (shaded: 95 % interval)"
    figures = {"accuracy-bytes": finish(figure, title, 3)}

    figure, all_axes = panels(2, 5, sharey=True)
    for axes, (accuracy, name) in zip(all_axes, ACCURACIES.items(), strict=True):
        for group, style in styled([group for group in most if group.matrix().size > 1]):
            draw_line(axes, group, PER_CLIENT, style, group.name, accuracy)
        logarithmic(axes)
        axes.set(title=name, xlabel=UPLINK_AXES[PER_CLIENT], ylim=(0, 100))
    all_axes[0].set_ylabel("test accuracy (%)")
    title = f"{data}: accuracy of own blocks, and of the worst composition"
    return figures | {"local-worst": finish(figure, title, 3)}


def ceilings(groups: Sequence[Group]) -> list[Group]:
    """Return who sends nothing, or everything at once, with the clients that most have.

    With distorted images, if there are such.
    """
    clients = [str(group.runs[0].choices.get("clients")) for group in groups]
    usual = max(clients, key=clients.count)
    quiet = [g for g in silent(groups) if str(g.runs[0].choices.get("clients")) == usual]
    return [g for g in quiet if g.runs[0].choices.get("augment") != "none"] or quiet


def mark_paper(axes: Axes) -> None:
    """Draw a line where the paper compares."""
    axes.axvline(PAPER_MB, color="black", linewidth=0.8, linestyle=(0, (1, 2)))


def tabulate(groups: Sequence[Group]) -> list[Table]:
    """Return MB to accuracies, accuracies at MB, and what all came to."""
    to: list[list[Cell]] = []
    at: list[list[Cell]] = []
    for group in talking(groups):
        first: list[Cell] = [group.name, len(group.runs)]
        ways = [mb_to(group, target, column) for column in BYTE_AXES for target in TARGETS]
        to.append([*first, *ways])
        at.append([*first, *(accuracy_at(group, mb, PER_CLIENT) for mb in SIZES)])
    data = groups[0].data
    heads = [f"{way} to {n} % (MB)" for way in ("up", "both ways") for n in TARGETS]
    return [
        Table(
            "mb-to-accuracy",
            f"{data}: MB per client at the first evaluation that reaches an accuracy",
            ["method", "seeds", *heads],
            to,
            COUNT,
        ),
        Table(
            "accuracy-at-uplink",
            f"{data}: accuracy (%) at an uplink per client, that of the last evaluation before",
            ["method", "seeds", *(f"at {mb} MB (%)" for mb in SIZES)],
            at,
            f'"-": the first evaluation comes later. {ENDED} {COUNT}',
        ),
        bytes_of(groups),
        settings(groups),
        outcome(groups, "method"),
    ]


def least(groups: Sequence[Group], target: float) -> tuple[Group, Value] | None:
    """Return who reaches an accuracy (%) with the least uplink, and this (MB per client).

    Of those of which all seeds reach it.
    """
    found = []
    for group in talking(groups):
        reached = group.each(metrics.first_reaching, target / 100, PER_CLIENT)
        if None not in reached:
            found.append((group, over_seeds(reached, 3)))
    return min(found, key=lambda pair: pair[1].mean, default=None)


def claim(groups: Sequence[Group]) -> list[Claim]:
    """Say what is possible under the paper's rules, and whose it is."""
    within = [(accuracy_at(g, PAPER_MB, PER_CLIENT), g) for g in under_the_rules(groups)]
    if not within:
        return []
    value, group = max(within, key=lambda pair: pair[0].mean)
    what = "most accuracy under the paper's rules with at most 8.5 MB per client (%)"
    claims = [Claim(what, "90", f"{value}, by {group.name}", value.mean >= 90)]
    spread = over_seeds(group.each(final("accuracy_sd")), 2)
    what = "its SD over modular blocks after the last round (points)"
    holds = None if isnan(spread.mean) else spread.mean < PAPER_SD
    claims.append(Claim(what, f"below {PAPER_SD}", str(spread), holds))
    for target in (80, 90):
        for whose, own in (("under the paper's rules", under_the_rules(groups)), ("", groups)):
            if best := least(own, target):
                what = f"least uplink per client to {target} % {whose or 'of all methods'} (MB)"
                claims.append(Claim(what, "-", f"{best[1]}, by {best[0].name}"))
    return claims


def remark(groups: Sequence[Group]) -> list[str]:
    """Say on what terms the methods stand beside each other, who departs, and who won."""
    said = [terms(groups)]
    ended = sorted(talking(groups), key=lambda g: accuracy_of(g).mean, reverse=True)
    own = [group for group in ended if group in under_the_rules(groups)]
    if ended and own:
        said.append(
            f"Most accuracy after the last round: {ended[0].name}, {accuracy_of(ended[0])} %; "
            f"under the paper's rules: {own[0].name}, {accuracy_of(own[0])} %."
        )
    rows = [(gain(group, groups), group) for group in ended]
    above = [
        f"{group.name} ({worth.own})"
        for worth, group in rows
        if worth and worth.own.mean - worth.own.half > 0
    ]
    if any(worth for worth, _ in rows):
        told = ", ".join(above) if above else "nobody"
        said.append(
            "Own blocks above those of a client alone with the same steps and recipe, by more "
            f"than the interval (points): {told}."
        )
    return said


STUDIES = [Study("beyond/pareto", name_of, draw, tabulate, claim, remark, folds=False)]
