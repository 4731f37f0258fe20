"""Builds a section of the report for every study and data set: figures, tables, claims."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path

from matplotlib.figure import Figure

from ifl.analysis.charts import narrow
from ifl.analysis.collect import Group, Run, group_runs
from ifl.analysis.pictures import pdf, png
from ifl.analysis.report.questions import Header
from ifl.analysis.studies import STUDIES, Claim, Study, draw
from ifl.analysis.studies.general import general
from ifl.analysis.tables import Table

MEASURED = ["round", "uplink_mb", "downlink_mb", "accuracy_mean", "accuracy_local"]
MEASURED += ["accuracy_cross", "accuracy_sd", "seconds"]


@dataclass(frozen=True)
class Section:
    """A section: one study on one data set.

    Args:
        study: its folder below outputs.
        data: name of the data set.
        groups: its runs.
        figures: by name of their files.
        narrow: the same for narrow screens, where they are asked for.
        tables: in their order.
        claims: rows of the table "paper / here".
        remarks: sentences that the results call for.
        header: question and claim of its experiment.
        missing: sentences on runs that are not there.
    """

    study: str
    data: str
    groups: Sequence[Group]
    figures: Mapping[str, Figure]
    tables: Sequence[Table]
    claims: Sequence[Claim]
    remarks: Sequence[str]
    narrow: Mapping[str, Figure] = field(default_factory=dict)
    header: Header | None = None
    missing: Sequence[str] = ()

    @property
    def runs(self) -> list[Run]:
        """All runs, group by group."""
        return [run for group in self.groups for run in group.runs]

    @property
    def commands(self) -> list[str]:
        """The commands that were typed, the first ones first; a guess where that is not known."""
        typed = dict.fromkeys(run.command for run in sorted(self.runs, key=lambda run: run.ended))
        chosen = self.runs[0].choices
        name = f"experiment={self.study} " if self.header else f"study={self.study} "
        guess = f"python scripts/run.py -m {name}data={chosen.get('data')}"
        return [command for command in typed if command] or [guess]


def section(study: str, runs: Sequence[Run], both: bool = False) -> Section:
    """Draw a study's runs on one data set; those of a study that is not known, in general.

    Args:
        study: its name.
        runs: all of it on this data set.
        both: draw for narrow screens too.
    """
    known = STUDIES.get(study) or Study(study, None, draw, general)
    groups = group_runs(runs, known.name_of)
    with narrow():
        small = known.draw(groups) if both and known.folds else {}
    shown = known.draw(groups), known.tabulate(groups), known.claim(groups), known.remark(groups)
    return Section(study, groups[0].data, groups, *shown, small)


def sections(runs: Sequence[Run], both: bool = False) -> list[Section]:
    """Return a section for every study and data set, the studies of the paper first."""
    parts: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        parts.setdefault((run.study, run.data), []).append(run)
    order = {name: n for n, name in enumerate(STUDIES)}
    keys = sorted(parts, key=lambda key: (order.get(key[0], len(order)), key))
    return [section(study, parts[study, data], both) for study, data in keys]


def measured(groups: Sequence[Group]) -> str:
    """Return every evaluated round of every run as CSV; accuracies as fractions."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["setting", "seed", *MEASURED])
    for group in groups:
        for run in group.runs:
            for values in run.rounds[[*MEASURED]].itertuples(index=False):
                cells = ("" if isnan(value) else f"{value:.7g}" for value in values)
                writer.writerow([group.name, run.seed, *cells])
    return text.getvalue()


def stem(text: str) -> str:
    """Return a name as a part of a file's name."""
    return text.replace(", ", "-").replace("/", "_").replace(" ", "-")


def save(shown: Section, out: Path) -> list[Path]:
    """Write figures (PNG, PDF), tables (Markdown, LaTeX, CSV) and what was measured (CSV)."""
    files: dict[Path, bytes] = {}
    end = stem(shown.data)
    for name, figure in shown.figures.items():
        files |= {out / f"{name}-{end}.png": png(figure), out / f"{name}-{end}.pdf": pdf(figure)}
    files[out / f"measured-{end}.csv"] = measured(shown.groups).encode()
    out.mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        path.write_bytes(content)
    return [*files, *save_tables(shown.tables, out, f"-{end}")]


def save_tables(tables: Sequence[Table], out: Path, end: str = "") -> list[Path]:
    """Write each table as Markdown, LaTeX and CSV."""
    files = []
    for table in tables:
        kinds = {"md": table.markdown(), "tex": table.latex(), "csv": table.csv()}
        for kind, text in kinds.items():
            files.append(out / f"{table.name}{end}.{kind}")
            files[-1].write_text(text, encoding="utf-8")
    return files
