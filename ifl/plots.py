"""Figures and tables from gathered runs."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from ifl.gather import Group, half_width

ACCURACIES = ("accuracy_mean", "accuracy_local", "accuracy_cross")
ROUNDS = {"round": "round"}  # column: label of its axis
UPLINK = {"uplink_mb": "uplink, all clients (MB)", "uplink_mb_per_client": "uplink per client (MB)"}
# Okabe & Ito 2008, safe for colour-blind readers; markers and dashes tell lines apart in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS, DASHES = "os^Dv<>P", ("-", "--", "-.", ":")


def draw_curves(groups: Sequence[Group], against: Mapping[str, str]) -> Figure:
    """Draw accuracy against ROUNDS or UPLINK (logarithmic; who sends nothing is a level line)."""
    figure = Figure(figsize=(2 + 4 * len(against), 4 + len(groups) / 4), layout="constrained")
    panels = figure.subplots(1, len(against), sharey=True, squeeze=False)[0]
    for axes, (column, name) in zip(panels, against.items(), strict=True):
        for n, group in enumerate(groups):
            colour, dash = COLOURS[n % len(COLOURS)], DASHES[n % len(DASHES)]
            curve, last = group.curve(), group.last().mean()
            remark = "" if len(curve) else " (no round common to its seeds)"
            label = fill(group.label + (" (sends nothing)" if last[column] == 0 else remark), 90)
            look: dict[str, Any] = {"color": colour, "linestyle": dash, "label": label}
            if last[column] == 0:
                axes.axhline(100 * last["accuracy_mean"], **look)
                continue
            look |= {"marker": MARKERS[n % len(MARKERS)], "markevery": 1 + len(curve) // 12}
            axes.plot(curve[column], 100 * curve["accuracy_mean"], **look)
            bounds = 100 * curve["low"], 100 * curve["high"]
            axes.fill_between(curve[column], *bounds, color=colour, alpha=0.15, linewidth=0)
        axes.set(xlabel=name, xscale="log" if against is UPLINK else "linear")
        low, high = axes.get_xlim()
        logarithmic = LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,))
        locator = logarithmic if against is UPLINK else MaxNLocator(integer=True)
        axes.xaxis.set(major_locator=locator, major_formatter="{x:g}", minor_formatter="")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("test accuracy, mean over compositions (%)")
    figure.suptitle(f"{groups[0].runs[0].data}: mean over seeds, shaded: 95 % interval of the mean")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center")
    return figure


def draw_matrices(groups: Sequence[Group]) -> Figure | None:
    """Draw the compositions of every group that has more than one; None if none has."""
    panels = {g.label: 100 * g.matrix() for g in groups if g.matrix().size > 1}
    if not panels:
        return None
    rows, columns = 1 + (len(panels) - 1) // 3, min(len(panels), 3)
    figure = Figure(figsize=(1.5 + 3.2 * columns, 0.8 + 3.4 * rows), layout="constrained")
    low = min(90, 10 * (min(matrix.to_numpy().min() for matrix in panels.values()) // 10))
    for position, (label, matrix) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(rows, columns, position)
        image = axes.imshow(matrix, cmap="cividis", aspect="auto", vmin=low, vmax=100)
        axes.set(title=fill(label, 30), xlabel="modular block's owner", ylabel="base block's owner")
        for axis, owners in ((axes.xaxis, matrix.columns), (axes.yaxis, matrix.index)):
            every = 1 + len(owners) // 11
            axis.set_ticks(range(0, len(owners), every), owners[::every])
        for (row, column), value in np.ndenumerate(matrix.to_numpy()) if len(matrix) <= 8 else ():
            ink = {"color": "black" if value > (low + 100) / 2 else "white"}
            axes.text(column, row, f"{value:.1f}", ink, ha="center", va="center", size="small")
    figure.colorbar(image, ax=figure.axes, label="test accuracy (%)")
    figure.suptitle(f"{groups[0].runs[0].data}: compositions after the last round, mean over seeds")
    return figure


def tabulate(groups: Sequence[Group]) -> pd.DataFrame:
    """Return a row per group: means over seeds after the last round; accuracies as fractions."""
    rows = []
    for group in groups:
        last = group.last().rename(columns={"round": "rounds", "accuracy_sd": "sd_points"})
        row = {"label": group.label, "data": group.runs[0].data, "seeds": len(last)}
        for name in ACCURACIES:
            row |= {name: last[name].mean(), f"{name}_half_width": half_width(last[name])}
        others = ["sd_points", *UPLINK, "downlink_mb", "rounds", "seconds"]
        rows.append(row | last[others].mean().to_dict())
    return pd.DataFrame(rows)
