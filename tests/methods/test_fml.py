"""FML: its two limits, both steps written out, bytes, and what a refused client goes on with."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from closed_forms import header, packed, totals
from conftest import PLAIN, SMALL, TINY, WIDE, Build, clients, equal, parameters, play
from torch import nn
from torch.nn.functional import cross_entropy

from ifl.errors import ConfigError
from ifl.federation.member import Member
from ifl.federation.workers import Workers
from ifl.methods.fl import FL, FLServer
from ifl.methods.fml import FML, FMLServer, Meme, taught
from ifl.methods.local import Local
from ifl.methods.parts.averaging import state
from ifl.seeding import rng


def test_by_labels_alone_own_networks_learn_as_without_communication(tiny: Build) -> None:
    federation, alone = tiny(FML(alpha=1), SMALL, WIDE), tiny(Local(), SMALL, WIDE)
    play(federation, 3)
    play(alone, 3)
    for ours, theirs in zip(clients(federation), clients(alone), strict=True):
        assert equal(parameters(ours.model), parameters(theirs.model))


@pytest.mark.parametrize("decay_rounds", [None, 4])
def test_by_labels_alone_the_shared_network_is_federated_averaging(
    decay_rounds: int | None, tiny: Build
) -> None:
    federation = tiny(FML(beta=1), WIDE, count=3, decay_rounds=decay_rounds)
    averaging = tiny(FL(), WIDE, count=3, decay_rounds=decay_rounds)
    play(federation, 4)
    play(averaging, 4)
    ours, theirs = federation.engine.server, averaging.engine.server
    assert isinstance(ours, FMLServer)
    assert isinstance(theirs, FLServer)
    assert equal(parameters(ours.network), parameters(theirs.model))
    for me in clients(federation):
        assert equal(parameters(me.memory.of(Meme).network), parameters(ours.network))
        assert not equal(parameters(me.model), parameters(ours.network))


def test_both_steps_are_the_papers_written_out(tiny: Build) -> None:
    federation = tiny(FML(tau=3, alpha=0.3, beta=0.8), WIDE, SMALL, count=1, optimizer=PLAIN)
    me = clients(tiny(Local(), WIDE, SMALL, count=1))[0]
    own, shared = me.model, deepcopy(me.model)

    def divergence(of: torch.Tensor, to: torch.Tensor) -> torch.Tensor:
        """KL(of | to), of the softmax of logits, by its definition."""
        p, q = of.softmax(dim=1), to.softmax(dim=1)
        return (p * (p / q).log()).sum(dim=1).mean()

    for _ in range(2):  # rounds, in which one client's average is its own
        for x, y in me.batches(3):
            a, b = own(x), shared(x)
            losses = [
                (own, 0.3 * cross_entropy(a, y) + 0.7 * divergence(b.detach(), a)),
                (shared, 0.8 * cross_entropy(b, y) + 0.2 * divergence(a.detach(), b)),
            ]
            for network, loss in losses:
                weights = list(network.parameters())
                grads = torch.autograd.grad(loss, weights, retain_graph=True)
                with torch.no_grad():
                    for weight, grad in zip(weights, grads, strict=True):
                        weight.data = weight - 0.05 * grad
    play(federation, 2)
    client = clients(federation)[0]
    pairs = [(client.model, own), (client.memory.of(Meme).network, shared)]
    for ours, theirs in pairs:
        for p, q in zip(parameters(ours), parameters(theirs), strict=True):
            assert torch.allclose(p, q, atol=1e-5)


def test_the_teacher_is_held_fixed() -> None:
    draws = rng(0)
    logits, teacher = (torch.randn(3, 4, generator=draws).requires_grad_() for _ in range(2))
    taught(cross_entropy(logits, torch.arange(3)), logits, teacher, 0.0).backward()
    assert teacher.grad is None
    loss = cross_entropy(teacher, torch.arange(3))
    assert taught(loss, teacher, teacher, 0.0).item() == pytest.approx(0, abs=1e-6)


def test_the_shared_network_is_the_smallest_or_the_one_that_is_named(tiny: Build) -> None:
    for method, whose in ((FML(), 1), (FML(architecture=0), 0)):
        federation = tiny(method, WIDE, SMALL)
        server = federation.engine.server
        assert isinstance(server, FMLServer)
        assert repr(server.network) == repr(clients(federation)[whose].model)
    sizes = [sum(p.numel() for p in me.model.parameters()) for me in clients(federation)]
    assert sizes[1] < sizes[0]


def test_mutual_learning_brings_predictions_together(tiny: Build) -> None:
    apart = []
    for weight in (1.0, 0.2):
        federation = tiny(FML(alpha=weight, beta=weight), WIDE, SMALL)
        play(federation, 10)
        me, x = clients(federation)[0], TINY.test.inputs()
        with torch.no_grad():
            own, shared = me.model(x).softmax(1), me.memory.of(Meme).network(x).softmax(1)
        apart.append(float((own - shared).abs().sum(dim=1).mean()))
    assert apart[1] < 0.8 * apart[0]


def test_bytes_are_those_of_averaging_the_smallest_network(tiny: Build) -> None:
    federation, n = tiny(FML(tau=1), WIDE, SMALL, count=3), 3
    small = clients(federation)[1].model
    size = 4 * sum(t.numel() for t in state(small))
    up = n * (size + 8 + header(samples=("I64", [], 8), **packed(small)))
    assert totals(federation, 2) == [(up, n * (size + header(**packed(small))))] * 2


def test_clients_whose_shared_network_draws_take_turns(tiny: Build) -> None:
    noisy = Member("noisy", lambda: nn.Sequential(SMALL.base(), nn.Dropout(0.5)), SMALL.modular)
    found = []
    for count in (1, 2):
        federation = tiny(FML(), WIDE, noisy, count=4, workers=Workers(count))
        play(federation, 2)
        assert all(me.draws for me in clients(federation))
        found.append([p for me in clients(federation) for p in parameters(me.model)])
    assert equal(*found)
    assert not clients(tiny(FML(architecture=0), WIDE, noisy))[0].draws


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"alpha": -0.1}, "method.alpha must be a number >= 0, got -0.1"),
        ({"alpha": 1.1}, "method.alpha must be <= 1, got 1.1; 1 is learning from labels alone"),
        ({"beta": "half"}, "method.beta must be a number >= 0, got half"),
        ({"architecture": -1}, "method.architecture must be a whole number >= 0, got -1"),
        ({"architecture": 2}, "method.architecture must name a client from 0 to 1, got 2"),
    ],
)
def test_wrong_settings_are_sentences(wrong: dict[str, Any], sentence: str, tiny: Build) -> None:
    with pytest.raises(ConfigError, match=sentence):
        tiny(FML(**wrong), SMALL, WIDE)
