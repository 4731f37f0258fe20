"""Renders one HTML page with every section: pictures inside, nothing loaded from anywhere."""

import base64
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ifl.analysis.report.archive import Kept
from ifl.analysis.report.opening import opening
from ifl.analysis.studies import Table
from ifl.analysis.studies.base import COUNT, ENDED

INTRO = """Every number here is computed from the runs' folders. Accuracies are those on the test
data at the round named, never the best round; ± is half the 95 % Student t interval over seeds. MB
are 10^6 bytes, as serialised; both directions are counted as unicast. It is not known whether the
paper counts its MB for one client or for all, so both are given."""
TEN_K = """KMNIST-10k is not KMNIST: it is the 10,000 official test images alone, split
8,000/2,000, where the paper trains on 60,000 and tests on 10,000."""


HERE = Path(__file__).parent  # of the template and its style sheet
GENERATOR = "ifl, from sections"  # tells a page that can be rendered again from one of before
HOLDS = {True: "yes", False: "no", None: ""}


def page(shown: Sequence[Kept], notes: Sequence[str] = ()) -> str:
    """Return the report.

    Args:
        shown: its sections.
        notes: sentences on runs and studies that are left out.
    """
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    environment.filters["inside"] = inside
    remarks = [INTRO]
    if any(part.data.startswith("KMNIST-10k") for part in shown):
        remarks.append(TEN_K)
    return environment.get_template("page.html.j2").render(
        generator=GENERATOR,
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        remarks=[" ".join(text.split()) for text in remarks],
        shown=shown,
        opening=opening(shown),
        claims=claims(shown),
        holds=HOLDS,
        notes=notes,
    )


def rendered_from(report: Path, folder: Path) -> bool:
    """Return whether a page was rendered from OUT/sections, and sections are still there."""
    marked = f'content="{GENERATOR}"' in report.read_text(encoding="utf-8", errors="replace")
    return marked and any(folder.rglob("*.json"))


def set_aside(report: Path) -> Path:
    """Give a page another name, one that is free; return it."""
    free, number = report.with_stem(f"{report.stem}-before"), 1
    while free.exists():
        number += 1
        free = report.with_stem(f"{report.stem}-before-{number}")
    return report.rename(free)


def inside(picture: bytes) -> str:
    """Return a picture as an address that holds it."""
    return f"data:image/webp;base64,{base64.b64encode(picture).decode()}"


def claims(shown: Sequence[Kept]) -> Table:
    """Return the table "paper / here" of all studies."""
    rows = [
        [part.study, part.data, claim.what, claim.paper, claim.here, HOLDS[claim.holds]]
        for part in shown
        for claim in part.claims
    ]
    head = ["study", "data", "what", "paper", "here", "holds here"]
    caption = "What the paper reports, and what was measured here"
    return Table("paper-here", caption, head, rows, f"{ENDED} {COUNT}")
