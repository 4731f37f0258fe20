"""A report keeps the sections of studies whose runs are not at hand any more."""

import shutil
from pathlib import Path

import pytest
from pages import read
from studies import fill
from written_runs import command

from ifl.analysis.collect import load
from ifl.analysis.report.archive import kept
from ifl.analysis.report.page import claims, page
from ifl.analysis.report.sections import sections


def test_what_is_kept_is_what_was_written(tmp_path: Path) -> None:
    for study in ("paper/homogeneous", "open/fusion_dim"):
        fill(tmp_path, study)
    shown = sections(load(tmp_path, by_study=True)[0])
    report = page(shown)
    assert page(kept(report, but=())) == report
    assert claims(kept(report, but=())).rows == claims(shown).rows
    assert len(claims(shown).rows) > 2
    (other,) = kept(report, but={("paper/homogeneous", "Digits")})
    assert (other.study, other.data) == ("open/fusion_dim", "Digits")
    assert kept("<p>somebody else's page</p>", but=()) == []


def test_a_report_drawn_again_replaces_what_was_run_and_keeps_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, out = tmp_path / "outputs", tmp_path / "out"
    fill(runs, "paper/homogeneous", best=0.7)
    fill(runs, "open/fusion_dim")
    assert command(monkeypatch, runs, "--report", "--out", str(out)) == 0
    shutil.rmtree(runs)
    fill(runs, "paper/homogeneous", best=0.9)
    fill(runs, "beyond/choices")
    capsys.readouterr()
    assert command(monkeypatch, runs, "--report", "--out", str(out)) == 0
    notes = capsys.readouterr().err
    assert "report.html keeps what it had of open/fusion_dim, Digits: no run of it here" in notes
    assert "open/fusion_dim: no run yet" not in (out / "report.html").read_text()
    page = read(out / "report.html")
    studies = [item["id"] for item in page.of("section")]
    assert studies == [
        "paper-here", "paper_homogeneous_Digits", "open_fusion_dim_Digits",
        "beyond_choices_Digits-validation",
    ]  # fmt: skip
    table = (out / "paper-here.csv").read_text()
    assert "open/fusion_dim,Digits" in table
    assert "92.0" in table
    assert "72.0" not in table
