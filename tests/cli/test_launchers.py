"""Grids under every launcher, as a user types them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import command
from conftest import CONF, NARROW, ROOT
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from ifl.cli.config import runs_at_once
from ifl.cores import available_cores
from ifl.runs.identity import PLACE

TINY = [*NARROW, "fusion.dim=16", "rounds=1", "local.tau=1"]
GRID = ["seed=0,1", "batch_size=16,32", *TINY]

Ended = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(scope="module")
def local(outputs: Path) -> Ended:
    return command(outputs / "local", "launcher=local", GRID[0], "batch_size=16,32,9999", *TINY)


@pytest.fixture(scope="module")
def basic(outputs: Path) -> Ended:
    return command(outputs / "basic", "-m", *GRID, "runtime.threads=1")


def rounds(outputs: Path) -> dict[str, list[list[str]]]:
    """Return the rows of rounds.csv by folder, without their last column, the seconds."""
    found = {}
    for path in outputs.rglob("rounds.csv"):
        lines = path.read_text().splitlines()
        assert lines[0].endswith(",seconds")
        found[path.parent.name] = [line.split(",")[:-1] for line in lines]
    return found


def test_a_grid_has_the_same_folders_and_numbers_all_at_once_and_one_by_one(
    outputs: Path, local: Ended, basic: Ended
) -> None:
    assert basic.returncode == 0, basic.stderr
    assert len(rounds(outputs / "basic")) == 4
    assert rounds(outputs / "local") == rounds(outputs / "basic")
    about = [json.loads(p.read_text()) for p in sorted(outputs.rglob("*-seed0-*/run.json"))]
    assert len({json.dumps(a["choices"], sort_keys=True) for a in about}) == 1
    assert {a["threads"] for a in about} == {1}


def test_a_failed_run_of_a_grid_is_listed_with_its_reason_and_the_others_finish(
    local: Ended,
) -> None:
    assert local.returncode == 1
    assert local.stdout.count("Finished (rounds=1 reached): ") == 4
    failed = [line for line in local.stdout.splitlines() if line.startswith("Failed: ")]
    assert len(failed) == 2
    assert all("batch_size must not exceed the smallest shard, got 9999" in f for f in failed)
    assert all("batch_size=9999" in f.split(": ")[1] for f in failed)
    assert "Traceback" not in local.stdout + local.stderr


def test_runs_at_once_leave_the_screen_to_the_progress_of_the_grid(
    outputs: Path, local: Ended
) -> None:
    assert "Training samples" not in local.stdout
    assert "round 1/1" not in local.stdout
    assert "6/6 runs done (2 failed), accuracy of the last: ifl " in local.stdout
    assert not list(outputs.rglob(".journal-*"))


def test_runs_one_by_one_show_their_own_progress_and_the_grids(basic: Ended) -> None:
    assert basic.stdout.count("Training samples") == basic.stdout.count("round 1/1") == 4
    assert [f"{n}/4 runs done" in basic.stdout for n in (1, 2, 3, 4)] == [True] * 4


def test_finished_runs_are_recognised_under_another_launcher_without_loading_torch(
    outputs: Path, local: Ended
) -> None:
    found = timed(outputs / "local", "-m", *GRID, "runtime.threads=1")
    assert found.returncode == 0
    assert "Already finished: 4 of 4 runs" in found.stdout
    assert found.stdout.count("Finished (rounds=1 reached): ") == 4
    assert "torch" not in loaded(found)


@pytest.mark.parametrize("question", [["--help"], ["--cfg", "job"]])
def test_a_question_is_answered_without_loading_what_runs_need(
    question: list[str], tmp_path: Path
) -> None:
    answered = timed(tmp_path, *question)
    assert answered.returncode == 0
    assert "hydra" in loaded(answered)
    assert not {"torch", "numpy", "pandas", "sklearn", "joblib"} & loaded(answered)


def test_what_is_composed_follows_from_files_and_overrides_alone() -> None:
    lines = "\n".join(path.read_text() for path in CONF.rglob("*.yaml")).splitlines()
    outside = {
        line.split("#")[0].strip() for line in lines if "${oc.env" in line or "${now" in line
    }
    assert outside == {PLACE}  # changes no result


def timed(outputs: Path, *arguments: str) -> Ended:
    program = [sys.executable, "-X", "importtime", str(ROOT / "scripts" / "run.py")]
    full = [*program, *arguments, f"outputs={outputs}"]
    return subprocess.run(full, capture_output=True, text=True)


def loaded(ended: Ended) -> set[str]:
    """Return the packages in the report of ``-X importtime``."""
    lines = [line for line in ended.stderr.splitlines() if line.startswith("import time:")]
    return {line.split("|")[-1].strip().split(".")[0] for line in lines}


MISSING = """
import pkgutil
walk = pkgutil.walk_packages
pkgutil.walk_packages = lambda *a, **k: [m for m in walk(*a, **k) if "_launcher" not in m.name]
"""


@pytest.mark.parametrize(("launcher", "package"), [("local", "joblib"), ("slurm", "submitit")])
def test_a_launcher_that_is_not_installed_is_one_sentence(
    launcher: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(MISSING)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    ended = command(tmp_path / "outputs", f"launcher={launcher}", *TINY, fresh=True)
    assert ended.returncode == 1
    assert ended.stderr == (
        "Error: this launcher is a plugin of Hydra's that is not installed: "
        f"pip install hydra-{package}-launcher\n"
    )


def test_slurm_on_a_machine_without_it_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    ended = command(tmp_path / "outputs", "launcher=slurm", *TINY)
    assert ended.returncode == 1
    assert "launcher=slurm needs Slurm's command sbatch" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_slurm_job_asks_for_the_cores_that_its_run_uses() -> None:
    typed = [
        "launcher=slurm",
        "runtime.workers=3",
        "runtime.threads=2",
        "hydra.launcher.partition=gpu",
    ]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [*typed, "outputs=/shared"], return_hydra_config=True)
    asked = config.hydra.launcher
    assert OmegaConf.select(config, "hydra.mode").name == "MULTIRUN"
    assert asked.cpus_per_task == 6
    assert asked.setup == ["export OMP_NUM_THREADS=2 MKL_NUM_THREADS=2"]
    assert asked.partition == "gpu"
    assert asked.account is None
    assert asked.timeout_min > 10  # or else submitit takes a preemption for a time limit
    assert asked.submitit_folder == "/shared/runs/.submitit/%j"


def test_as_many_runs_at_once_as_there_are_cores_for() -> None:
    assert runs_at_once(1, 1) == available_cores()
    assert runs_at_once(None, 1) == 1
    assert runs_at_once(1, 10**6) == 1


def test_a_reader_that_leaves_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / "run.py"), "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as asked:
        assert asked.stdout is not None
        assert asked.stderr is not None
        asked.stdout.close()
        assert asked.stderr.read() == ""
        assert asked.wait() == 141


SPAWN = """
import sys
from joblib.externals.loky.backend.context import set_start_method
from ifl.__main__ import main
if __name__ == "__main__":
    set_start_method("spawn")
    sys.exit(main())
"""


def test_processes_that_are_spawned_as_on_windows_give_the_same_numbers(
    outputs: Path, basic: Ended, tmp_path: Path
) -> None:
    program = tmp_path / "spawn.py"
    program.write_text(SPAWN, encoding="utf-8")
    typed = ["launcher=local", "seed=0", "batch_size=16", *TINY, f"outputs={outputs / 'spawn'}"]
    done = subprocess.run([sys.executable, program, *typed], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    spawned = rounds(outputs / "spawn")
    assert len(spawned) == 1
    assert spawned.items() <= rounds(outputs / "basic").items()
