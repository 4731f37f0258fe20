"""Figures and tables from run folders: load, group over seeds, draw, tabulate.

Runs belong together by configuration without the seed (run.json, "group"), never by path.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator
from scipy.stats import t

from ifl.errors import IFLError
from ifl.results import SCHEMA_VERSION, TABLES, read_about, relevant

MB = 1e6  # bytes
OWNED: Mapping[str, Any] = {"round": float, "base": str, "modular": str, "accuracy": float}
ACCURACIES = ("accuracy_mean", "accuracy_local", "accuracy_cross")
ROUNDS = {"round": "round"}  # column: label of its axis
UPLINK = {"uplink_mb": "uplink, all clients (MB)", "uplink_mb_per_client": "uplink per client (MB)"}
# Okabe & Ito 2008, safe for colour-blind readers; markers and dashes tell lines apart in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS, DASHES = "os^Dv<>P", ("-", "--", "-.", ":")


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run."""

    group: str
    seed: int
    ended: str
    data: str
    choices: Mapping[str, str | None]
    path: Path
    config: Mapping[str, Any]  # by dotted key, without what tells no group from another
    rounds: pd.DataFrame  # the rows of rounds.csv that have an accuracy, and bytes as MB
    compositions: pd.DataFrame  # the rows of compositions.csv of the last of these rounds


@dataclass(frozen=True, eq=False)
class Group:
    """Runs that differ in nothing but the seed."""

    label: str
    runs: Sequence[Run]

    def last(self) -> pd.DataFrame:
        """Return the last evaluated round of each run, a row per seed."""
        return pd.concat([run.rounds.tail(1) for run in self.runs])

    def curve(self) -> pd.DataFrame:
        """Return means and the accuracy's interval (low, high) by round that all seeds have."""
        by_round = pd.concat([run.rounds for run in self.runs]).groupby("round")
        curve, half = by_round.mean(), by_round["accuracy_mean"].agg(half_width)
        curve["low"] = (curve["accuracy_mean"] - half).clip(lower=0)
        curve["high"] = (curve["accuracy_mean"] + half).clip(upper=1)
        return curve[by_round.size() == len(self.runs)].reset_index()

    def matrix(self) -> pd.DataFrame:
        """Return the last accuracies, base by modular block, mean over seeds."""
        rows = pd.concat([run.compositions for run in self.runs])
        return rows.pivot_table("accuracy", "base", "modular", sort=False)


def half_width(values: "pd.Series[float]") -> float:
    """Return half the 95 % Student t interval of the mean, t(n - 1) standard errors; NaN: n < 2."""
    return float(t.ppf(0.975, values.count() - 1) * values.sem())


def load(root: Path) -> tuple[list[Run], list[str]]:
    """Return the finished runs in a folder, at any depth, and a note on every other one.

    Of several runs of one group and seed, the newest counts.

    Raises:
        IFLError: there is no such folder, or no finished run in it.
    """
    if not root.is_dir():
        raise IFLError(f"{root} is no folder; name one that holds runs, such as outputs")
    newest: dict[tuple[str, int], Run] = {}
    notes = []
    for path in sorted(file.parent for file in root.rglob("run.json")):
        try:
            run = _read(path)
        except IFLError as error:
            notes.append(f"{path} left out: {error}")
            continue
        twins = {newest.get((run.group, run.seed), run), run}
        *older, newest[run.group, run.seed] = sorted(twins, key=lambda twin: twin.ended)
        notes += [f"{old.path} left out: the same was run again later" for old in older]
    if not newest:
        why = f"{notes[0]}; {len(notes)} in all" if notes else "no run.json"
        raise IFLError(f"no finished run in {root} ({why}); make one with scripts/run.py")
    return list(newest.values()), notes


def _read(path: Path) -> Run:
    about = read_about(path)
    if about is None or about.get("schema_version") != SCHEMA_VERSION:
        raise IFLError(f"its run.json is damaged or not of schema version {SCHEMA_VERSION}")
    if not about.get("finished"):
        raise IFLError(f"not finished ({about.get('stop_reason', 'running or interrupted')})")
    try:
        facts = {key: about[key] for key in ("group", "seed", "ended", "data", "choices")}
        config = relevant(about["config"], "seed")
        rounds = pd.read_csv(path / "rounds.csv", usecols=[*TABLES["rounds"]], dtype=float)
        rounds[["uplink_mb", "downlink_mb"]] = rounds[["uplink_bytes", "downlink_bytes"]] / MB
        rounds["uplink_mb_per_client"] = rounds["uplink_mb"] / config["clients.count"]
        rounds = rounds.dropna(subset="accuracy_mean")
        table = pd.read_csv(path / "compositions.csv", usecols=[*OWNED], dtype=OWNED)
        compositions = table[table["round"] == rounds["round"].iloc[-1]]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise IFLError(f"a file is missing or damaged ({str(error).strip()})") from error
    return Run(**facts, path=path, config=config, rounds=rounds, compositions=compositions)


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Gather the runs of one data set over seeds, sorted by label."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.group, []).append(run)
    names = labels([group[0] for group in groups.values()])
    return sorted(map(Group, names, groups.values()), key=lambda group: _rank(group.label))


def _rank(label: str) -> list[str | float]:
    parts = enumerate(re.split(r"(\d+\.?\d*)", label))  # text, number, text, ...
    return [float(part) if n % 2 else part for n, part in parts]


def labels(runs: Sequence[Run]) -> list[str]:
    """Name each configuration by what tells it from the others: "ifl, local.tau=5".

    First the method, then other choices that differ, then values that differ between runs of
    the same choice. Plain values (local, fusion) stand for themselves: a choice's name may not
    hold for them. What is built (``_target_``) repeats no value that it may interpolate.
    """
    built = sorted({key.split(".")[0] for run in runs for key in run.config if "_target_" in key})
    names = []
    for run in runs:
        alike = {s: [r for r in runs if r.choices.get(s) == run.choices.get(s)] for s in built}
        words = [str(run.choices.get(s)) for s in built if s != "method" and alike[s] != [*runs]]
        named: list[str] = []
        for key in sorted(run.config, key=lambda key: (key.split(".")[0] in built, key.count("."))):
            section, value = key.split(".")[0], run.config[key]
            differs = any((key, value) not in r.config.items() for r in alike.get(section, runs))
            having = [r.config for r in runs if key in r.config]
            echoes = [all((other, c[key]) in c.items() for c in having) for other in named]
            if differs and not (section in built and any(echoes)):
                named.append(key)
                words.append(f"{key}={value if isinstance(value, str) else json.dumps(value)}")
        names.append(", ".join([str(run.choices["method"]), *words]))
    return names


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
