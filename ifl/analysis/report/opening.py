"""Opens the report: five sentences and a figure, said of the results that are there."""

from collections.abc import Sequence
from math import isnan
from typing import NamedTuple

from ifl.analysis.report.archive import Kept, Picture
from ifl.analysis.studies import STUDIES, Table
from ifl.analysis.tables import FEW, Value
from ifl.runs.method import PAPER_TITLE

MEAN, LOCAL, CROSS = ("mean (%)", "mean %"), ("local (%)", "local %"), ("cross (%)", "cross %")
UPLINK = ("up per client (MB)", "MB up per client")  # heads in studies, and in general tables
GAIN = ("gain over alone, own (points)",)
SHOWN = 4  # names of a list


class Opening(NamedTuple):
    """The head of the page."""

    sentences: Sequence[tuple[str, str]]  # a word, and the sentence
    picture: Picture | None
    lead: Kept  # the section that has the picture


def opening(shown: Sequence[Kept]) -> Opening | None:
    """Return the head of a page with these sections; None where there is none."""
    if not shown:
        return None
    lead = max(shown, key=lambda part: (results(part) is not None, bool(part.pictures)))
    table = results(lead)
    said = (result(table), sent(table)) if table else (claimed(lead, "%"), claimed(lead, "MB"))
    words = ("Asked", "Protocol", "Result", "Bytes", "Not shown")
    sentences = [asked(lead), protocol(shown, lead), *said, not_shown(shown)]
    return Opening(
        [*zip(words, sentences, strict=True)], lead.pictures[0] if lead.pictures else None, lead
    )


def results(part: Kept) -> Table | None:
    """Return a section's table of what all came to."""
    return next((table for table in part.tables if table.name == "results" and table.rows), None)


def cell(table: Table, row: int, heads: Sequence[str]) -> Value | None:
    """Return the number below the first of these heads that there is; None without one."""
    for head in heads:
        if head in table.head:
            found = table.rows[row][[*table.head].index(head)]
            if isinstance(found, Value) and not isnan(found.mean):
                return found
    return None


def paper(table: Table) -> int:
    """Return the row of the paper's method, of several the one with the shortest name."""
    names = [str(row[0]) for row in table.rows]
    own = [n for n, name in enumerate(names) if name.lower().startswith(PAPER_TITLE.lower())]
    return min(own, key=lambda n: len(names[n]), default=0)


def asked(lead: Kept) -> str:
    """Say what the first section asks."""
    question, mark, _ = lead.question.partition("?")
    return question + mark if mark else f"What do the runs of {lead.study} come to?"


def protocol(shown: Sequence[Kept], lead: Kept) -> str:
    """Say what was run and how it is measured."""
    seeds = sorted({seed for part in shown for seed in part.seeds})
    span = f"seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}"
    runs, sections = sum(part.runs for part in shown), counted(len(shown), "section")
    return (
        f"{counted(runs, 'run')} in {sections}, {span}, on {listed(data_sets(shown))}, each "
        "measured after its last round; the figure and what is said of results and bytes are of "
        f"{lead.study}, {counted(lead.runs, 'run')} on {lead.data}."
    )


def claimed(lead: Kept, unit: str) -> str:
    """Say the first claim in a unit, for a section without a table of results."""
    claims = [claim for claim in lead.claims if unit in claim.what]
    return f"{claims[0].what}: {claims[0].here}." if claims else f"Nothing here is in {unit}."


def result(table: Table) -> str:
    """Say what the paper's method comes to, the best of the others, and clients alone."""
    at = paper(table)
    own, cross = cell(table, at, LOCAL), cell(table, at, CROSS)
    said = f"{table.rows[at][0]} has {cell(table, at, MEAN) or '-'} % over all compositions"
    said += f", {own} % with a client's own blocks" if own else ""
    said += f" and {cross} % across clients" if cross else ""
    gain = cell(table, at, GAIN)
    said += f", own blocks {gain} points above training alone" if gain else ""
    others = [n for n in range(len(table.rows)) if n != at]
    if means := [(value.mean, n) for n in others if (value := cell(table, n, MEAN))]:
        best = max(means)[1]
        said += f"; of the others {table.rows[best][0]} has most, {cell(table, best, MEAN)} %"
    silent = [n for n in others if (mb := cell(table, n, UPLINK)) and mb.mean == 0]
    if alone := [(value.mean, n) for n in silent if (value := cell(table, n, LOCAL))]:
        best = max(alone)[1]
        said += f", and {table.rows[best][0]} has {cell(table, best, LOCAL)} % with own blocks"
    return f"{said}."


def sent(table: Table) -> str:
    """Say what a client sent, by whom least and most."""
    at = paper(table)
    uplinks = {n: mb for n in range(len(table.rows)) if (mb := cell(table, n, UPLINK))}
    mine = uplinks.pop(at, None)
    said = f"For that a client of {table.rows[at][0]} sends {mine or '-'} MB in all"
    there = {n: mb for n, mb in uplinks.items() if mb.mean > 0}
    if there:
        least, most = (way(there, key=lambda n: there[n].mean) for way in (min, max))
        said += f"; of the others {table.rows[least][0]} sends least, {there[least]} MB"
        said += f", and {table.rows[most][0]} most, {there[most]} MB" if least != most else ""
    return f"{said}."


def not_shown(shown: Sequence[Kept]) -> str:
    """Say what these results leave open."""
    there = {part.study for part in shown}
    told = [f"other data than {listed(data_sets(shown))}"]
    if lacking := [name for name in STUDIES if name not in there]:
        told.append(f"{counted(len(lacking), 'study', 'studies')} with no run ({listed(lacking)})")
    if missing := [part.study for part in shown if part.missing]:
        told.append(f"runs that are missing ({listed(missing)})")
    if few := [part.study for part in shown if len(part.seeds) <= FEW]:
        told.append(f"small differences, where seeds are {FEW} or fewer ({listed(few)})")
    tables = [table for part in shown if (table := results(part))]
    rows = [(table, n) for table in tables for n in range(len(table.rows))]
    sending = [at for at in rows if (mb := cell(*at, UPLINK)) and mb.mean > 0]
    if lone := sum(cell(*at, GAIN) is None for at in sending):
        of = counted(len(sending), "setting")
        told.append(f"for want of such a run, the gain over training alone of {lone} of {of}")
    text = "; ".join(told)
    return f"{text[0].upper()}{text[1:]}."


def data_sets(shown: Sequence[Kept]) -> list[str]:
    """Return the names of the data sets, also where a part of one is held out."""
    return list(dict.fromkeys(part.data.removesuffix(", validation") for part in shown))


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def listed(names: Sequence[str]) -> str:
    """Return the first names of a list, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
