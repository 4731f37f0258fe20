"""Folders that cannot be written to, whoever runs the tests: an audit hook refuses it to all."""

import os
from pathlib import Path

import pytest
from commands import QUICK, SCRIPT, Ended, command, forked, only_run
from conftest import ROOT

from ifl.cli.explain import without_place

WRAPPER = """
import os, runpy, sys, tempfile
shut, temporary, *sys.argv = sys.argv[1:]

def refuse(event, given):
    if event not in ("open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.utime"):
        return
    paths = [os.fsdecode(a) for a in given[:2] if isinstance(a, (str, bytes, os.PathLike))]
    below = [path for path in paths if os.path.realpath(path).startswith(shut + os.sep)]
    writing = event != "open"
    if event == "open":
        flags = os.O_WRONLY | os.O_RDWR | os.O_CREAT
        writing = bool((given[2] or 0) & flags) or bool({*(given[1] or "")} & {*"wax+"})
    if writing and below:
        raise PermissionError(13, "Permission denied", below[0])

def none():
    raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp', '/var/tmp']")

sys.addaudithook(refuse)
if temporary == "none":
    tempfile.tempdir, tempfile._get_default_tempdir = None, none
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def shut(folder: Path, *typed: str, script: str = SCRIPT, temporary: str = "") -> Ended:
    """Run a script to which everything below the folder is refused."""
    wrapper = folder.parent / "wrapper.py"
    wrapper.write_text(WRAPPER, encoding="utf-8")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    program = [str(wrapper), str(folder), temporary, script, *typed]
    return forked(program, environment)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that holds a finished run."""
    folder = tmp_path_factory.mktemp("shut") / "outputs"
    assert command(folder, *QUICK).returncode == 0
    return folder


@pytest.mark.parametrize("more", [[], ["-m"], ["-m", "launcher=local"], ["-cp", "RUN/.hydra"]])
def test_a_finished_run_is_shown_from_a_folder_that_is_shut(more: list[str], outputs: Path) -> None:
    typed = [word.replace("RUN", str(only_run(outputs))) for word in more]
    if "-cp" not in more:
        typed += [*QUICK, f"outputs={outputs}"]
    ended = shut(outputs, *typed)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    assert "Already finished" in ended.stdout
    assert ended.stdout.strip().endswith(f"Finished (rounds=2 reached): {only_run(outputs)}")


@pytest.mark.parametrize(
    "more", [["seed=1"], ["-m", "seed=0,1"], ["fresh=true"], ["-m", "launcher=local", "seed=0,1"]]
)
def test_what_has_to_be_run_there_is_one_sentence(more: list[str], outputs: Path) -> None:
    ended = shut(outputs, *more, *QUICK, f"outputs={outputs}")
    assert ended.returncode == 1
    assert ended.stderr.startswith("Error: ")
    assert "cannot be written (Permission denied); make room" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_figures_of_a_folder_that_is_shut_go_elsewhere(outputs: Path, tmp_path: Path) -> None:
    plot = str(ROOT / "scripts" / "plot.py")
    there = shut(outputs, str(outputs), script=plot)
    assert "Permission denied" in there.stderr
    assert there.stderr.endswith("name another folder with --out\n")
    elsewhere = shut(outputs, str(outputs), "--out", str(tmp_path), script=plot)
    assert elsewhere.returncode == 0, elsewhere.stderr
    assert (tmp_path / "results.md").is_file()


def test_a_machine_without_a_temporary_folder_is_a_sentence(
    outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")
    assert "set TMPDIR to one" in (without_place(error) or "")
    assert without_place(FileNotFoundError(2, "No such file", "x")) is None
    ended = shut(outputs, *QUICK, f"outputs={outputs}", temporary="none")
    assert ended.returncode == 0, ended.stderr
    monkeypatch.setenv("TMPDIR", str(outputs / "nowhere"))
    fresh = command(outputs.parent / "other", *QUICK)
    assert fresh.returncode == 0, fresh.stderr
