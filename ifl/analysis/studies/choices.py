"""Study beyond/choices: optimisers of the methods of beyond/pareto, on validation data."""

from collections.abc import Sequence
from textwrap import fill

from matplotlib.figure import Figure

from ifl.analysis.alone import optimizer_name
from ifl.analysis.charts import finish, look, panels
from ifl.analysis.collect import Group
from ifl.analysis.studies.accuracy_vs_uplink import PAPER_MB
from ifl.analysis.studies.base import Study
from ifl.analysis.studies.optimizer import best, by_method, chosen_at, claim, name_of, tabulate
from ifl.analysis.tables import Table, over_seeds


def draw(groups: Sequence[Group]) -> dict[str, Figure]:
    """Draw every setting's accuracy in a row for each method, the best of each ringed."""
    methods = by_method(groups)
    settings = sorted({optimizer_name(group.runs[0]) for group in groups})
    figure, (axes,) = panels(1, 1 + 0.55 * len(methods), 8)
    for n, setting in enumerate(settings):
        axes.plot([], [], **look(n) | {"linestyle": "none"}, label=setting)
    for row, own in enumerate(methods.values()):
        for group in own:
            style = look(settings.index(optimizer_name(group.runs[0])))
            mean = over_seeds(group.each(chosen_at)).mean
            axes.plot(mean, -row, **style | {"linestyle": "none"})
            if group is best(own):
                ring = {"marker": "o", "markersize": 13, "fillstyle": "none", "color": "black"}
                axes.plot(mean, -row, **ring)
    axes.set_yticks([-row for row in range(len(methods))], [fill(name, 32) for name in methods])
    axes.set(xlabel="accuracy (%)", xlim=(0, 100))
    title = f"{groups[0].data}: accuracy at {PAPER_MB} MB of uplink per client or the run's end"
    return {"choices": finish(figure, f"{title}; ringed: the best", 3)}


def marked(groups: Sequence[Group]) -> list[Table]:
    """Return every setting, the best of each method marked."""
    return tabulate(groups)[:1]


STUDIES = [Study("beyond/choices", name_of, draw, marked, claim, folds=False)]
