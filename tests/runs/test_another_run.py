"""What a folder holds is compared with what is asked for, and nothing of it is written over."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
from interrupted import here

from ifl.cli.console import Progress
from ifl.errors import ConfigError
from ifl.runs import checkpoint
from ifl.runs.comparison import check_folder, difference

FAST = ["clients=mlp_homogeneous", "rounds=3", "eval_every=1", "local.tau=2", "runtime.workers=1"]
FAST += ["clients.count=2", "clients.members.0.base.widths=[16]", "fusion.dim=16"]

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Typed:
    """Return a runner of FAST and more: its exit code, what it said and what it complained of."""

    def run(*more: str) -> tuple[int, str, str]:
        flags = [word for word in more if word.startswith("-")]  # before all overrides
        rest = [word for word in more if word not in flags]
        code = here(monkeypatch, *flags, *FAST, f"outputs={tmp_path / 'outputs'}", *rest)
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of FAST, made once."""
    place = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        assert here(patch, *FAST, f"hydra.run.dir={place / 'X'}", f"outputs={place}") == 0
    return place / "X"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("lock", "holder")
    }


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (["seed=1", "method=local"], "seed is 0 there and 1 here"),
        (["rounds=4"], "rounds is 3 there and 4 here"),
        (["method=local"], "method is ifl.methods.ifl.IFL there and ifl.methods.local.Local here"),
        (["privacy.clip=1"], "privacy.clip is null there and 1 here"),
        (["codec=int4"], "codec is ifl.comm.codecs.Float32 there and ifl.comm.quantise.Int4 here"),
        (["+data.extra=1"], "data.extra is not set there and 1 here"),
        (["seed=1", "fresh=true"], "seed is 0 there and 1 here"),
    ],
)
def test_a_named_folder_with_another_run_in_it_is_a_sentence(
    typed: Typed, made: Path, tmp_path: Path, other: list[str], sentence: str
) -> None:
    folder = tmp_path / "X"
    shutil.copytree(made, folder)
    before = contents(folder)
    code, said, complained = typed(f"hydra.run.dir={folder}", *other)
    assert code == 1
    assert complained == (
        f"Error: {folder} holds another run: {sentence}; name another folder, or leave out "
        "hydra.run.dir: it then follows from the configuration\n"
    )
    assert "Finished" not in said
    assert contents(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["X"]
    code, said, _ = typed(f"hydra.run.dir={folder}", "runtime.threads=2")
    assert code == 0
    assert f"Already finished: {folder}" in said


def test_so_it_is_while_the_run_there_is_interrupted(
    typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "X"
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "__call__", Mock(side_effect=KeyboardInterrupt))
        assert typed(f"hydra.run.dir={folder}")[0] == 130
    before = contents(folder)
    code, _, complained = typed(f"hydra.run.dir={folder}", "optimizer.lr=0.5")
    assert code == 1
    assert "optimizer.lr is 0.01 there and 0.5 here" in complained
    assert contents(folder) == before


def test_runs_of_a_sweep_do_not_share_a_folder(typed: Typed, tmp_path: Path) -> None:
    one = f"hydra.sweep.dir={tmp_path}", "hydra.sweep.subdir=one"
    code, said, _ = typed("-m", "seed=0,1", *one)
    assert code == 1
    (failed,) = [line for line in said.splitlines() if line.startswith("Failed: ")]
    assert "seed=1" in failed
    assert "seed is 0 there and 1 here" in said
    assert json.loads((tmp_path / "one" / "run.json").read_text())["seed"] == 0


def test_a_neighbour_is_not_taken_for_another_attempt(typed: Typed, tmp_path: Path) -> None:
    first, second = (f"hydra.run.dir={tmp_path / name}" for name in ("X", "X-2"))
    assert typed(first, "seed=0")[0] == 0
    assert typed(second, "seed=1")[0] == 0
    code, said, _ = typed(first, "seed=0")
    assert code == 0
    assert f"Already finished: {tmp_path / 'X'} " in said
    code, said, _ = typed(first, "seed=0", "fresh=true")
    assert code == 0
    assert said.endswith(f"{tmp_path / 'X-3'}\n")


@pytest.mark.parametrize("content", ['{"cut', "[]", '{"theirs": 1}', '{"config": 3}'])
def test_a_run_json_that_is_no_runs_is_left_as_it_is(
    typed: Typed, tmp_path: Path, content: str
) -> None:
    folder = tmp_path / "X"
    folder.mkdir()
    (folder / "run.json").write_text(content)
    code, _, complained = typed(f"hydra.run.dir={folder}")
    assert code == 1
    assert complained.startswith(f"Error: {folder}")
    assert complained.count("\n") == 1
    assert contents(folder) == {"run.json": content.encode()}


@pytest.mark.parametrize("name", ["rounds.csv", "partition.csv", "traffic.csv"])
def test_tables_that_are_somebody_elses_are_left_as_they_are(
    typed: Typed, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "X"
    folder.mkdir()
    (folder / name).write_text("round,winner\n1,me\n")
    code, _, complained = typed(f"hydra.run.dir={folder}")
    assert code == 1
    assert f"{folder} holds a {name} and no run.json" in complained
    assert contents(folder) == {name: b"round,winner\n1,me\n"}


@pytest.mark.parametrize(
    "name",
    [
        "checkpoint/epoch-9/model.pt",
        "checkpoint/best.pt",
        "checkpoint/round-3/model.pt",
        "checkpoint",
        ".hydra/config.yaml",
        "classes.csv",
        "predictions.safetensors",
    ],
)
def test_what_a_run_would_write_over_is_left_as_it_is(
    typed: Typed, tmp_path: Path, name: str
) -> None:
    file, folder = tmp_path / "X" / name, tmp_path / "X"
    file.parent.mkdir(parents=True)
    file.write_text("precious")
    (folder / "notes.txt").write_text("mine")
    code, _, complained = typed(f"hydra.run.dir={folder}")
    assert code == 1
    assert f"Error: {folder} holds {'/'.join(name.split('/')[:2])} and no run.json" in complained
    assert file.read_text() == "precious"
    assert not (folder / "rounds.csv").exists()
    file.unlink()
    for path in [parent for parent in file.parents if tmp_path / "X" in parent.parents]:
        path.rmdir()
    assert typed(f"hydra.run.dir={folder}")[0] == 0
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_checkpoint_takes_nothing_along_that_is_not_its_own(tmp_path: Path) -> None:
    mine = tmp_path / "checkpoint" / "round-5-as-it-was"
    mine.mkdir(parents=True)
    for number in (1, 2):
        checkpoint.write(tmp_path, number, {"x": number})
    assert {path.name for path in mine.parent.iterdir()} == {mine.name, "round-2"}


def test_a_folder_that_was_just_begun_is_its_own(tmp_path: Path) -> None:
    (tmp_path / "rounds.csv").write_text("")
    (tmp_path / "traffic.csv").write_text("round,direction,client,kind,bytes\n")
    check_folder(tmp_path, {"seed": 0})
    (tmp_path / "traffic.csv").write_text("round,direction,client,kind,bytes\n1,up,0,z,3\n")
    with pytest.raises(ConfigError, match=r"holds a traffic\.csv and no run\.json"):
        check_folder(tmp_path, {"seed": 0})


def test_a_difference_is_one_that_can_change_a_result() -> None:
    there = {"seed": 0, "outputs": "a", "lr": 1.0, "on": True, "deep": {"x": [1, 2]}}
    assert difference(there, {**there, "outputs": "b", "lr": 1}) is None
    assert difference(there, {**there, "on": 1}) == "on is true there and 1 here"
    assert (
        difference(there, {**there, "deep": {"x": [1]}}) == "deep.x.1 is 2 there and not set here"
    )
    assert difference(there, {**there, "seed": 9}, "seed") is None
    both = {**there, "deep": {"x": [3, 2]}, "seed": 4}
    assert difference(there, both) == "seed is 0 there and 4 here"
