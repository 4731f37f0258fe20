"""Records provenance: versions, device, commit and times of a run."""

import platform
import subprocess
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ifl
from ifl.runs.folder import read_about


def provenance(device: str) -> dict[str, Any]:
    """Return versions, device, threads and commit, as run.json has them."""
    import torch  # seconds to load: what recognises finished runs does without

    packages = ("torch", "torchvision", "numpy", "safetensors", "hydra-core", "omegaconf")
    versions = {name: version(name) for name in packages}
    return {
        "versions": {"ifl": ifl.__version__, "python": platform.python_version(), **versions},
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
        "threads": torch.get_num_threads(),
        "commit": _commit(),
    }


def times(run: Path, continues: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return when the run of a folder first started and when it went on since.

    Args:
        continues: the folder and the round of another run that it goes on from.
    """
    before = read_about(run) or {}
    origin = continues or before.get("continues")
    told = {"continues": origin} if origin else {}
    if "started" not in before:
        return {"started": now(), **told}
    resumed = [*before.get("resumed", []), now()]
    return {"started": before["started"], "resumed": resumed, **told}


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _commit() -> str | None:
    """Return the commit of the source folder, or None where that is no checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
