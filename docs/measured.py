"""Writes the measured numbers of README.md and docs/*.md from the files of outputs/reference.

In the text a number stands between two comments, which no page shows:

    base blocks reach <!--cross-ifl-->82.9 ± 0.6<!--/--> % with other clients' modular blocks

and a table between two lines of their own:

    <!--table codecs-->
    | codec | ... |
    <!--/table-->

docs/measured.yaml says which cells of which file these names stand for. A name that is not in it,
or that no page uses, is an error, so that no number is left behind.

    python docs/measured.py            # write what has changed
    python docs/measured.py --check    # name what differs; the exit code is 1 if anything does
"""

import argparse
import csv
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import isnan, nan
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from ifl.analysis.collect import half_width
from ifl.analysis.tables import FREE, PERCENT, Value, over_seeds

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "outputs" / "reference"
DEFINITIONS = ROOT / "docs" / "measured.yaml"
NUMBER = re.compile(r"<!--(?P<name>[\w.-]+)-->(?P<said>[^\n]*?)<!--/-->")
TABLE = re.compile(r"<!--table (?P<name>[\w.-]+)-->\n(?P<said>.*?)<!--/table-->", re.DOTALL)
FIRST = re.compile(r"^[ >]*(?:[-*] |\d+\. )?[ ]*<!--[\w.-]+-->", re.MULTILINE)


class DefinitionError(Exception):
    """A definition of docs/measured.yaml fits no cell, or more than one."""


@dataclass(frozen=True)
class Cell:
    """Where a number is found and how it is written.

    Args:
        file: below outputs/reference.
        row: values that the row has, joined by " & "; "column=value" names the column as well.
        column: the head of the column.
        form: digits as for ``format``, such as ".1f"; ".1%" writes a fraction in per cent, without
            the sign; " ±" appends half the 95 % interval. "text" copies the cell.
        over: a column, such as "seed": the rows that fit are averaged for each of its values, and
            the number is the mean of these averages.
    """

    file: str
    row: str
    column: str
    form: str
    over: str | None = None

    def text(self) -> str:
        """Return the number as the page has it.

        Raises:
            DefinitionError: the row or the column is not there.
        """
        wanted = self.row.split(" & ")
        rows = [row for row in rows_of(self.file) if all(has(row, part) for part in wanted)]
        if not rows or (len(rows) > 1 and not self.over):
            raise DefinitionError(f"{len(rows)} rows of {self.file} have {self.row!r}, not one")
        if self.column not in rows[0]:
            raise DefinitionError(f"{self.file} has no column {self.column!r}")
        if self.form == "text":
            return rows[0][self.column]
        style, _, interval = self.form.partition(" ")
        digits, scale = int(style[1:-1]), 100 if style.endswith("%") else 1
        if self.over:
            groups: dict[str, list[float]] = {}
            for row in rows:
                groups.setdefault(row[self.over], []).append(float(row[self.column]))
            means = [sum(values) / len(values) for values in groups.values()]
            value = over_seeds(means, digits, scale, limits=PERCENT if self._percent else FREE)
        else:
            halves = (f"{self.column}, ±", f"{self.column}_half_width")
            half = next((rows[0][name] for name in halves if rows[0].get(name)), "nan")
            said = rows[0][self.column]
            mean = float(said if said not in ("", "-") else "nan") * scale
            note = rows[0].get(f"{self.column}, note", "")
            seeds = self._seeds(rows[0], mean, float(half) * scale, scale)
            value = Value(mean, float(half) * scale, digits, note, seeds)
        return str(value if interval else Value(value.mean, nan, digits, value.note))

    @property
    def _percent(self) -> bool:
        return "%" in self.form or self.column.endswith("(%)")

    def _seeds(
        self, row: Mapping[str, str], mean: float, half: float, scale: float
    ) -> tuple[float, ...]:
        """Return the values of the seeds where the interval says nothing.

        A file of before has no column for them: of two seeds they follow from the interval.

        Raises:
            DefinitionError: they are not to be had.
        """
        if told := row.get(f"{self.column}, seeds"):
            return tuple(float(value) * scale for value in told.split("; "))
        if isnan(half) or half == 0:
            return ()
        if row.get("seeds") == "2":
            apart = half / half_width(pd.Series([-1.0, 1.0]))
            return mean - apart, mean + apart
        if self._percent and not 0 <= mean - half <= mean + half <= 100:
            number = f"{mean:.1f} ± {half:.1f} of {self.file}, {self.row!r}"
            raise DefinitionError(f"{number}, cannot be; define it over seeds")
        return ()


def has(row: Mapping[str, str], part: str) -> bool:
    """Return whether a row has a value, in any column or in the one that is named."""
    column, _, value = part.partition("=")
    return row[column] == value if column in row else part in row.values()


@cache
def rows_of(file: str) -> list[dict[str, str]]:
    """Return the rows of a file below outputs/reference."""
    with open(REFERENCE / file, newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def numbers(definitions: Mapping[str, Any]) -> dict[str, str]:
    """Return every number by its name."""
    return {
        name: Cell(file, *map(str, entry)).text()
        for file, entries in definitions["numbers"].items()
        for name, entry in entries.items()
    }


def table(definition: Mapping[str, Any]) -> str:
    """Return a table in Markdown: a line for each of its rows, a cell for each of its columns."""
    columns = {
        head: {"file": definition.get("file"), "where": "", **column}
        for head, column in definition["columns"].items()
    }
    lines = [[definition["head"], *columns], ["---", *["--:"] * len(columns)]]
    for title, row in definition["rows"].items():
        own = row if isinstance(row, Mapping) else {"row": row}
        cells = [
            Cell(
                column["file"],
                " & ".join(filter(None, (str(column.get("row", own["row"])), column["where"]))),
                column["column"],
                column["form"],
                column.get("over"),
            ).text()
            for column in ({**columns[head], **own.get(head, {})} for head in columns)
        ]
        lines.append([title, *cells])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def pages() -> list[Path]:
    """Return the pages that hold numbers."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def rewritten(text: str, written: Mapping[str, str], tables: Mapping[str, str]) -> str:
    """Return a page with every number and table as measured; unknown names stay as they are."""

    def number(found: re.Match[str]) -> str:
        name = found["name"]
        return f"<!--{name}-->{written.get(name, found['said'])}<!--/-->"

    def block(found: re.Match[str]) -> str:
        name = found["name"]
        return f"<!--table {name}-->\n{tables.get(name, found['said'])}<!--/table-->"

    return TABLE.sub(block, NUMBER.sub(number, text))


def faults(
    place: str, text: str, written: Mapping[str, str], tables: Mapping[str, str]
) -> Iterator[str]:
    """Yield what is wrong on a page, each with its line."""
    for pattern, known in ((NUMBER, written), (TABLE, tables)):
        for found in pattern.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            name, said = found["name"], found["said"]
            if name not in known:
                yield f"{place}:{line}: {name} is not in docs/measured.yaml"
            elif said != known[name]:
                yield f"{place}:{line}: {name} is {known[name].strip()}, the page says {said!r}"
    for found in FIRST.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield f"{place}:{line}: a number that begins a line would end the paragraph; wrap elsewhere"


def unused(names: Sequence[str], texts: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for every definition that no page uses."""
    used = {f["name"] for text in texts for p in (NUMBER, TABLE) for f in p.finditer(text)}
    yield from (f"docs/measured.yaml: no page uses {name}" for name in names if name not in used)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(
        description="Write the numbers of README.md and docs/*.md from outputs/reference."
    )
    parser.add_argument("--check", action="store_true", help="write nothing, name what differs")
    options = parser.parse_args(arguments)
    definitions: Any = OmegaConf.to_container(OmegaConf.load(DEFINITIONS))
    written = numbers(definitions)
    tables = {name: table(entry) for name, entry in definitions["tables"].items()}
    texts = {path: path.read_text(encoding="utf-8") for path in pages()}
    if not options.check:
        for path, text in texts.items():
            texts[path] = rewritten(text, written, tables)
            if texts[path] != text:
                path.write_text(texts[path], encoding="utf-8")
                print(f"{path.relative_to(ROOT)} rewritten")
    wrong = [*unused([*written, *tables], [*texts.values()])]
    for path, text in texts.items():
        wrong += faults(str(path.relative_to(ROOT)), text, written, tables)
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
