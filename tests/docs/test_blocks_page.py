"""docs/blocks.md is typed from its first line to its last, and gives what it says."""

import csv
import re
import shlex
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from ifl.__main__ import main

PAGE = (ROOT / "docs" / "blocks.md").read_text(encoding="utf-8")


def test_the_page_on_blocks_goes_through_as_it_is_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    commands, code = (
        re.search(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL) for kind in ("bash", "python")
    )
    assert commands is not None
    assert code is not None
    said = ""
    for line in commands[1].splitlines():
        monkeypatch.setattr(sys, "argv", shlex.split(line))
        assert main() == 0, (line, capsys.readouterr().err)
        said = capsys.readouterr().out
    found = re.search(r"\((\d+) of 359\)", said)
    assert found is not None
    with Path("guesses.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert sum(row["label"] == row["guess"] for row in rows) == int(found[1])
    assert int(found[1]) > 180
    assert "client 0" in said
    exec(code[1], {})
    assert capsys.readouterr().out == (
        f"{found[1]} of 359: base block of client 0, modular block of client 1\n"
    )


def test_the_card_on_the_page_has_the_fields_of_a_card() -> None:
    from dataclasses import fields

    from ifl.blocks.card import Card

    assert [field.name for field in fields(Card) if f"`{field.name}`" not in PAGE] == []
