"""Study beyond/pareto: accuracy against bytes, all methods and codecs."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ifl.analysis import metrics
from ifl.analysis.charts import UPLINK_AXES, draw_line, finish, logarithmic, panels
from ifl.analysis.collect import Group, Run
from ifl.analysis.looks import MOST, styled
from ifl.analysis.metrics import PER_CLIENT, Column
from ifl.analysis.studies import accuracy_vs_uplink
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
    final,
    of_method,
    outcome,
)
from ifl.analysis.tables import Cell, Table, Value, over_seeds

BYTE_AXES: dict[Column, str] = {
    PER_CLIENT: UPLINK_AXES[PER_CLIENT],
    "total_mb_per_client": "both directions, per client (MB)",
}
SIZES = (0.05, 0.1, 0.4, 1, PAPER_MB)  # MB
ACCURACIES = {"accuracy_local": "own blocks", "accuracy_worst": "worst composition"}
SHOWN = ("float32", "int4")  # of the codecs, in figures of all methods
USUAL_CHOICES = {"augment": "none", "codec": "float32"}  # choices that need no word
USUAL_SETTINGS = {"fusion.dim": ("d", 432), "local.tau": ("tau", 10)}


def name_of(run: Run) -> str:
    """Name the method, and what it has that others of its kind have not."""
    words = [accuracy_vs_uplink.name_of(run)]
    for group, usual in USUAL_CHOICES.items():
        choice = run.choices.get(group) or usual
        if choice != usual:
            words.append(choice)
    for key, (name, usual_value) in USUAL_SETTINGS.items():
        if run.config[key] != usual_value:
            words.append(f"{name} = {run.config[key]}")
    return ", ".join(words)


def codec(group: Group) -> str:
    """Return the choice of conf/codec."""
    return str(group.runs[0].choices["codec"])


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


def papers(groups: Sequence[Group]) -> Group | None:
    """Return IFL as in the paper; None unless there is one such group."""
    plain = [g for g in of_method(groups, "ifl") if name_of(g.runs[0]) == g.method.title]
    return plain[0] if len(plain) == 1 else None


def draw(groups: Sequence[Group]) -> dict[str, Figure]:
    """Draw accuracies against bytes: the mean for all methods, the codecs, local and worst."""
    data, most = groups[0].data, [g for g in talking(groups) if codec(g) in SHOWN]
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

    figure, (axes,) = panels(1, 5, 6)
    for group, style in styled(of_method(groups, "ifl")):
        draw_line(axes, group, PER_CLIENT, style, codec(group))
    mark_paper(axes)
    logarithmic(axes)
    axes.set(xlabel=UPLINK_AXES[PER_CLIENT], ylabel="test accuracy (%)", ylim=(0, 100))
    figures["codecs"] = finish(figure, f"{data}: the paper's IFL by codec")

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
    """Return who sends nothing, or everything at once: with distorted images, if there are such."""
    quiet = silent(groups)
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
        outcome(groups, "method"),
    ]


def least(groups: Sequence[Group], target: float) -> tuple[Group, Value] | None:
    """Return who reaches an accuracy (%) with the least uplink, and this (MB per client).

    Of those under the paper's rules, and in all seeds.
    """
    found = []
    for group in under_the_rules(groups):
        reached = group.each(metrics.first_reaching, target / 100, PER_CLIENT)
        if None not in reached:
            found.append((group, over_seeds(reached, 3)))
    return min(found, key=lambda pair: pair[1].mean, default=None)


def claim(groups: Sequence[Group]) -> list[Claim]:
    """Say what the paper's IFL has at 8.5 MB per client, and what is possible under its rules."""
    paper = papers(groups)
    if paper is None:
        return []
    has = accuracy_at(paper, PAPER_MB, PER_CLIENT)
    claims = [Claim("accuracy of the paper's IFL at 8.5 MB per client (%)", "90", str(has))]
    if best := least(groups, has.mean):
        group, value = best
        # No factor between two methods: they differ in training and codec, not in rules alone.
        what = f"least uplink per client to {has.mean:.1f} % under the paper's rules (MB)"
        claims.append(Claim(what, "-", f"{value}, by {group.name}"))
    within = [(accuracy_at(g, PAPER_MB, PER_CLIENT), g) for g in under_the_rules(groups)]
    value, group = max(within, key=lambda pair: pair[0].mean)
    what = "most accuracy under the paper's rules with at most 8.5 MB per client (%)"
    claims.append(Claim(what, "90", f"{value}, by {group.name}", value.mean >= 90))
    spread = over_seeds(group.each(final("accuracy_sd")), 2)
    what = "its SD over modular blocks after the last round (points)"
    return [*claims, Claim(what, "below 0.6", str(spread), spread.mean < 0.6)]


STUDIES = [Study("beyond/pareto", name_of, draw, tabulate, claim, folds=False)]
