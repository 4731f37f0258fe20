"""Searches by Optuna: found, gone on with, and told of what diverges."""

import json
import shlex
from collections.abc import Mapping
from math import isnan
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from conftest import sweeper
from interrupted import here
from omegaconf import OmegaConf

from ifl.cli.console import Progress
from ifl.cli.space import distribution, split, text
from ifl.errors import ConfigError
from ifl.runs.identity import fingerprint
from ifl.runs.objective import RESULT, TOTALS, value_of

SMALL = ["clients=mlp_homogeneous", "clients.count=2", "fusion.dim=16", "batch_size=8"]
SMALL += ["local.tau=2", "rounds=8", "runtime.workers=1", "runtime.threads=1", "validation=0.2"]
RATE = "optimizer.lr=tag(log,interval(1e-6,1))"
OPTUNA = ["-m", "hydra/sweeper=optuna", *SMALL]

Typed = Any


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Typed:
    return lambda *arguments: here(monkeypatch, *arguments, f"outputs={tmp_path}")


def runs(outputs: Path) -> dict[float, dict[str, Any]]:
    """Return the run.json of finished runs, by the learning rate."""
    found = [json.loads(path.read_text()) for path in outputs.glob("runs/*/run.json")]
    return {about["config"]["optimizer"]["lr"]: about for about in found if about["finished"]}


def test_a_search_finds_a_learning_rate_and_goes_on_where_it_was_interrupted(
    typed: Typed,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    search = [*OPTUNA, RATE, "hydra.sweeper.n_trials=6"]
    shown = Mock(side_effect=[*[None] * 8 * 2, None, KeyboardInterrupt])
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "__call__", shown)
        assert typed(*search) == 130
    first = runs(tmp_path)
    assert len(first) == 2

    capsys.readouterr()
    assert typed(*search) == 0
    said, complained = capsys.readouterr()
    assert complained == ""
    assert said.count("Training samples:") == 4
    assert "6/6 runs done" in said
    found = runs(tmp_path)
    assert len(found) == 6
    assert {rate: found[rate]["ended"] for rate in first} == {
        rate: about["ended"] for rate, about in first.items()
    }

    rate, best = max(found.items(), key=lambda item: item[1]["result"]["accuracy_mean"])
    accuracy = best["result"]["accuracy_mean"]
    assert accuracy > min(a["result"]["accuracy_mean"] for a in found.values())
    results = OmegaConf.load(tmp_path / "runs" / "optimization_results.yaml")
    assert results == {
        "name": "optuna",
        "best_params": {"optimizer.lr": rate},
        "best_value": accuracy,
    }
    *_, line, command = said.splitlines()
    assert line == f"Best of 6 trials: accuracy_mean={accuracy:.6g} with optimizer.lr={rate!r}"
    again = shlex.split(command)
    assert typed(*again[2:]) == 0
    assert capsys.readouterr().out.startswith("Already finished: ")

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert typed(*search) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [line, command]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_what_diverges_or_fails_ends_no_search(
    typed: Typed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rounds = ["rounds=2", "validation=0", "hydra.sweeper.n_trials=6"]
    assert typed(*OPTUNA, *rounds, "optimizer.lr=0.01,1e30") == 0
    said, complained = capsys.readouterr()
    assert "Note: validation=0, so the settings are chosen by the test set" in complained
    assert "Failed: " in said
    assert "Best of 6 trials: accuracy_mean=" in said
    assert list(runs(tmp_path)) == [0.01]

    assert typed(*OPTUNA, *rounds, "batch_size=choice(8,9999)") == 1  # that is not found out
    said = capsys.readouterr().out
    assert "must not exceed the smallest shard, got 9999" in said
    assert "batch_size=8" in said.splitlines()[-1]


def test_a_search_in_which_everything_fails_is_given_up(
    typed: Typed, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(*OPTUNA, RATE, "batch_size=9999") == 1
    said, complained = capsys.readouterr()
    assert said.count("Failed: ") == 3
    assert "Error: none of 3 trials has an accuracy_mean: batch_size must not" in complained


def test_a_search_in_a_database_counts_its_trials_and_takes_the_direction_of_its_objective(
    typed: Typed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = [f"hydra.sweeper.storage=sqlite:///{tmp_path}/search.db", "objective=uplink_bytes"]
    tau = "rounds=range(1,4)"
    assert typed(*OPTUNA, tau, *stored, "hydra.sweeper.n_trials=2") == 0
    assert typed(*OPTUNA, tau, *stored, "hydra.sweeper.n_trials=4") == 0
    import optuna

    (name,) = optuna.get_all_study_names(stored[0].partition("=")[2])
    study = optuna.load_study(study_name=name, storage=stored[0].partition("=")[2])
    assert len(study.trials) == 4
    assert study.direction.name == "MINIMIZE"
    best = study.best_trial
    assert best.value == min(trial.value or 0 for trial in study.trials)
    assert f"rounds={best.params['rounds']}" in capsys.readouterr().out.splitlines()[-1]


def space(*typed: str, params: Mapping[str, Any] | None = None) -> Any:
    fixed, searched = split(params or {}, [*typed])
    return fixed, {key: distribution(override) for key, override in searched.items()}


@pytest.mark.parametrize(
    ("typed", "low", "high", "step", "log"),
    [
        ("a=interval(0,1)", 0.0, 1.0, None, False),
        ("a=interval(1e-4,1)", 1e-4, 1.0, None, False),
        ("a=tag(log,interval(1e-4,1))", 1e-4, 1.0, None, True),
        ("a=int(interval(1,8))", 1, 8, 1, False),
        ("a=tag(log,int(interval(1,8)))", 1, 8, 1, True),
        ("a=range(1,10,2)", 1, 9, 2, False),
        ("a=range(5)", 0, 4, 1, False),
        ("a=range(9,1,-4)", 5, 9, 4, False),
        ("a=range(0.5,2,0.5)", 0.5, 1.5, 0.5, False),
        ("a=tag(log,range(1,5))", 1, 4, 1, True),
    ],
)
def test_numbers_are_those_that_hydra_means(
    typed: str, low: float, high: float, step: float | None, log: bool
) -> None:
    found = space(typed)[1]["a"]
    assert (found.low, found.high, found.step, found.log) == (low, high, step, log)
    assert type(found.low) is type(low)


def test_choices_are_typed_again_as_they_were_and_what_is_typed_replaces_params() -> None:
    params = {"a": "interval(0,1)", "b": "choice([1,2],'x y')", "c": 3, "d": None}
    fixed, searched = space("a=5,6", "e=7", params=params)
    assert fixed == ["c=3", "d=null", "e=7"]
    assert searched["a"].choices == ("5", "6")
    assert searched["b"].choices == ("[1,2]", "x\\ y")
    assert [text(v) for v in (0.1, 1e-30, 5, "x")] == ["0.1", "1e-30", "5", "x"]


def test_the_objective_is_any_number_of_the_result_or_the_totals(
    typed: Typed, tmp_path: Path
) -> None:
    assert typed(*SMALL, "rounds=1", "objective=seconds") == 0
    (about,) = runs(tmp_path).values()
    assert {*RESULT} == about["result"].keys()
    assert {*TOTALS} == about["totals"].keys()
    assert value_of(about, "seconds") == about["totals"]["seconds"]
    assert isnan(value_of({"error": "no"}, "accuracy_mean"))
    assert isnan(value_of({"result": {"accuracy_cross": None}}, "accuracy_cross"))
    other = {**about["config"], "objective": "accuracy_mean"}
    assert fingerprint(other) == fingerprint(about["config"])


def test_without_optuna_a_search_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    searching = sweeper("hydra/sweeper=optuna")
    with pytest.raises(ConfigError, match="needs Optuna, which is not installed: pip install"):
        searching.sweep([RATE])
