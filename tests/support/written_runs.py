"""Writes run folders as a run would, and draws them."""

import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import composed
from omegaconf import OmegaConf

from ifl.cli import plot
from ifl.cli.build import make
from ifl.methods.base import described
from ifl.runs.folder import Round, RunFolder

CHOICES = {"data": "digits", "partition": "iid", "clients": "paper", "method": "ifl"}


CHOICES |= {"fusion": "d432", "local": "tau10", "optimizer": "momentum", "codec": "float32"}


CHOICES |= {"augment": "none", "adversary": "none", "anchors": "none"}


NAMES = {"digits": "Digits", "kmnist": "KMNIST", "kmnist10k": "KMNIST-10k"}


SQUARE = {("0", "0"): 0.9, ("0", "1"): 0.1, ("1", "0"): 0.2, ("1", "1"): 0.8}


T2 = 0.95 / np.sqrt(2 * 0.975 * 0.025)  # 97.5 % quantile of Student's t with 2 degrees of freedom


@cache
def config_of(*overrides: str) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(composed(*overrides), resolve=True)
    return dict(plain)


def write_run(
    path: Path,
    *overrides: str,
    accuracy: Mapping[int, float] | None = None,
    matrix: Mapping[tuple[str, str], float] = SQUARE,
    uplink: int = 1_000_000,
    traffic: Mapping[tuple[str, str], int] | None = None,
    ended: str = "2026-01-01T00:00:00+00:00",
    **about: Any,
) -> Path:
    """Write a run of the configuration with these overrides.

    ``accuracy`` is by round, ``matrix`` that of the last one; those before are all zero.
    ``traffic`` is by direction and kind, of client 0 in each round.
    """
    seed = [int(o.removeprefix("seed=")) for o in overrides if o.startswith("seed=")]
    config = config_of(*(o for o in overrides if not o.startswith("seed="))) | {"seed": sum(seed)}
    accuracy = accuracy or {5: 0.4, 10: 0.6}
    chosen = dict(override.split("=", 1) for override in overrides)
    choices = {group: chosen.get(group, option) for group, option in CHOICES.items()}
    method = described(make(config["method"]), choices["method"])
    validated = ", validation" * (config["validation"] > 0)
    facts = {"data": NAMES[choices["data"]] + validated, "seed": config["seed"], "config": config}
    facts |= {"choices": choices | {"experiment": None}, "method": method}
    with RunFolder(path) as folder:
        folder.rewind()
        kept = round(100 * (1 - config["validation"]))
        folder.write_partition(np.full((config["clients"]["count"], 10), kept))
        for n in range(1, max(accuracy) + 1):
            local, sd = (0.75, 2.5) if n in accuracy else (None, None)
            tested = accuracy.get(n), local, None, sd
            row = Round(n, n * uplink, 4 * n * uplink, *tested, 1.0, 4, 0, n / 2)
            now = matrix if n == max(accuracy) else dict.fromkeys(matrix, 0.0)
            sent = [(way, 0, kind, size) for (way, kind), size in (traffic or {}).items()]
            now = now if n in accuracy else {}
            its = {pair: (value, value, value) for pair, value in now.items()}
            folder.write_round(row, now, sent, its)
        folder.describe({**facts, "finished": True, "ended": ended, **about})
    return path


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["plot.py", *map(str, arguments)])
    return plot.main()
