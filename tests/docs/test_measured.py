"""The numbers of README.md and docs/*.md are those of outputs/reference."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import ROOT


def loaded() -> ModuleType:
    """Return docs/measured.py, which is in no package."""
    spec = importlib.util.spec_from_file_location("measured", ROOT / "docs" / "measured.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["measured"] = module  # its dataclasses look there for their annotations
    spec.loader.exec_module(module)
    return module


measured = loaded()


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project with a page, a file of results and one definition of each kind."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "results.csv").write_text(
        'method,seed,mean (%),"mean (%), ±","mean (%), note",share\n'
        "IFL,0,83.25,0.66,,0.8325\nFSL,0,,,not reached,0.5\nFSL,1,70,,†,0.6\n",
        encoding="utf-8",
    )
    (tmp_path / "docs" / "measured.yaml").write_text(
        "numbers: {results.csv: {ifl: [IFL, mean (%), .1f ±], fsl: [seed=1 & FSL, share, .1%]}}\n"
        "tables: {all: {file: results.csv, head: who, rows: {IFL: IFL, other: seed=0 & FSL},"
        " columns: {'%': {column: mean (%), form: .1f}}}}\n",
        encoding="utf-8",
    )
    (tmp_path / "README.md").write_text(
        "It has <!--ifl-->83.2 ± 0.7<!--/--> % and <!--fsl-->60.0<!--/--> %.\n\n"
        "<!--table all-->\n| who | % |\n| --- | --: |\n| IFL | 83.2 |\n| other | not reached |\n"
        "<!--/table-->\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(measured, "ROOT", tmp_path)
    monkeypatch.setattr(measured, "REFERENCE", tmp_path)
    monkeypatch.setattr(measured, "DEFINITIONS", tmp_path / "docs" / "measured.yaml")
    measured.rows_of.cache_clear()
    return tmp_path


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_every_number_is_the_one_that_was_measured() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "measured.py"), "--check"],
        capture_output=True,
        text=True,
        cwd=ROOT / "docs",
    )
    assert done.returncode == 0, done.stderr


def test_what_was_written_is_as_measured(pages: Path) -> None:
    assert measured.main(["--check"]) == 0


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("83.2 ± 0.7", "83.3 ± 0.7", "README.md:1: ifl is 83.2 ± 0.7, the page says '83.3 ± 0.7'"),
        ("| IFL | 83.2 |", "| IFL | 92.1 |", "README.md:3: all is | who"),
        ("<!--fsl-->", "<!--fls-->", "README.md:1: fls is not in docs/measured.yaml"),
        ("<!--fsl-->60.0<!--/-->", "60.0", "docs/measured.yaml: no page uses fsl"),
        ("It has <!--", "<!--", "README.md:1: a number that begins a line"),
    ],
)
def test_a_changed_page_is_found_with_its_line(
    pages: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, told: str
) -> None:
    change(pages / "README.md", old, new)
    before = (pages / "README.md").read_bytes()
    assert measured.main(["--check"]) == 1
    assert told in capsys.readouterr().err
    assert (pages / "README.md").read_bytes() == before


def test_changed_results_are_found_and_written(pages: Path) -> None:
    right = (pages / "README.md").read_text(encoding="utf-8")
    change(pages / "results.csv", "83.25,0.66", "91.04,0.21")
    assert measured.main(["--check"]) == 1
    measured.rows_of.cache_clear()
    assert measured.main([]) == 0
    expected = right.replace("83.2 ± 0.7", "91.0 ± 0.2").replace("| 83.2 |", "| 91.0 |")
    assert (pages / "README.md").read_text(encoding="utf-8") == expected
    assert measured.main(["--check"]) == 0


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        (["FSL", "share", ".1f"], "2 rows of results.csv have 'FSL', not one"),
        (["FL", "share", ".1f"], "0 rows of results.csv have 'FL', not one"),
        (["IFL", "sd", ".1f"], "results.csv has no column 'sd'"),
    ],
)
def test_a_definition_has_to_fit_one_cell(pages: Path, cell: list[Any], told: str) -> None:
    with pytest.raises(measured.DefinitionError, match=told):
        measured.Cell("results.csv", *cell).text()


LIKENESS = "sent,seed,ssim\nz,0,0.1\nz,0,0.3\nz,0,0.5\nz,1,0.5\nmeans,1,9\n"


def test_rows_are_averaged_within_a_seed_and_then_over_seeds(pages: Path) -> None:
    (pages / "images.csv").write_text(LIKENESS, encoding="utf-8")
    text = measured.Cell("images.csv", "z", "ssim", ".2f ±", "seed").text()
    assert text == "0.30; 0.50"  # of two seeds an interval says nothing
    (pages / "images.csv").write_text(f"{LIKENESS}z,2,0.55\n", encoding="utf-8")
    measured.rows_of.cache_clear()
    half = 4.303 * np.std([0.3, 0.5, 0.55], ddof=1) / np.sqrt(3)  # t(2) standard errors
    text = measured.Cell("images.csv", "z", "ssim", ".2f ±", "seed").text()
    assert text == f"0.45 ± {half:.2f}"


FEW = (
    'who,seeds,mean (%),"mean (%), ±","mean (%), seeds",gain (points),"gain (points), ±"\n'
    "new,2,60,,57; 63,1,25.4\nold,2,60,38.1186,,1,25.4\nmany,3,12,20.5,,1,2\none,1,60,,,1,\n"
)


@pytest.mark.parametrize(
    ("row", "column", "told"),
    [
        ("new", "mean (%)", "57.0; 63.0"),
        ("old", "mean (%)", "57.0; 63.0"),  # of two seeds, from their interval
        ("old", "gain (points)", "-1.0; 3.0"),
        ("one", "mean (%)", "60.0"),
    ],
)
def test_the_seeds_stand_where_an_interval_says_nothing(
    pages: Path, row: str, column: str, told: str
) -> None:
    (pages / "few.csv").write_text(FEW, encoding="utf-8")
    assert measured.Cell("few.csv", row, column, ".1f ±").text() == told
    mean = {"57.0; 63.0": "60.0", "-1.0; 3.0": "1.0"}.get(told, told)
    assert measured.Cell("few.csv", row, column, ".1f").text() == mean
    with pytest.raises(measured.DefinitionError, match=", cannot be; define it over seeds"):
        measured.Cell("few.csv", "many", "mean (%)", ".1f ±").text()


def test_fractions_of_seeds_are_accuracies(pages: Path) -> None:
    (pages / "few.csv").write_text("who,seed,share\nFL,0,0.1\nFL,1,0.1\nFL,2,0.77\n")
    cell = measured.Cell("few.csv", "FL", "share", ".1% ±", "seed")
    assert cell.text() == "10.0; 10.0; 77.0"


def test_a_row_may_take_one_cell_from_elsewhere(pages: Path) -> None:
    (pages / "images.csv").write_text(LIKENESS, encoding="utf-8")
    own = {"file": "images.csv", "row": "z", "column": "ssim", "form": ".1f", "over": "seed"}
    definition = {
        "file": "results.csv",
        "head": "who",
        "rows": {"IFL": {"row": "IFL", "likeness": own}},
        "columns": {
            "%": {"column": "mean (%)", "form": ".1f"},
            "likeness": {"column": "share", "form": ".1f"},
        },
    }
    assert measured.table(definition).splitlines()[-1] == "| IFL | 83.2 | 0.4 |"
