"""Draws and tabulates any runs, whichever settings differ between them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import nan

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ifl.analysis.alone import beside_alone, gain
from ifl.analysis.charts import (
    UPLINK_AXES,
    draw_line,
    draw_matrices,
    finish,
    level,
    logarithmic,
    panels,
)
from ifl.analysis.collect import Group, half_width
from ifl.analysis.looks import GREY, styled
from ifl.analysis.metrics import cross_minus_local, sd_of_all
from ifl.analysis.tables import PERCENT, Cell, Table, Value, over_seeds

ACCURACIES = ("accuracy_mean", "accuracy_local", "accuracy_cross")
ROUNDS = {"round": "round"}  # column: label of its axis
FOOT = "± is half the 95 % Student t interval of a mean over seeds; where it says nothing, the "
FOOT += (
    "values of the seeds stand in its place. SD: over modular blocks, mean over base blocks; SD "
)
FOOT += "of all: over all compositions. MB is 10^6 bytes."
NO_GAIN = dict.fromkeys(("gain_mean", "gain_local"), Value(nan))


def draw_curves(groups: Sequence[Group], against: Mapping[str, str]) -> Figure:
    """Draw accuracy against ROUNDS or UPLINK_AXES.

    The latter are logarithmic, and who sends nothing is a level line.
    """
    figure, all_axes = panels(len(against), 4.6, sharey=True)
    for axes, (column, name) in zip(all_axes, against.items(), strict=True):
        axes.set_xlabel(name)
        for group, style in styled(groups):
            last = group.last().mean()
            remark = "" if len(group.curve()) else " (no round common to its seeds)"
            label = group.name + (" (sends nothing)" if last[column] == 0 else remark)
            if last[column] == 0:
                label = f"_{label}" if style is GREY else label  # grey: named in the table alone
                axes.axhline(100 * last["accuracy_mean"], **level(style), label=label)
            else:
                draw_line(axes, group, column, style, label)
        if column in UPLINK_AXES:
            logarithmic(axes)
        else:
            axes.xaxis.set(major_locator=MaxNLocator(integer=True), major_formatter="{x:g}")
    all_axes[0].set_ylabel("test accuracy, mean over compositions (%)")
    title = f"{groups[0].data}: mean over seeds, shaded: 95 % interval of the mean"
    return finish(figure, title, 1)


def tabulate(groups: Sequence[Group]) -> pd.DataFrame:
    """Return a row per group: means over seeds after the last round; accuracies as fractions."""
    rows = []
    for group in groups:
        last = group.last().rename(columns={"round": "rounds", "accuracy_sd": "sd_points"})
        row = {"label": group.name, "data": group.data, "seeds": len(last)}
        for name in ACCURACIES:
            row |= {name: last[name].mean(), f"{name}_half_width": half_width(last[name])}
        gained, cross = gain(group, groups), over_seeds(group.each(cross_minus_local))
        compared = {"cross_minus_local": cross}
        compared |= {"gain_mean": gained.mean, "gain_local": gained.own} if gained else NO_GAIN
        for name, value in compared.items():
            scale = 1 if value is cross else 100  # of a gain: points
            row |= {name: value.mean / scale, f"{name}_half_width": value.half / scale}
        others = ["sd_points", *UPLINK_AXES, "downlink_mb", "rounds", "seconds"]
        row["sd_of_all_points"] = float(np.mean(group.each(sd_of_all)))
        rows.append(row | last[others].mean().to_dict())
    return pd.DataFrame(rows)


def summarise(groups: Sequence[Group]) -> Table:
    """Return the results table for people: in per cent, "-" where there is nothing."""
    beside, remark = beside_alone(groups)
    head = ["group", "data", "seeds", "mean %", "local %", "cross %", *beside, "SD (points)"]
    head += ["SD of all (points)", "MB up total", "MB up per client", "MB down total", "rounds"]
    rows: list[list[Cell]] = []
    for n, group in enumerate(groups):
        last = group.last()
        cells: list[Cell] = [group.name, group.data, len(last)]
        cells += [over_seeds([*last[a]], 1, 100, limits=PERCENT) for a in ACCURACIES]
        cells += [column[n] for column in beside.values()]
        sizes = [last["accuracy_sd"].mean(), float(np.mean(group.each(sd_of_all)))]
        sizes += [last[column].mean() for column in (*UPLINK_AXES, "downlink_mb")]
        cells += [Value(size, digits=2) for size in sizes]
        rows.append([*cells, Value(last["round"].mean(), digits=0), Value(last["seconds"].mean())])
    notes = f"{FOOT} {remark}".rstrip()
    return Table("results", "Results after the last round", [*head, "seconds"], rows, notes)


def draw(groups: Sequence[Group]) -> dict[str, Figure]:
    """Draw any runs."""
    figures = {
        "accuracy-uplink": draw_curves(groups, UPLINK_AXES),
        "accuracy-rounds": draw_curves(groups, ROUNDS),
    }
    if matrices := draw_matrices(groups):
        figures["compositions"] = matrices
    return figures


def general(groups: Sequence[Group]) -> list[Table]:
    """Return the table of any runs."""
    caption = f"{groups[0].data}: results after the last round"
    return [replace(summarise(groups), caption=caption)]
