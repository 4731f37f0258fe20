"""Runs for loggers to log, whole or killed on the way, and what their tables hold."""

from pathlib import Path

import pytest
from interrupted import here

from ifl.federation.engine import Engine
from ifl.loggers.base import values_of
from ifl.runs.folder import read_rounds

TYPED = ["clients=mlp_homogeneous", "clients.count=2", "clients.members.0.base.widths=[16]"]
TYPED += ["fusion.dim=16", "local.tau=1", "batch_size=4", "eval_every=2", "checkpoint_every=3"]
TYPED += ["runtime.workers=1"]


def evaluations(folder: Path) -> dict[int, dict[str, float]]:
    """Return what a log has to hold: the numbers of each evaluation, by round."""
    rows = [row for row in read_rounds(folder) if row.accuracy_mean is not None]
    return {row.round: values_of(row) for row in rows}


def interrupted(patch: pytest.MonkeyPatch, before: int, *typed: str) -> None:
    """Run a command that is interrupted before this round."""

    def killed(self: Engine, number: int) -> object:
        if number == before:
            raise KeyboardInterrupt
        return conducted(self, number)

    conducted = Engine.advance
    with patch.context() as inner:
        inner.setattr(Engine, "advance", killed)
        assert here(inner, *typed) == 130
