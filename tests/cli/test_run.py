"""The command line as a user types it."""

import json
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from commands import QUICK, command, only_run
from conftest import CONF, composed, options
from hydra import compose, initialize_config_dir
from interrupted import here
from omegaconf import OmegaConf


def test_a_run_leaves_its_folder_and_the_same_command_finds_it(tmp_path: Path) -> None:
    first = command(tmp_path, *QUICK)
    assert first.returncode == 0, first.stderr
    folder = only_run(tmp_path)
    assert first.stdout.strip().endswith(str(folder))
    assert folder.name.startswith("digits-mlp_homogeneous-ifl-seed0-")
    assert {path.name for path in folder.iterdir()} == {
        ".hydra",
        "checkpoint",
        "holder",
        "lock",
        "run.json",
        "rounds.csv",
        "compositions.csv",
        "metrics.csv",
        "classes.csv",
        "traffic.csv",
        "partition.csv",
    }
    assert "rounds=2" in (folder / ".hydra" / "overrides.yaml").read_text()
    about = json.loads((folder / "run.json").read_text())
    assert about["finished"] is True
    assert about["choices"]["method"] == "ifl"
    assert about["config"]["local"]["tau"] == 1

    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    again = command(tmp_path, *QUICK)
    assert again.returncode == 0
    assert f"Already finished: {folder}" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before

    fresh = command(tmp_path, *QUICK, "fresh=true")
    assert fresh.returncode == 0
    beside = folder.with_name(folder.name + "-2")
    assert fresh.stdout.strip().endswith(str(beside))
    tables = [pd.read_csv(f / "rounds.csv").drop(columns="seconds") for f in (folder, beside)]
    assert tables[0].to_csv() == tables[1].to_csv()


def test_a_sweep_goes_on_past_a_failed_run_and_ends_with_one_table(tmp_path: Path) -> None:
    sweep = command(tmp_path, "-m", "seed=0,1", "batch_size=32,9999", *QUICK)
    assert sweep.returncode == 1
    assert len(list(tmp_path.rglob("run.json"))) == 2
    table = sweep.stdout[sweep.stdout.index("method") :]
    assert table.count("Failed: ") == 2
    assert table.count("Finished (rounds=2 reached): ") == 2
    assert "batch_size must not exceed the smallest shard, got 9999" in table
    assert "Traceback" not in sweep.stderr


@pytest.mark.parametrize("leaves", ["sys.exit(0)", "exit()", "raise SystemExit"])
def test_code_that_ends_the_process_is_a_run_that_failed(
    leaves: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = tmp_path / f"leaving_{len(leaves)}.py"
    lines = ("import sys, torch", "class Net(torch.nn.Flatten):", " def forward(self, x):")
    code.write_text("\n".join([*lines, f"  {leaves}"]))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("sys.stdin", StringIO())  # exit() closes it
    block = f"{{_target_: {code.stem}.Net}}"
    member = f"clients.members=[{{name: own, base: {block}, modular: {block}}}]"
    typed = [member, "clients.count=1", "method=local", f"outputs={tmp_path}"]
    assert here(monkeypatch, "-m", "seed=0,1", *typed) == 1
    said, complained = capsys.readouterr()
    assert complained.count(f"line 4 of {code} ends the process (exit code ") == 2
    assert said.count("ends the process") == 2
    assert not list(tmp_path.rglob("run.json"))


def test_a_place_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = command(tmp_path / "file")
    assert ended.returncode == 1
    assert f"Error: {tmp_path}/file" in ended.stderr
    assert "cannot be written (Not a directory); make room or choose" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_configuration_is_shown_without_running(tmp_path: Path) -> None:
    shown = command(tmp_path, "--cfg=job")
    assert shown.returncode == 0
    assert "tau: ${local.tau}" in shown.stdout
    assert not list(tmp_path.rglob("run.json"))


@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_experiment_yaml_composes(experiment: str) -> None:
    assert composed(f"experiment={experiment}").rounds


@pytest.mark.parametrize(
    ("typed", "chosen"),
    [
        ("experiment=paper/communication", "kmnist adam local paper"),
        ("experiment=paper/homogeneous", "kmnist adam local mlp_homogeneous"),
        ("experiment=beyond/ablation", "kmnist momentum local paper"),
        ("experiment=open/tau data=digits launcher=basic", "digits adam basic paper"),
        ("optimizer=sgd experiment=open/tau clients=deep", "kmnist sgd local deep"),
        ("experiment=frugal", "digits momentum basic paper"),
    ],
)
def test_a_study_has_what_studies_share_unless_it_or_the_command_line_chooses(
    typed: str, chosen: str
) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        choices = compose("config", typed.split(), return_hydra_config=True).hydra.runtime.choices
    assert [choices[group] for group in ("data", "optimizer", "launcher", "clients")] == (
        chosen.split()
    )
    assert choices.experiment == typed.partition("experiment=")[2].split()[0]
    assert choices["hydra/launcher"] == {"local": "joblib", "basic": "basic"}[choices.launcher]


def test_what_studies_share_is_no_experiment(tmp_path: Path) -> None:
    listed = command(tmp_path, "--help").stdout
    assert "experiment: frugal, one_round, one_round_statistics, quickstart\n" in listed
    assert "experiment=study is not there" in command(tmp_path, "experiment=study").stderr


@pytest.mark.parametrize("data", options("data"))
def test_every_data_yaml_says_what_the_networks_need(data: str) -> None:
    config = composed(f"data={data}").data
    if OmegaConf.is_missing(config, "root"):  # a user's own, which is told by what lies there
        assert (config.shape, config.classes) == (None, None)
        return
    assert len(config.shape) in (1, 3)
    assert config.classes >= 2
    assert config.name


@pytest.mark.parametrize("sweep", [[], ["-m"]])
def test_a_variable_of_the_environment_tells_runs_apart(
    sweep: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = [*sweep, "seed=${oc.env:SEED}", *QUICK]
    for value, found in (("3", False), ("4", False), ("3", True)):
        monkeypatch.setenv("SEED", value)
        ended = command(tmp_path, *typed)
        assert ended.returncode == 0, ended.stderr
        assert f"ifl-seed{value}-" in ended.stdout.splitlines()[-1]
        assert ("Already finished" in ended.stdout) == found
    assert len(list(tmp_path.rglob("run.json"))) == 2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-1", -1),
        ("1e-3", 1e-3),
        ("0.5", 0.5),
        (".5", 0.5),
        ("true", True),
        ("null", None),
        ("007", "007"),
        ("1.2.3", "1.2.3"),
        ("", ""),
        ("/data 3", "/data 3"),
        ("nan", "nan"),
    ],
)
def test_a_variable_is_read_as_if_it_was_typed(
    text: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINE", text)
    read = OmegaConf.create({"x": "${oc.env:MINE}", "y": "${oc.env:NONE_SUCH,5}"})
    assert (read.x, type(read.x)) == (value, type(value))
    assert read.y == 5
