"""Draws figures and tables from runs, and the report of all studies."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ifl.analysis import collect, pictures
from ifl.analysis.report.archive import FOLDER, keep, kept, record
from ifl.analysis.report.page import claims, page, rendered_from, set_aside
from ifl.analysis.report.questions import header
from ifl.analysis.report.sections import Section, save, save_tables, sections, stem
from ifl.analysis.studies import STUDIES, draw, general
from ifl.checks import place
from ifl.cli.config import CONF
from ifl.cli.console import spell_out
from ifl.cli.missing import absent
from ifl.errors import IFLError


def write(runs: Sequence[collect.Run], out: Path) -> list[Path]:
    """Write the figures of each data set and the table of all; return the files."""
    out.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    of_all: list[collect.Group] = []
    for data in sorted({run.data for run in runs}):
        groups = collect.group_runs([run for run in runs if run.data == data])
        of_all += groups
        for name, figure in draw(groups).items():
            for suffix, content in (("png", pictures.png(figure)), ("pdf", pictures.pdf(figure))):
                files.append(out / f"{name}-{stem(data)}.{suffix}")
                files[-1].write_bytes(content)
    general.tabulate(of_all).to_csv(out / "results.csv", index=False)
    table = general.summarise(of_all)
    (out / "results.tex").write_text(table.latex(), encoding="utf-8")
    (out / "results.md").write_text(table.markdown(), encoding="utf-8")
    return [*files, *(out / f"results.{kind}" for kind in ("csv", "tex", "md"))]


def write_studies(
    runs: Sequence[collect.Run], root: Path, out: Path, report: bool
) -> tuple[list[Section], str]:
    """Write every study's files, below OUT where there are several; return sections and tables."""
    several = report or len({run.study for run in runs}) > 1
    shown, text = [], ""
    for part in sections(runs, both=report):
        missing = absent(root, CONF, part.study, part.data)
        part = replace(part, header=header(CONF, part.study), missing=missing)
        files = save(part, out / part.study if several else out)
        tables = "".join(f"\n{table.caption}\n\n{table.markdown()}" for table in part.tables)
        text += "".join(f"{file}\n" for file in files)
        text += tables + "".join(f"\n{remark}\n" for remark in part.remarks) + "\n"
        shown.append(part)
    return shown, text


def write_report(
    shown: Sequence[Section], notes: Sequence[str], out: Path
) -> tuple[list[Path], list[str]]:
    """Write the page and the table "paper / here"; name the studies that have no run.

    What was written of other studies and data sets stays in it. A page that is there and holds
    what cannot be rendered again is kept under another name.

    Returns:
        The files, and notes on what stayed.
    """
    path, folder = out / "report.html", out / FOLDER
    out.mkdir(parents=True, exist_ok=True)
    fresh = [record(part) for part in shown]
    old, remarks = kept(folder, {(part.study, part.data) for part in fresh})
    if path.exists() and (remarks or not rendered_from(path, folder)):
        remarks.append(
            f"{path} shows what {folder} does not hold, as one of an older version does: it is "
            f"kept as {set_aside(path)}"
        )
    for part in fresh:
        keep(part, folder)
    order = {name: n for n, name in enumerate(STUDIES)}
    parts = sorted([*fresh, *old], key=lambda p: (order.get(p.study, 99), p.study, p.data))
    lacking = [name for name in STUDIES if name not in {part.study for part in parts}]
    command = "python scripts/run.py -m experiment={0} data=..."
    unseen = [f"{name}: no run yet; {command.format(name)}" for name in lacking]
    text = page(parts, [*notes, *unseen])
    path.write_text(text, encoding="utf-8", errors="backslashreplace")
    if old:
        names = "; ".join(f"{part.study}, {part.data}" for part in parts if part in old)
        remarks.append(
            f"{path} keeps what it had of {names}: no run of it here; to drop it, remove its "
            f"files in {folder}"
        )
    return [*save_tables([claims(parts)], out), path], remarks


def show(folder: Path, out: Path | None, report: bool) -> tuple[str, list[str]]:
    """Draw what is in a folder; return what to print, and notes on what is not there.

    Raises:
        IFLError: there is no finished run in it.
    """
    runs, notes = collect.load_runs(folder, by_study=True)
    if not report and not {run.study for run in runs} & {*STUDIES}:
        runs, notes = collect.load_runs(folder)
        files = write(runs, out or folder / "plots")
        return "\n".join([*map(str, files), "", files[-1].read_text(encoding="utf-8")]), notes
    target = out or folder / ("report" if report else "plots")
    shown, text = write_studies(runs, folder, target, report)
    if report:
        files, stayed = write_report(shown, notes, target)
        text += "".join(f"{file}\n" for file in files)
        notes = [*notes, *stayed]
    return text, [*notes, *(note for part in shown for note in part.missing)]


def main() -> int:
    """Do what the command line says; return the exit code."""
    spell_out()
    parser = argparse.ArgumentParser(description="Draw all finished runs below a folder.")
    parser.add_argument("folder", type=place, help="holds runs, at any depth")
    parser.add_argument(
        "--out", type=place, help="where to write (default: FOLDER/plots or FOLDER/report)"
    )
    parser.add_argument(
        "--report", action="store_true", help="write report.html with every study besides"
    )
    options = parser.parse_args()
    try:
        text, notes = show(options.folder, options.out, options.report)
    except (IFLError, OSError) as error:
        way_out = "; name another folder with --out" if isinstance(error, OSError) else ""
        print(f"Error: {error}{way_out}", file=sys.stderr)
        return 1
    for note in notes:
        print(f"Note: {note}", file=sys.stderr)
    print(text, end="")
    return 0
