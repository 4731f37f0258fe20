"""Study open/upload_rows: few rows often or many seldom, at equal bytes and equal local steps."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from ifl.analysis.charts import along, draw_points, finish, panels
from ifl.analysis.collect import Group, Run
from ifl.analysis.looks import colours, variant
from ifl.analysis.studies.base import Claim, Study, accuracy_of, final, in_step, outcome
from ifl.analysis.tables import Table, over_seeds

TAU, ROWS = "local.tau", "method.upload.rows"


def name_of(run: Run) -> str:
    """Name the method, the rows of an upload and the local steps before it."""
    return f"{run.method.title}, {run.config[ROWS]} rows every {run.config[TAU]} steps"


def by_tau(groups: Sequence[Group]) -> dict[str, tuple[list[float], list[Group]]]:
    """Return the local steps of each method's groups, ascending, and these groups, by title."""
    titles = dict.fromkeys(group.method.title for group in groups)
    return {
        title: in_step([group for group in groups if group.method.title == title], TAU)
        for title in titles
    }


def draw(groups: Sequence[Group]) -> dict[str, Figure]:
    """Draw the last accuracy, and the SD over modular blocks, against tau and rows."""
    figure, (left, right) = panels(2, 4.4)
    ticks: dict[float, str] = {}
    of = colours(group.method.choice for group in groups)
    for name, (taus, chosen) in by_tau(groups).items():
        mean, own = (variant(of[chosen[0].method.choice], n) for n in range(2))
        ticks |= {t: f"{t:g}\n{g.setting(ROWS)}" for t, g in zip(taus, chosen, strict=True)}
        draw_points(left, taus, chosen, final("accuracy_mean"), mean, name)
        draw_points(left, taus, chosen, final("accuracy_local"), own, f"{name}, own blocks")
        draw_points(right, taus, chosen, final("accuracy_sd"), mean, name)
    left.set(ylabel="accuracy on held-out training data (%)", ylim=(0, 100))
    right.set(ylabel="SD over modular blocks (points)")
    right.set_ylim(bottom=0)
    for axes in (left, right):
        along(axes, sorted(ticks), [ticks[tau] for tau in sorted(ticks)])
        axes.set_xlabel("local steps tau; rows of an upload below")
    title = f"{groups[0].data}: few rows often or many seldom, at equal bytes and local steps"
    return {"upload-rows": finish(figure, title)}


def in_order(groups: Sequence[Group]) -> list[Group]:
    """Return the groups by method, the smallest tau first."""
    return [group for _, chosen in by_tau(groups).values() for group in chosen]


def claim(groups: Sequence[Group]) -> list[Claim]:
    """Give the accuracy and the SD of every size."""
    claims = []
    for group in in_order(groups):
        accuracy = accuracy_of(group)
        sd = over_seeds(group.each(final("accuracy_sd")), 1)
        what = f"{group.name}: accuracy (%); SD (points)"
        claims.append(Claim(what, "open", f"{accuracy}; {sd}"))
    return claims


def tabulate(groups: Sequence[Group]) -> list[Table]:
    """Return what all came to."""
    return [outcome(in_order(groups))]


STUDIES = [Study("open/upload_rows", name_of, draw, tabulate, claim)]
