"""Study open/tau: bytes saved against computing time spent, by local steps.

The time to reach an accuracy is taken as computing seconds, measured with all clients on one
core and with evaluations, plus a client's bytes both ways over the speed of its link. So IFL is
faster than averaging up to the speed s at which C_ifl + B_ifl / s = C_fl + B_fl / s.
"""

from collections.abc import Mapping, Sequence
from math import inf, nan
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ifl.analysis import metrics
from ifl.analysis.charts import along, draw_points, finish, level, panels
from ifl.analysis.collect import Group, Run
from ifl.analysis.looks import parts
from ifl.analysis.studies.base import (  # fmt: skip
    COUNT,
    Claim,
    Study,
    final,
    in_step,
    of_method,
    outcome,
)
from ifl.analysis.tables import Cell, Table, Value, over_seeds

TAU, TARGETS = "local.tau", (70, 80, 85, 90)  # per cent
SPEEDS = np.logspace(-1, 4, 200)  # Mbit/s
MEGABITS = 8  # of a MB


class Cost(NamedTuple):
    """The cost of reaching an accuracy, mean over seeds."""

    seconds: float
    mb: float  # of a client, up and down

    def time(self, speed: float) -> float:
        """Return seconds in all at a link of this many Mbit/s."""
        return self.seconds + MEGABITS * self.mb / speed


def name_of(run: Run) -> str:
    """Name method and tau."""
    return f"{run.method.title}, tau = {run.config[TAU]}"


def cost(group: Group, target: float) -> Cost | None:
    """Return what it took to reach this accuracy (%); None unless every seed reaches it."""
    costs = []
    for run in group.runs:
        seconds, up, down = (
            metrics.first_reaching(run, target / 100, column)
            for column in ("seconds", "uplink_mb", "downlink_mb")
        )
        if seconds is None or up is None or down is None:
            return None
        costs.append((seconds, (up + down) / run.config["clients.count"]))
    return Cost(*np.mean(costs, axis=0).tolist())


def break_even(ifl: Cost, fl: Cost) -> tuple[float, float]:
    """Return the link speeds, Mbit/s, between which IFL is faster.

    >>> break_even(Cost(seconds=30, mb=1), Cost(seconds=10, mb=11))
    (0.0, 4.0)
    >>> break_even(Cost(5, 1), Cost(10, 11)), break_even(Cost(5, 11), Cost(10, 1))
    ((0.0, inf), (16.0, inf))
    """
    more, saved = ifl.seconds - fl.seconds, MEGABITS * (fl.mb - ifl.mb)
    if more <= 0:
        return (0.0 if saved >= 0 else saved / more), inf
    return (0.0, saved / more) if saved > 0 else (nan, nan)


def in_words(span: tuple[float, float]) -> str:
    """Say where IFL is faster."""
    low, high = span
    if np.isnan(high):
        return "at no speed"
    if high == inf:
        return "at any speed" if low == 0 else f"above {low:.3g} Mbit/s"
    return f"below {high:.3g} Mbit/s"


def by_method(groups: Sequence[Group], target: float) -> dict[str, dict[str, Cost]]:
    """Return {method: {group: cost}} of the groups that reach this accuracy (%)."""
    found: dict[str, dict[str, Cost]] = {"ifl": {}, "fl": {}}
    for method, costs in found.items():
        for group in in_step(of_method(groups, method), TAU)[1]:
            if spent := cost(group, target):
                costs[group.name] = spent
    return found


def highest(groups: Sequence[Group]) -> float | None:
    """Return the highest accuracy (%) that both methods reach with some tau."""
    both = [target for target in TARGETS if all(by_method(groups, target).values())]
    return max(both, default=None)


def draw(groups: Sequence[Group]) -> dict[str, Figure]:
    """Draw accuracy against tau, and the time to an accuracy against the speed of the link."""
    target = highest(groups)
    figure, all_axes = panels(1 if target is None else 2, 4.8)
    taus: set[float] = set()
    for method in ("ifl", "fl"):
        at, chosen = in_step(of_method(groups, method), TAU)
        taus |= {*at}
        if chosen:
            rounds = sorted({int(final("round")(run)) for group in chosen for run in group.runs})
            name = f"{chosen[0].method.title}, after {' or '.join(map(str, rounds))} rounds"
            draw_points(all_axes[0], at, chosen, final("accuracy_mean"), parts(method, 1)[0], name)
    first = all_axes[0]
    first.set(xlabel="local steps tau", ylabel="test accuracy (%)", ylim=(0, 100))
    along(first, sorted(taus), [f"{tau:g}" for tau in sorted(taus)])
    if target is not None:
        draw_times(all_axes[1], groups, target)
    title = f"{groups[0].data}: local steps, and how fast a link has to be for averaging"
    return {"tau": finish(figure, title)}


def times(costs: Mapping[str, Cost]) -> np.ndarray:
    """Return the time to the accuracy: (costs, SPEEDS) seconds."""
    return np.array([[spent.time(speed) for speed in SPEEDS] for spent in costs.values()])


def draw_times(axes: Axes, groups: Sequence[Group], target: float) -> None:
    """Draw the time to an accuracy (%): every tau thin, the best of each method thick."""
    best = {}
    for method, costs in by_method(groups, target).items():
        taken = times(costs)
        style = level(parts(method, 1)[0])
        for row in taken:
            axes.plot(SPEEDS, row, **style, linewidth=0.5, alpha=0.6)
        best[method] = taken.min(axis=0)
        name = f"{method.upper()}, best of its tau"
        axes.plot(SPEEDS, best[method], **style, linewidth=2.5, label=name)
    change = np.flatnonzero(np.diff(best["ifl"] < best["fl"]))
    for speed in SPEEDS[change]:
        axes.axvline(speed, color="black", linewidth=0.8, linestyle=":")
        at = {"x": speed, "y": 0.03, "s": f" {speed:.3g} Mbit/s"}
        axes.text(**at, transform=axes.get_xaxis_transform(), size="small")
    axes.set(
        xscale="log", yscale="log", xlabel="speed of a client's link (Mbit/s)",
        ylabel=f"time to {target:g} % accuracy (s)",
    )  # fmt: skip


def best_span(groups: Sequence[Group], target: float) -> str:
    """Say where the best of IFL is faster than the best of averaging, on a grid of speeds."""
    found = by_method(groups, target)
    lacking = [method.upper() for method, costs in found.items() if not costs]
    if lacking:
        return f"not reached by {' and '.join(lacking)}"
    faster = times(found["ifl"]).min(axis=0) < times(found["fl"]).min(axis=0)
    if faster.all() or not faster.any():
        end = f"from {SPEEDS[0]:g} to {SPEEDS[-1]:g} Mbit/s"
        return f"{'at all speeds' if faster.all() else 'at no speed'} {end}"
    change = SPEEDS[int(np.flatnonzero(np.diff(faster))[0])]
    return f"{'below' if faster[0] else 'above'} {change:.2g} Mbit/s"


def tabulate(groups: Sequence[Group]) -> list[Table]:
    """Return the cost of accuracies, link speeds at equal tau, and what all came to."""
    rows: list[list[Cell]] = []
    for target in TARGETS:
        found = by_method(groups, target)
        for name, spent in {**found["ifl"], **found["fl"]}.items():
            row: list[Cell] = [f"{target} %", name, Value(spent.seconds), Value(spent.mb, digits=2)]
            twin = found["fl"].get(name.replace("IFL", "FL"))
            compared = name in found["ifl"]
            span = in_words(break_even(spent, twin)) if compared and twin else ""
            rows.append([*row, span or ("not reached by FL" if compared else "-")])
    data = groups[0].data
    notes = "Only settings all of whose seeds reach the accuracy. Computing: measured, all clients "
    notes += "one after the other on one core, with evaluations. IFL is faster than FL of the same "
    notes += "tau, if a client's bytes up and down pass one link while nobody computes."
    head = ["accuracy", "setting", "computing (s)", "up and down per client (MB)", "IFL is faster"]
    costs = Table("cost", f"{data}: what it takes to reach an accuracy", head, rows, notes)
    return [*([costs] if rows else []), to_targets(groups), outcome(groups)]


def to_targets(groups: Sequence[Group]) -> Table:
    """Return the uplink per client at which every setting reaches the accuracies."""
    rows: list[list[Cell]] = []
    for group in groups:
        reached = [
            over_seeds(
                group.each(metrics.first_reaching, t / 100, "uplink_mb_per_client"),
                2,
                none="not reached",
            )
            for t in TARGETS
        ]
        rows.append([group.name, len(group.runs), *reached])
    head = ["setting", "seeds", *(f"to {target} % (MB)" for target in TARGETS)]
    caption = f"{groups[0].data}: uplink per client (MB) at the first evaluation that reaches"
    return Table("uplink-to-accuracy", f"{caption} an accuracy", head, rows, COUNT)


def claim(groups: Sequence[Group]) -> list[Claim]:
    """Say up to which speed of the link IFL's best tau is faster than averaging's."""
    claims = []
    for target in TARGETS:
        if any(by_method(groups, target).values()):
            what = f"IFL is faster than FL to {target} %, each with its best tau"
            claims.append(Claim(what, "open", best_span(groups, target)))
    return claims


STUDIES = [Study("open/tau", name_of, draw, tabulate, claim)]
