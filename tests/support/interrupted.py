"""Runs the command line in this process, and compares the files of runs."""
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import Mock
import pytest
import torch
from conftest import CONF, ROOT, SMALL, Build, composed, equal, options
from liars import Liar
from torch import nn
from ifl.cli.build import assemble
from ifl.cli.console import Progress
from ifl.cli.run import main
from ifl.client.state import learner_state, load_learner
from ifl.errors import ConfigError
from ifl.federation.build import Federation, Member
from ifl.federation.engine import Engine
from ifl.federation.runner import run
from ifl.federation.schedule import Schedule
from ifl.methods.base import Method
from ifl.methods.centralized import Centralized
from ifl.methods.cse_fsl import CSEFSL
from ifl.methods.feddistill import FedDistill
from ifl.methods.fedgh import FedGH
from ifl.methods.fedproto import FedProto
from ifl.methods.fl import FL
from ifl.methods.fsl import FSL
from ifl.methods.ifl import IFL
from ifl.methods.ifl_statistics import IFLStatistics
from ifl.methods.lg_fedavg import LGFedAvg
from ifl.methods.local import Local
from ifl.methods.parts.replay import Align, Replay
from ifl.runs import checkpoint
from ifl.runs.folder import Round, RunFolder, read_about


TABLES = ("compositions.csv", "traffic.csv", "partition.csv")


def without_seconds(path: Path) -> list[str]:
    return [line.rpartition(",")[0] for line in (path / "rounds.csv").read_text().splitlines()]


def assert_equal_files(first: Path, second: Path) -> None:
    assert without_seconds(first) == without_seconds(second)
    for name in TABLES:
        assert (first / name).read_bytes() == (second / name).read_bytes()


TYPED = ["clients=mlp_homogeneous", "local.tau=1", "rounds=120", "runtime.threads=1"]


TYPED += ["batch_size=4", "fusion.dim=16", "checkpoint_every=5", "eval_every=20"]


SCRIPT = str(ROOT / "scripts" / "run.py")


def here(monkeypatch: pytest.MonkeyPatch, *typed: str) -> int:
    """Run the command in this process, which has torch already."""
    for name in ("IFL_JOURNAL", "HYDRA_FULL_ERROR"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(sys, "argv", [SCRIPT, f"--config-path={CONF}", *typed])
    return main()
