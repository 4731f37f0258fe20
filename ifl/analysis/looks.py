"""Chooses which lines of a figure carry colour, and gives a method the same one in all figures.

At most ``MOST`` lines do; the rest are grey and thin. The colours of two methods are told apart by
readers with deuteranopia and protanopia too; variants of one method differ by dash and marker.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from matplotlib.colors import to_hex, to_rgb

from ifl.analysis.collect import Group
from ifl.analysis.metrics import last

MOST = 8  # lines of a figure that carry colour
Style = dict[str, Any]  # as matplotlib takes it: colour, dash, marker


class Kind(NamedTuple):
    """A method as figures know it."""

    colour: str
    family: str  # methods of one idea


# Okabe & Ito 2008 for those that most figures show; the others as far from all of these, and from
# each other, as they can be for all three kinds of readers (CIELAB, Machado et al. 2009).
METHODS = {
    "ifl": Kind("#0072B2", "ifl"),
    "ifl_aligned": Kind("#56B4E9", "ifl"),
    "ifl_frugal": Kind("#CC79A7", "ifl"),
    "ifl_anchored": Kind("#780078", "ifl"),
    "ifl_statistics": Kind("#6969FF", "ifl"),
    "ifl_one_round": Kind("#0000FF", "ifl"),
    "late_vendor": Kind("#0000C3", "ifl"),
    "fsl": Kind("#D55E00", "split"),
    "cse_fsl": Kind("#5A2D00", "split"),
    "fsl_sage": Kind("#A53C00", "split"),
    "fedlite": Kind("#4B002D", "split"),
    "fl": Kind("#009E73", "averaging"),
    "lg_fedavg": Kind("#5AC369", "averaging"),
    "fedgh": Kind("#E69F00", "prototypes"),
    "fedproto": Kind("#C32D3C", "prototypes"),
    "fedtgp": Kind("#F0784B", "prototypes"),
    "feddistill": Kind("#692D3C", "distillation"),
    "fedmd": Kind("#09753F", "distillation"),
    "ds_fl": Kind("#A5B4D2", "distillation"),
    "feddf": Kind("#2D7869", "averaging"),
    "fml": Kind("#001E4B", "distillation"),
    "relative": Kind("#6996FF", "relative"),
    "local": Kind("#000000", "alone"),
    "centralized": Kind("#784B78", "together"),
}
SPARE = ("#000087", "#4BC387", "#1E4BFF", "#1E4BB4", "#002D78")  # for users' own methods
MARKERS, DASHES = "os^Dv<>P", ("-", "--", "-.", ":")
GREY: Style = {"color": "#BDBDBD", "linewidth": 0.8, "zorder": 1.5, "gid": "grey"}


def family(choice: str) -> str:
    """Return the family of a choice of conf/method; one that is not known is its own."""
    return METHODS[choice].family if choice in METHODS else choice


def colours(choices: Iterable[str]) -> dict[str, str]:
    """Return the colours of choices of conf/method, each another one.

    One that is not known has a spare colour that follows from its name, or the next one that is
    free where two would share it.
    """
    names = dict.fromkeys(choices)
    found = {name: METHODS[name].colour for name in names if name in METHODS}
    free = [*SPARE, *(kind.colour for name, kind in METHODS.items() if name not in found)]
    for name in sorted(names.keys() - found.keys()):
        at = crc32(name.encode()) % len(SPARE)
        ring = [*free[at:], *free[:at]]
        found[name] = next((c for c in ring if c not in found.values()), ring[0])
    return found


def colour(choice: str) -> str:
    """Return the colour of a choice of conf/method in a figure without others of users' own."""
    return colours([choice])[choice]


def shades(base: str, count: int) -> list[str]:
    """Return so many shades of a colour, dark to light."""
    if count == 1:
        return [base]
    found = []
    for n in range(count):
        light = 1.1 * n / (count - 1) - 0.5  # -0.5: half way to black; 0.6: on the way to white
        end, share = (1.0, light) if light > 0 else (0.0, -light)
        red, green, blue = (part + (end - part) * share for part in to_rgb(base))
        found.append(to_hex((red, green, blue)))
    return found


def variant(shade: str, n: int, first: int = 0) -> Style:
    """Return the look of the n-th variant of what has a colour.

    Args:
        shade: the colour.
        n: decides the dash.
        first: the marker of the first variant, by number.
    """
    dash, marker = DASHES[n % len(DASHES)], MARKERS[(first + n) % len(MARKERS)]
    return {"color": shade, "linestyle": dash, "marker": marker}


def parts(choice: str, count: int) -> list[Style]:
    """Return looks for several measures of one method: shades of its colour."""
    return [variant(shade, n) for n, shade in enumerate(shades(colour(choice), count))]


def ends(group: Group) -> float:
    """Return the mean accuracy after the last round, over seeds; a fraction."""
    return float(np.mean(group.each(last, "accuracy_mean")))


def shown(groups: Sequence[Group], named: Collection[str] = (), most: int = MOST) -> list[Group]:
    """Return the groups that carry colour, in the order of the figure.

    All of them where there are few. Else those that a study names, the paper's IFL, the best of
    this project's kin of it, the best of each other family, the best of each other method, and
    then whoever is best; best: by the mean accuracy after the last round.
    """
    if len(groups) <= most:
        return [*groups]
    best = sorted(groups, key=ends, reverse=True)
    paper = sorted((g for g in groups if g.method.choice == "ifl"), key=lambda g: len(g.name))[:1]
    kin = [g for g in best if family(g.method.choice) == "ifl" and g.method.choice != "ifl"][:1]
    order = [*(g for g in groups if g.name in named), *paper, *kin]
    for key in (lambda g: family(g.method.choice), lambda g: g.method.choice, lambda g: g.name):
        there = {key(group) for group in order}
        for group in best:
            if key(group) not in there:
                there.add(key(group))
                order.append(group)
    chosen = list(dict.fromkeys(order))[:most]
    return [group for group in groups if group in chosen]


def styled(
    groups: Sequence[Group], named: Collection[str] = (), most: int = MOST
) -> list[tuple[Group, Style]]:
    """Return each group with its look: those of ``shown`` in colour, the others grey.

    Where all that are shown are of one method, each has another shade of its colour.
    """
    chosen = shown(groups, named, most)
    of = colours(group.method.choice for group in chosen)
    places = {choice: n for n, choice in enumerate([*METHODS, *sorted(of.keys() - METHODS)])}
    ramp = shades(next(iter(of.values())), len(chosen)) if len(of) == 1 else None
    pairs, seen = [], dict.fromkeys(of, 0)
    for group in groups:
        if group not in chosen:
            pairs.append((group, GREY))
            continue
        choice = group.method.choice
        n, shade = seen[choice], ramp[seen[choice]] if ramp else of[choice]
        pairs.append((group, variant(shade, n, 0 if ramp else places[choice])))
        seen[choice] += 1
    return pairs
