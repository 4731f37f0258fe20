"""Command lines in whatever order, and unions of grids, as an experiment states them."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import QUICK, SCRIPT, forked
from conftest import CONF, sweeper
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser

from ifl.cli import plot
from ifl.cli.arguments import arranged, at_home
from ifl.cli.missing import wanted

GRIDS = [
    {"method": "ifl,fsl", "clients": "paper"},
    {"method": "fl", "clients": "cnn_homogeneous", "rounds": "choice(40, 50)"},
    {"method": "centralized", "method.architecture": "range(2)", "stop.uplink_mb": None},
]


def jobs(typed: list[str], params: Any = None, grids: Any = None) -> list[str]:
    """Return the jobs that these parts span."""
    return [" ".join(job) for job in sweeper(params=params, grids=grids).jobs(typed)]


def test_each_grid_is_combined_with_params_and_what_is_typed() -> None:
    assert jobs(["seed=0,1"], {"data": "digits"}, GRIDS[:2]) == [
        "data=digits method=ifl clients=paper seed=0",
        "data=digits method=ifl clients=paper seed=1",
        "data=digits method=fsl clients=paper seed=0",
        "data=digits method=fsl clients=paper seed=1",
        "data=digits method=fl clients=cnn_homogeneous rounds=40 seed=0",
        "data=digits method=fl clients=cnn_homogeneous rounds=40 seed=1",
        "data=digits method=fl clients=cnn_homogeneous rounds=50 seed=0",
        "data=digits method=fl clients=cnn_homogeneous rounds=50 seed=1",
    ]


def test_a_grid_is_more_special_than_params() -> None:
    assert jobs([], {"seed": "0,1"}, [{"method": "ifl"}, {"method": "fl", "seed": 0}]) == [
        "seed=0 method=ifl",
        "seed=1 method=ifl",
        "seed=0 method=fl",
    ]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("rounds=7", 2 + 1 + 2),
        ("clients=paper", 2 + 2 + 2),
        ("clients.count=2", 2 + 2 + 2),
        ("method.architecture=1", 2 + 2 + 1),
    ],
)
def test_what_is_typed_replaces_its_key_everywhere(typed: str, expected: int) -> None:
    found = jobs([typed], grids=GRIDS)
    assert len(found) == expected
    assert all(typed in job.split() for job in found)


def test_a_typed_choice_replaces_the_values_below_it_and_equal_jobs_are_one() -> None:
    assert jobs(["method=local"], {"optimizer.lr": "0.1"}, GRIDS) == [
        "optimizer.lr=0.1 clients=paper method=local",
        "optimizer.lr=0.1 clients=cnn_homogeneous rounds=40 method=local",
        "optimizer.lr=0.1 clients=cnn_homogeneous rounds=50 method=local",
        "optimizer.lr=0.1 stop.uplink_mb=null method=local",
    ]
    twice = [{"seed": "0,1", "rounds": "1"}, {"rounds": "1,2", "seed": "1"}]
    assert jobs([], grids=twice) == [
        "seed=0 rounds=1",
        "seed=1 rounds=1",
        "rounds=2 seed=1",
    ]


def test_without_grids_there_is_one_of_params_and_what_is_typed() -> None:
    assert jobs(["seed=0,1"], {"method": "ifl,fl"}) == [
        "method=ifl seed=0",
        "method=ifl seed=1",
        "method=fl seed=0",
        "method=fl seed=1",
    ]
    assert jobs([]) == [""]


@pytest.mark.parametrize(
    "line",
    [
        "seed=0,1 -m rounds=3 --config-name config",
        "-m seed=0,1 --config-name config rounds=3",
        "seed=0,1 rounds=3 --multirun --config-name=config",
        "--config-name config seed=0,1 --multi rounds=3",
        "seed=0,1 --info all -m rounds=3",
        "seed=0,1 -m --info -- rounds=3",
    ],
)
def test_overrides_come_before_flags_wherever_they_are_typed(line: str) -> None:
    found = arranged(line.split())
    assert found[:2] == ["seed=0,1", "rounds=3"]
    flags = [word for word in line.split() if word not in ("seed=0,1", "rounds=3", "--")]
    assert found[2:] == flags
    assert get_args_parser().parse_args(found).multirun


def test_a_run_is_found_missing_whichever_side_of_the_flag_it_was_typed_on() -> None:
    path = CONF / "experiment" / "quickstart.yaml"
    orders = [
        "seed=3 -m experiment=quickstart rounds=5",
        "-m experiment=quickstart seed=3 rounds=5",
    ]
    jobs = [wanted(path, [f"python scripts/run.py {typed}"]) for typed in orders]
    assert {job["seed"] for job in jobs[0]} == {"3"}
    assert {job["rounds"] for job in jobs[0]} == {"5"}
    assert sorted(map(sorted, jobs[0])) == sorted(map(sorted, jobs[1]))


@pytest.mark.parametrize(
    ("typed", "taken"),
    [
        ("outputs=~", "outputs=/h"),
        ("outputs=~/a b", "outputs=/h/a b"),
        ("outputs='~/a,b'", "outputs='/h/a,b'"),
        ("hydra.sweep.dir=~/runs", "hydra.sweep.dir=/h/runs"),
        ("data.root=~/a,~/b,c~/d", "data.root=/h/a,/h/b,c~/d"),
        ("data.root=choice(~/a,'~/b')", "data.root=choice(/h/a,'/h/b')"),
        ("+my.files=[~/a,~/b]", "+my.files=[/h/a,/h/b]"),
        ("~method", "~method"),
        ("method.title='~/a'", "method.title='~/a'"),
    ],
)
def test_a_tilde_is_the_home_folder(
    typed: str, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/h")
    assert at_home(typed) == taken


def test_a_home_folder_of_an_odd_name_is_read_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/h m,=[a")
    override = OverridesParser.create().parse_override(at_home("outputs=~/x"))
    assert override.value() == "/h m,=[a/x"


def test_no_folder_called_tilde_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "own.yaml").write_text("defaults: [config, _self_]\noutputs: ~/own\n")
    mine = f"--config-dir={tmp_path / 'mine'}"
    for typed in ("outputs=~/typed", f"{mine} --config-name=own", "-m hydra.sweep.dir='~/sweep'"):
        ended = forked([SCRIPT, *typed.split(), *QUICK], {**os.environ, "IFL_DATA": "~/data"})
        assert ended.returncode == 0, ended.stderr
    made = {path.relative_to(tmp_path).parts[:2] for path in tmp_path.rglob("run.json")}
    assert made == {("home", name) for name in ("typed", "own", "sweep")}
    assert not [path for path in tmp_path.rglob("*") if "~" in path.name]
    monkeypatch.setattr(sys, "argv", ["plot.py", "~/typed", "--out", "~/figures"])
    assert plot.main() == 0
    assert (tmp_path / "home" / "figures" / "results.md").is_file()


def test_a_command_that_replaces_the_grids_asks_for_what_it_types_alone(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(
        "hydra:\n  sweeper:\n    params: {seed: '0,1'}\n    grids: [{codec: 'int4,int8'}, {}]\n"
    )
    begin = "python scripts/run.py -m experiment=study"
    assert len(wanted(path, [begin])) == 6
    assert wanted(path, [f"{begin} hydra.sweeper.grids=[] local.tau=1,2 seed=0"]) == [
        {"seed": "0", "local.tau": "1"},
        {"seed": "0", "local.tau": "2"},
    ]
    assert {job["seed"] for job in wanted(path, [f"{begin} hydra.sweeper.params.seed=7"])} == {"7"}
