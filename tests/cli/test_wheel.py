"""What is installed runs from any folder, with nothing of the checkout."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from conftest import CONF, NARROW, ROOT

QUICK = [*NARROW, "fusion.dim=16", "local.tau=1", "rounds=5", "runtime.threads=1"]
MINE = """# @package _global_
defaults:
  - override /optimizer: adam
rounds: 5
seed: 7
"""

Ended = subprocess.CompletedProcess[str]


class Installed:
    """A fresh environment with the wheel in it; what it depends on is borrowed from this one.

    Args:
        folder: where the environment is made; commands run in an empty folder within.
    """

    def __init__(self, folder: Path) -> None:
        wheel = ["wheel", "--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir"]
        pip = [sys.executable, "-m", "pip"]
        subprocess.run([*pip, *wheel, str(folder), str(ROOT)], check=True)
        (self.wheel,) = folder.glob("*.whl")
        environment, self.empty = folder / "environment", folder / "empty"
        self.empty.mkdir()
        venv.create(environment, with_pip=False)
        folders = "Scripts" if os.name == "nt" else "bin"
        self.scripts = environment / folders
        self.python = str(self.scripts / Path(sys.executable).name)
        where = "import sysconfig; print(sysconfig.get_path('purelib'))"
        said = subprocess.run([self.python, "-c", where], capture_output=True, text=True)
        self.packages = Path(said.stdout.strip())
        install = ["--python", self.python, "install", "--no-deps", "--quiet", str(self.wheel)]
        subprocess.run([*pip, *install], check=True)
        borrowed = sysconfig.get_path("purelib")  # its own .pth files are not read: no checkout
        (self.packages / "borrowed.pth").write_text(borrowed + "\n", encoding="utf-8")

    def run(self, *command: str) -> Ended:
        own = {**os.environ, "OMP_NUM_THREADS": "1"}
        own.pop("PYTHONPATH", None)
        return subprocess.run(command, cwd=self.empty, env=own, capture_output=True, text=True)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(tmp_path_factory.mktemp("wheel"))


def test_the_wheel_carries_the_configuration_and_everything_of_the_packages(
    installed: Installed,
) -> None:
    for source, target in ((CONF, "ifl/conf"), (ROOT / "ifl", "ifl")):
        files = [p for p in source.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
        assert len(files) > 50
        for path in files:
            there = installed.packages / target / path.relative_to(source)
            assert there.read_bytes() == path.read_bytes()
    assert (installed.packages / "hydra_plugins" / "ifl_grid.py").exists()
    assert not (installed.packages / "tests").exists()


def test_five_rounds_a_sweep_of_ones_own_yaml_and_a_plot_from_an_empty_folder(
    installed: Installed,
) -> None:
    first = installed.run(str(installed.scripts / "ifl"), *QUICK)
    assert first.returncode == 0, first.stderr
    (folder,) = (installed.empty / "outputs" / "runs").iterdir()
    assert folder.name.startswith("digits-mlp_homogeneous-ifl-seed0-")
    assert len((folder / "rounds.csv").read_text(encoding="utf-8").splitlines()) == 1 + 5

    again = installed.run(installed.python, "-m", "ifl", *QUICK)
    assert "Already finished" in again.stdout

    mine = installed.empty / "mine" / "experiment"
    mine.mkdir(parents=True)
    (mine / "my_own.yaml").write_text(MINE, encoding="utf-8")
    sweep = ["-m", "--config-dir=mine", "experiment=my_own", "method=ifl,local", *QUICK[:4]]
    swept = installed.run(str(installed.scripts / "ifl"), *sweep)
    assert swept.returncode == 0, swept.stderr
    assert swept.stdout.count("Finished (rounds=5 reached)") == 2
    assert len(list(installed.empty.glob("outputs/runs/*-seed7-*/run.json"))) == 2

    drawn = installed.run(str(installed.scripts / "ifl"), "plot", "outputs")
    assert drawn.returncode == 0, drawn.stderr
    assert (installed.empty / "outputs" / "plots" / "results.csv").exists()
