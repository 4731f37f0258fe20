"""Study open/byzantine: clients that lie, the others' blocks, and what a robust pool saves.

What counts is the accuracy of the others: all compositions of blocks of which neither is a liar's.
Where nobody lies, these are the compositions of the same clients.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from ifl.analysis import metrics
from ifl.analysis.charts import draw_points, finish, look, panels
from ifl.analysis.collect import Group, Run
from ifl.analysis.studies.base import Claim, Study
from ifl.analysis.tables import PERCENT, Cell, Table, Value, over_seeds

LIE, CLIENTS, ROBUST = "adversary._target_", "adversary.clients.", "method.robust"
HONEST = "nobody lies"
LIES = {
    "LabelFlip": "labels of the next class",
    "Scaled": "z times {factor}",
    "Constant": "z constant {value}",
    "Noise": "z with noise {scale}",
    "NotANumber": "z is NaN",
}
POOLS = {
    None: "no defence",
    "trimmed": "farthest quarter out",
    "median": "beyond twice the median out",
    "clip": "clipped",
}


def lie_of(run: Run) -> str:
    """Return what the liars send, in words."""
    name = str(run.config.get(LIE, "")).rpartition(".")[2]
    if not name:
        return HONEST
    settings = {key.rpartition(".")[2]: value for key, value in run.config.items()}
    return LIES.get(name, name).format_map(settings)


def pool_of(run: Run) -> str:
    """Return what the server does about it, in words."""
    robust = run.config.get(ROBUST)
    return POOLS.get(robust, str(robust))


def name_of(run: Run) -> str:
    """Name the lie and the defence."""
    return f"{lie_of(run)}, {pool_of(run)}"


def liars(groups: Sequence[Group]) -> frozenset[str]:
    """Return the clients that lie in any run, as compositions name them."""
    runs = [run for group in groups for run in group.runs]
    named = (run.config[key] for run in runs for key in run.config if key.startswith(CLIENTS))
    return frozenset(str(number) for number in named)


class Measured(NamedTuple):
    """Accuracies of a run after the last round, fractions."""

    others: float  # mean over compositions of honest blocks
    worst: float  # of these
    with_liars: float  # compositions of an honest and a liar's block; NaN without


def measured(run: Run, lying: frozenset[str]) -> Measured:
    """Return the accuracies of a run, by whose blocks they are."""
    rows = run.compositions
    lies = rows["base"].astype(str).isin(lying).astype(int)
    lies += rows["modular"].astype(str).isin(lying).astype(int)
    honest, mixed = rows["accuracy"][lies == 0], rows["accuracy"][lies == 1]
    return Measured(float(honest.mean()), float(honest.min()), float(mixed.mean()))


def accuracies(group: Group, lying: frozenset[str], which: str) -> Value:
    """Return one of the accuracies (%) over seeds."""
    found = [getattr(one, which) for one in group.each(measured, lying)]
    return over_seeds(found, 1, 100, limits=PERCENT)


def lost(group: Group, best: Group | None, lying: frozenset[str]) -> Value:
    """Return how many points the others lose to where nobody lies and nothing is done, by seed."""
    if best is None:
        return over_seeds([], none="-")
    there = {run.seed: measured(run, lying).others for run in best.runs}
    here = {run.seed: measured(run, lying).others for run in group.runs}
    apart = [there[seed] - here[seed] for seed in sorted(there.keys() & here.keys())]
    return over_seeds(apart, 1, 100, none="-")


def plain(groups: Sequence[Group]) -> Group | None:
    """Return the group where nobody lies and nothing is done about it, if it is there."""
    for group in groups:
        if lie_of(group.runs[0]) == HONEST and group.setting(ROBUST) is None:
            return group
    return None


def in_order(groups: Sequence[Group]) -> list[Group]:
    """Return the groups by lie, the honest ones first, then by defence."""
    lies = [HONEST, *sorted({lie_of(group.runs[0]) for group in groups} - {HONEST})]
    pools = [*POOLS.values()]

    def place(group: Group) -> tuple[int, int]:
        pool = pool_of(group.runs[0])
        return lies.index(lie_of(group.runs[0])), pools.index(pool) if pool in pools else len(pools)

    return sorted(groups, key=place)


def by_pool(groups: Sequence[Group]) -> Mapping[str, Sequence[Group]]:
    """Return the groups of each defence, in order."""
    found: dict[str, list[Group]] = {}
    for group in in_order(groups):
        found.setdefault(pool_of(group.runs[0]), []).append(group)
    return found


def draw(groups: Sequence[Group]) -> dict[str, Figure]:
    """Draw the others' accuracy, a place for each lie and a mark for each defence."""
    figure, (axes,) = panels(1, 4.4, 7)
    lying = liars(groups)
    lies = list(dict.fromkeys(lie_of(group.runs[0]) for group in in_order(groups)))
    defences = by_pool(groups)
    for n, (pool, theirs) in enumerate(defences.items()):
        apart = 0.14 * (n - (len(defences) - 1) / 2)
        at = [lies.index(lie_of(group.runs[0])) + apart for group in theirs]
        style = {**look(n), "linestyle": "none"}
        draw_points(axes, at, theirs, lambda run: 100 * measured(run, lying).others, style, pool)
    axes.set_xticks(range(len(lies)), lies)
    axes.set(xlim=(-0.5, len(lies) - 0.5), ylim=(0, 100), ylabel="the others' accuracy (%)")
    title = f"{groups[0].data}: blocks of clients that do not lie, one of four lying"
    return {"byzantine": finish(figure, title)}


def tabulate(groups: Sequence[Group]) -> list[Table]:
    """Return the others' accuracies, and what each lie costs them."""
    lying, best = liars(groups), plain(groups)
    rows: list[list[Cell]] = []
    for group in in_order(groups):
        row: list[Cell] = [lie_of(group.runs[0]), pool_of(group.runs[0]), len(group.runs)]
        row += [accuracies(group, lying, which) for which in Measured._fields]
        row.append(lost(group, best, lying))
        row.append(over_seeds([100 * v for v in group.each(metrics.last, "accuracy_mean")], 1))
        rows.append(row)
    head = ["the liar sends", "pool", "seeds", "others (%)", "worst of these (%)"]
    head += ["with a liar's block (%)", "lost by others (points)", "all blocks (%)"]
    caption = f"{groups[0].data}: blocks of clients that do not lie"
    names = ", ".join(sorted(lying)) or "none"
    notes = f"Clients that lie: {names}. Others: accuracy of all compositions in which neither "
    notes += "block is theirs, after the last round; the same compositions where nobody lies. With "
    notes += "a liar's block: those in which one block is. Lost: against no lie and no defence, "
    notes += "seed by seed. ± is half the 95 % Student t interval over seeds."
    return [Table("byzantine", caption, head, rows, notes)]


def claim(groups: Sequence[Group]) -> list[Claim]:
    """Give what the others come to under each lie, with and without a defence."""
    lying, claims = liars(groups), []
    for lie in dict.fromkeys(lie_of(group.runs[0]) for group in in_order(groups)):
        theirs = [group for group in in_order(groups) if lie_of(group.runs[0]) == lie]
        said = [f"{pool_of(g.runs[0])} {accuracies(g, lying, 'others')}" for g in theirs]
        claims.append(Claim(f"{lie}: the others' accuracy (%)", "open", "; ".join(said)))
    return claims


STUDIES = [Study("open/byzantine", name_of, draw, tabulate, claim, folds=False)]
