"""Draws and tabulates any runs, whichever settings differ between them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

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
from ifl.analysis.tables import Cell, Table, Value

ACCURACIES = ("accuracy_mean", "accuracy_local", "accuracy_cross")
ROUNDS = {"round": "round"}  # column: label of its axis
HEAD = ["group", "data", "seeds", "mean %", "local %", "cross %", "SD (points)", "MB up total"]
HEAD += ["MB up per client", "MB down total", "rounds", "seconds"]
FOOT = "± is half the 95 % Student t interval of a mean over seeds; MB is 10^6 bytes."


def draw_curves(groups: Sequence[Group], against: Mapping[str, str]) -> Figure:
    """Draw accuracy against ROUNDS or UPLINK_AXES.

    The latter are logarithmic, and who sends nothing is a level line.
    """
    figure, all_axes = panels(len(against), 4.6, sharey=True)
    for axes, (column, name) in zip(all_axes, against.items(), strict=True):
        for group, style in styled(groups):
            last = group.last().mean()
            remark = "" if len(group.curve()) else " (no round common to its seeds)"
            label = group.name + (" (sends nothing)" if last[column] == 0 else remark)
            if last[column] == 0:
                name = f"_{label}" if style is GREY else label
                axes.axhline(100 * last["accuracy_mean"], **level(style), label=name)
            else:
                draw_line(axes, group, column, style, label)
        axes.set_xlabel(name)
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
        others = ["sd_points", *UPLINK_AXES, "downlink_mb", "rounds", "seconds"]
        rows.append(row | last[others].mean().to_dict())
    return pd.DataFrame(rows)


def summarise(table: pd.DataFrame) -> Table:
    """Return the results table for people: in per cent, "-" where there is nothing."""
    rows: list[list[Cell]] = []
    for row in table.to_dict("records"):
        cells: list[Cell] = [str(row["label"]), str(row["data"]), int(row["seeds"])]
        cells += [Value(100 * row[n], 100 * row[f"{n}_half_width"]) for n in ACCURACIES]
        cells += [Value(row[n], digits=2) for n in ("sd_points", *UPLINK_AXES, "downlink_mb")]
        rows.append([*cells, Value(row["rounds"], digits=0), Value(row["seconds"])])
    return Table("results", "Results after the last round", HEAD, rows, FOOT)


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
    return [replace(summarise(tabulate(groups)), caption=caption)]
