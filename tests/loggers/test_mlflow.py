"""What MLflow's store holds of a run is what its tables have."""

import json
import subprocess
import sys
from pathlib import Path
from shutil import copy
from typing import Any

import pytest
from interrupted import here
from logged_runs import TYPED, evaluations, interrupted
from mlflow import MlflowClient

from ifl.loggers.base import outcome_of
from ifl.loggers.mlflow import MLflow
from ifl.runs.folder import read_about

# MLflow's own tables ask SQLAlchemy 2.1 for a way of loading that it wants to drop.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")

LOGGED = [*TYPED, "logger=mlflow"]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database without runs; to make one takes a second."""
    place = tmp_path_factory.mktemp("empty")
    client(place).get_experiment_by_name("runs")
    return place / "mlflow.db"


@pytest.fixture
def place(tmp_path: Path, empty: Path) -> Path:
    """Return a folder with a database without runs."""
    copy(empty, tmp_path)
    return tmp_path


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
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = [*LOGGED, "rounds=7", f"outputs={place}"]
    interrupted(monkeypatch, 6, *typed)
    (folder,) = place.glob("runs/*")
    first = assert_logged(folder, place, "KILLED")
    before = history(place, first, "seconds")
    with (folder / "rounds.csv").open() as table:
        cut = table.read()
    assert cut.splitlines()[-1].startswith("5,")  # while the checkpoint is of round 3
    capsys.readouterr()
    assert here(monkeypatch, *typed, "runtime.threads=1") == 0
    assert capsys.readouterr().err == ""
    run = runs(place)[folder.name]
    assert run.info.run_id == first.info.run_id
    assert run.info.status == "FINISHED"
    assert json.loads((folder / "mlflow.json").read_text())["run_id"] == run.info.run_id
    rows = evaluations(folder)
    for name in {*rows[2]} - {"seconds"}:  # round 4, trained again, took another time
        assert history(place, run, name) == [(n, row[name]) for n, row in rows.items()]
    after = history(place, run, "seconds")
    assert after[: len(before)] == before
    assert [step for step, _ in after] == [*rows]


def test_a_longer_run_logs_what_it_took_over(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert here(monkeypatch, *TYPED, "rounds=4", f"outputs={place}") == 0
    (short,) = place.glob("runs/*")
    assert not (short / "mlflow.json").exists()
    assert here(monkeypatch, *LOGGED, "rounds=6", f"outputs={place}") == 0
    (long,) = {*place.glob("runs/*")} - {short}
    assert (read_about(long) or {})["continues"]["round"] == 4
    assert_logged(long, place)


def test_the_database_lies_below_outputs_where_hydra_changes_the_folder(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    assert here(monkeypatch, *LOGGED, "rounds=2", "outputs=.", "hydra.job.chdir=true") == 0
    (folder,) = place.glob("runs/*")
    assert_logged(folder, place)


def test_a_run_that_the_store_has_no_longer_is_a_new_one(place: Path) -> None:
    logger = MLflow(f"sqlite:///{place}/mlflow.db")
    folder = place / "run"
    folder.mkdir()
    ids = []
    for lose in ("nothing", "deleted", "unknown"):
        logger.begin({"config": {}, "started": "2026-01-01T00:00:00+00:00"}, folder, 0)
        logger.log(1, {"uplink_mb": 1.5, "seconds": 1.0})
        logger.end({"finished": False})
        run = runs(place)["run"]
        assert history(place, run, "uplink_mb") == [(1, 1.5)]
        ids.append(run.info.run_id)
        if lose != "nothing":
            client(place).delete_run(run.info.run_id)
        if lose == "unknown":
            (folder / "mlflow.json").write_text(json.dumps({"run_id": "0" * 32}))
            logger.begin({"config": {}, "started": "2026-01-01T00:00:00+00:00"}, folder, 0)
            ids.append(runs(place)["run"].info.run_id)
    assert ids[0] == ids[1]
    assert len({*ids}) == 3


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
    names = ["a", "b"]
    typed = [[sys.executable, "-c", WRITER, str(tmp_path / name)] for name in names]
    writers = [subprocess.Popen(words, stderr=subprocess.PIPE, text=True) for words in typed]
    assert [writer.communicate()[1] for writer in writers] == ["", ""]
    found = runs(tmp_path, "grid")
    assert sorted(found) == names
    for name, run in found.items():
        assert run.data.params == {"seed": name}
        expected = [(number, number / 100) for number in range(1, 31)]
        assert history(tmp_path, run, "accuracy_mean") == expected
