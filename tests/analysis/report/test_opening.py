"""The report opens with five sentences and a figure, made of the results that are there."""

from dataclasses import replace
from pathlib import Path

import pytest
from pages import read
from studies import fill

from ifl.analysis.collect import load_runs
from ifl.analysis.report.archive import Kept, record
from ifl.analysis.report.opening import opening
from ifl.analysis.report.page import page
from ifl.analysis.report.questions import header
from ifl.analysis.report.sections import sections
from ifl.analysis.studies import STUDIES, Claim, Table
from ifl.analysis.tables import Cell, Value
from ifl.cli.config import CONF

HEAD = ["method", "mean (%)", "local (%)", "cross (%)", "gain over alone, own (points)"]
HEAD += ["up per client (MB)"]
ROWS: list[list[Cell]] = [
    ["IFL, int4", Value(83), Value(84), Value(82), "-", Value(1, digits=2)],
    ["IFL", Value(85.3, 1.2), Value(86), Value(85), Value(0.5, 0.2), Value(20, digits=2)],
    ["FSL", Value(86), Value(86), "-", "-", Value(100, digits=2)],
    ["FL", Value(96.1), Value(96.1), "-", "-", Value(591.6, digits=2)],
    ["no communication", Value(29), Value(85.25), Value(10), "-", Value(0, digits=2)],
]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """A section with a picture; its results are those above."""
    root = tmp_path_factory.mktemp("runs")
    fill(root, "paper/homogeneous")
    (part,) = sections(load_runs(root, by_study=True)[0])
    part = replace(part, header=header(CONF, part.study))
    return replace(record(part), tables=[Table("results", "", HEAD, ROWS)], missing=[])


def said(*parts: Kept) -> dict[str, str]:
    found = opening(parts)
    assert found is not None
    assert [word for word, _ in found.sentences] == [
        "Asked", "Protocol", "Result", "Bytes", "Not shown",
    ]  # fmt: skip
    for _, sentence in found.sentences:
        assert sentence[-1] in ".?"
        assert ". " not in sentence
    return dict(found.sentences)


def test_five_sentences_are_said_of_the_results(drawn: Kept) -> None:
    told = said(drawn)
    assert told["Asked"] == (
        "Does training converge with two identical fully connected networks at d = 128?"
    )
    assert told["Protocol"].startswith(f"{drawn.runs} runs in 1 section, seeds 0 to 4, on Digits")
    assert told["Result"] == (
        "IFL has 85.3 ± 1.2 % over all compositions, 86.0 % with a client's own blocks and 85.0 % "
        "across clients, own blocks 0.5 ± 0.2 points above training alone; of the others FL has "
        "most, 96.1 %, and no communication has 85.2 % with own blocks."
    )
    assert told["Bytes"] == (
        "For that a client of IFL sends 20.00 MB in all; of the others IFL, int4 sends least, "
        "1.00 MB, and FL most, 591.60 MB."
    )
    without = f"{len(STUDIES) - 1} studies with no run (paper/ac"
    assert told["Not shown"].startswith(f"Other data than Digits; {without}")
    assert told["Not shown"].endswith("the gain over training alone of 3 of 4 settings.")


def test_other_results_are_told_otherwise(drawn: Kept) -> None:
    rows: list[list[Cell]] = [["mine", Value(50), "-", "-", "-", Value(3)]]
    other = replace(drawn, tables=[Table("results", "", HEAD, rows)], question="", seeds=[7])
    told = said(replace(other, missing=["gone"], data="KMNIST, validation"))
    assert told["Asked"] == "What do the runs of paper/homogeneous come to?"
    assert "seed 7, on KMNIST, each" in told["Protocol"]
    assert told["Result"] == "mine has 50.0 % over all compositions."
    assert told["Bytes"] == "For that a client of mine sends 3.0 MB in all."
    assert "runs that are missing (paper/homogeneous)" in told["Not shown"]
    assert "where seeds are 3 or fewer (paper/homogeneous)" in told["Not shown"]


def test_without_a_table_of_results_claims_are_said(drawn: Kept) -> None:
    claims = [Claim("uplink (MB)", "10", "11.1"), Claim("accuracy (%)", "90", "83.2")]
    bare = replace(drawn, tables=[], claims=claims)
    assert (said(bare)["Result"], said(bare)["Bytes"]) == (
        "accuracy (%): 83.2.",
        "uplink (MB): 11.1.",
    )
    assert said(replace(bare, claims=[]))["Result"] == "Nothing here is in %."
    found = opening([bare, drawn])
    assert found is not None
    assert found.lead is drawn  # it has one


def test_the_figure_stands_at_the_head_of_the_page_alone(drawn: Kept, tmp_path: Path) -> None:
    text = page([drawn])
    assert text.index('id="opening"') < text.index("<img") < text.index("<nav")
    (tmp_path / "report.html").write_text(text, encoding="utf-8")
    shown = read(tmp_path / "report.html")
    assert len(shown.of("img")) == len(drawn.pictures)
    assert "the figure at the head of this page" in shown.text
    assert opening([]) is None
    assert 'id="opening"' not in page([])
