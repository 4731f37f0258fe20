"""Runs scripts/run.py in a process of its own, as a user would."""

import os
import subprocess
import sys
from pathlib import Path

from conftest import ROOT

QUICK = ["clients=mlp_homogeneous", "rounds=2", "local.tau=1", "runtime.threads=1"]


def command(
    tmp_path: Path, *arguments: str, data: str = "nowhere"
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "IFL_DATA": data, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "run.py"), *arguments, f"outputs={tmp_path}"],
        capture_output=True,
        text=True,
        env=environment,
    )


def only_run(tmp_path: Path) -> Path:
    (found,) = [path.parent for path in tmp_path.rglob("run.json")]
    return found
