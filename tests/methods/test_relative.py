"""Relative representations: what they do not see, the anchors' bytes, and who gets them when."""

from copy import deepcopy

import pytest
import torch
from closed_forms import header, totals
from conftest import (
    DIM,
    PLAIN,
    SHAPE,
    SMALL,
    TINY,
    WIDE,
    Build,
    clients,
    parameters,
    play,
)
from torch import nn
from torch.nn.functional import cosine_similarity, cross_entropy

from ifl.errors import ConfigError
from ifl.methods.local import Local
from ifl.methods.parts.relative import cosines
from ifl.methods.relative import Anchors, RelativeRepresentations, RelativeServer
from ifl.seeding import rng

METHOD = RelativeRepresentations(tau=4)


def test_a_rotation_and_a_scale_of_z_change_nothing() -> None:
    draws = rng(0)
    z, anchors = torch.randn(6, 5, generator=draws), torch.randn(7, 5, generator=draws)
    turn, _ = torch.linalg.qr(torch.randn(5, 5, generator=draws))
    expected = torch.stack([cosine_similarity(row, anchors) for row in z])
    assert torch.allclose(cosines(z, anchors), expected, atol=1e-6)
    assert torch.allclose(cosines(z @ turn * 3.7, anchors @ turn * 3.7), expected, atol=1e-6)
    assert not torch.allclose(cosines(z @ turn, anchors), expected, atol=0.1)
    assert torch.equal(cosines(torch.zeros(1, 5), anchors), torch.zeros(1, 7))


class Turned(nn.Module):
    """A base block whose z are another one's, turned and scaled."""

    def __init__(self, base: nn.Module, turn: torch.Tensor) -> None:
        super().__init__()
        self.base, self.turn = base, nn.Parameter(turn)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) @ self.turn  # type: ignore[no-any-return]


def test_a_modular_block_takes_a_turned_base_block_for_the_one_it_knows(tiny: Build) -> None:
    federation = tiny(METHOD, SMALL, SMALL)
    play(federation, 80)
    first, second = clients(federation)
    turn, _ = torch.linalg.qr(torch.randn(DIM, DIM, generator=rng(0)))
    second.model.base = Turned(deepcopy(first.model.base), 0.2 * turn)
    tested = federation.engine.evaluate(TINY.test.inputs(), TINY.test.y)
    assert tested.accuracy["0", "0"] == tested.accuracy["1", "0"]
    assert tested.accuracy["0", "0"] > 0.35  # chance is 0.25


def test_it_is_training_alone_on_cosines_written_out(tiny: Build) -> None:
    federation = tiny(METHOD, SMALL, WIDE, optimizer=PLAIN)
    twins = clients(tiny(METHOD, SMALL, WIDE, optimizer=PLAIN))
    play(federation, 2)
    for me, twin in zip(clients(federation), twins, strict=True):
        x = me.memory.of(Anchors).inputs()
        for _ in range(2):
            anchors = twin.model.base(x).detach()
            for _ in range(4):
                mine, y = twin.batch()
                z = twin.model.base(mine)
                r = cosine_similarity(z[:, None], anchors[None], dim=2)
                weights = list(twin.model.parameters())
                grads = torch.autograd.grad(cross_entropy(twin.model.modular(r), y), weights)
                with torch.no_grad():
                    for weight, grad in zip(weights, grads, strict=True):
                        weight.sub_(0.05 * grad)
        for p, q in zip(parameters(me.model), parameters(twin.model), strict=True):
            assert torch.allclose(p, q, atol=1e-5)


def test_blocks_that_never_met_fit_better_than_without_anchors(tiny: Build) -> None:
    cross = {}
    for method in (RelativeRepresentations(tau=10), Local(tau=10)):
        found = []
        for seed in (1, 2):
            federation = tiny(method, SMALL, count=3, seed=seed)
            play(federation, 60)
            found.append(federation.engine.evaluate(TINY.test.inputs(), TINY.test.y).cross or 0.0)
        cross[type(method)] = sum(found) / 2
    assert cross[RelativeRepresentations] > cross[Local] + 0.1


def test_anchors_are_training_samples_the_same_for_all_and_sent_once(tiny: Build) -> None:
    n = 3
    federation = tiny(METHOD, SMALL, WIDE, count=n)
    down = n * (DIM * 36 + header(x=("U8", [DIM, *SHAPE], 1)))
    assert totals(federation, 2) == [(0, down), (0, 0)]
    server = federation.engine.server
    assert isinstance(server, RelativeServer)
    samples = {x.numpy().tobytes() for x in TINY.train.x}
    assert {x.numpy().tobytes() for x in server.anchors} <= samples
    for me in clients(federation):
        held = me.memory.of(Anchors).anchors
        assert held is not None
        assert torch.equal(held, server.anchors)


def test_who_comes_late_gets_the_anchors_then_and_is_tested_before(tiny: Build) -> None:
    federation = tiny(METHOD, count=2)
    everyone = clients(federation)
    federation.engine.clients = everyone[1:]
    play(federation, 1)
    federation.engine.clients = everyone
    assert len(federation.engine.evaluate(TINY.test.inputs(), TINY.test.y).counts) == 4
    assert list(federation.engine.server.welcome([0, 1])) == [0]
    assert list(federation.engine.server.welcome([0, 1])) == []


def test_fewer_samples_than_anchors_are_a_sentence(tiny: Build) -> None:
    federation = tiny(METHOD, count=2)
    everyone = clients(federation)
    for me in everyone:
        me.hold(type(me.shard)(me.shard.x[:3], me.shard.y[:3]))
    with pytest.raises(ConfigError, match=r"got fusion.dim=8 and 6 samples; lower fusion.dim"):
        METHOD.open(everyone, everyone[0].training)
    with pytest.raises(ConfigError, match="local.tau must be a whole number >= 1, got 0"):
        RelativeRepresentations(tau=0)
