"""Study beyond/ablation: the gain of each ingredient, alone and left out."""

from collections.abc import Callable, Mapping, Sequence
from math import isnan

from matplotlib.figure import Figure

from ifl.analysis.charts import panels
from ifl.analysis.collect import Group, Run
from ifl.analysis.looks import parts
from ifl.analysis.metrics import PER_CLIENT, last
from ifl.analysis.studies.base import Claim, Study, accuracy_of, difference, final
from ifl.analysis.tables import Cell, Table, Value, over_seeds

NONE, ALL = "the paper's IFL", "all ingredients"
INGREDIENTS: Mapping[str, Callable[[Run], bool]] = {
    "distorted images": lambda run: run.choices.get("augment") not in (None, "none"),
    "falling rates": lambda run: run.config.get("optimizer.decay_rounds") is not None,
    "replay": lambda run: run.config["method.replay.steps"] > 1,
    "alignment": lambda run: run.config["method.align.weight"] > 0,
    "more local steps": lambda run: run.config["local.tau"] > 10,
    "few rows, balanced": lambda run: run.config["method.upload.pick"] == "balanced",
    "small d": lambda run: run.config["fusion.dim"] < 432,
    "int4": lambda run: run.choices["codec"] == "int4",
}


def ingredients(run: Run) -> list[str]:
    """Return the names of those that a run has."""
    return [name for name, has in INGREDIENTS.items() if has(run)]


def name_of(run: Run) -> str:
    """Name what a run has, or lacks."""
    has = ingredients(run)
    lacks = [name for name in INGREDIENTS if name not in has]
    if not has or not lacks:
        return ALL if has else NONE
    if len(has) > 1 and len(lacks) == 1:
        return f"without {lacks[0]}"
    return f"with {', '.join(has)}"


def group_named(groups: Sequence[Group], name: str) -> Group | None:
    """Return the group of this name."""
    return next((group for group in groups if group.name == name), None)


def ways(groups: Sequence[Group]) -> dict[str, tuple[Group | None, dict[str, Group]]]:
    """Return the two comparisons: what is compared with, and the groups by ingredient."""
    found = {}
    for way, start, common in (("with", "alone, beside ", NONE), ("without", "left out of ", ALL)):
        own = {}
        for name in INGREDIENTS:
            group = group_named(groups, f"{way} {name}")
            if group is not None:
                own[name] = group
        found[start + common] = group_named(groups, common), own
    return found


def draw(groups: Sequence[Group]) -> dict[str, Figure]:
    """Draw accuracies with each ingredient alone and with all others."""
    figure, all_axes = panels(2, 5, sharey=True)
    places = {name: len(INGREDIENTS) - n for n, name in enumerate(INGREDIENTS)}
    base = parts("ifl", 1)[0]
    for axes, (title, (common, own)) in zip(all_axes, ways(groups).items(), strict=True):
        if common:
            mean = over_seeds(common.each(final("accuracy_mean"))).mean
            axes.axvline(mean, color=base["color"], linestyle="--", label=common.name)
            foot = {"xycoords": axes.get_xaxis_transform(), "textcoords": "offset points"}
            axes.annotate(common.name, (mean, 0), (-4, 4), ha="right", fontsize="small", **foot)
        for name, group in own.items():
            value = accuracy_of(group)
            half = 0 if isnan(value.half) else value.half
            style = {**base, "linestyle": "none", "capsize": 3}
            axes.errorbar(value.mean, places[name], xerr=half, **style)
        axes.set(title=title, xlabel="test accuracy (%)", ylim=(0.2, len(INGREDIENTS) + 0.5))
        axes.set_yticks([*places.values()], [*places])
    rounds = max(last(run, "round") for group in groups for run in group.runs)
    title = f"{groups[0].data}: what an ingredient is worth after {rounds:.0f} rounds"
    figure.suptitle(title)
    return {"ablation": figure}


def tabulate(groups: Sequence[Group]) -> list[Table]:
    """Return accuracy, uplink and the difference each ingredient makes."""
    rows: list[list[Cell]] = []
    for way, (common, own) in ways(groups).items():
        for name, group in ([("-", common)] if common else []) + [*own.items()]:
            row: list[Cell] = [way, name, len(group.runs)]
            row.append(accuracy_of(group))
            row.append(difference(group, common) if common and group is not common else "-")
            row.append(over_seeds(group.each(final("accuracy_sd")), 2))
            rows.append([*row, Value(over_seeds(group.each(final(PER_CLIENT))).mean, digits=3)])
    head = ["ingredient is", "ingredient", "seeds", "mean (%)", "difference (points)"]
    head += ["SD (points)", "up per client (MB)"]
    caption = f"{groups[0].data}: each ingredient alone and left out, after the last round"
    notes = 'The difference is that to the row with "-", over equal seeds; ± is half its 95 % '
    notes += "Student t interval."
    return [Table("ablation", caption, head, rows, notes)]


def claim(groups: Sequence[Group]) -> list[Claim]:
    """Give the accuracy and the uplink of none and of all."""
    claims = []
    for name in (NONE, ALL):
        if group := group_named(groups, name):
            accuracy = accuracy_of(group)
            mb = over_seeds(group.each(final(PER_CLIENT))).mean
            what = f"accuracy, {name} (%); uplink per client (MB)"
            claims.append(Claim(what, "-", f"{accuracy}; {mb:.3f}"))
    return claims


STUDIES = [Study("beyond/ablation", name_of, draw, tabulate, claim, folds=False)]
