"""Keeps every section of a report as data, to render it again when its runs are gone.

OUT/sections/STUDY/DATA.json has its words, tables and claims, WebP files beside it its pictures.
"""

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from math import isnan, nan
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ifl.analysis.pictures import webp
from ifl.analysis.report.sections import Section, stem
from ifl.analysis.studies import Claim
from ifl.analysis.tables import Cell, Table, Value

FORMAT = 1
FOLDER = "sections"


@dataclass(frozen=True)
class Picture:
    """A figure of a section, as WebP.

    Args:
        name: of its files.
        caption: its title.
        alt: what it shows, in words.
        width: in CSS pixels.
        height: likewise.
        wide: the file's content.
        narrow: the same for narrow screens; None where the wide one serves them too.
    """

    name: str
    caption: str
    alt: str
    width: int
    height: int
    wide: bytes
    narrow: bytes | None


@dataclass(frozen=True)
class Kept:
    """All that the page says and shows of a study on a data set.

    Args:
        study: its folder below outputs.
        data: name of the data set.
        question: what its experiment asks; empty where there is no such experiment.
        paper: the paper's claim; empty where there is none.
        runs: how many are shown.
        seeds: of these runs.
        commands: that made them.
        remarks: sentences that the results call for.
        missing: sentences on runs that are not there.
        pictures: in their order.
        tables: likewise.
        claims: rows of the table "paper / here".
    """

    study: str
    data: str
    question: str
    paper: str
    runs: int
    seeds: list[int]
    commands: list[str]
    remarks: list[str]
    missing: list[str]
    pictures: list[Picture]
    tables: list[Table]
    claims: list[Claim]

    @property
    def anchor(self) -> str:
        """The section's id in the page."""
        return stem(f"{self.study}/{self.data}")


def record(section: Section) -> Kept:
    """Return a section as data, its figures painted."""
    pictures = []
    for name, figure in section.figures.items():
        width, height = (round(96 * inches) for inches in figure.get_size_inches())
        caption, small = figure.get_suptitle().replace("\n", " "), section.narrow.get(name)
        painted = webp(figure), webp(small) if small else None
        pictures.append(Picture(name, caption, describe(figure), width, height, *painted))
    return Kept(
        section.study,
        section.data,
        section.header.question if section.header else "",
        section.header.paper if section.header else "",
        len(section.runs),
        sorted({run.seed for run in section.runs}),
        section.commands,
        [*section.remarks],
        [*section.missing],
        pictures,
        [*section.tables],
        [*section.claims],
    )


def describe(figure: Figure) -> str:
    """Return what a figure shows in words, from its axes and legends."""
    words = [figure.get_suptitle().replace("\n", " ")]
    for axes in figure.axes:
        names = [axes.get_title(), axes.get_ylabel(), axes.get_xlabel()]
        if any(names):
            words.append(" against ".join(name for name in names[1:] if name))
            words[-1] += f" ({names[0]})".replace("\n", " ") if names[0] else ""
    lines = [label for axes in figure.axes for label in axes.get_legend_handles_labels()[1]]
    if lines:
        words.append("Shown: " + ", ".join(dict.fromkeys(lines)).replace("\n", " "))
    return ". ".join(words) + "."


def keep(part: Kept, folder: Path) -> Path:
    """Write a section into OUT/sections, in place of what is there of it; return the JSON file."""
    path = folder / part.study / f"{stem(part.data)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    before, about = _pictures_of(path), _about(part)
    for picture in about["pictures"]:
        for width, end in (("wide", ""), ("narrow", "-narrow")):
            content, name = picture[width], f"{path.stem}-{picture['name']}{end}.webp"
            if content is not None:
                _replace(path.with_name(name), content)
                picture[width] = name
                before.discard(name)
    text = json.dumps(about, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    _replace(path, text.encode(errors="backslashreplace"))
    for name in before:  # of figures that it has no more
        path.with_name(name).unlink(missing_ok=True)
    return path


def kept(folder: Path, but: Collection[tuple[str, str]] = ()) -> tuple[list[Kept], list[str]]:
    """Return the sections in OUT/sections, and a note on each that cannot be read.

    Such a file is given another name, and stays.

    Args:
        folder: OUT/sections; none of it has to be there.
        but: those of these studies and data sets are left out.
    """
    found, notes = [], []
    for path in sorted(folder.rglob("*.json")):
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
            if (about["study"], about["data"]) not in but:
                found.append(_read(about, path.parent))
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            new = path.replace(path.with_suffix(".damaged"))
            notes.append(f"{path} cannot be read ({str(error).strip()}): it is kept as {new}")
    return found, notes


def _about(part: Kept) -> dict[str, Any]:
    """Return a section as plain values, but for the bytes of its pictures."""
    about = {"format": FORMAT, **asdict(part)}
    about["claims"] = [claim._asdict() for claim in part.claims]
    for table, plain in zip(part.tables, about["tables"], strict=True):
        plain["rows"] = [[_plain(cell) for cell in row] for row in table.rows]
    return about


def _read(about: dict[str, Any], folder: Path) -> Kept:
    if about.pop("format") != FORMAT:
        raise ValueError(f"its format is not {FORMAT}")
    for picture in about["pictures"]:
        for width in ("wide", "narrow"):
            if picture[width] is not None:
                picture[width] = (folder / picture[width]).read_bytes()
    about["pictures"] = [Picture(**picture) for picture in about["pictures"]]
    for table in about["tables"]:
        table["rows"] = [[_cell(cell) for cell in row] for row in table["rows"]]
    about["tables"] = [Table(**table) for table in about["tables"]]
    about["claims"] = [Claim(**claim) for claim in about["claims"]]
    return Kept(**about)


def _pictures_of(path: Path) -> set[str]:
    """Return the names of the pictures that a JSON file names, if it can be read."""
    try:
        pictures = json.loads(path.read_text(encoding="utf-8"))["pictures"]
        return {picture[width] for picture in pictures for width in ("wide", "narrow")} - {None}
    except (OSError, ValueError, LookupError, TypeError):
        return set()


def _replace(path: Path, content: bytes) -> None:
    """Write a file in one step."""
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(content)
    os.replace(new, path)


def _plain(cell: Cell) -> str | int | dict[str, Any]:
    """Return a cell as JSON has it: of a value, all but what is as usual or not a number."""
    if not isinstance(cell, Value):
        return cell
    usual = asdict(Value(nan))
    return {k: v for k, v in asdict(cell).items() if v != usual[k] and not _is_nan(v)}


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and isnan(value)


def _cell(plain: str | int | Mapping[str, Any]) -> Cell:
    if not isinstance(plain, Mapping):
        return plain
    return Value(**{"mean": nan, **plain, "seeds": tuple(plain.get("seeds", ()))})
