"""Study open/privacy: what it costs in accuracy to hide labels, or z."""

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ifl.analysis.charts import along, draw_points, finish, level, look, panels
from ifl.analysis.collect import Group, Run
from ifl.analysis.studies.base import Claim, Study, accuracy_of, difference, final, outcome
from ifl.analysis.tables import Table, over_seeds

EPSILON, CORRECTION = "privacy.label_epsilon", "privacy.correction"
CLIP, NOISE = "privacy.clip", "privacy.noise"


def name_of(run: Run) -> str:
    """Name what is hidden."""
    words = []
    if epsilon := run.config.get(EPSILON):
        words.append(f"epsilon of labels {epsilon:g}, {run.config.get(CORRECTION, 'backward')}")
    if clip := run.config.get(CLIP):
        words.append(f"clip {clip:g}, noise {run.config.get(NOISE) or 0:g}")
    return "; ".join(words) or "nothing hidden"


def open_of(groups: Sequence[Group]) -> Group | None:
    """Return the group that hides nothing."""
    hidden = (EPSILON, CLIP)
    return next((g for g in groups if not any(g.setting(key) for key in hidden)), None)


def draw(groups: Sequence[Group]) -> dict[str, Figure]:
    """Draw the last accuracy against the epsilon of labels, and against the noise on z."""
    figure, (left, right) = panels(2, 4.6, sharey=True)
    labels = [group for group in groups if group.setting(EPSILON)]
    _lines(left, labels, correction, lambda group: float(group.setting(EPSILON)))
    left.set(xlabel="epsilon of labels", ylabel="test accuracy (%)", ylim=(0, 100))
    clipped = [group for group in groups if group.setting(CLIP)]
    _lines(right, clipped, norm, lambda group: float(group.setting(NOISE) or 0))
    right.set(xlabel="noise on z, in clips")
    if plain := open_of(groups):
        at = over_seeds(plain.each(final("accuracy_mean"))).mean
        for axes in (left, right):
            axes.axhline(at, **level(look(6)), label=plain.name)
    return {"privacy": finish(figure, f"{groups[0].data}: the price of hiding labels, or z")}


def correction(group: Group) -> str:
    """Name what the loss makes of randomised labels."""
    return f"correction={group.setting(CORRECTION) or 'backward'}"


def norm(group: Group) -> str:
    """Name the norm that rows of z are shortened to."""
    return f"clip {group.setting(CLIP):g}"


def _lines(
    axes: Axes,
    groups: Sequence[Group],
    name: Callable[[Group], str],
    place: Callable[[Group], float],
) -> None:
    """Draw a line for each name, at places that stand apart evenly."""
    places = sorted({place(group) for group in groups})
    for n, own in enumerate(dict.fromkeys(map(name, groups))):
        chosen = sorted((group for group in groups if name(group) == own), key=place)
        at = [float(1 + places.index(place(group))) for group in chosen]
        draw_points(axes, at, chosen, final("accuracy_mean"), look(n), own)
    if places:
        along(axes, [float(1 + n) for n in range(len(places))], [f"{x:g}" for x in places])


def claim(groups: Sequence[Group]) -> list[Claim]:
    """Give every accuracy, and how far it is from hiding nothing where this was run."""
    plain, claims = open_of(groups), []
    for group in groups:
        what, here = f"{group.name}: accuracy (%)", str(accuracy_of(group))
        if plain and group is not plain:
            what, here = (
                f"{what}; less nothing hidden (points)",
                f"{here}; {difference(group, plain)}",
            )
        claims.append(Claim(what, "-", here))
    return claims


def tabulate(groups: Sequence[Group]) -> list[Table]:
    """Return what all came to."""
    return [outcome(groups)]


STUDIES = [Study("open/privacy", name_of, draw, tabulate, claim)]
