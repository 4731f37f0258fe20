"""A run over processes is interrupted and resumed as any other, by either engine."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SMALL, WIDE, Build, equal, parameters
from hosts import hosts, written

from ifl.client.privacy import Privacy
from ifl.engines.base import Transport
from ifl.federation.build import Federation
from ifl.federation.runner import run
from ifl.federation.schedule import Schedule
from ifl.methods.base import Method
from ifl.methods.fl import FL
from ifl.methods.ifl import IFL
from ifl.methods.parts.replay import Replay
from ifl.runs import checkpoint
from ifl.runs.folder import Round, RunFolder

SEVEN = Schedule(rounds=7, eval_every=3, checkpoint_every=2)
ENGINES = {"local": lambda: None, "processes": hosts}


class KillError(Exception):
    """Stands for a kill."""


def trained(federation: Federation, folder: Path, kill_at: int | None = None) -> dict[str, Any]:
    def watch(row: Round) -> None:
        if row.round == kill_at:
            raise KillError

    with RunFolder(folder) as record:
        return run(federation, record, {"seed": 0}, SEVEN, watch)


@pytest.mark.parametrize("first", ENGINES)
@pytest.mark.parametrize("second", ENGINES)
@pytest.mark.parametrize(
    "method",
    [IFL(tau=2, replay=Replay(pools=2, steps=2)), FL(send="updates", error_feedback=True)],
    ids=["ifl", "fl"],
)
def test_a_resumed_run_ends_as_one_that_was_never_interrupted(
    method: Method, first: str, second: str, tiny: Build, tmp_path: Path
) -> None:
    def made(transport: Transport | None) -> Federation:
        members = (SMALL, WIDE) if isinstance(method, IFL) else (SMALL,)
        rate: dict[str, Any] = {"decay_rounds": 7, "optimizer": torch.optim.Adam}
        hidden = {"privacy": Privacy(clip=1.0, noise=0.5)} if isinstance(method, IFL) else {}
        return tiny(method, *members, count=3, transport=transport, **rate, **hidden)

    whole = made(None)
    about = trained(whole, tmp_path / "whole")
    with pytest.raises(KillError):
        trained(made(ENGINES[first]()), tmp_path / "cut", kill_at=5)
    last = checkpoint.newest(tmp_path / "cut")
    assert last is not None
    assert last.round == 4
    resumed = made(ENGINES[second]())
    again = trained(resumed, tmp_path / "cut")
    assert written(tmp_path / "cut") == written(tmp_path / "whole")
    assert again["totals"] | {"seconds": 0} == about["totals"] | {"seconds": 0}
    assert again["result"] == about["result"]
    assert again.get("privacy") == about.get("privacy")  # z of a sample is counted at its client
    assert ("engine" in again) == (second == "processes")
    for mine, theirs in zip(resumed.engine.clients, whole.engine.clients, strict=True):
        assert equal(parameters(mine.model), parameters(theirs.model))
    ends = [checkpoint.newest(tmp_path / name) for name in ("cut", "whole")]
    cut, uncut = (end.state["engine"] for end in ends if end is not None)
    assert_equal(cut, uncut)


def assert_equal(first: Any, second: Any) -> None:
    """Compare two states value by value."""
    assert type(first) is type(second)
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_equal(first[key], second[key])
    elif isinstance(first, list):
        for one, other in zip(first, second, strict=True):
            assert_equal(one, other)
    else:
        assert first == second
