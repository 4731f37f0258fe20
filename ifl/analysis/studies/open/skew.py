"""Studies open/skew, open/skew_choices and open/anchors: who learns what others know."""

from collections.abc import Callable, Sequence

from matplotlib.figure import Figure

from ifl.analysis.charts import along, draw_points, finish, panels
from ifl.analysis.collect import Group, Run
from ifl.analysis.looks import styled
from ifl.analysis.metrics import own_mix
from ifl.analysis.studies.base import Claim, Study, accuracy_of, final, outcome
from ifl.analysis.studies.beyond import choices
from ifl.analysis.studies.terms import terms
from ifl.analysis.tables import PERCENT, Cell, Table, Value, over_seeds

ALPHA, FACTOR, RATE = "partition.alpha", "logit_adjustment", "optimizer.base.lr"
BALANCE, COUNT = "method.anchors.balance", "anchors.count"
MEAN, OWN = "mean over compositions", "own blocks on the client's own classes"
TAU = 40  # of most runs
USUAL = {"anchors.count": 1000, "rows": 256, "partition.alpha": 0.1}  # in open/anchors
PARTITIONS = ("classes", "dirichlet", "quantity", "iid")  # from skewed labels to alike


def method_of(run: Run) -> str:
    """Name the method, and what of it is not as usual."""
    rows = run.config.get("method.anchors.rows")
    if run.method.choice == "local" and rows:
        return f"{run.method.title}, anchors"
    if run.method.choice == "ifl_anchored" and not run.config.get(BALANCE):
        return f"{run.method.title}, not balanced"
    return run.method.title


def partition_of(run: Run) -> str:
    """Name how samples are dealt, and local steps that are more than usual."""
    name, tau = str(run.choices["partition"]), run.config["local.tau"]
    if name == "dirichlet":
        name = f"alpha {run.config[ALPHA]:g}"
    elif name == "classes":
        name = f"{run.config['partition.per_client']} classes"
    return name if tau == TAU else f"{name}, tau {tau}"


def place_of(run: Run) -> tuple[int, float]:
    """Return what puts partitions in order, those with the most skewed labels first."""
    name = str(run.choices["partition"])
    known = PARTITIONS.index(name) if name in PARTITIONS else len(PARTITIONS)
    return known, float(run.config.get(ALPHA) or run.config["local.tau"])


def name_of(run: Run) -> str:
    """Name method and partition."""
    return f"{method_of(run)}, {partition_of(run)}"


def by_method(groups: Sequence[Group]) -> dict[str, dict[str, Group]]:
    """Return the groups by method and partition."""
    found: dict[str, dict[str, Group]] = {}
    for group in groups:
        run = group.runs[0]
        found.setdefault(method_of(run), {}).setdefault(partition_of(run), group)
    return found


def partitions(groups: Sequence[Group]) -> list[str]:
    """Return the names of the partitions, those with the most skewed labels first."""
    firsts = sorted((group.runs[0] for group in groups), key=place_of)
    return [*dict.fromkeys(map(partition_of, firsts))]


def measure(name: str) -> Callable[[Run], float]:
    """Return what gives an accuracy (%)."""
    if name == MEAN:
        return final("accuracy_mean")
    return lambda run: 100 * own_mix(run)


def draw(groups: Sequence[Group]) -> dict[str, Figure]:
    """Draw both accuracies of each method against the partitions."""
    names, methods = partitions(groups), by_method(groups)
    looks = dict(styled([next(iter(theirs.values())) for theirs in methods.values()]))
    figure, all_axes = panels(2, 4, 4, sharey=True)
    for axes, what in zip(all_axes, (MEAN, OWN), strict=True):
        for method, theirs in methods.items():
            at = [place for place, name in enumerate(names) if name in theirs]
            chosen = [theirs[names[place]] for place in at]
            draw_points(axes, at, chosen, measure(what), looks[next(iter(theirs.values()))], method)
        axes.set_xticks(range(len(names)), names, rotation=30, size="small")
        axes.set(title=what, ylim=(0, 100))
    all_axes[0].set_ylabel("test accuracy (%)")
    return {"skew": finish(figure, f"{groups[0].data}: accuracy against how labels are dealt", 3)}


def tabulate(groups: Sequence[Group]) -> list[Table]:
    """Return both accuracies by method and partition, and what all came to."""
    names, tables = partitions(groups), []
    for file, what in (("mean", MEAN), ("own-classes", OWN)):
        rows: list[list[Cell]] = []
        for method, theirs in by_method(groups).items():
            found = {name: value(theirs[name], what) for name in names if name in theirs}
            rows.append([method, *(found.get(name, "-") for name in names)])
        caption = f"{groups[0].data}: accuracy (%) after the last round, {what}"
        tables.append(Table(file, caption, ["method", *names], rows))
    return [*tables, outcome(groups)]


def value(group: Group, what: str) -> Value:
    """Return an accuracy (%) over seeds."""
    return over_seeds(group.each(measure(what)), limits=PERCENT)


def claim(groups: Sequence[Group]) -> list[Claim]:
    """Name who is best of each partition."""
    claims = []
    for name in partitions(groups):
        there = [theirs[name] for theirs in by_method(groups).values() if name in theirs]
        first = max(there, key=lambda group: accuracy_of(group).mean)
        here = f"{accuracy_of(first)}, by {method_of(first.runs[0])}"
        claims.append(Claim(f"most accuracy over compositions with {name} (%)", "open", here))
    return claims


def setting_of(run: Run) -> str:
    """Name method, rate and adjustment."""
    adjusted = ", adjusted" if run.config.get(FACTOR) else ""
    return f"{method_of(run)}, {run.config[RATE]:g}{adjusted}"


def draw_choices(groups: Sequence[Group]) -> dict[str, Figure]:
    """Draw what settings are chosen by against the rate, with and without adjusted losses."""
    figure, all_axes = panels(2, 5, 5, sharey=True)
    firsts = {method_of(group.runs[0]): group for group in reversed(groups)}
    looks = dict(styled([*firsts.values()]))
    for axes, factor in zip(all_axes, (0, 1), strict=True):
        there = [group for group in groups if (group.setting(FACTOR) or 0) == factor]
        for method, first in firsts.items():
            same = [group for group in there if method_of(group.runs[0]) == method]
            rates = [float(group.setting(RATE)) for group in same]
            draw_points(axes, rates, same, choices.measure, looks[first], method)
        every = sorted({float(group.setting(RATE)) for group in there})
        along(axes, every, [f"{rate:g}" for rate in every])
        axes.set(title=f"{FACTOR}={factor}", xlabel="learning rate", ylim=(0, 100))
    all_axes[0].set_ylabel("accuracy (%)")
    return {"choices": finish(figure, f"{groups[0].data}: accuracy by rate and loss", 3)}


def chosen(groups: Sequence[Group]) -> dict[str, Group]:
    """Return the best setting of each method: by own blocks where only these are meant."""
    best: dict[str, Group] = {}
    for group in groups:
        method = method_of(group.runs[0])
        if method not in best or worth(group) > worth(best[method]):
            best[method] = group
    return best


def worth(group: Group) -> float:
    """Return what settings are chosen by (%), over seeds."""
    return over_seeds(group.each(choices.measure)).mean


def claim_choices(groups: Sequence[Group]) -> list[Claim]:
    """Name the setting that each method gets."""
    return [
        Claim(f"setting of {method}", "-", f"{group.name}: {worth(group):.1f} %")
        for method, group in chosen(groups).items()
    ]


def tabulate_all(groups: Sequence[Group]) -> list[Table]:
    """Return what all came to."""
    return [outcome(groups)]


def claim_anchors(groups: Sequence[Group]) -> list[Claim]:
    """Give accuracy, SD and bytes of every setting."""
    claims = []
    for group in groups:
        sd = over_seeds(group.each(final("accuracy_sd")), 2)
        up = over_seeds(group.each(final("uplink_mb_per_client")), 3).mean
        here = f"{accuracy_of(group)}; {sd}; {up:.3f}"
        claims.append(Claim(f"{group.name}: accuracy (%); SD (points); MB up", "open", here))
    return claims


def need_of(run: Run) -> str:
    """Name what of a run of open/anchors is not as usual."""
    own = {
        key: run.config.get(f"method.anchors.{key}") for key in ("rows", "mixtures", "mixed", "mix")
    }
    domain, count, rows = str(run.choices.get("anchors")), run.config.get(COUNT), own["rows"]
    words = []
    if own["mixtures"]:
        words.append(f"mixtures {own['mix'] or 'across'} classes, m = {own['mixed'] or 8}")
    elif domain != "held_out":
        words.append(f"anchors={domain}")
    elif count != USUAL[COUNT]:
        words.append(f"{count} anchors")
    if rows != min(USUAL["rows"], count or USUAL["rows"]):
        words.append(f"{rows or 'no'} anchors a round")
    if run.config[ALPHA] != USUAL[ALPHA]:
        words.append(partition_of(run))
    if not run.config.get(FACTOR):
        words.append(f"{FACTOR}=0")
    if not run.config.get(BALANCE):
        words.append("not balanced")
    for key in ("weighted", "distort"):
        if run.config.get(f"method.anchors.{key}") is False:
            words.append(f"{key}=false")
    return ", ".join(words) or "as usual"


def draw_anchors(groups: Sequence[Group]) -> dict[str, Figure]:
    """Draw accuracies against MB up, by group."""
    figure, (axes,) = panels(1, 4, 5)
    for group, style in styled(groups):
        at = [over_seeds(group.each(final("uplink_mb_per_client"))).mean]
        draw_points(axes, at, [group], final("accuracy_mean"), style, group.name)
    axes.set(xlabel="up, per client (MB)", ylabel="test accuracy (%)")
    return {"anchors": finish(figure, f"{groups[0].data}: what anchors need", 2)}


def remark(groups: Sequence[Group]) -> list[str]:
    """Say on what terms the methods stand beside each other."""
    return [terms(groups, "open/skew_choices")]


STUDIES = [
    Study("open/skew", name_of, draw, tabulate, claim, remark, folds=False),
    Study("open/skew_choices", setting_of, draw_choices, tabulate_all, claim_choices),
    Study("open/anchors", need_of, draw_anchors, tabulate_all, claim_anchors, folds=False),
]
