"""Study beyond/choices: settings of the methods of beyond/pareto, on validation data.

First the learning rate in one format, then the format and one setting of the method's own.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill

from matplotlib.figure import Figure

from ifl.analysis.alone import optimizer_name
from ifl.analysis.charts import finish, look, panels
from ifl.analysis.collect import Group, Run
from ifl.analysis.metrics import last
from ifl.analysis.studies.base import Claim, Study, accuracy_of, final
from ifl.analysis.studies.terms import ROUNDS, whose
from ifl.analysis.tables import PERCENT, Cell, Table, over_seeds

FORMAT = ("codec.", "fusion.", "optimizer.")  # what all methods are tried with
OWN = ("local", "fml", "feddistill", "fedmd", "ds_fl")  # predict with their own network
WITHIN = 1.0  # points below a method's best that a cheaper format may be


def setting_of(run: Run) -> str:
    """Name method, format and optimiser, and the rounds where they are fewer."""
    name = f"{whose(run)}, {format_of(run)}, {optimizer_name(run)}"
    return f"{name}, {run.config['rounds']} rounds" if 1 < run.config["rounds"] < ROUNDS else name


def format_of(run: Run) -> str:
    """Name codec and d."""
    return f"{run.choices['codec']}, d = {run.config['fusion.dim']}"


def measure(run: Run) -> float:
    """Return what settings are chosen by (%): accuracy of own blocks where only these are meant."""
    column = "accuracy_local" if run.method.choice in OWN else "accuracy_mean"
    return 100 * last(run, column)


@dataclass(frozen=True)
class Tried:
    """The settings of a method: which were tried, and which is chosen.

    Args:
        rates: groups in the format in which learning rates were compared.
        rate: the best of them over the seeds that most of them have, or None.
        formats: groups with that learning rate, ``rate`` among them, and those of fewer rounds.
        chosen: the cheapest of them that is at most ``WITHIN`` points below the best.
    """

    rates: Sequence[Group]
    rate: Group
    formats: Sequence[Group]
    chosen: Group


def tried(own: Sequence[Group]) -> Tried:
    """Return the choice among a method's groups, by the rule of docs/protocol.md."""
    usual = own_settings(own)
    by_format: dict[str, list[Group]] = {}
    for group in own:
        if not usual[group.name]:
            by_format.setdefault(format_of(group.runs[0]), []).append(group)
    rates = max(by_format.values(), key=len)
    rate = best(rates)
    formats = [g for g in own if like(g, rate) or fewer(g, rate)]
    means = over_common_seeds(formats)
    near = [g for g in formats if means[g.name] >= max(means.values()) - WITHIN]
    cheapest = min(near, key=lambda g: (uplink(g), -means[g.name]))
    return Tried(rates, rate, formats, cheapest)


def like(group: Group, rate: Group) -> bool:
    """Return whether two groups have one learning rate."""
    return optimizer_name(group.runs[0]) == optimizer_name(rate.runs[0])


def fewer(group: Group, other: Group) -> bool:
    """Return whether a group has fewer rounds than another, which may suit another rate."""
    return bool(group.setting("rounds") < other.setting("rounds"))


def own_settings(groups: Sequence[Group]) -> dict[str, bool]:
    """Return of each of a method's groups whether it has a setting that most of them have not."""
    rest = {
        group.name: tuple(
            (key, repr(value))
            for key, value in sorted(group.runs[0].config.items())
            if not key.startswith(FORMAT) and not key.endswith(".fusion_dim")
        )
        for group in groups
    }
    ((usual, _),) = Counter(rest.values()).most_common(1)
    return {name: settings != usual for name, settings in rest.items()}


def best(groups: Sequence[Group]) -> Group:
    """Return the best of those that have as many seeds as any."""
    seeds = max(len(group.runs) for group in groups)
    means = over_common_seeds([group for group in groups if len(group.runs) == seeds])
    return max((g for g in groups if g.name in means), key=lambda g: means[g.name])


def over_common_seeds(groups: Sequence[Group]) -> dict[str, float]:
    """Return each group's mean accuracy (%) over the seeds that all of them have."""
    common = set.intersection(*({run.seed for run in group.runs} for group in groups))
    means = {}
    for group in groups:
        values = [measure(run) for run in group.runs if run.seed in common or not common]
        means[group.name] = sum(values) / len(values)
    return means


def uplink(group: Group) -> float:
    """Return MB up per client in all."""
    return float(over_seeds(group.each(final("uplink_mb_per_client"))).mean)


def by_method(groups: Sequence[Group]) -> dict[str, list[Group]]:
    """Return the groups of each method."""
    found: dict[str, list[Group]] = {}
    for group in groups:
        found.setdefault(whose(group.runs[0]), []).append(group)
    return found


def draw(groups: Sequence[Group]) -> dict[str, Figure]:
    """Draw rates, and formats, of each method in a row; what is taken of them is ringed."""
    all_tried = {name: tried(own) for name, own in by_method(groups).items()}
    rates = {name: (one.rates, one.rate) for name, one in all_tried.items()}
    formats = {name: (one.formats, one.chosen) for name, one in all_tried.items()}
    data = groups[0].data
    odd = {k: v for own in by_method(groups).values() for k, v in own_settings(own).items()}

    def format_or_own(group: Group) -> str:
        return "a setting of its own" if odd[group.name] else format_of(group.runs[0])

    return {
        "rates": rows(rates, lambda g: optimizer_name(g.runs[0]), f"{data}: learning rates"),
        "formats": rows(formats, format_or_own, f"{data}: formats at the chosen rate"),
    }


def rows(
    methods: Mapping[str, tuple[Sequence[Group], Group]], kind: Callable[[Group], str], title: str
) -> Figure:
    """Draw the accuracy of groups in a row for each method, with a look for each kind.

    Args:
        methods: groups by method, and the one to ring.
        kind: names what tells the groups of a method apart.
        title: of the figure.
    """
    kinds = sorted({kind(group) for own, _ in methods.values() for group in own})
    figure, (axes,) = panels(1, 1.2 + 0.42 * len(methods), 8)
    for n, name in enumerate(kinds):
        axes.plot([], [], **look(n) | {"linestyle": "none"}, label=name)
    for row, (own, taken) in enumerate(methods.values()):
        for group in own:
            style = look(kinds.index(kind(group))) | {"linestyle": "none"}
            at = over_seeds(group.each(measure)).mean
            axes.plot(at, -row, **style)
            if group is taken:
                ring = {"marker": "o", "markersize": 13, "fillstyle": "none", "color": "black"}
                axes.plot(at, -row, **ring)
    axes.set_yticks([-row for row in range(len(methods))], [fill(name, 34) for name in methods])
    low = min(over_seeds(g.each(measure)).mean for own, _ in methods.values() for g in own)
    axes.set(xlabel="accuracy (%)", xlim=(10 * (max(low - 1, 0) // 10), 100))
    return finish(figure, f"{title} on held-out training data; ringed: taken", 3)


def tabulate(groups: Sequence[Group]) -> list[Table]:
    """Return every setting that was tried, with what is taken."""
    cells: list[list[Cell]] = []
    for method, own in by_method(groups).items():
        one = tried(own)
        for group in own:
            word = "rate" if group is one.rate else ""
            word = "chosen" if group is one.chosen else word
            row: list[Cell] = [method, group.name.removeprefix(f"{method}, "), len(group.runs)]
            row.append(over_seeds([uplink(group)], 4))
            row.append(over_seeds(group.each(measure), limits=PERCENT))
            cells.append([*row, accuracy_of(group, "accuracy_local"), word])
    head = ["method", "setting", "seeds", "up per client (MB)", "accuracy (%)", "local (%)"]
    caption = f"{groups[0].data}: all settings that were tried"
    notes = "Accuracy: mean over compositions, or of own blocks for methods that predict with "
    notes += "their own network, after the last round. Rate: the best learning rate in the format "
    notes += (
        f"that all rates had. Chosen: the cheapest setting within {WITHIN:g} point of the best "
    )
    notes += "at that rate, over the seeds that all of them have; where no row says rate, it is "
    notes += "the same one."
    return [Table("choice", caption, [*head, "taken"], cells, notes)]


def claim(groups: Sequence[Group]) -> list[Claim]:
    """Name each method's chosen setting."""
    claims = []
    for method, own in by_method(groups).items():
        chosen = tried(own).chosen
        value = over_seeds(chosen.each(measure), limits=PERCENT)
        here = f"{chosen.name.removeprefix(f'{method}, ')}: {value}"
        claims.append(Claim(f"choice for {method}, of {len(own)} settings (%)", "-", here))
    return claims


STUDIES = [Study("beyond/choices", setting_of, draw, tabulate, claim, folds=False)]
