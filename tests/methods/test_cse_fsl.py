from copy import deepcopy

import pytest
import torch
from closed_forms import header, packed, totals
from conftest import DIM, PLAIN, SMALL, WIDE, Build, clients, equal, parameters, play
from torch import nn
from torch.nn.functional import cross_entropy

from ifl.data.dataset import Shard
from ifl.errors import ConfigError
from ifl.methods.cse_fsl import CSEFSL, CSEFSLServer
from ifl.methods.fsl import FSL
from ifl.methods.local import Local
from ifl.methods.parts.averaging import state

B = 8  # the batch size of the tiny federation


def descend(loss: torch.Tensor, module: nn.Module) -> None:
    weights = list(module.parameters())
    grads = torch.autograd.grad(loss, weights)
    with torch.no_grad():
        for weight, grad in zip(weights, grads, strict=True):
            weight.sub_(0.05 * grad)


@pytest.mark.parametrize("sync", [False, True])
def test_it_is_the_papers_algorithm_written_out(sync: bool, tiny: Build) -> None:
    members = [WIDE] if sync else [SMALL, WIDE]
    method = CSEFSL(tau=5, h=2, sync_clients=sync)
    federation = tiny(method, *members, optimizer=PLAIN)
    twins = clients(tiny(method, *members))
    for everyone in (clients(federation), twins):
        everyone[1].shard = Shard(everyone[1].shard.x[:40], everyone[1].shard.y[:40])
    common = deepcopy(twins[0].model.modular)
    for _ in range(3):
        sent = []
        for me in twins:
            for step in range(1, 6):
                x, y = me.batch()
                z = me.model.base(x)
                if step in (2, 4):
                    sent.append((step, me.number, z.detach().clone(), y))
                descend(cross_entropy(me.model.modular(z), y), me.model)
        for _, _, z, y in sorted(sent, key=lambda one: one[:2]):
            descend(cross_entropy(common(z), y), common)
        if sync:
            with torch.no_grad():
                for pair in zip(*(me.model.parameters() for me in twins), strict=True):
                    mean = 0.75 * pair[0] + 0.25 * pair[1]  # 120 and 40 samples
                    for weight in pair:
                        weight.copy_(mean)
    play(federation, 3)
    server = federation.engine.server
    assert isinstance(server, CSEFSLServer)
    pairs = [(server.modulars[0], common)]
    pairs += [(a.model, b.model) for a, b in zip(clients(federation), twins, strict=True)]
    for ours, theirs in pairs:
        for p, q in zip(parameters(ours), parameters(theirs), strict=True):
            assert torch.allclose(p, q, atol=1e-6)


def test_clients_learn_as_without_communication_and_the_server_beside_them(tiny: Build) -> None:
    federation, alone = tiny(CSEFSL(sync_clients=False), SMALL, WIDE), tiny(Local(), SMALL, WIDE)
    start = parameters(clients(federation)[0].model.modular)
    play(federation, 3)
    play(alone, 3)
    for ours, theirs in zip(clients(federation), clients(alone), strict=True):
        assert equal(parameters(ours.model), parameters(theirs.model))
    bases, modulars = federation.engine.method.blocks(clients(federation), federation.engine.server)
    assert (list(bases), list(modulars)) == (["0", "1"], ["server"])
    assert not equal(parameters(modulars["server"]), start)


@pytest.mark.parametrize("h", [1, 2, 3, 6])
def test_z_costs_a_share_of_1_in_h_of_split_learnings_and_nothing_comes_down(
    h: int, tiny: Build
) -> None:
    ours, split = tiny(CSEFSL(6, h, False), WIDE, count=3), tiny(FSL(tau=6), WIDE, count=3)
    mine, theirs = (
        sum(row[3] for rows in play(f, 1) for row in rows if row[2] == "z") for f in (ours, split)
    )
    assert h * mine == theirs > 0
    assert ours.engine.channel.ledger.totals["down"] == 0


@pytest.mark.parametrize("sync", [False, True])
def test_bytes_are_the_closed_form(sync: bool, tiny: Build) -> None:
    n = 3
    federation = tiny(CSEFSL(tau=7, h=3, sync_clients=sync), WIDE, count=n)
    up = n * 2 * (B * (4 * DIM + 1) + header(z=("F32", [B, DIM], 4), y=("U8", [B], 1)))
    down = 0
    if sync:
        model = clients(federation)[0].model
        size = 4 * sum(t.numel() for t in state(model))
        up += n * (size + 8 + header(samples=("I64", [], 8), **packed(model)))
        down = n * (size + header(**packed(model)))
    assert totals(federation, 2) == [(up, down)] * 2


def test_synchronised_clients_are_tested_by_the_newest_average(tiny: Build) -> None:
    federation = tiny(CSEFSL(tau=2, h=2, sync_clients=True), WIDE, count=2)
    play(federation, 2)
    bases, _ = federation.engine.method.blocks(clients(federation), federation.engine.server)
    for me in clients(federation):
        assert equal(parameters(me.model.base), parameters(bases["0"]))
    assert not {id(me.model.base) for me in clients(federation)} & {id(b) for b in bases.values()}


def test_settings_out_of_range_are_sentences(tiny: Build) -> None:
    with pytest.raises(ConfigError, match="method.h must be at most local.tau=3, .* got 4; lower"):
        CSEFSL(tau=3, h=4)
    with pytest.raises(ConfigError, match="method.h must be a whole number >= 1, got 0"):
        CSEFSL(h=0)
    with pytest.raises(ConfigError, match="sync_clients must be true or false, got 1"):
        CSEFSL(sync_clients=1)  # type: ignore[arg-type]
    refused = "cse_fsl averages parameters .*, or method.sync_clients=false .CSE-FSL without averag"
    with pytest.raises(ConfigError, match=refused):
        tiny(CSEFSL(), SMALL, WIDE)


def test_its_title_says_if_nothing_is_averaged() -> None:
    assert CSEFSL().title == "CSE-FSL"
    assert CSEFSL(sync_clients=False).title == "CSE-FSL without averaging"
    assert CSEFSL(sync_clients=False, title="Mine").title == "Mine"
