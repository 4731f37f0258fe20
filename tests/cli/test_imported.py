"""A user's module may draw when it is imported: a command gives the same numbers again."""

import sys
from pathlib import Path

import numpy as np
import pytest
from interrupted import here, without_seconds

import ifl
from ifl.errors import ConfigError
from ifl.seeding import imported

DRAWS = """
import random

import numpy as np
import torch

SCALE = 1 + np.random.rand() + random.random()
MIXED = torch.randn(784, 16)


class Mixing(torch.nn.Module):
    def __init__(self, fusion_dim):
        super().__init__()
        self.layer = torch.nn.Linear(16, fusion_dim)

    def forward(self, x):
        return self.layer(x.flatten(1) @ MIXED * SCALE / 30)
"""
BASE = "{_target_: drawing.nets.Mixing}"
MODULAR = "{_target_: torch.nn.Linear, in_features: 16, out_features: 10}"


def forget() -> None:
    """Let the module be imported again, as in a process of its own with other random states."""
    for name in ("drawing", "drawing.nets"):
        sys.modules.pop(name, None)
    np.random.seed()


def test_what_a_module_draws_on_import_is_the_same_in_every_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "drawing"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "nets.py").write_text(DRAWS)
    monkeypatch.syspath_prepend(str(tmp_path))
    member = f"{{name: mixing, base: {BASE}, modular: {MODULAR}}}"
    typed = [f"clients.members=[{member}]", "clients.count=2", "fusion.dim=16", "method=local"]
    typed += ["rounds=2", "eval_every=1", "local.tau=1", "runtime.threads=1", "runtime.workers=1"]
    runs = []
    for name in ("one", "two"):
        forget()
        assert here(monkeypatch, *typed, f"outputs={tmp_path / name}") == 0
        (path,) = (tmp_path / name).rglob("rounds.csv")
        runs.append(path.parent)
    assert without_seconds(runs[0]) == without_seconds(runs[1])
    forget()
    trained, digits = ifl.load(runs[0]), ifl.digits()
    right = trained.compose(0, 1)(digits.test.inputs()).argmax(dim=1) == digits.test.y
    listed = trained.compositions().set_index(["base", "modular"])
    assert right.float().mean().item() == pytest.approx(listed.loc[("0", "1"), "accuracy"])
    forget()


def test_an_import_leaves_the_generators_as_they_were() -> None:
    np.random.seed(3)
    before = np.random.get_state(legacy=True)
    assert imported("ifl.errors.ConfigError") is ConfigError
    assert repr(before) == repr(np.random.get_state(legacy=True))
    with pytest.raises(ImportError):
        imported("no_such_module.Thing")
