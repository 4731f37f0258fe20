"""Study open/family_rates: the learning rate at which every family of networks learns, alone."""

from collections.abc import Sequence
from functools import partial
from math import nan

import numpy as np
from matplotlib.figure import Figure

from ifl.analysis import metrics
from ifl.analysis.charts import along, draw_points, finish, look, panels
from ifl.analysis.collect import Group, Run
from ifl.analysis.studies.base import Claim, Study, accuracy_of, final, outcome
from ifl.analysis.tables import PERCENT, Cell, Table, Value, over_seeds

RATE = "optimizer.base.lr"
OWN = "accuracy_local"


def rate(group: Group) -> float:
    """Return the learning rate of both blocks."""
    return float(group.setting(RATE))


def name_of(run: Run) -> str:
    """Name the clients and the learning rate."""
    return f"{run.choices['clients']}, {run.config[RATE]:g}"


def by_clients(groups: Sequence[Group]) -> dict[str, list[Group]]:
    """Return the groups of the same clients, the lowest rate first."""
    found: dict[str, list[Group]] = {}
    for group in sorted(groups, key=rate):
        found.setdefault(str(group.runs[0].choices["clients"]), []).append(group)
    return found


def own(run: Run, owner: str) -> float:
    """Return the accuracy (%) of one client's own blocks."""
    accuracy = metrics.by_base(run)[owner].own
    return nan if accuracy is None else 100 * accuracy


def of_owner(group: Group, owner: str) -> Value:
    """Return the accuracy (%) of one client's own blocks, over seeds."""
    return over_seeds(group.each(own, owner), limits=PERCENT)


def best(groups: Sequence[Group]) -> Group:
    """Return the group whose clients are best with their own blocks, on the mean."""
    return max(groups, key=lambda group: float(np.mean(group.each(final(OWN)))))


def draw(groups: Sequence[Group]) -> dict[str, Figure]:
    """Draw the accuracy of every client's own blocks against the rate."""
    alike = by_clients(groups)
    figure, all_axes = panels(len(alike), 4.2, 5, sharey=True)
    for axes, (clients, theirs) in zip(all_axes, alike.items(), strict=True):
        first = theirs[0].runs[0]
        for n, owner in enumerate(metrics.by_base(first)):
            name = f"{owner}: {metrics.owner_name(first, owner)}"
            draw_points(
                axes, [*map(rate, theirs)], theirs, partial(own, owner=owner), look(n), name
            )
        along(axes, [*map(rate, theirs)], [f"{rate(group):g}" for group in theirs])
        axes.set(title=f"clients={clients}", xlabel="learning rate", ylim=(0, 100))
    all_axes[0].set_ylabel("accuracy of own blocks (%)")
    return {"rates": finish(figure, f"{groups[0].data}: each alone, by learning rate")}


def tabulate(groups: Sequence[Group]) -> list[Table]:
    """Return every client's own accuracy at every rate, and what all came to."""
    rows: list[list[Cell]] = []
    rates = sorted({rate(group) for group in groups})
    for clients, theirs in by_clients(groups).items():
        first = theirs[0].runs[0]
        for owner in metrics.by_base(first):
            name = f"{owner}: {metrics.owner_name(first, owner)}"
            found: dict[float, Cell] = {rate(g): of_owner(g, owner) for g in theirs}
            rows.append([clients, name, *(found.get(value, "-") for value in rates)])
        found = {rate(group): accuracy_of(group, OWN) for group in theirs}
        rows.append([clients, "all", *(found.get(value, "-") for value in rates)])
    head = ["clients", "client", *(f"at {value:g} (%)" for value in rates)]
    caption = f"{groups[0].data}: accuracy of own blocks after the last round, without exchange"
    return [Table("rates", caption, head, rows), outcome(groups)]


def claim(groups: Sequence[Group]) -> list[Claim]:
    """Name the best rate of each kind of clients."""
    claims = []
    for clients, theirs in by_clients(groups).items():
        chosen = best(theirs)
        here = f"{rate(chosen):g}: {accuracy_of(chosen, OWN)} % with own blocks"
        claims.append(Claim(f"best learning rate of clients={clients}", "-", here))
    return claims


STUDIES = [Study("open/family_rates", name_of, draw, tabulate, claim)]
