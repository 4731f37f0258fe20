"""What MLflow's store holds of a run is what its tables have."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from interrupted import here
from logged_runs import TYPED, evaluations, interrupted
from mlflow import MlflowClient

from ifl.loggers.base import outcome_of
from ifl.runs.folder import read_about

# MLflow's own tables ask SQLAlchemy 2.1 for a way of loading that it wants to drop.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")

LOGGED = [*TYPED, "logger=mlflow"]


def client(place: Path) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{place}/mlflow.db")


def runs(place: Path, experiment: str = "runs") -> dict[str, Any]:
    """Return the runs of the store by name."""
    there = client(place).get_experiment_by_name(experiment)
    assert there is not None
    found = client(place).search_runs([there.experiment_id])
    assert len({run.info.run_name for run in found}) == len(found)
    return {run.info.run_name: run for run in found}


def history(place: Path, run: Any, name: str) -> list[tuple[int, float]]:
    """Return step and value of a metric's records, all there are, by step."""
    past = client(place).get_metric_history(run.info.run_id, name)
    return sorted((metric.step, metric.value) for metric in past)


def assert_logged(folder: Path, place: Path, status: str = "FINISHED") -> Any:
    """Compare what is read back with rounds.csv, each evaluation once."""
    run = runs(place)[folder.name]
    assert run.info.status == status
    rows = evaluations(folder)
    for name in next(iter(rows.values())):
        assert history(place, run, name) == [(n, row[name]) for n, row in rows.items()]
    return run


def test_the_store_has_the_evaluations_the_results_and_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert here(monkeypatch, *LOGGED, "rounds=5", f"outputs={tmp_path}", "runtime.quiet=true") == 0
    said = capfd.readouterr()
    assert said.err == ""
    assert len(said.out.splitlines()) == 4  # the result
    (folder,) = tmp_path.glob("runs/*")
    run = assert_logged(folder, tmp_path)
    results = outcome_of(read_about(folder) or {})
    assert {"result/balanced_accuracy", "totals/rounds"} <= results.keys()
    assert {name: run.data.metrics[name] for name in results} == results
    assert run.data.params["local.tau"] == "1"
    assert run.data.params["stop.accuracy"] == "null"
    assert run.data.params["method._target_"] == "ifl.methods.ifl.IFL"
    assert not (Path.cwd() / "mlruns").exists()


def test_an_interrupted_run_goes_on_in_the_same_one_with_each_round_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = [*LOGGED, "rounds=7", f"outputs={tmp_path}"]
    interrupted(monkeypatch, 6, *typed)
    (folder,) = tmp_path.glob("runs/*")
    first = assert_logged(folder, tmp_path, "KILLED")
    before = history(tmp_path, first, "seconds")
    with (folder / "rounds.csv").open() as table:
        cut = table.read()
    assert cut.splitlines()[-1].startswith("5,")  # while the checkpoint is of round 3
    capsys.readouterr()
    assert here(monkeypatch, *typed, "runtime.threads=1") == 0
    assert capsys.readouterr().err == ""
    run = runs(tmp_path)[folder.name]
    assert run.info.run_id == first.info.run_id
    assert run.info.status == "FINISHED"
    assert json.loads((folder / "mlflow.json").read_text())["run_id"] == run.info.run_id
    rows = evaluations(folder)
    for name in {*rows[2]} - {"seconds"}:  # round 4, trained again, took another time
        assert history(tmp_path, run, name) == [(n, row[name]) for n, row in rows.items()]
    after = history(tmp_path, run, "seconds")
    assert after[: len(before)] == before
    assert [step for step, _ in after] == [*rows]


def test_a_longer_run_and_one_whose_store_was_removed_are_logged_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"outputs={tmp_path}"
    assert here(monkeypatch, *LOGGED, "rounds=4", place) == 0
    (short,) = tmp_path.glob("runs/*")
    assert here(monkeypatch, *LOGGED, "rounds=6", place) == 0
    (long,) = {*tmp_path.glob("runs/*")} - {short}
    assert (read_about(long) or {})["continues"]["round"] == 4
    assert_logged(short, tmp_path)
    assert_logged(long, tmp_path)
    elsewhere = f"logger.tracking_uri=sqlite:///{tmp_path}/elsewhere/mlflow.db"
    typed = [*LOGGED, "rounds=9", place]
    interrupted(monkeypatch, 8, *typed)
    assert here(monkeypatch, *typed, elsewhere) == 0
    (last,) = {*tmp_path.glob("runs/*")} - {short, long}
    assert_logged(last, tmp_path / "elsewhere")


def test_a_server_that_is_away_is_said_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    typed = ["rounds=2", f"outputs={tmp_path}", "logger.tracking_uri=http://127.0.0.1:9"]
    assert here(monkeypatch, *LOGGED, *typed) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Note: the logger MLflow failed to begin (MlflowException: ")
    (folder,) = tmp_path.glob("runs/*")
    assert (read_about(folder) or {})["finished"] is True


WRITER = """
import sys
from pathlib import Path
from ifl.loggers.mlflow import MLflow
folder = Path(sys.argv[1])
folder.mkdir()
logger = MLflow(f"sqlite:///{folder.parent}/mlflow.db", "grid")
about = {"config": {"seed": folder.name}, "started": "2026-01-01T00:00:00+00:00"}
logger.begin(about, folder, 0)
for number in range(1, 31):
    logger.log(number, {"accuracy_mean": number / 100, "uplink_mb": number, "seconds": number})
logger.end({"finished": True, "result": {"accuracy_mean": 0.3}})
"""


def test_processes_of_a_sweep_share_one_new_database(tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    typed = [[sys.executable, "-c", WRITER, str(tmp_path / name)] for name in names]
    writers = [subprocess.Popen(words, stderr=subprocess.PIPE, text=True) for words in typed]
    assert [writer.communicate()[1] for writer in writers] == ["", "", ""]
    found = runs(tmp_path, "grid")
    assert sorted(found) == names
    for name, run in found.items():
        assert run.data.params == {"seed": name}
        expected = [(number, number / 100) for number in range(1, 31)]
        assert history(tmp_path, run, "accuracy_mean") == expected
