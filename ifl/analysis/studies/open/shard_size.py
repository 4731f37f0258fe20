"""Study open/shard_size: IFL's lead over split learning against the images of a client."""

from collections.abc import Mapping, Sequence
from math import isnan

from matplotlib.figure import Figure

from ifl.analysis.charts import along, draw_points, finish, panels
from ifl.analysis.collect import Group, Run
from ifl.analysis.looks import colour, variant
from ifl.analysis.metrics import images
from ifl.analysis.studies.accuracy_vs_uplink import PAPER_FSL, PAPER_IFL
from ifl.analysis.studies.base import (
    Claim,
    Study,
    difference,
    final,
    of_method,
    outcome,
)
from ifl.analysis.tables import Cell, Table, Value, over_seeds

OWN = "IFL, own blocks"
PAPER_IMAGES = 15_000  # KMNIST's 60,000 training images among four clients


def size(group: Group) -> float:
    """Return the images that a client has, mean over clients and seeds."""
    return over_seeds(group.each(images)).mean


def name_of(run: Run) -> str:
    """Name the method and the images that a client has."""
    return f"{run.method.title}, {images(run):.0f} images a client"


def by_size(groups: Sequence[Group], method: str) -> list[Group]:
    """Return the groups of a method, the smallest shards first."""
    return sorted(of_method(groups, method), key=size)


def leads(groups: Sequence[Group]) -> Mapping[float, Value]:
    """Return IFL's lead over FSL after the last round (points) over common seeds, by size."""
    found = {}
    for ifl in by_size(groups, "ifl"):
        for fsl in of_method(groups, "fsl"):
            lead = difference(ifl, fsl)
            if size(fsl) == size(ifl) and not isnan(lead.mean):
                found[size(ifl)] = lead
    return found


def draw(groups: Sequence[Group]) -> dict[str, Figure]:
    """Draw accuracies, and the lead with the paper's, against the images of a client."""
    figure, (left, right) = panels(2, 4.4)
    ifl, fsl = by_size(groups, "ifl"), by_size(groups, "fsl")
    sizes = {*map(size, [*ifl, *fsl])}
    for n, (column, name) in enumerate((("accuracy_mean", "IFL"), ("accuracy_local", OWN))):
        style = variant(colour("ifl"), n)
        draw_points(left, [*map(size, ifl)], ifl, final(column), style, name)
    draw_points(
        left, [*map(size, fsl)], fsl, final("accuracy_mean"), variant(colour("fsl"), 0), "FSL"
    )
    left.set(ylabel="accuracy on held-out training data (%)", ylim=(0, 100))
    found = leads(groups)
    style = variant(colour("ifl"), 0) | {"label": "here, at 8.5 MB per client", "capsize": 3}
    halves = [0 if isnan(value.half) else value.half for value in found.values()]
    right.errorbar([*found], [value.mean for value in found.values()], halves, **style)
    mark = {"marker": "*", "markersize": 11, "color": "white", "markeredgecolor": "black"}
    paper = f"the paper's, on KMNIST ({PAPER_IMAGES:,} images)"
    right.plot(PAPER_IMAGES, PAPER_IFL - PAPER_FSL, **mark, linestyle="none", label=paper)
    right.axhline(0, color="black", linewidth=0.8)
    right.set(ylabel="lead of IFL over FSL (points)")
    along(left, sorted(sizes), [f"{n:.0f}" for n in sorted(sizes)])
    along(right, [*sorted(sizes), PAPER_IMAGES])
    right.xaxis.set(major_formatter="{x:g}", minor_formatter="")
    for axes in (left, right):
        axes.set_xlabel("training images of a client")
    title = f"{groups[0].data}: accuracy at 8.5 MB per client against the images of a client"
    return {"shard-size": finish(figure, title)}


def tabulate(groups: Sequence[Group]) -> list[Table]:
    """Return the leads, and what all came to."""
    rows: list[list[Cell]] = [[Value(n, digits=0), lead] for n, lead in leads(groups).items()]
    caption = f"{groups[0].data}: lead of IFL over FSL at 8.5 MB of uplink per client"
    head = ["images a client", "lead (points)"]
    notes = "± is half the 95 % Student t interval over the differences of equal seeds."
    ordered = [*by_size(groups, "ifl"), *by_size(groups, "fsl")]
    return [Table("leads", caption, head, rows, notes), outcome(ordered)]


def claim(groups: Sequence[Group]) -> list[Claim]:
    """Set the lead at every size beside the paper's, which is at another."""
    paper = f"{PAPER_IFL - PAPER_FSL} ({PAPER_IMAGES:,} images)"
    what = "lead of IFL over FSL at 8.5 MB per client, {:.0f} images a client (points)"
    return [Claim(what.format(n), paper, str(lead)) for n, lead in leads(groups).items()]


STUDIES = [Study("open/shard_size", name_of, draw, tabulate, claim)]
