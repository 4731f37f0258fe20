"""Keeps sections of an earlier report whose runs are no longer at hand."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from html import unescape

from ifl.analysis.studies import Claim

SECTION = re.compile(r'<section id="[^"]+">\n<h2>([^<]+)</h2>\n.*?</section>\n', re.DOTALL)
HEADING = r'<tr><th colspan="4" scope="rowgroup">{}</th></tr>\n((?:<tr><td>.*</tr>\n)*)'
ROW = re.compile(r"<tr><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td></tr>")
HOLDS = {"yes": True, "no": False}


@dataclass(frozen=True)
class Kept:
    """A section as it stands in a report.

    Args:
        study: its folder below outputs.
        data: name of the data set.
        claims: its rows of the table "paper / here".
        html: all of it.
    """

    study: str
    data: str
    claims: tuple[Claim, ...]
    html: str


def kept(report: str, but: Collection[tuple[str, str]]) -> list[Kept]:
    """Return the sections of a report that ``report_page.page`` wrote.

    Args:
        report: its text; one of another kind has no such sections.
        but: those of these studies and data sets are left out.
    """
    found = []
    for section in SECTION.finditer(report):
        heading = section[1]
        study, comma, data = unescape(heading).partition(", ")
        if comma and (study, data) not in but:
            rows = re.search(HEADING.format(re.escape(heading)), report)
            claims = tuple(
                Claim(unescape(what), unescape(paper), unescape(here), HOLDS.get(holds))
                for what, paper, here, holds in (ROW.findall(rows[1]) if rows else ())
            )
            found.append(Kept(study, data, claims, section[0]))
    return found
