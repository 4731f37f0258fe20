"""Writes a table as Markdown, LaTeX (booktabs) and CSV, with the same numbers."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isnan, nan

import pandas as pd

from ifl.analysis.collect import half_width

# What LaTeX reads as commands, and signs that its plain fonts lack.
LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"$<$", ">": r"$>$", "±": r"$\pm$", "†": r"$\dagger$", "‡": r"$\ddagger$",
}  # fmt: skip


Limits = tuple[float, float]
FREE: Limits = (-inf, inf)
PERCENT: Limits = (0, 100)
FEW = 3  # seeds


@dataclass(frozen=True)
class Value:
    """A number of a table, such as 81.9 ± 0.4 (2 of 3).

    Args:
        mean: NaN where there is none, and the note says why.
        half: half the 95 % interval; NaN where there is one seed.
        digits: after the point.
        note: what has to be known of this number.
        seeds: the values themselves, which are written where their interval says nothing.
    """

    mean: float
    half: float = nan
    digits: int = 1
    note: str = ""
    seeds: tuple[float, ...] = ()

    def __str__(self) -> str:
        if isnan(self.mean):
            return self.note or "-"
        text = "; ".join(fixed(value, self.digits) for value in self.seeds or [self.mean])
        if not self.seeds and not isnan(self.half):
            text += f" ± {self.half:.{self.digits}f}"
        return f"{text} {self.note}".rstrip()


Cell = str | int | Value


def fixed(number: float, digits: int) -> str:
    """Return a number with so many digits after the point; what is rounded to 0 has no sign."""
    rounded = round(number, digits)
    if rounded == 0:
        rounded = 0.0  # and not -0.0
    return f"{rounded:.{digits}f}"


def over_seeds(
    values: Sequence[float | None],
    digits: int = 1,
    scale: float = 1,
    note: str = "",
    none: str = "",
    limits: Limits = FREE,
) -> Value:
    """Return mean and interval of those that are there, and how many of how many where not all.

    Where the interval says nothing the values themselves are kept.

    Args:
        values: one per seed; None or NaN where a seed has none.
        scale: factor, such as 100 for per cent.
        note: said of the mean.
        none: said where no seed has a value.
        limits: of what is measured, after scaling: PERCENT for accuracies.
    """
    there = pd.Series([v for v in values if v is not None], dtype=float).dropna() * scale
    if there.empty:
        return Value(nan, note=none)
    count = f"({len(there)} of {len(values)})" if len(there) < len(values) else ""
    half, seeds = half_width(there), [float(value) for value in there]
    kept = tuple(seeds) if says_nothing(seeds, half, limits) else ()
    return Value(float(there.mean()), half, digits, f"{note} {count}".strip(), kept)


def says_nothing(seeds: Sequence[float], half: float, limits: Limits = FREE) -> bool:
    """Return whether an interval cannot be, or is far wider than what few seeds came to.

    It cannot be where it goes beyond what is possible, such as 100 %. Two seeds always have one
    that is more than three times as wide to a side as they are apart.

    >>> says_nothing([33.1, 91.2], 369.1), says_nothing([50, 50], 0), says_nothing([1, 2, 4], 3.8)
    (True, False, False)
    """
    mean, tiny = sum(seeds) / len(seeds), 1e-9
    low, high = limits
    if mean - half < low - tiny or mean + half > high + tiny:
        return True
    return len(seeds) <= FEW and half > 3 * (max(seeds) - min(seeds)) + tiny


@dataclass(frozen=True)
class Table:
    """A table with a caption; numbers have their unit in the head.

    Args:
        name: of its files.
        caption: names the data set.
        head: of each column.
        rows: a cell per column.
        notes: what its marks mean, below it.
    """

    name: str
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: str = ""

    def is_text(self, column: int) -> bool:
        """Return whether a column, by its number, holds no numbers."""
        return all(isinstance(row[column], str) for row in self.rows)

    def markdown(self) -> str:
        """Return the table alone, with its notes."""
        rule = ["---" if self.is_text(n) else "--:" for n in range(len(self.head))]
        cells = [self.head, rule, *([str(cell) for cell in row] for row in self.rows)]
        lines = [f"| {' | '.join(c.replace('|', '/') for c in row)} |\n" for row in cells]
        return "".join(lines) + (f"\n{self.notes}\n" if self.notes else "")

    def latex(self) -> str:
        r"""Return a table environment; needs \usepackage{booktabs}."""
        columns = "".join("l" if self.is_text(n) else "r" for n in range(len(self.head)))
        lines = [r"\begin{table}", r"\centering", rf"\caption{{{_latex(self.caption)}}}"]
        lines += [rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
        lines += [" & ".join(map(_latex, self.head)) + r" \\", r"\midrule"]
        lines += [" & ".join(_latex(str(cell)) for cell in row) + r" \\" for row in self.rows]
        lines += [r"\bottomrule", r"\end{tabular}"]
        lines += [rf"\\[1ex] {{\footnotesize {_latex(self.notes)}}}"] if self.notes else []
        return "\n".join([*lines, r"\end{table}", ""])

    def csv(self) -> str:
        """Return numbers with six digits; intervals, seeds and notes are columns of their own."""
        columns: list[list[str]] = []
        for n, name in enumerate(self.head):
            cells = [row[n] for row in self.rows]
            values = [cell if isinstance(cell, Value) else Value(nan) for cell in cells]
            columns.append([name, *(_plain(cell) for cell in cells)])
            halves = [nan if value.seeds else value.half for value in values]
            if not all(isnan(value.half) for value in values):
                columns.append([f"{name}, ±", *(_plain(Value(half)) for half in halves)])
            if any(value.seeds for value in values):
                columns.append([f"{name}, seeds", *(_seeds(value) for value in values)])
            if any(value.note for value in values):
                columns.append([f"{name}, note", *(value.note for value in values)])
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(zip(*columns, strict=True))
        return text.getvalue()


def _plain(cell: Cell) -> str:
    if isinstance(cell, Value):
        return "" if isnan(cell.mean) else f"{cell.mean:.6g}"
    return str(cell)


def _seeds(value: Value) -> str:
    return "; ".join(f"{seed:.6g}" for seed in value.seeds)


def _latex(text: str) -> str:
    return "".join(LATEX.get(sign, sign) for sign in text)
