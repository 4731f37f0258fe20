"""The page: valid, closed in itself, and with everything that it should say."""

import base64
from dataclasses import replace
from pathlib import Path

import pytest
from pages import read
from studies import fill
from written_runs import command, write_run

from ifl.analysis.collect import load_runs
from ifl.analysis.report.archive import record
from ifl.analysis.report.page import HERE, page
from ifl.analysis.report.sections import sections
from ifl.analysis.tables import Table, Value


def test_the_report_holds_every_study_and_loads_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "outputs"
    fill(runs, "paper/homogeneous")
    fill(runs, "paper/communication")
    sent = {("up", "z"): 1000}
    other = "experiment=paper/communication", "data=kmnist10k"
    write_run(runs / "communication-2", *other, traffic=sent)
    write_run(runs / "unfinished", "method=fsl", finished=False)
    assert command(monkeypatch, runs, "--report") == 0
    out = runs / "report"
    assert str(out / "report.html") in capsys.readouterr().out
    for name in ("paper-here.md", "paper-here.csv", "paper-here.tex"):
        assert (out / name).stat().st_size > 100
    assert (out / "paper" / "homogeneous" / "accuracy-Digits.png").exists()
    assert (out / "report.html").stat().st_size < 1_000_000

    here = read(out / "report.html")
    assert here.tags[0][0] == "html"
    assert "lang" in here.of("html")[0]
    ids = [attributes["id"] for _, attributes in here.tags if "id" in attributes]
    assert len({*ids}) == len(ids)
    for attributes in here.of("a"):
        assert attributes["href"].removeprefix("#") in ids
    for _, attributes in here.tags:
        for name in ("src", "srcset"):
            if name in attributes:
                head, content = attributes[name].split(",")
                assert head == "data:image/webp;base64"
                assert base64.b64decode(content)[8:12] == b"WEBP"
    assert not {"script", "link", "iframe"} & {tag for tag, _ in here.tags}
    assert "http" not in here.text + (out / "report.html").read_text().split("</style>")[0]
    assert len(here.of("img")) == 1 + 1 + 1
    assert all(len(attributes["alt"]) > 40 for attributes in here.of("img"))
    for said in (
        "Does training converge with two identical fully connected networks at d = 128?",
        "over 85 % accuracy",
        "python scripts/run.py -m experiment=paper/homogeneous data=digits",
        "paper/communication, KMNIST-10k",
        "KMNIST-10k is not KMNIST",
        "left out: not finished",
        "open/tau: no run yet",
        "paper/communication, KMNIST-10k: missing is method=fsl, seed 0",
    ):
        assert said in here.text


def test_what_comes_from_runs_is_escaped(tmp_path: Path) -> None:
    write_run(tmp_path / "run", "experiment=paper/communication", command="run.py 'a<b>&\"'")
    (part,) = sections(load_runs(tmp_path, by_study=True)[0])
    table = Table("name", "50 % <all>", ["method", "at 1 MB (%)"], [["IFL", Value(81.2, 0.5)]])
    shown = replace(record(part), question="<b>?", tables=[table])
    text = page([shown], ["<script>alert(1)</script>"])
    assert "&lt;script&gt;" in text
    assert "<script" not in text
    assert "a&lt;b&gt;&amp;" in text
    assert "&lt;b&gt;?" in text
    assert "50 % &lt;all&gt;" in text


def test_each_cell_of_a_table_knows_its_head(tmp_path: Path) -> None:
    write_run(tmp_path / "run", "experiment=paper/communication")
    (part,) = sections(load_runs(tmp_path, by_study=True)[0])
    table = Table("name", "", ["method", "at 1 MB (%)"], [["IFL", Value(81.2, 0.5)]], "a note")
    text = page([replace(record(part), tables=[table])])
    assert '<td data-head="method">IFL</td>' in text
    assert '<td class="number" data-head="at 1 MB (%)">81.2 ± 0.5</td>' in text
    assert 'id="paper_communication_Digits-name"' in text
    assert 'aria-labelledby="paper_communication_Digits-name"' in text
    assert '<p class="notes">a note</p>' in text


def test_the_style_sheet_stands_in_the_page_as_it_is() -> None:
    style = (HERE / "page.css").read_text()
    assert "@media (max-width: 40rem)" in style
    assert f"<style>\n{style}</style>" in page([])
