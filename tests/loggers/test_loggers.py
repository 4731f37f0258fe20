"""What a logger is told of a run, and what becomes of the run when its logger fails."""

import builtins
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from commands import QUICK, only_run
from conftest import ROOT, Build, composed, options
from interrupted import here

from ifl.cli.build import make
from ifl.cli.config import plain
from ifl.errors import ConfigError, DivergenceError, Terminated
from ifl.federation.build import Federation
from ifl.federation.engine import Engine
from ifl.federation.runner import run
from ifl.federation.schedule import Schedule
from ifl.loggers.base import Silent, check_logger, values_of
from ifl.methods.ifl import IFL
from ifl.runs.folder import RunFolder, read_about, read_rounds
from ifl.runs.identity import fingerprint, recipe


class Notes:
    """Notes what it is told; fails to do what ``broken`` names."""

    def __init__(self, broken: str = "") -> None:
        self.broken, self.told = broken, [("made", 0)]
        self.values: dict[int, Mapping[str, float]] = {}
        self.last: Mapping[str, Any] = {}

    def note(self, name: str, number: int) -> None:
        self.told.append((name, number))
        if name == self.broken:
            raise RuntimeError(f"the disk\nis full, {name}")

    def begin(self, about: Mapping[str, Any], folder: Path, number: int) -> None:
        assert about["config"]
        assert folder.is_dir()
        self.note("begin", number)

    def log(self, number: int, values: Mapping[str, float]) -> None:
        self.values[number] = values
        self.note("log", number)

    def end(self, about: Mapping[str, Any]) -> None:
        self.last = about
        self.note("end", len(self.values))


def train(federation: Federation, path: Path, logger: Any, rounds: int = 5, **more: Any) -> Any:
    schedule = Schedule(rounds=rounds, eval_every=2, checkpoint_every=1)
    with RunFolder(path) as folder:
        return run(federation, folder, {}, schedule, logger=logger, **more)


def test_every_evaluation_is_told_once_with_the_numbers_of_its_row(
    tiny: Build, tmp_path: Path
) -> None:
    notes = Notes()
    final = train(tiny(IFL(2)), tmp_path, notes)
    assert notes.told[1:] == [("begin", 0), ("log", 2), ("log", 4), ("log", 5), ("end", 3)]
    rows = {row.round: row for row in read_rounds(tmp_path)}
    for number, values in notes.values.items():
        row = rows[number]
        assert values["accuracy_mean"] == row.accuracy_mean
        assert values["train_loss"] == row.train_loss
        assert values["uplink_mb"] == row.uplink_bytes / 1e6
        assert values["downlink_mb"] == row.downlink_bytes / 1e6
        assert values["seconds"] == row.seconds
        assert values.keys() == values_of(row).keys()
        assert not {"round", "uplink_bytes"} & values.keys()
    assert notes.last == final


def test_an_interrupted_run_ends_its_log_and_tells_all_of_it_again_when_it_goes_on(
    tiny: Build, tmp_path: Path
) -> None:
    first, second = Notes(), Notes()
    reasons = iter([None, None, "SIGTERM"])
    with pytest.raises(Terminated):
        train(tiny(IFL(2)), tmp_path, first, stop=lambda: next(reasons))
    assert first.told[1:] == [("begin", 0), ("log", 2), ("end", 1)]
    assert first.last["finished"] is False
    train(tiny(IFL(2)), tmp_path, second)
    logged = [("log", 2), ("log", 4), ("log", 5)]
    assert second.told[1:] == [("begin", 3), *logged, ("end", 3)]
    assert second.last["finished"] is True
    assert first.values[2] == second.values[2]


def test_a_longer_run_tells_the_rounds_that_it_took_over(tiny: Build, tmp_path: Path) -> None:
    notes = Notes()
    train(tiny(IFL(2)), tmp_path / "a", Silent(), rounds=3)
    train(tiny(IFL(2)), tmp_path / "b", notes, after=[tmp_path / "a"])
    logged = [("log", 2), ("log", 4), ("log", 5)]
    assert notes.told[1:] == [("begin", 3), *logged, ("end", 3)]


def test_a_run_that_was_killed_after_its_last_round_has_its_log_too(
    tiny: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe = RunFolder.describe

    def killed(self: RunFolder, about: Mapping[str, Any]) -> None:
        if about["finished"]:
            raise KeyboardInterrupt
        describe(self, about)

    notes = Notes()
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "describe", killed)
        with pytest.raises(KeyboardInterrupt):
            train(tiny(IFL(2)), tmp_path, notes)
    assert notes.last["finished"] is False
    again = Notes()
    final = train(tiny(IFL(2)), tmp_path, again)
    logged = [("log", 2), ("log", 4), ("log", 5)]
    assert again.told[1:] == [("begin", 5), *logged, ("end", 3)]
    assert again.last == final


def test_a_run_that_diverges_ends_its_log_with_the_reason(
    tiny: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(self: Engine, number: int) -> None:
        raise DivergenceError("loss nan")

    monkeypatch.setattr(Engine, "advance", diverge)
    notes = Notes()
    with pytest.raises(DivergenceError):
        train(tiny(IFL(2)), tmp_path, notes)
    assert notes.told[1:] == [("begin", 0), ("end", 0)]
    assert notes.last["stop_reason"] == "diverged: loss nan"


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("begin", [("begin", 0)]),
        ("log", [("begin", 0), ("log", 2), ("end", 1)]),
        ("end", [("begin", 0), ("log", 2), ("log", 4), ("log", 5), ("end", 3)]),
    ],
)
def test_a_logger_that_fails_is_said_once_and_the_run_is_what_it_would_be(
    broken: str,
    told: list[tuple[str, int]],
    tiny: Build,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    notes = Notes(broken)
    final = train(tiny(IFL(2)), tmp_path / "a", notes)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        f"Note: the logger Notes failed to {broken} (RuntimeError: the disk is full, {broken}); "
        "the run goes on without, and "
    )
    assert notes.told[1:] == told
    alone = train(tiny(IFL(2)), tmp_path / "b", Silent())
    assert (read_about(tmp_path / "a") or {})["finished"] is True
    assert final["result"] == alone["result"]
    assert final["tables"] == alone["tables"]


class Two:
    """Lacks the end of a logger."""

    def begin(self, about: object, folder: object, number: object) -> None: ...

    def log(self, number: object, values: object) -> None: ...


class Narrow(Silent):
    """Takes no values."""

    def log(self, number: int) -> None:  # type: ignore[override]
        ...


@pytest.mark.parametrize(
    ("logger", "sentence"),
    [
        (Two(), "logger is a Two without a method end(about); give its class the three that"),
        (Narrow(), "logger is a Narrow without a method log(number, values); give its class"),
        (Silent, "logger is a type without a method begin(about, folder, number); give"),
        (None, "logger is a NoneType without a method begin(about, folder, number); give"),
    ],
)
def test_what_is_no_logger_is_a_sentence_before_training(
    logger: object, sentence: str, tiny: Build, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as found:
        check_logger(logger)
    assert str(found.value).startswith(sentence)
    with pytest.raises(ConfigError):
        train(tiny(IFL(2)), tmp_path, logger)
    assert not (tmp_path / "rounds.csv").exists()
    assert not (tmp_path / "run.json").exists()


def test_a_logger_of_ones_own_is_a_class_and_a_yaml_and_changes_no_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own"
    page = (ROOT / "docs" / "loggers.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(class .*?)```", page, re.DOTALL)
    (own / "logger").mkdir(parents=True)
    (own / "lines_logger.py").write_text(code)
    (own / "logger" / "lines.yaml").write_text("_target_: lines_logger.Lines\nname: log.txt\n")
    monkeypatch.syspath_prepend(own)
    typed = ["--config-dir", str(own), *QUICK, "eval_every=1", f"outputs={tmp_path / 'out'}"]
    assert here(monkeypatch, *typed, "logger=lines", "+logger.nam=x") == 1
    wrong = capsys.readouterr().err
    assert "logger.nam is a key that nothing reads; did you mean logger.name?" in wrong
    assert here(monkeypatch, *typed, "logger=lines", "logger.name=mine.txt") == 0
    folder = only_run(tmp_path / "out")
    lines = [line.split() for line in (folder / "mine.txt").read_text().splitlines()]
    assert [(int(n), float(accuracy), float(up)) for n, accuracy, up in lines] == [
        (row.round, row.accuracy_mean, row.uplink_bytes / 1e6) for row in read_rounds(folder)
    ]
    assert "logger" not in (read_about(folder) or {})["choices"]
    capsys.readouterr()
    assert here(monkeypatch, *typed) == 0
    assert capsys.readouterr().out.startswith(f"Already finished: {folder}")


@pytest.mark.parametrize("option", sorted({*options("logger")} - {"none"}))
def test_a_missing_package_is_a_sentence_that_names_the_extra(
    option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name in ("mlflow", "wandb", "torch.utils.tensorboard"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=rf'pip install "ifl\[{option}\]"'):
        make(composed(f"logger={option}").logger)


def test_the_logger_is_no_part_of_a_runs_identity() -> None:
    marks = {fingerprint(plain(composed(f"logger={option}"))) for option in options("logger")}
    assert marks == {"5f47e34f"}
    assert recipe(["logger=mlflow", "logger.experiment=x", "seed=1"], "config", []) == recipe(
        ["seed=1"], "config", []
    )


def test_mlflows_database_lies_where_the_runs_do() -> None:
    uri = composed("logger=mlflow", "outputs='~/kept'").logger.tracking_uri
    assert uri == f"sqlite:///{Path.home()}/kept/mlflow.db"


def test_the_default_run_loads_no_package_that_it_can_do_without(tmp_path: Path) -> None:
    program = f"""
import sys
sys.argv = ["run.py", *{QUICK!r}, "outputs={tmp_path}"]
from ifl.cli.run import main
code = main()
loggers = {{"tensorboard", "mlflow", "wandb", "sqlalchemy"}}
print(sorted(({{"torch._dynamo", "sklearn", "scipy"}} | loggers) & sys.modules.keys()))
sys.exit(code)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
