"""Writes the names of lines where they end, in the margin, moved apart; a legend where none fit."""

from collections.abc import Sequence
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import Container
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

SIZE = 9  # points
WIDTH = 24  # letters in a line of a name
GAP = 4  # points between two names
STUB = (0.08, 0.2, 0.32)  # inches from the axes: a line's look, before its name


def spread(wanted: Sequence[float], sizes: Sequence[float], high: float) -> list[float]:
    """Return places on a line from 0 to ``high``, close to those wanted, where nothing overlaps.

    Args:
        wanted: ascending.
        sizes: of what stands at each; their sum is at most ``high``.
        high: the end of the line.

    >>> spread([5, 5, 9], [2, 2, 2], 10)
    [4.0, 6.0, 9.0]
    >>> spread([10, 10], [4, 4], 10)
    [4.0, 8.0]
    """
    # Less the room of those before, places must only not descend: isotonic regression by pooling.
    before = np.cumsum(sizes) - np.asarray(sizes) / 2
    pools: list[list[float]] = []
    for place in np.asarray(wanted, dtype=float) - before:
        pools.append([place])
        while len(pools) > 1 and np.mean(pools[-2]) > np.mean(pools[-1]):
            above = pools.pop()
            pools[-1] += above
    free = high - sum(sizes)
    level = [min(max(float(np.mean(pool)), 0), free) for pool in pools for _ in pool]
    return [float(place + room) for place, room in zip(level, before, strict=True)]


def line_of(handle: Any) -> Line2D | None:
    """Return the line of a legend's handle; None where it is none, or nothing of it is drawn."""
    line = handle[0] if isinstance(handle, Container) else handle
    if not isinstance(line, Line2D):
        return None
    points = np.asarray(line.get_xydata(), dtype=float)
    return line if np.isfinite(points).all(axis=1).any() else None


def is_mark(line: Line2D) -> bool:
    """Return whether it is a mark, without a line: it is named in the legend."""
    return line.get_linestyle() == "None"


def label_ends(figure: Figure, axes: Axes) -> bool:
    """Name each line of these axes at its right end, beside its look; return whether all fit.

    The figure is laid out already: sizes are measured.
    """
    handles, labels = axes.get_legend_handles_labels()
    lines = [(line_of(handle), text) for handle, text in zip(handles, labels, strict=True)]
    drawn = [(line, text) for line, text in lines if line and not is_mark(line)]
    if any(line is None for line, _ in lines):
        return False
    ends = sorted(((_end(axes, line), line, text) for line, text in drawn), key=lambda e: e[0][1])
    texts = [fill(text, WIDTH) for _, _, text in ends]
    sizes = [_height(axes, text) for text in texts]
    if sum(sizes) > 1:
        return False
    corner: Any = axes.transAxes
    places = spread([end[1] for end, _, _ in ends], sizes, 1)
    for (end, line, _), text, place in zip(ends, texts, places, strict=True):
        inches = figure.dpi_scale_trans + ScaledTranslation(1, place, corner)
        thin: Any = {"arrowstyle": "-", "color": line.get_color(), "linewidth": 0.8}
        thin |= {"linestyle": (0, (1, 1.5)), "shrinkA": 0, "shrinkB": 2}
        axes.annotate("", end, (STUB[0], 0), "axes fraction", inches, arrowprops=thin)
        stub = Line2D(STUB, [0] * len(STUB), transform=inches, clip_on=False)
        stub.set(color=line.get_color(), linestyle=line.get_linestyle(), linewidth=1.5)
        stub.set(marker=line.get_marker(), markersize=4, markevery=[1])
        figure.add_artist(stub)
        look: Any = {"va": "center", "linespacing": 1, "fontsize": SIZE}
        axes.text(STUB[-1] + 0.05, 0, text, transform=inches, **look)
    return True


def _end(axes: Axes, line: Line2D) -> tuple[float, float]:
    """Return a line's right end in fractions of the axes, within them."""
    points = np.asarray(line.get_xydata(), dtype=float)
    points = points[np.isfinite(points).all(axis=1)]
    right = points[np.argmax(points[:, 0])]
    x, y = axes.transAxes.inverted().transform(line.get_transform().transform(right))
    return min(max(float(x), 0), 1), min(max(float(y), 0), 1)


def _height(axes: Axes, text: str) -> float:
    """Return the height of a name with its gap, in fractions of the axes."""
    probe = axes.text(0, 0, text, fontsize=SIZE, linespacing=1)
    height = probe.get_window_extent().height + GAP * axes.figure.dpi / 72
    probe.remove()
    return float(height / axes.get_window_extent().height)
