"""Commands that are told to end do so after a checkpoint, and leave nobody behind."""

import os
import pty
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from unittest.mock import Mock

import pytest
from conftest import NARROW
from interrupted import TYPED, assert_equal_files, here

from ifl.cli import build, ending
from ifl.cli.console import Progress
from ifl.errors import Terminated
from ifl.runs.journal import Journal

SHORT = [*TYPED, *NARROW, "rounds=24", "eval_every=8", "runtime.workers=1", "checkpoint_every=9"]
LONG = [*TYPED, *NARROW, "rounds=100000", "runtime.workers=1"]  # nobody waits for its end
AGAIN = "\nTerminated. Run the same command again to resume.\n"
PATIENCE = 600  # seconds, for what takes a few on an idle machine


@pytest.fixture(autouse=True)
def _defaults() -> Iterator[None]:
    """Give the signals their defaults, which whoever started the tests may have changed."""
    before = {which: signal.signal(which, signal.SIG_DFL) for which in ending.SIGNALS}
    yield
    for which, handler in before.items():
        signal.signal(which, handler)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Send this process a signal when the row of a round is shown, the first time."""

    def at(number: int, which: int) -> None:
        def show(row: object) -> None:
            if getattr(row, "round", 0) == number:
                monkeypatch.setattr(Progress, "__call__", Mock())
                os.kill(os.getpid(), which)
                os.kill(os.getpid(), which)  # as timeout and a shell send it

        monkeypatch.setattr(Progress, "__call__", Mock(side_effect=show))

    return at


def rounds_kept(outputs: Path) -> list[str]:
    return sorted(path.name for path in outputs.glob("runs/*/checkpoint/*"))


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_run_ends_after_the_round_with_a_checkpoint_and_goes_on(
    sent: Callable[[int, int], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert here(monkeypatch, *SHORT, f"outputs={tmp_path / 'whole'}") == 0
    for number, which in ((3, signal.SIGTERM), (6, signal.SIGHUP)):
        sent(number, which)
        capsys.readouterr()
        assert here(monkeypatch, *SHORT, f"outputs={tmp_path / 'told'}") == 128 + which
        assert capsys.readouterr().err == AGAIN
        assert rounds_kept(tmp_path / "told") == [f"round-{number + 1}"]
        assert signal.getsignal(which) == signal.SIG_DFL
    assert here(monkeypatch, *SHORT, f"outputs={tmp_path / 'told'}") == 0
    assert "Resuming from round 7: " in capsys.readouterr().out
    (whole,), (told,) = (tmp_path.glob(f"{name}/runs/*") for name in ("whole", "told"))
    assert_equal_files(whole, told)


def test_a_run_that_is_done_all_the_same_is_no_failure(
    sent: Callable[[int, int], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent(3, signal.SIGTERM)
    assert here(monkeypatch, *SHORT, "rounds=3", f"outputs={tmp_path}") == 0


def test_where_no_run_trains_a_signal_ends_the_command_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def assemble(*given: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("it went on")

    monkeypatch.setattr(build, "assemble", assemble)
    assert here(monkeypatch, *SHORT, "fresh=true", f"outputs={tmp_path}") == 143
    assert capsys.readouterr().err == AGAIN.replace("command", "command without fresh=true")


def test_runs_one_by_one_end_with_the_one_that_goes_on(
    sent: Callable[[int, int], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent(3, signal.SIGTERM)
    assert here(monkeypatch, "-m", "seed=0,1", *SHORT, f"outputs={tmp_path}") == 143
    assert rounds_kept(tmp_path) == ["round-4"]
    assert [path.name.split("-")[3] for path in tmp_path.glob("runs/digits*")] == ["seed0"]


def test_signals_that_somebody_else_takes_are_left_to_them(
    sent: Callable[[int, int], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        sent(3, signal.SIGHUP)
        assert here(monkeypatch, *SHORT, f"outputs={tmp_path}") == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_ctrl_c_ends_a_run_at_once_as_ever(
    sent: Callable[[int, int], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent(3, signal.SIGINT)
    assert here(monkeypatch, *SHORT, f"outputs={tmp_path}") == 130
    assert rounds_kept(tmp_path) == []


def forked(
    typed: list[str], monkeypatch: pytest.MonkeyPatch, log: Path | None = None
) -> tuple[int, int]:
    """Run the command in a fork with a terminal of its own; return its id and the terminal.

    Its sweeps fork their processes too: none has to load torch.
    """
    child, terminal = pty.fork()
    if child == 0:
        code = 99
        try:
            from joblib.externals.loky.backend.context import set_start_method

            warnings.simplefilter("ignore")  # loky's, on fork
            set_start_method("fork", force=True)
            if log is not None:
                os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT), 1)
            sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1)
            code = here(monkeypatch, *typed)
        finally:
            os._exit(code)
    return child, terminal


def test_a_run_whose_terminal_is_closed_keeps_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = [*LONG, "checkpoint_every=2000", f"outputs={tmp_path}"]
    child, terminal = forked(typed, monkeypatch)
    until(lambda: list(tmp_path.glob("runs/*/rounds.csv")))
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    assert len(rounds_kept(tmp_path)) == 1


def left(outputs: Path) -> list[int]:
    """Return the processes that a sweep said to have started, and that are alive."""
    alive = []
    for holder in outputs.glob("runs/digits*/holder"):
        number = int(holder.read_text().split()[1])
        with suppress(ProcessLookupError):
            os.kill(number, 0)
            state = Path(f"/proc/{number}/stat")  # Linux alone; a zombie has ended
            if not (state.exists() and ") Z " in state.read_text()):
                alive.append(number)
    return alive


def test_the_processes_of_a_killed_sweep_end_after_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = [*LONG, "seed=0,1", "checkpoint_every=20", f"outputs={tmp_path}"]
    local = ["launcher=local", "hydra.launcher.n_jobs=2"]
    child, terminal = forked(["-m", *local, *typed], monkeypatch, tmp_path / "log")
    until(lambda: len([*tmp_path.glob("runs/*/checkpoint")]) == 2)

    assert here(monkeypatch, "-m", *typed) == 1
    said = capsys.readouterr().out
    assert said.count("Skipped: ") == said.count(" is already being executed by process ") == 2

    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    until(lambda: not left(tmp_path))
    os.close(terminal)
    kept = {int(name.removeprefix("round-")) for name in rounds_kept(tmp_path)}
    assert len(rounds_kept(tmp_path)) == 2
    assert any(number % 20 for number in kept)


def test_a_terminated_sweep_ends_with_its_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = [*LONG, "seed=0,1,2", "checkpoint_every=20", f"outputs={tmp_path}"]
    local = ["launcher=local", "hydra.launcher.n_jobs=2"]
    child, terminal = forked(["-m", *local, *typed], monkeypatch, tmp_path / "log")
    until(lambda: len([*tmp_path.glob("runs/*/checkpoint")]) == 2)
    os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGTERM
    assert (tmp_path / "log").read_text() == AGAIN
    until(lambda: not left(tmp_path))
    assert len([*tmp_path.glob("runs/*/rounds.csv")]) == 2  # the third has not begun
    assert any(int(name.removeprefix("round-")) % 20 for name in rounds_kept(tmp_path))
    assert not list(tmp_path.glob("runs/.journal-*"))


@pytest.fixture
def job_of_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    """Make this process one that a sweep has started."""
    monkeypatch.setenv(ending.SWEEP, "1")
    monkeypatch.setenv("IFL_JOURNAL", str(tmp_path))
    monkeypatch.setattr(ending, "ENDING", ending.Ending())
    return Journal(tmp_path)


def test_a_run_of_a_sweep_ends_when_the_journal_says_so(job_of_a_sweep: Journal) -> None:
    with ending.noted() as reason:
        assert reason() is None
        job_of_a_sweep.stop()
        assert reason() == "the sweep was told to end"
    with pytest.raises(Terminated, match="the sweep was told to end"), ending.noted():
        raise AssertionError("it began")


def test_a_journal_is_abandoned_once_nobody_holds_it(tmp_path: Path) -> None:
    journal = Journal.begin(tmp_path)
    assert journal.folder is not None
    other = Journal(journal.folder)
    assert not other.abandoned()
    journal.remove()
    assert other.abandoned()
    assert not Journal(None).abandoned()


# --- where nothing can be written


def test_what_is_finished_is_shown_without_writing_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = [*SHORT, "rounds=2", f"outputs={tmp_path}"]

    def no_folder() -> None:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_get_default_tempdir", no_folder)
    assert here(monkeypatch, "-m", "seed=0,1", *typed) == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    for more in (["-m", "seed=0,1"], ["-m", "seed=0,1", "launcher=local"], ["seed=0"]):
        capsys.readouterr()
        assert here(monkeypatch, *more, *typed) == 0
        assert capsys.readouterr().out.count("Finished (rounds=2 reached): ") == (
            2 if more[0] == "-m" else 1
        )
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
