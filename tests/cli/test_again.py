"""A run's own configuration, as one gives it to Hydra to repeat the run."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import QUICK, SCRIPT, command, only_run
from conftest import CONF
from omegaconf import DictConfig, OmegaConf

from ifl.analysis.collect import load_runs
from ifl.cli import run
from ifl.cli.missing import wanted
from ifl.runs.folder import read_about

TYPED = [*QUICK, "runtime.workers=1", "method.replay.pools=3"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run, made once."""
    outputs = tmp_path_factory.mktemp("outputs")
    assert command(outputs, *TYPED).returncode == 0
    return only_run(outputs)


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of it in runs, and go to where its path is relative."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made, tmp_path / "runs" / made.name)
    return Path("runs") / made.name


def again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *typed: str
) -> tuple[str, str]:
    monkeypatch.setattr(sys, "argv", [SCRIPT, *typed])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MKL_NUM_THREADS", "1")
    run.main()
    said = capsys.readouterr()
    return said.out, said.err


def settings(folder: Path) -> dict[str, Any]:
    about = read_about(folder)
    assert about is not None
    return {**about["config"], "choices": about["choices"]}


@pytest.mark.parametrize(
    "typed",
    [
        "--config-path RUN/.hydra --config-name config",
        "-cp=RUN/.hydra -cn config.yaml",
        "--config-path=WHERE/RUN/.hydra",
        "--config-name=config --config-dir RUN/.hydra/",
        "-cp RUN",
        "-m -cp RUN/.hydra",
    ],
)
def test_a_finished_run_is_shown_under_its_own_folder(
    typed: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = typed.replace("RUN", str(folder)).replace("WHERE", str(Path.cwd())).split()
    said, complained = again(monkeypatch, capsys, *words)
    assert complained == ""
    assert f"Already finished: {folder.absolute()}" in said or "Already finished: 1 of 1" in said
    assert said.strip().endswith(f"Finished (rounds=2 reached): {folder.absolute()}")
    assert [*Path.cwd().rglob("run.json")] == [folder.absolute() / "run.json"]


def test_it_is_found_under_a_name_of_its_own_and_overrides_make_another_beside_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = folder.rename(folder.parent.parent / "runs" / "my run's")
    said, _ = again(monkeypatch, capsys, "-cp", str(mine / ".hydra"))
    assert said.strip().endswith(str(mine.absolute()))
    again(monkeypatch, capsys, "-cp", str(mine / ".hydra"), "seed=1")
    again(monkeypatch, capsys, "-cp", str(mine), "method=fl", "outputs=other")
    (beside,) = Path("runs").glob("digits-mlp_homogeneous-ifl-seed1-*")
    (other,) = Path("other/runs").glob("digits-mlp_homogeneous-fl-seed0-*")
    first = settings(mine)
    assert settings(beside) == {**first, "seed": 1, "outputs": str(Path.cwd())}
    assert settings(other)["method"]["_target_"] == "ifl.methods.fl.FL"
    assert "replay" not in settings(other)["method"]
    assert settings(other)["clients"] == first["clients"]
    assert settings(other)["choices"]["method"] == "fl"


def test_an_unfinished_run_goes_on_and_keeps_its_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    about = json.loads((folder / "run.json").read_text())
    about = {k: v for k, v in about.items() if k not in ("totals", "result", "tables", "ended")}
    (folder / "run.json").write_text(json.dumps({**about, "finished": False}))
    shutil.rmtree(folder / "checkpoint")
    before = (folder / "traffic.csv").read_bytes()
    said, complained = again(monkeypatch, capsys, "-cp", str(folder / ".hydra"))
    assert said.strip().endswith(f"Finished (rounds=2 reached): {folder.absolute()}"), complained
    assert (folder / "traffic.csv").read_bytes() == before
    assert (read_about(folder) or {})["command"] == about["command"]


def test_keys_that_are_younger_than_the_run_have_their_defaults(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / ".hydra" / "config.yaml"
    saved = OmegaConf.load(path)
    assert isinstance(saved, DictConfig)
    for key in ("augment", "privacy", "keep_predictions"):
        del saved[key]
    del saved.evaluate.local_only
    OmegaConf.save(saved, path)
    said, complained = again(monkeypatch, capsys, "-cp", str(folder / ".hydra"))
    assert said.strip().endswith(str(folder.absolute())), complained


def test_what_came_from_the_environment_is_as_it_was(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / ".hydra" / "config.yaml"
    saved = OmegaConf.load(path)
    saved.seed, saved.clients.members[0].base.widths[0] = "${oc.env:NO_SEED}", "${oc.env:NO_WIDTH}"
    OmegaConf.save(saved, path)
    said, complained = again(monkeypatch, capsys, "-cp", str(folder / ".hydra"))
    assert said.strip().endswith(str(folder.absolute())), complained


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("-cp RUN/.hydra", "run.json does not say what was chosen for clients; type what was"),
        ("-cp nowhere", "--config-path=nowhere is no folder; name that of a configuration"),
        ("-cp own -cn bare", "bare.yaml chooses no data; put it in a folder that --config-dir"),
        ("-m -cd own -cn bare rounds=4", "bare.yaml chooses no data; put it in a folder that"),
        ("-m -cd own -cn bare seed=0,1", "seed is not in the configuration that was named; begin"),
        ("-cp own -cn list", "config.yaml is in no folder of the configuration; --config-dir"),
        ("-cn missing", "missing.yaml is in no folder of the configuration; --config-dir names"),
    ],
)
def test_what_says_too_little_of_itself_is_a_sentence(
    typed: str,
    sentence: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    about = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**about, "choices": {"data": "digits"}}))
    Path("own").mkdir()
    Path("own/bare.yaml").write_text("rounds: 3\n")
    Path("own/list.yaml").write_text("defaults: [config, _self_]\n")
    _, complained = again(monkeypatch, capsys, *typed.replace("RUN", str(folder)).split())
    assert sentence in complained
    assert complained.startswith("Error: ")
    assert complained.count("\n") == 1


def test_a_run_that_does_not_say_its_choices_is_left_out_of_figures(
    folder: Path, tmp_path: Path
) -> None:
    for name, choices in (("bare", {}), ("half", {"method": "ifl"})):
        other = shutil.copytree(folder, folder.with_name(name))
        about = json.loads((other / "run.json").read_text())
        (other / "run.json").write_text(json.dumps({**about, "choices": choices}))
    runs, notes = load_runs(tmp_path)
    assert [run.path.name for run in runs] == [folder.name]
    assert len(notes) == 2
    assert "does not say what was chosen for data and clients" in notes[1]


def test_a_repeated_run_asks_for_no_other_run_of_its_study() -> None:
    path = CONF / "experiment" / "quickstart.yaml"
    few = {"ifl -m experiment=quickstart seed=0 method=fl"}
    again = {"ifl -cp outputs/x/.hydra seed=5", "ifl --config-path=outputs/x/.hydra seed=5"}
    again |= {"ifl --config-dir outputs/x/.hydra/ seed=5", "ifl -cd=outputs/x/.hydra seed=5"}
    assert wanted(path, few | again) == wanted(path, few)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("stop:\n\tseconds: 3\n", "line 3 cannot be read as yaml: found character '\\t' that"),
        ("seed: 1\nseed: 2\n", "line 3 cannot be read as yaml: found duplicate key seed"),
        ("seed: [1, 2\n", "own.yaml, line 3 cannot be read as yaml: expected ',' or ']'"),
    ],
)
def test_a_file_that_is_no_yaml_is_named_with_its_line(
    text: str,
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "own.yaml").write_text(f"defaults: [config, _self_]\n{text}", encoding="utf-8")
    for typed in ([], ["-m", "seed=0,1"]):
        folder = f"--config-dir={tmp_path}"
        _, complained = again(monkeypatch, capsys, folder, "--config-name=own", *typed)
        assert sentence in complained
        assert complained.startswith("Error: ")
        assert complained.count("\n") == 1
