"""Tables over engines are compared cell by cell, and rows of other engines stay."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from commands import SCRIPT, Ended, forked

from ifl.trials import engines

ROUNDS = "round,uplink_bytes,seconds\n1,20,0.5\n2,40,1.5\n"


def folder(path: Path, rounds: str = ROUNDS, traffic: str = "round,bytes\n1,20\n") -> Path:
    path.mkdir()
    (path / "rounds.csv").write_text(rounds)
    (path / "compositions.csv").write_text("base,modular\n0,1\n")
    (path / "traffic.csv").write_text(traffic)
    return path


def test_seconds_may_differ_and_nothing_else(tmp_path: Path) -> None:
    one = folder(tmp_path / "one")
    later = folder(tmp_path / "later", ROUNDS.replace("1.5", "9.5"))
    assert engines.difference(one, later) == {"rows": 4, "differing": 0}
    other = folder(tmp_path / "other", ROUNDS.replace("40", "40.0"), "round,bytes\n1,21\n")
    assert engines.difference(one, other) == {"rows": 4, "differing": 2}


def test_a_row_that_is_lacking_or_too_many_differs_in_all_its_cells(tmp_path: Path) -> None:
    one = folder(tmp_path / "one")
    short = folder(tmp_path / "short", "round,uplink_bytes,seconds\n1,20,0.5\n")
    assert engines.difference(one, short)["differing"] == 2
    assert engines.difference(short, one)["differing"] == 2


def test_rows_of_engines_that_are_not_named_stay(tmp_path: Path) -> None:
    out = tmp_path / "new" / "equal.csv"
    engines.updated(out, [row("ray", "FL", 0), row("grpc", "FL", 0), row("ray", "FSL", 0)])
    engines.updated(out, [row("ray", "FL", 3)])
    table = pd.read_csv(out)
    found = table[["engine", "method", "differing"]].to_numpy().tolist()
    assert found == [["grpc", "FL", 0], ["ray", "FL", 3]]


def row(engine: str, method: str, differing: int, rows: int = 5) -> dict[str, Any]:
    return {"engine": engine, "method": method, "rows": rows, "differing": differing}


@pytest.mark.parametrize(("differing", "rows", "code"), [(0, 5, 0), (1, 5, 1), (0, 0, 1)])
def test_the_exit_code_is_1_if_a_cell_differs_or_none_was_compared(
    differing: int, rows: int, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "compared", lambda *told: [row("ray", "FL", differing, rows)])
    monkeypatch.setattr(sys, "argv", ["engines.py", "--engines", "ray", f"--out={tmp_path / 'o'}"])
    assert engines.main() == code
    assert (tmp_path / "o").exists()


def test_commands_are_run_and_one_that_fails_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = ("clients=mlp_homogeneous", "clients.count=2", "local.tau=1", "eval_every=1")
    if sys.platform == "linux":  # to load all that a command needs takes longer than it does

        def fork(program: list[str], env: dict[str, str], **how: bool) -> Ended:
            return forked([SCRIPT, *program[3:]], env)

        monkeypatch.setattr(subprocess, "run", fork)
    monkeypatch.setattr(engines, "SETTINGS", (*tiny, "runtime.workers=1"))
    monkeypatch.setattr(engines, "METHODS", {"FL": ["method=fl"]})
    (row,) = engines.compared(["processes"], rounds=1, hosts=1)
    assert row["differing"] == 0
    assert row["rows"] > 4
    assert row["exchanges"] > 1
    out = tmp_path / "equal.csv"
    monkeypatch.setattr(sys, "argv", ["engines.py", "--engines", "nonsense", f"--out={out}"])
    assert engines.main() == 1
    assert "Error: engine=nonsense is not there; choose one of" in capsys.readouterr().err
    assert not out.exists()
