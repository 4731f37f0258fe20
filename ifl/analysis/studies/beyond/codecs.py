"""Study beyond/codecs: the paper's IFL with every codec, its training unchanged."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from ifl.analysis.charts import UPLINK_AXES, draw_line, finish, logarithmic, panels
from ifl.analysis.collect import Group, Run
from ifl.analysis.looks import styled
from ifl.analysis.metrics import PER_CLIENT
from ifl.analysis.studies.accuracy_vs_uplink import PAPER_MB, TARGETS, mb_to
from ifl.analysis.studies.base import COUNT, Claim, Study, difference, outcome
from ifl.analysis.studies.beyond.pareto import mark_paper
from ifl.analysis.studies.terms import USUAL_CODEC
from ifl.analysis.tables import Cell, Table


def codec(run: Run) -> str:
    """Return the choice of conf/codec."""
    return str(run.choices["codec"])


def draw(groups: Sequence[Group]) -> dict[str, Figure]:
    """Draw accuracy against uplink per client, a line for each codec."""
    figure, (axes,) = panels(1, 5, 6)
    for group, style in styled(groups):
        draw_line(axes, group, PER_CLIENT, style, group.name)
    mark_paper(axes)
    logarithmic(axes)
    axes.set(xlabel=UPLINK_AXES[PER_CLIENT], ylabel="test accuracy (%)", ylim=(0, 100))
    return {"codecs": finish(figure, f"{groups[0].data}: the paper's IFL by codec")}


def tabulate(groups: Sequence[Group]) -> list[Table]:
    """Return what a codec costs in accuracy and what it saves, and what all came to."""
    plain = next((group for group in groups if codec(group.runs[0]) == USUAL_CODEC), None)
    rows: list[list[Cell]] = []
    for group in groups:
        loss = "-" if plain in (None, group) else difference(group, plain)
        ways = [mb_to(group, target, PER_CLIENT) for target in TARGETS]
        rows.append([group.name, len(group.runs), loss, *ways])
    head = ["codec", "seeds", f"less {USUAL_CODEC} (points)"]
    head += [f"up per client to {target} % (MB)" for target in TARGETS]
    caption = f"{groups[0].data}: what codecs cost and save"
    table = Table("cost", caption, head, rows, f"Points: after the last round, by seed. {COUNT}")
    return [table, outcome(groups, "codec")]


def claim(groups: Sequence[Group]) -> list[Claim]:
    """Say how far the smallest codec is from float32 after the last round."""
    of = {codec(group.runs[0]): group for group in groups}
    if not {USUAL_CODEC, "int4"} <= of.keys():
        return []
    what = f"int4 less {USUAL_CODEC} after {PAPER_MB} MB of the latter (points)"
    return [Claim(what, "-", str(difference(of["int4"], of[USUAL_CODEC])))]


STUDIES = [Study("beyond/codecs", codec, draw, tabulate, claim)]
