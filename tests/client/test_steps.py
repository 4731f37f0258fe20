import math

import pytest
import torch
from conftest import Build, clients, equal, parameters

from ifl.client.steps import anneal
from ifl.methods.base import Method
from ifl.methods.centralized import Centralized
from ifl.methods.fedgh import FedGH
from ifl.methods.fl import FL
from ifl.methods.fsl import FSL
from ifl.methods.ifl import IFL


def rates(rounds: int, until: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.4)
    seen = []
    for number in range(1, until + 1):
        anneal([optimizer], number, rounds)
        seen.append(optimizer.param_groups[0]["lr"])
    return seen


def test_rates_fall_along_half_a_cosine_and_stay_at_its_end() -> None:
    root = math.sqrt(0.5)
    assert rates(4, 6) == pytest.approx(
        [0.4, 0.2 * (1 + root), 0.2, *[0.2 * (1 - root)] * 3]  # cos 0, 45, 90, 135 degrees
    )
    assert rates(1, 3) == [0.4] * 3


@pytest.mark.parametrize(
    "method", [IFL(tau=1), FL(tau=1), FSL(tau=1), FedGH(tau=1), Centralized(tau=1)]
)
def test_everybody_who_learns_learns_at_the_rounds_rate(method: Method, tiny: Build) -> None:
    falling = tiny(method, decay_rounds=2)
    falling.engine.round(1)
    steady = tiny(method)
    steady.engine.round(1)
    assert equal(everything(falling), everything(steady))  # the start is the rate that is set
    falling.engine.round(2)
    learners = [o for c in clients(falling) for o in c.optimizers]
    learners += falling.engine.server.optimizers()
    assert {group["lr"] for o in learners for group in o.param_groups} == {0.025}  # half of 0.05
    assert len(learners) == 4 + {FSL: 1, FedGH: 1, Centralized: 2}.get(type(method), 0)
    steady.engine.round(2)
    assert not equal(everything(falling), everything(steady))


def everything(federation: object) -> list[torch.Tensor]:
    engine = federation.engine  # type: ignore[attr-defined]
    bases, modulars = engine.method.blocks(engine.clients, engine.server)
    return [p for block in (*bases.values(), *modulars.values()) for p in parameters(block)]


def test_without_rounds_to_fall_over_rates_are_not_touched(tiny: Build) -> None:
    federation = tiny(IFL(tau=1))
    federation.engine.round(1)
    assert all("initial_lr" not in o.param_groups[0] for o in clients(federation)[0].optimizers)
