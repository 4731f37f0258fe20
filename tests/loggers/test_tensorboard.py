"""What TensorBoard reads of a run is what its tables have."""

from pathlib import Path

import pytest
from interrupted import here
from logged_runs import TYPED, evaluations, interrupted
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from ifl.loggers.base import outcome_of
from ifl.runs.folder import read_about

LOGGED = [*TYPED, "logger=tensorboard"]


def assert_logged(folder: Path, end: int) -> EventAccumulator:
    """Compare what is read back with rounds.csv, each evaluation once."""
    log = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    log.Reload()
    rows = evaluations(folder)
    assert max(rows) == end
    for name in rows[end]:
        events = log.Scalars(name)
        assert [event.step for event in events] == [*rows]
        values = [row[name] for row in rows.values()]
        assert [event.value for event in events] == pytest.approx(values, rel=1e-6)
    times = [event.wall_time for event in log.Scalars("seconds")]
    since = [row["seconds"] - rows[min(rows)]["seconds"] for row in rows.values()]
    assert [time - times[0] for time in times] == pytest.approx(since, abs=1e-3)
    return log


def test_the_log_has_the_evaluations_the_results_and_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert here(monkeypatch, *LOGGED, "rounds=5", f"outputs={tmp_path}") == 0
    (folder,) = tmp_path.glob("runs/*")
    log = assert_logged(folder, 5)
    results = outcome_of(read_about(folder) or {})
    assert {"result/balanced_accuracy", "totals/rounds"} <= results.keys()
    for name, value in results.items():
        (event,) = log.Scalars(name)
        assert event.value == pytest.approx(value, rel=1e-6)
    content = log.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    settings = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert settings["local.tau"].number_value == 1
    assert settings["method._target_"].string_value == "ifl.methods.ifl.IFL"
    assert settings["stop.accuracy"].string_value == "null"
    assert "logger._target_" not in settings


def test_a_run_that_goes_on_has_each_round_once_also_for_who_has_read_it_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = [*LOGGED, "rounds=7", f"outputs={tmp_path}"]
    interrupted(monkeypatch, 6, *typed)
    (folder,) = tmp_path.glob("runs/*")
    reader = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    reader.Reload()
    assert [event.step for event in reader.Scalars("accuracy_mean")] == [2, 4]
    assert here(monkeypatch, *typed) == 0
    assert_logged(folder, 7)
    reader.Reload()
    assert [event.step for event in reader.Scalars("accuracy_mean")] == [2, 4, 6, 7]


def test_a_longer_run_logs_what_it_took_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"outputs={tmp_path}"
    assert here(monkeypatch, *LOGGED, "rounds=4", "logger=none", place) == 0
    (short,) = tmp_path.glob("runs/*")
    assert not (short / "tensorboard").exists()
    assert here(monkeypatch, *LOGGED, "rounds=6", place) == 0
    (long,) = {*tmp_path.glob("runs/*")} - {short}
    assert (read_about(long) or {})["continues"]["round"] == 4
    assert_logged(long, 6)
