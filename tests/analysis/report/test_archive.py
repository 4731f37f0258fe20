"""A report keeps the sections of studies whose runs are not at hand any more."""

import json
import shutil
from dataclasses import replace
from math import nan
from pathlib import Path

import pytest
from conftest import ROOT
from pages import read
from studies import fill

from ifl.analysis.collect import load_runs
from ifl.analysis.report.archive import FOLDER, Kept, keep, kept, record
from ifl.analysis.report.page import claims, inside, page, rendered_from
from ifl.analysis.report.sections import sections
from ifl.analysis.tables import Cell, Table, Value
from ifl.cli import plot


def drawn(root: Path, *studies: str) -> list[Kept]:
    for study in studies:
        fill(root, study)
    return [record(part) for part in sections(load_runs(root, by_study=True)[0], both=True)]


def test_what_is_kept_is_what_was_written(tmp_path: Path) -> None:
    written = drawn(tmp_path / "runs", "open/fusion_dim", "paper/homogeneous")
    for part in written:
        keep(part, tmp_path / "sections")
    assert {str(p.relative_to(tmp_path)) for p in (tmp_path / "sections").rglob("*.json")} == {
        "sections/paper/homogeneous/Digits.json", "sections/open/fusion_dim/Digits.json"
    }  # fmt: skip
    found, notes = kept(tmp_path / "sections")
    found.sort(key=lambda part: part.study, reverse=True)
    assert notes == []
    assert page(found) == page(written)
    assert claims(found).rows == claims(written).rows
    assert len(claims(found).rows) > 2
    for one, other in zip(found, written, strict=True):
        assert [table.csv() for table in one.tables] == [table.csv() for table in other.tables]
    (other,), _ = kept(tmp_path / "sections", {("paper/homogeneous", "Digits")})
    assert (other.study, other.data) == ("open/fusion_dim", "Digits")
    assert kept(tmp_path / "nothing") == ([], [])


def test_every_kind_of_cell_is_kept(tmp_path: Path) -> None:
    (part,) = drawn(tmp_path / "runs", "paper/homogeneous")
    row: list[Cell] = [
        "a",
        3,
        Value(nan),
        Value(1.25, 0.5, 2, "†"),
        Value(-0.04),
        Value(62, 369, seeds=(33.1, 91.2)),
        Value(nan, note="none"),
    ]
    keep(replace(part, tables=[Table("t", "", list("abcdef"), [row])]), tmp_path / "sections")
    ((found,), _) = kept(tmp_path / "sections")
    (table,) = found.tables
    assert [str(cell) for cell in table.rows[0]] == [str(cell) for cell in row]
    assert table.csv() == Table("t", "", list("abcdef"), [row]).csv()
    assert table.rows[0][3] == row[3]


def test_pictures_of_figures_that_are_gone_are_removed(tmp_path: Path) -> None:
    (part,) = drawn(tmp_path / "runs", "open/fusion_dim")
    folder = keep(part, tmp_path / "sections").parent
    assert {path.name for path in folder.iterdir()} == {
        "Digits.json", "Digits-fusion-dim.webp", "Digits-fusion-dim-narrow.webp"
    }  # fmt: skip
    keep(replace(part, data="KMNIST"), tmp_path / "sections")
    keep(replace(part, pictures=[]), tmp_path / "sections")
    assert {path.name for path in folder.iterdir()} == {
        "Digits.json", "KMNIST.json", "KMNIST-fusion-dim.webp", "KMNIST-fusion-dim-narrow.webp"
    }  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs of a study, and a report of these and of others that are gone."""
    root = tmp_path_factory.mktemp("written")
    fill(root / "runs", "paper/homogeneous", best=0.7)
    fill(root / "runs", "open/fusion_dim")
    plot.show(root / "runs", root / "out", report=True)
    shutil.rmtree(root / "runs")
    fill(root / "runs", "paper/homogeneous", best=0.9)
    return root


@pytest.fixture
def report(written: Path, tmp_path: Path) -> Path:
    """The report in a copy of that folder."""
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    return tmp_path / "out" / "report.html"


def render(report: Path) -> list[str]:
    """Write the report again with no runs at hand; return the notes."""
    return plot.write_report([], [], report.parent)[1]


def test_a_report_drawn_again_replaces_what_was_run_and_keeps_the_rest(report: Path) -> None:
    fill(report.parent.parent / "runs", "open/family_rates")
    before = read(report).of("img")
    _, notes = plot.show(report.parent.parent / "runs", report.parent, report=True)
    (note,) = [note for note in notes if "keeps" in note]
    assert "report.html keeps what it had of open/fusion_dim, Digits: no run of it here" in note
    assert "open/fusion_dim: no run yet" not in report.read_text()
    page = read(report)
    assert [item["id"] for item in page.of("section")] == [
        "paper-here", "paper_homogeneous_Digits", "open_fusion_dim_Digits",
        "open_family_rates_Digits-validation",
    ]  # fmt: skip
    assert before[1] in page.of("img")
    assert before[0] not in page.of("img")
    table = (report.parent / "paper-here.csv").read_text()
    assert "open/fusion_dim,Digits" in table
    assert "92.0" in table
    assert "72.0" not in table
    assert {path.name for path in report.parent.glob("*.html")} == {"report.html"}


def test_a_report_with_no_runs_at_hand_says_the_same(report: Path) -> None:
    before = report.read_text()
    (note,) = render(report)
    assert note.startswith(f"{report} keeps what it had of paper/homogeneous, Digits; open/fusion")
    assert (
        report.read_text().split("<nav")[1].split("Not here")[0]
        == (before.split("<nav")[1].split("Not here")[0])
    )


def test_a_section_whose_files_are_removed_is_dropped(report: Path) -> None:
    shutil.rmtree(report.parent / "sections" / "open")
    (note,) = render(report)
    assert "open/fusion_dim" not in note
    assert "open/fusion_dim: no run yet" in report.read_text()


@pytest.mark.parametrize("older", ["page", "sections"])
def test_a_page_that_cannot_be_rendered_again_is_kept_beside(report: Path, older: str) -> None:
    if older == "page":
        report.write_text("<h2>open/tau, KMNIST</h2>")
    else:
        shutil.rmtree(report.parent / "sections")
    first = report.read_bytes()
    note = render(report)[0]
    assert note.startswith(f"{report} shows what {report.parent / 'sections'} does not hold")
    assert note.endswith(f"kept as {report.with_name('report-before.html')}")
    assert report.with_name("report-before.html").read_bytes() == first
    report.write_text("<p>another</p>")
    assert "kept as" in render(report)[0]
    assert report.with_name("report-before.html").read_bytes() == first
    assert report.with_name("report-before-2.html").read_text() == "<p>another</p>"


@pytest.mark.parametrize("damage", ["torn", "picture", "format"])
def test_a_section_that_cannot_be_read_is_named_and_kept_as_its_page_is(
    report: Path, damage: str
) -> None:
    path = report.parent / "sections" / "open" / "fusion_dim" / "Digits.json"
    if damage == "torn":
        path.write_text(path.read_text()[:-9])
    elif damage == "picture":
        path.with_name("Digits-fusion-dim.webp").unlink()
    else:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 0}))
    content, first = path.read_bytes(), report.read_bytes()
    unread, aside, kept = render(report)
    assert unread.startswith(f"{path} cannot be read (")
    assert "kept as" in aside
    assert "keeps what it had of paper/homogeneous, Digits: no run" in kept
    assert path.with_suffix(".damaged").read_bytes() == content
    assert report.with_name("report-before.html").read_bytes() == first
    assert len(render(report)) == 1  # what is there now can be rendered again


def test_the_reference_report_is_that_of_its_sections() -> None:
    reference = ROOT / "outputs" / "reference"
    parts, notes = kept(reference / FOLDER)
    assert notes == []
    shown = read(reference / "report.html")
    anchors = {item["id"] for item in shown.of("section")} - {"paper-here"}
    assert anchors == {part.anchor for part in parts}
    pictures = [inside(picture.wide) for part in parts for picture in part.pictures]
    assert {item["src"] for item in shown.of("img")} == {*pictures}
    assert rendered_from(reference / "report.html", reference / FOLDER)
    assert (reference / "report.html").stat().st_size < 1_000_000
