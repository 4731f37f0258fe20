"""Runs the command line in this process, and compares the files of runs."""

import sys
from pathlib import Path

import pytest
from conftest import CONF, ROOT

from ifl.cli.run import main

TABLES = ("compositions.csv", "traffic.csv", "partition.csv")


def without_seconds(path: Path) -> list[str]:
    return [line.rpartition(",")[0] for line in (path / "rounds.csv").read_text().splitlines()]


def assert_equal_files(first: Path, second: Path) -> None:
    assert without_seconds(first) == without_seconds(second)
    for name in TABLES:
        assert (first / name).read_bytes() == (second / name).read_bytes()


TYPED = ["clients=mlp_homogeneous", "local.tau=1", "rounds=120", "runtime.threads=1"]
TYPED += ["batch_size=4", "fusion.dim=16", "checkpoint_every=5", "eval_every=20"]
TYPED += ["clients.members.0.base.widths=[64]"]


SCRIPT = str(ROOT / "scripts" / "run.py")


def here(monkeypatch: pytest.MonkeyPatch, *typed: str) -> int:
    """Run the command in this process, which has torch already."""
    for name in ("IFL_JOURNAL", "HYDRA_FULL_ERROR"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(sys, "argv", [SCRIPT, f"--config-path={CONF}", *typed])
    return main()
