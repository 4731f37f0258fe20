"""Study open/statistics: samples of z, or Gaussians of each class, at equal bytes."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from ifl.analysis.charts import UPLINK_AXES, draw_line, finish, logarithmic, panels
from ifl.analysis.collect import Group, Run
from ifl.analysis.looks import styled
from ifl.analysis.metrics import PER_CLIENT
from ifl.analysis.studies.base import (
    ENDED,
    Claim,
    Study,
    accuracy_at,
    accuracy_of,
    difference,
    final,
    of_method,
    outcome,
)
from ifl.analysis.tables import Cell, Table, Value, over_seeds

KINDS = {"diagonal": "deviations", "full": "full covariances", "pooled": "a pooled covariance"}


def name_of(run: Run) -> str:
    """Name what is sent, and whether base blocks are aligned."""
    words = ["samples"]
    if run.method.choice == "ifl_statistics":
        words = [KINDS[str(run.config.get("method.covariance", "diagonal"))]]
        if "method.nonnegative" not in run.config:  # false, as it once was for all
            words.append("draws below 0 kept")
    if (codec := run.choices["codec"]) != "float32":
        words.append(str(codec))
    return ", ".join([*words, *(["aligned"] if aligned(run) else [])])


def aligned(run: Run) -> bool:
    """Return whether stage 1 pulls z towards class means."""
    return float(run.config.get("method.align.weight") or 0) > 0


def likewise(group: Group, groups: Sequence[Group]) -> Group | None:
    """Return who sends samples with the same codec and alignment."""
    run = group.runs[0]
    for other in of_method(groups, "ifl"):
        one = other.runs[0]
        if (aligned(one), one.choices["codec"]) == (aligned(run), run.choices["codec"]):
            return other
    return None


def draw(groups: Sequence[Group]) -> dict[str, Figure]:
    """Draw accuracy against uplink."""
    figure, (axes,) = panels(1, 5, 7)
    for group, style in styled(groups):
        draw_line(axes, group, PER_CLIENT, style, group.name)
    logarithmic(axes)
    axes.set(xlabel=UPLINK_AXES[PER_CLIENT], ylabel="accuracy (%)", ylim=(0, 100))
    return {"statistics": finish(figure, f"{groups[0].data}: samples of z, or their statistics")}


def tabulate(groups: Sequence[Group]) -> list[Table]:
    """Return statistics beside samples after as many rounds and bytes, and what all came to."""
    rows: list[list[Cell]] = []
    for group in of_method(groups, "ifl_statistics"):
        mb = over_seeds(group.each(final("uplink_mb_per_client"))).mean
        row: list[Cell] = [group.name, len(group.runs), Value(mb, digits=2), accuracy_of(group)]
        samples = likewise(group, groups)
        if samples is None:
            rows.append([*row, "-", "-", "-"])
            continue
        row += [accuracy_at(samples, mb, PER_CLIENT), accuracy_of(samples)]
        rows.append([*row, difference(group, samples)])
    head = ["what is sent", "seeds", "up per client (MB)", "accuracy (%)"]
    head += ["samples, as many bytes (%)", "samples, as many rounds (%)"]
    head += ["less samples, as many rounds (points)"]
    caption = f"{groups[0].data}: statistics beside samples, with the same codec and alignment"
    return [Table("beside-samples", caption, head, rows, ENDED), outcome(groups)]


def claim(groups: Sequence[Group]) -> list[Claim]:
    """Say how far the best statistics are from samples after as many rounds."""
    found = of_method(groups, "ifl_statistics")
    if not found:
        return []
    best = max(found, key=lambda group: accuracy_of(group).mean)
    samples = likewise(best, groups)
    if samples is None:
        return []
    what = f"{best.name}, less samples after as many rounds (points)"
    return [Claim(what, "-", str(difference(best, samples)))]


STUDIES = [Study("open/statistics", name_of, draw, tabulate, claim)]
