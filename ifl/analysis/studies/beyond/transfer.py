"""Study beyond/transfer: the settings of frugal on another data set, and those chosen for it."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from ifl.analysis.charts import along, draw_points, finish, look, panels
from ifl.analysis.collect import Group, Run
from ifl.analysis.studies.base import Claim, Study, accuracy_of, difference, final, outcome
from ifl.analysis.studies.beyond.frontier import aligned
from ifl.analysis.tables import Cell, Table

RATE = "optimizer.base.lr"
BEFORE = ("elastic", 0.02, True)  # experiment=frugal: distortion, rate, alignment


def way(run: Run) -> str:
    """Name distortion and alignment."""
    distortion = str(run.choices["augment"])
    return f"{distortion if distortion != 'none' else 'not distorted'}, " + (
        "aligned" if aligned(run) else "not aligned"
    )


def rate(group: Group) -> float:
    """Return the learning rate of both blocks."""
    return float(group.setting(RATE))


def name_of(run: Run) -> str:
    """Name distortion, alignment and rate."""
    return f"{way(run)}, {run.config[RATE]:g}"


def ranked(groups: Sequence[Group]) -> list[Group]:
    """Return the groups, the best first."""
    return sorted(groups, key=lambda group: accuracy_of(group).mean, reverse=True)


def as_before(groups: Sequence[Group]) -> Group | None:
    """Return the group with the settings of experiment=frugal."""
    for group in groups:
        run = group.runs[0]
        if (run.choices["augment"], rate(group), aligned(run)) == BEFORE:
            return group
    return None


def draw(groups: Sequence[Group]) -> dict[str, Figure]:
    """Draw the last accuracy against the rate, a line for each way."""
    figure, (axes,) = panels(1, 4.2, 5)
    for n, name in enumerate(dict.fromkeys(way(group.runs[0]) for group in groups)):
        own = sorted((g for g in groups if way(g.runs[0]) == name), key=rate)
        draw_points(axes, [*map(rate, own)], own, final("accuracy_mean"), look(n), name)
    rates = sorted({rate(group) for group in groups})
    along(axes, rates, [f"{value:g}" for value in rates])
    axes.set(xlabel="learning rate", ylabel="accuracy over compositions (%)")
    return {"transfer": finish(figure, f"{groups[0].data}: settings of frugal, chosen anew")}


def tabulate(groups: Sequence[Group]) -> list[Table]:
    """Return all settings, the best first, beside those of frugal."""
    before = as_before(groups)
    rows: list[list[Cell]] = []
    for group in ranked(groups):
        run = group.runs[0]
        row: list[Cell] = [way(run), f"{rate(group):g}", len(group.runs), accuracy_of(group)]
        row.append(accuracy_of(group, "accuracy_local"))
        rows.append([*row, difference(group, before) if before else "-"])
    head = ["setting", "rate", "seeds", "mean (%)", "own blocks (%)", "less frugal's (points)"]
    caption = f"{groups[0].data}: 25 rounds of 96 local steps, int4, d = 108"
    notes = "Frugal's: elastic, aligned, 0.02, chosen on KMNIST-10k. Less: by seed."
    return [Table("transfer", caption, head, rows, notes), outcome(groups)]


def claim(groups: Sequence[Group]) -> list[Claim]:
    """Say what is best here, and what the settings of frugal come to."""
    best, before = ranked(groups)[0], as_before(groups)
    claims = [Claim("best setting (%)", "-", f"{accuracy_of(best)}, {best.name}")]
    if before:
        claims.append(Claim("the settings of frugal (%)", "-", str(accuracy_of(before))))
    return claims


STUDIES = [Study("beyond/transfer", name_of, draw, tabulate, claim)]
