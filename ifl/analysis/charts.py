"""Draws the parts of figures: lines with intervals, axes, matrices."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from math import nan
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from ifl.analysis.collect import Group, Run, half_width
from ifl.analysis.labels import is_mark, label_ends, line_of
from ifl.analysis.looks import DASHES, GREY, MARKERS, Style
from ifl.analysis.tables import says_nothing

UPLINK_AXES = {  # column of rounds: label of its axis
    "uplink_mb": "uplink, all clients (MB)",
    "uplink_mb_per_client": "uplink per client (MB)",
}
# Okabe & Ito 2008, for what is no method: optimisers, kinds of messages.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_NARROW = ContextVar("narrow", default=False)
HATCHES = ("", "///", "...", "xxx", "\\\\\\")


def look(n: int) -> Style:
    """Return the look of the n-th of several things that are no methods."""
    style = {"color": COLOURS[n % len(COLOURS)], "linestyle": DASHES[n % len(DASHES)]}
    return style | {"marker": MARKERS[n % len(MARKERS)]}


def level(style: Style) -> Style:
    """Return the look of a level line: without markers."""
    return {key: value for key, value in style.items() if key != "marker"}


def draw_line(
    axes: Axes,
    group: Group,
    column: str,
    style: Style,
    label: str,
    accuracy: str = "accuracy_mean",
) -> None:
    """Draw a group's accuracy (%) of a kind against a column, with its interval shaded.

    A grey line has no interval, and no name but in the table.
    """
    curve = group.curve(accuracy)
    if style is GREY:
        axes.plot(curve[column], 100 * curve[accuracy], **style, label=f"_{label}")
        return
    mark = {"markevery": 1 + len(curve) // 12, "markersize": 4.5, "label": label}
    axes.plot(curve[column], 100 * curve[accuracy], **style | mark)
    bounds = 100 * curve["low"], 100 * curve["high"]
    axes.fill_between(curve[column], *bounds, color=style["color"], alpha=0.15, linewidth=0)


def logarithmic(axes: Axes) -> None:
    """Make the x axis logarithmic, with plain numbers that do not crowd it."""
    low, high = axes.dataLim.intervalx
    if not np.isfinite([low, high]).all():  # nothing is drawn
        axes.set_xlim(0.1, 1)
    elif low == high:  # a single point
        axes.set_xlim(low / 2, high * 2)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    locator = LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,))
    axes.xaxis.set(major_locator=locator, major_formatter="{x:g}", minor_formatter="")


def along(axes: Axes, at: Sequence[float], names: Sequence[str] | None = None) -> None:
    """Make the x axis logarithmic around these places; with names, they have the only ticks."""
    if at:
        axes.set_xlim(min(at) / 1.3, max(at) * 1.3)
    axes.set_xscale("log")
    if names is not None:
        axes.set_xticks(at, names)
        axes.set_xticks([], minor=True)


def draw_points(
    axes: Axes,
    at: Sequence[float],
    groups: Sequence[Group],
    measure: Callable[[Run], float],
    style: Style,
    label: str,
) -> None:
    """Draw a measure of one group after the other, mean and interval; not where it has none.

    Where the interval says nothing, as that of two seeds, their values are drawn in its place.
    """
    style = {key: value for key, value in style.items() if key != "gid"}  # a grey one is named too
    values = [pd.Series(group.each(measure), dtype=float).dropna() for group in groups]
    means, halves = [v.mean() for v in values], [half_width(v) for v in values]
    if np.isnan(means).all():
        return
    for n, (place, seeds) in enumerate(zip(at, values, strict=True)):
        if len(seeds) and says_nothing([*seeds], halves[n]):
            halves[n] = nan
            dots: Style = {"color": style.get("color"), "marker": "_", "linestyle": "none"}
            axes.plot([place] * len(seeds), seeds, **dots, label=f"_{label}, seeds")
    axes.errorbar(at, means, np.nan_to_num(halves), **style, label=label, capsize=3)


def draw_matrices(
    groups: Sequence[Group], owners: Callable[[Run, str], str] = lambda run, owner: owner
) -> Figure | None:
    """Draw the compositions of every group that has more than one; None if none has.

    Args:
        groups: one panel each.
        owners: names the owner of a base block.
    """
    panels = [(group, 100 * group.matrix()) for group in groups if group.matrix().size > 1]
    if not panels:
        return None
    most = 1 if _NARROW.get() else 3
    rows, columns = 1 + (len(panels) - 1) // most, min(len(panels), most)
    figure = Figure(figsize=(1.5 + 3.2 * columns, 0.8 + 3.4 * rows), layout="constrained")
    low = min(90, 10 * (min(matrix.to_numpy().min() for _, matrix in panels) // 10))
    for position, (group, matrix) in enumerate(panels, 1):
        axes = figure.add_subplot(rows, columns, position)
        image = axes.imshow(matrix, cmap="cividis", aspect="auto", vmin=low, vmax=100)
        title = fill(group.name, 30)
        axes.set(title=title, xlabel="modular block's owner", ylabel="base block's owner")
        named = [fill(owners(group.runs[0], str(owner)), 14) for owner in matrix.index]
        for axis, names in ((axes.xaxis, [*matrix.columns]), (axes.yaxis, named)):
            every = 1 + len(names) // 11
            axis.set_ticks(range(0, len(names), every), names[::every])
        for (row, column), value in np.ndenumerate(matrix.to_numpy()) if len(matrix) <= 8 else ():
            ink = {"color": "black" if value > (low + 100) / 2 else "white"}
            axes.text(column, row, f"{value:.1f}", ink, ha="center", va="center", size="small")
    figure.colorbar(image, ax=figure.axes, label="test accuracy (%)")
    title = f"{groups[0].data}: compositions after the last round, mean over seeds"
    figure.suptitle(wrapped(title, figure))
    return figure


def finish(figure: Figure, title: str, columns: int = 2) -> Figure:
    """Add the title, and name the lines: at their ends, or where they do not fit, in a legend.

    Of panels side by side with the same lines, the last one has their names. Grey lines are
    pointed out.

    Args:
        columns: of the legend.
    """
    figure.suptitle(wrapped(title, figure))
    narrow = _NARROW.get()
    if narrow:
        for lower in figure.axes[1:]:
            lower.set_ylabel(lower.get_ylabel() or figure.axes[0].get_ylabel())
    figure.draw_without_rendering()  # lays it out: names are placed by their size
    lacking, beside = [], 0
    for n, axes in enumerate(figure.axes):
        names = {*_names(axes)}
        rest = [] if narrow else figure.axes[n + 1 :]
        if not names or any(names <= {*_names(other)} for other in rest):
            continue
        if not label_ends(figure, axes):
            lacking.append(axes)
        elif rest:
            beside += 1
    figure.set_figwidth(figure.get_figwidth() + beside)  # inches for names between panels
    below = lacking.pop() if len(lacking) == 1 else None
    for axes in lacking:
        axes.legend(fontsize="small")
    _legend(figure, below, 1 if narrow else columns)
    return figure


def _legend(figure: Figure, below: Axes | None, columns: int) -> None:
    """Add a legend of these axes below the figure, of all marks, and of grey lines."""
    named: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, text in zip(*axes.get_legend_handles_labels(), strict=True):
            line = line_of(handle)
            if axes is below or (line and is_mark(line)):
                named.setdefault(text, handle)
    grey = [line for line in figure.axes[0].lines if line.get_gid() == GREY["gid"]]
    if grey:
        named[f"{len(grey)} more, named in the table"] = grey[0]
    if named:
        where: Any = {"loc": "outside lower center", "ncols": columns, "frameon": below is not None}
        figure.legend(named.values(), named.keys(), fontsize="small", **where)


def _names(axes: Axes) -> list[str]:
    return axes.get_legend_handles_labels()[1]


@contextmanager
def narrow() -> Iterator[None]:
    """Draw what is drawn inside for a narrow screen: panels below each other."""
    token = _NARROW.set(True)
    try:
        yield
    finally:
        _NARROW.reset(token)


def panels(count: int, height: float = 4, width: float = 4.2, **shared: Any) -> tuple[Figure, Any]:
    """Return a figure and its panels, side by side, or below each other in ``narrow``."""
    if _NARROW.get():
        size, shape = (4.4, 0.6 + min(height, 3.6) * count), (count, 1)
    else:
        size, shape = (0.4 + width * count, height), (1, count)
    figure = Figure(figsize=size, layout="constrained")
    all_axes = figure.subplots(*shape, squeeze=False, **shared).ravel()
    for axes in all_axes:
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
        axes.tick_params(labelbottom=True)
    return figure, all_axes


def wrapped(text: str, figure: Figure) -> str:
    """Return text in lines that fit over a figure."""
    return fill(text, int(10 * figure.get_figwidth()))
