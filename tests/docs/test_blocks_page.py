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
    blocks = re.findall(r"```(\w+)(?: title=\"(.+?)\")?\n(.*?)```", PAGE, re.DOTALL)
    for _, title, text in blocks:
        if title:
            Path(title).parent.mkdir(parents=True, exist_ok=True)
            Path(title).write_text(text, encoding="utf-8")
    said = []
    for line in (line for kind, _, text in blocks if kind == "bash" for line in text.splitlines()):
        monkeypatch.setattr(sys, "argv", shlex.split(line))
        assert main() == 0, (line, capsys.readouterr().err)
        said.append(capsys.readouterr().out)
    late = re.search(r"\((\d+) of 359\)", said.pop())
    assert late is not None
    assert int(late[1]) > 290
    (code,) = (text for kind, _, text in blocks if kind == "python")
    said = [text for text in said if "guesses.csv" in text]
    found = re.search(r"\((\d+) of 359\)", said[0])
    assert found is not None
    with Path("guesses.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert sum(row["label"] == row["guess"] for row in rows) == int(found[1])
    assert int(found[1]) > 180
    assert "client 0" in said[0]
    exec(code, {})
    assert capsys.readouterr().out == (
        f"{found[1]} of 359: base block of client 0, modular block of client 1\n"
    )


def test_the_card_on_the_page_has_the_fields_of_a_card() -> None:
    from dataclasses import fields

    from ifl.blocks.card import Card

    assert [field.name for field in fields(Card) if f"`{field.name}`" not in PAGE] == []
