"""A disk that fills up while a run goes on: a tmpfs of a few hundred kB, and a limit on files."""

import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from interrupted import TYPED, assert_equal_files, here

from ifl.cli.console import Progress
from ifl.runs import checkpoint
from ifl.runs.folder import Round

SMALL = [*TYPED, "rounds=20", "clients.members.0.base.widths=[16]"]
Run = Callable[[Path], int]


@pytest.fixture
def typed_in(monkeypatch: pytest.MonkeyPatch) -> Run:
    return lambda outputs: here(monkeypatch, *SMALL, f"outputs={outputs}")


@pytest.fixture
def whole(typed_in: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A run that has room enough."""
    assert typed_in(tmp_path / "whole") == 0
    capsys.readouterr()
    return found(tmp_path / "whole")


def found(outputs: Path) -> Path:
    (folder,) = (path.parent for path in outputs.glob("runs/*/run.json"))
    return folder


def size(folder: Path) -> int:
    """Bytes of the one checkpoint."""
    return sum(path.stat().st_size for path in (folder / checkpoint.FOLDER).glob("*/*"))


def assert_stops_and_goes_on(
    typed_in: Run,
    outputs: Path,
    whole: Path,
    reason: str,
    make_room: Callable[[], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert typed_in(outputs) == 1
    said, complained = capsys.readouterr()
    folder = found(outputs)
    assert complained == (
        f"Error: outputs: {folder} cannot be written ({reason}); make room there, and the same "
        "command resumes from the last whole checkpoint, or choose another folder with "
        "outputs=...\n"
    )
    assert "Traceback" not in said
    kept = checkpoint.newest(folder)
    assert kept is not None
    assert kept.round == 5
    make_room()
    assert typed_in(outputs) == 0
    said, complained = capsys.readouterr()
    assert f"Resuming from round 5: {folder}" in said
    assert complained == ""
    assert_equal_files(whole, folder)
    assert len(list((folder / checkpoint.FOLDER).iterdir())) == 1


Tmpfs = subprocess.Popen[str]


@pytest.fixture
def tmpfs() -> Iterator[Tmpfs]:
    """A shell in a mount namespace of its own, which needs no root where users may have one."""
    shell = subprocess.Popen(
        ["unshare", "--mount", "--map-root-user", "sh"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    yield shell
    shell.kill()
    shell.communicate()


def tell(shell: Tmpfs, command: str) -> str:
    """Run a command in the shell and return what it says, with its exit code."""
    assert shell.stdin is not None
    assert shell.stdout is not None
    try:
        shell.stdin.write(f"{command} 2>&1; echo $?\n")
        shell.stdin.flush()
    except BrokenPipeError:
        return shell.stdout.read()
    lines = [shell.stdout.readline()]
    while lines[-1] and not lines[-1].strip().isdecimal():
        lines.append(shell.stdout.readline())
    return "".join(lines).strip()


def test_a_run_on_a_full_disk_keeps_its_last_whole_checkpoint_and_goes_on_once_there_is_room(
    tmpfs: Tmpfs, typed_in: Run, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "small"
    place.mkdir()
    room = f"size={size(whole) * 3 // 2}"
    mounted = tell(tmpfs, f"mount -t tmpfs -o {room} tmpfs {place}")
    if mounted != "0":
        pytest.skip(f"this machine lets nobody mount a tmpfs, not even its own: {mounted}")
    outputs = Path(f"/proc/{tmpfs.pid}/root{place}")

    def make_room() -> None:
        assert tell(tmpfs, f"mount -o remount,size=1G {place}") == "0"

    assert_stops_and_goes_on(typed_in, outputs, whole, "No space left on device", make_room, capsys)


@pytest.mark.parametrize("file", ["checkpoint", "table"])
def test_so_does_one_whose_files_may_not_grow_any_more(
    file: str,
    typed_in: Run,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A limit that needs no mount: like a quota, met in the middle of a checkpoint or of a row."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN  # Python's way: an error, no kill
    outputs = tmp_path / "limited"
    show = Progress.__call__

    def limiting(progress: Progress, row: Round) -> None:
        show(progress, row)
        if row.round == 7 and not os.environ.get("ROOM"):
            traffic = (found(outputs) / "traffic.csv").stat().st_size
            most = size(whole) // 2 if file == "checkpoint" else traffic + 45
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))

    def make_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        if file == "table":
            torn = (found(outputs) / "traffic.csv").read_text()
            assert not torn.endswith("\n")
        monkeypatch.setenv("ROOM", "1")

    monkeypatch.setattr(Progress, "__call__", limiting)
    try:
        assert_stops_and_goes_on(typed_in, outputs, whole, "File too large", make_room, capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
