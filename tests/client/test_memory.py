"""What a client keeps, by kind; and in checkpoints, as they have always held it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from conftest import Build, clients, play
from torch import Tensor

from ifl.client.memory import Kept, Memory
from ifl.client.privacy import Privacy
from ifl.client.privatise import Releases
from ifl.methods.base import Method
from ifl.methods.centralized import Centralized, Sent
from ifl.methods.feddistill import FedDistill, Teachers
from ifl.methods.fedproto import FedProto, Prototypes
from ifl.methods.ifl import IFL
from ifl.methods.ifl_statistics import IFLStatistics, Statistics
from ifl.methods.parts.replay import Align, Pools, Replay


@dataclass
class Seen(Kept):
    times: int = 0
    last: Tensor | None = None


@dataclass
class Other(Kept):
    name: str | None = None


@dataclass
class Clash(Kept):
    last: int = 0


def test_each_kind_is_kept_as_it_was_left_and_starts_afresh() -> None:
    memory = Memory()
    assert memory.of(Seen) == Seen(times=0, last=None)
    memory.of(Seen).times += 2
    memory.of(Other).name = "z"
    assert memory.of(Seen).times == 2
    assert memory.state() == {"name": "z", "times": 2}  # what is not there yet is left out
    assert Memory().of(Seen).times == 0
    with pytest.raises(TypeError, match="Seen keeps 'last' already"):
        memory.of(Clash)


def test_it_goes_on_from_a_state_and_forgets_all_else() -> None:
    memory = Memory()
    memory.of(Other).name = "from before"
    memory.load_state({"times": 3, "last": torch.ones(2)})
    assert memory.of(Other).name is None
    assert memory.state().keys() == {"times", "last"}  # though nobody asked for it since
    seen = memory.of(Seen)
    assert seen.times == 3
    seen.last = None
    assert memory.state() == {"times": 3}


T = torch.arange(3)
BEFORE = {
    "sent": True,
    "teachers": T,
    "prototypes": T,
    "pools": [{"z": T, "y": T}, {"z": T, "y": T}],
    "clients": 3,
    "gaussians": {"z": T, "y": T, "samples": T},
    "released": T,
}


def test_checkpoints_of_before_are_understood() -> None:
    memory = Memory()
    memory.load_state(BEFORE)
    assert memory.of(Sent).sent is True
    assert memory.of(Teachers).teachers is T
    assert memory.of(Prototypes).prototypes is T
    assert [pool["y"] is T for pool in memory.of(Pools).pools] == [True, True]
    assert memory.of(Statistics) == Statistics(3, {"z": T, "y": T, "samples": T})
    assert memory.of(Releases).released is T
    assert memory.state() == BEFORE


def names(value: Any) -> Any:
    """Return a state with nothing but its names and the shape of its lists."""
    if isinstance(value, Mapping):
        return {name: names(inner) for name, inner in value.items()}
    return [names(inner) for inner in value] if isinstance(value, list) else ...


@pytest.mark.parametrize(
    ("method", "keys"),
    [
        (IFL(), set()),
        (IFL(replay=Replay(pools=2), align=Align(1)), {"pools"}),
        (IFLStatistics(nonnegative=False), {"clients"}),
        (IFLStatistics(align=Align(1), nonnegative=False), {"clients", "gaussians"}),
        (FedProto(), {"prototypes"}),
        (FedDistill(), {"teachers"}),
        (Centralized(), {"sent"}),
    ],
)
def test_every_method_keeps_what_it_did_and_says_it_as_before(
    method: Method, keys: set[str], tiny: Build
) -> None:
    hides = isinstance(method, IFL)
    federation = tiny(method, privacy=Privacy(clip=1) if hides else Privacy())
    play(federation, 3)
    expected = {name: BEFORE[name] for name in (keys | {"released"} if hides else keys)}
    for me in clients(federation):
        assert names(me.state()["memory"]) == names(expected)
