"""What wandb's files hold of a run is what its tables have."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from interrupted import here
from logged_runs import TYPED, evaluations, interrupted

from ifl.loggers.base import outcome_of
from ifl.loggers.wandb import WandB
from ifl.runs.folder import read_about

LOGGED = [*TYPED, "logger=wandb"]


def records(folder: Path) -> list[list[dict[str, Any]]]:
    """Return the records of each file of a run, as wandb itself reads them, the oldest first."""
    files = sorted(
        folder.glob("wandb/offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime
    )
    return [inspected(path) for path in files]


def inspected(path: Path) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def of_kind(found: list[dict[str, Any]], kind: str) -> list[Any]:
    return [record[kind] for record in found if record["type"] == kind]


def assert_logged(folder: Path, files: int) -> list[list[dict[str, Any]]]:
    """Compare what is read back with rounds.csv, each evaluation once, but for the seconds."""
    found = records(folder)
    assert len(found) == files
    items = [entry["item"] for file in found for entry in of_kind(file, "history")]
    logged = {
        item["round"]: {k: v for k, v in item.items() if k[0] != "_" and k != "round"}
        for item in items
    }
    assert len(logged) == len(items)
    for values in (rows := evaluations(folder)).values():
        del values["seconds"]  # of a round that is trained again they differ
    assert all(values.pop("seconds") > 0 for values in logged.values())
    assert logged == rows
    assert len({of_kind(file, "run")[0]["run_id"] for file in found}) == 1
    return found


def test_the_files_have_the_evaluations_the_results_and_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    typed = [*LOGGED, "rounds=5", f"outputs={tmp_path}", "runtime.quiet=true", "study=ours"]
    assert here(monkeypatch, *typed) == 0
    said = capfd.readouterr()
    assert said.err == ""
    assert len(said.out.splitlines()) == 4  # the result
    (folder,) = tmp_path.glob("ours/*")
    (found,) = assert_logged(folder, 1)
    (run,) = of_kind(found, "run")
    assert (run["display_name"], run["project"], run["run_group"]) == (folder.name, "ifl", "ours")
    settings = run["config"]["update"]
    assert (settings["local.tau"], settings["stop.accuracy"]) == (1, None)
    assert settings["method._target_"] == "ifl.methods.ifl.IFL"
    results = outcome_of(read_about(folder) or {})
    summary = {k: v for part in of_kind(found, "summary") for k, v in part["update"].items()}
    assert {"result/balanced_accuracy", "totals/rounds"} <= results.keys()
    assert {name: summary[name] for name in results} == results
    assert of_kind(found, "exit")[0]["exit_code"] == 0


def test_an_interrupted_run_goes_on_under_the_same_id_with_each_round_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    typed = [*LOGGED, "rounds=7", f"outputs={tmp_path}"]
    interrupted(monkeypatch, 6, *typed)
    (folder,) = tmp_path.glob("runs/*")
    (found,) = assert_logged(folder, 1)
    assert of_kind(found, "exit")[0]["exit_code"] == 1
    capfd.readouterr()
    assert here(monkeypatch, *typed) == 0
    assert capfd.readouterr().err == ""
    first, second = assert_logged(folder, 2)
    assert [entry["step"]["num"] for entry in of_kind(first, "history")] == [2, 4]
    assert [entry["step"]["num"] for entry in of_kind(second, "history")] == [6, 7]


def test_what_a_killed_process_did_not_write_is_written_when_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = [*LOGGED, "rounds=7", f"outputs={tmp_path}"]
    with monkeypatch.context() as patch:
        patch.setattr(WandB, "end", killed)
        interrupted(patch, 6, *typed)
    (folder,) = tmp_path.glob("runs/*")
    assert here(monkeypatch, *typed) == 0
    assert_logged(folder, 1)  # the other one is gone


def killed(self: WandB, about: object) -> None:
    """Leave the file as a process does that is killed: what it had not written is lost."""
    self._run.finish()
    (file,) = Path(self._run.dir).parent.glob("*.wandb")
    file.write_bytes(file.read_bytes()[:500])


def test_a_longer_run_logs_what_it_took_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"outputs={tmp_path}"
    assert here(monkeypatch, *TYPED, "rounds=4", place) == 0
    (short,) = tmp_path.glob("runs/*")
    assert not (short / "wandb").exists()
    assert here(monkeypatch, *LOGGED, "rounds=6", place) == 0
    (long,) = {*tmp_path.glob("runs/*")} - {short}
    assert (read_about(long) or {})["continues"]["round"] == 4
    assert_logged(long, 1)
