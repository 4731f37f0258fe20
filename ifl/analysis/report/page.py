"""Renders one HTML page with every study: pictures inside, nothing loaded from anywhere."""

import base64
from collections.abc import Sequence
from html import escape

from matplotlib.figure import Figure

from ifl.analysis.charts import webp
from ifl.analysis.report.archive import Kept
from ifl.analysis.report.sections import Section, stem
from ifl.analysis.studies import Table
from ifl.analysis.studies.base import COUNT, ENDED

STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --quiet: #5a5a5a;
  --line: #c9c9c9; --band: #f3f3f1; --link: #0b57a4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --paper: #17181a; --quiet: #a9a9a9;
  --line: #45474b; --band: #222428; --link: #8ab8ee; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 1rem; max-width: 75rem; color: var(--ink);
  background: var(--paper); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.2; } h2 { font-size: 1.25rem; line-height: 1.3; }
section { border-top: 1px solid var(--line); margin-top: 2rem; padding-top: .5rem; }
p, dl, .missing { max-width: 52rem; } a { color: var(--link); }
nav ol { columns: 18rem; padding-left: 1.5rem; }
.claim, .remark, .missing { border-left: .25rem solid var(--line); padding-left: .75rem; }
.remark { border-color: #d55e00; } .missing { border-color: #e69f00; }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .25rem 1rem; }
dt { color: var(--quiet); } dd { margin: 0; }
code { font: .85rem/1.5 ui-monospace, monospace; background: var(--band); padding: .1rem .3rem;
  overflow-wrap: anywhere; }
figure { margin: 1.25rem 0; }
img { display: block; max-width: 100%; height: auto; background: #fff; padding: .25rem; }
figcaption, caption, .caption, .notes { color: var(--quiet); font-size: .85rem; text-align: left; }
caption { padding-bottom: .35rem; }
.caption { margin: 1.25rem 0 .35rem; } .scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .45rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
thead th { border-bottom: 2px solid var(--ink); vertical-align: bottom; }
.number { text-align: right; } td.number { white-space: nowrap; }
tbody tr:nth-child(even) { background: var(--band); }
th[scope="rowgroup"] { padding-top: 1rem; background: var(--paper); }
@media (max-width: 40rem) { dl { display: block; } dd { margin-bottom: .5rem; }
  body { padding: .75rem; }
  .wide, .wide tbody, .wide tr, .wide td { display: block; } .wide thead { display: none; }
  .wide tr { padding: .35rem 0; border-bottom: 1px solid var(--line); }
  .wide td { display: flex; justify-content: space-between; gap: 1rem; border: 0;
    padding: .05rem .35rem; text-align: right; }
  .wide td::before { content: attr(data-head); color: var(--quiet); text-align: left; } }
@media print { :root { --ink: #000; --paper: #fff; --quiet: #333; --line: #999; --band: #fff;
    --link: #000; }
  body { max-width: none; font-size: 9.5pt; } nav { display: none; }
  .scroll { overflow: visible; } table { font-size: 7pt; } th, td { padding: .1rem .25rem; }
  td.number { white-space: normal; }
  figure, tr { break-inside: avoid; } h2, caption, .caption { break-after: avoid; } }
"""
INTRO = """Every number here is computed from the runs' folders. Accuracies are those on the test
data at the round named, never the best round; ± is half the 95 % Student t interval over seeds. MB
are 10^6 bytes, as serialised; both directions are counted as unicast. It is not known whether the
paper counts its MB for one client or for all, so both are given."""
TEN_K = """KMNIST-10k is not KMNIST: it is the 10,000 official test images alone, split
8,000/2,000, where the paper trains on 60,000 and tests on 10,000."""


def page(shown: Sequence[Section | Kept], notes: Sequence[str] = ()) -> str:
    """Return the report.

    Args:
        shown: its sections, new ones and kept ones.
        notes: sentences on runs and studies that are left out.
    """
    remarks = [INTRO] + [TEN_K] * any(part.data.startswith("KMNIST-10k") for part in shown)
    contents = "".join(
        f'<li><a href="#{_anchor(part)}">{escape(part.study)}, {escape(part.data)}</a></li>\n'
        for part in shown
    )
    title = "Communication-efficient, interoperable learning: the paper and here"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<header>\n"
        f"<h1>{title}</h1>\n<p>Runs of &ldquo;Communication-Efficient and Interoperable "
        "Distributed Learning&rdquo; (arXiv 2509.22823) and of the questions that it leaves open."
        "</p>\n"
        + "".join(f"<p>{escape(' '.join(text.split()))}</p>\n" for text in remarks)
        + f'</header>\n<nav aria-label="Contents">\n<ol>\n<li><a href="#paper-here">Paper and here'
        f'</a></li>\n{contents}</ol>\n</nav>\n<main>\n<section id="paper-here">\n'
        f"<h2>Paper and here</h2>\n{_claims_html(shown)}{_missing(notes)}</section>\n"
        + "".join(_section(part) for part in shown)
        + "</main>\n</body>\n</html>\n"
    )


def claims(shown: Sequence[Section | Kept]) -> Table:
    """Return the table "paper / here" of all studies."""
    words = {True: "yes", False: "no", None: ""}
    rows = [
        [part.study, part.data, claim.what, claim.paper, claim.here, words[claim.holds]]
        for part in shown
        for claim in part.claims
    ]
    head = ["study", "data", "what", "paper", "here", "holds here"]
    caption = "What the paper reports, and what was measured here"
    return Table("paper-here", caption, head, rows, f"{ENDED} {COUNT}")


def _claims_html(shown: Sequence[Section | Kept]) -> str:
    """Return the same table with a heading for each study, which fits narrow screens."""
    table, before, body = claims(shown), "", ""
    for study, data, *cells in table.rows:
        heading = f"{study}, {data}"
        if heading != before:
            body += f'<tr><th colspan="4" scope="rowgroup">{escape(heading)}</th></tr>\n'
        body += "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in cells) + "</tr>\n"
        before = heading
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.head[2:])
    return (
        f"<table>\n<caption>{escape(table.caption)}</caption>\n<thead><tr>{head}</tr></thead>\n"
        f'<tbody>\n{body}</tbody>\n</table>\n<p class="notes">{escape(table.notes)}</p>\n'
    )


def _section(part: Section | Kept) -> str:
    if isinstance(part, Kept):
        return part.html
    seeds = sorted({run.seed for run in part.runs})
    facts = {
        "data set": part.data,
        "runs": f"{len(part.runs)}, seeds {', '.join(map(str, seeds))}",
        "command": " ".join(f"<code>{escape(command)}</code>" for command in part.commands),
    }
    text = f'<section id="{_anchor(part)}">\n<h2>{escape(part.study)}, {escape(part.data)}</h2>\n'
    if part.header:
        text += f'<p class="question">{escape(part.header.question)}</p>\n'
        if part.header.paper:
            text += f'<p class="claim"><b>Paper:</b> {escape(part.header.paper)}</p>\n'
    text += "".join(f'<p class="remark">{escape(remark)}</p>\n' for remark in part.remarks)
    terms = (
        f"<dt>{name}</dt><dd>{value if name == 'command' else escape(value)}</dd>\n"
        for name, value in facts.items()
    )
    text += f"<dl>\n{''.join(terms)}</dl>\n{_missing(part.missing)}"
    text += "".join(_figure(figure, part.narrow.get(name)) for name, figure in part.figures.items())
    return text + "".join(table.html(_anchor(part)) for table in part.tables) + "</section>\n"


def _anchor(part: Section | Kept) -> str:
    return stem(f"{part.study}/{part.data}")


def _missing(notes: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(note)}</li>\n" for note in notes)
    return f'<div class="missing"><p>Not here:</p>\n<ul>\n{items}</ul></div>\n' if notes else ""


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


def _figure(figure: Figure, narrow: Figure | None) -> str:
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    caption = escape(figure.get_suptitle().replace("\n", " "))
    small = f'<source media="(max-width: 40rem)" srcset="{_inside(narrow)}">\n' if narrow else ""
    return (
        f'<figure>\n<picture>\n{small}<img src="{_inside(figure)}" width="{width}" '
        f'height="{height}" alt="{escape(describe(figure))}">\n</picture>\n'
        f"<figcaption>{caption}</figcaption>\n</figure>\n"
    )


def _inside(figure: Figure) -> str:
    return f"data:image/webp;base64,{base64.b64encode(webp(figure)).decode()}"
