"""FSL-SAGE: written out, what alignment is good for, its bytes, what it refuses."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from closed_forms import header, packed, totals
from conftest import DIM, PLAIN, SMALL, WIDE, Build, clients, equal, parameters, play
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ifl.errors import ConfigError
from ifl.methods.fsl_sage import FSLSAGE, FSLSAGEServer, slopes
from ifl.methods.parts.averaging import state

B = 8  # the batch size of the tiny federation


def descend(loss: Tensor, module: nn.Module) -> None:
    weights = list(module.parameters())
    grads = torch.autograd.grad(loss, weights)
    with torch.no_grad():
        for weight, grad in zip(weights, grads, strict=True):
            weight.sub_(0.05 * grad)


def one_by_one(block: nn.Module, z: Tensor, y: Tensor) -> Tensor:
    """The gradient of each row's own loss, a row at a time, with its graph."""
    found = []
    for row, label in zip(z, y, strict=True):
        row = row.clone().requires_grad_()
        loss = cross_entropy(block(row[None]), label[None])
        found.append(torch.autograd.grad(loss, row, create_graph=True)[0])
    return torch.stack(found)


def test_it_is_the_papers_algorithm_written_out(tiny: Build) -> None:
    method = FSLSAGE(tau=5, h=2, align_every=2, align_steps=3, align_rows=20)
    federation = tiny(method, SMALL, WIDE, optimizer=PLAIN)
    twins = clients(tiny(method, SMALL, WIDE))
    common = deepcopy(twins[0].model.modular)
    kept: dict[int, list[tuple[Tensor, Tensor]]] = {0: [], 1: []}
    for number in range(3):
        batches = {me.number: [me.batch() for _ in range(5)] for me in twins}
        for begin, end in ((0, 2), (2, 4), (4, 5)):
            for me in twins:
                for x, y in batches[me.number][begin:end]:
                    z = me.model.base(x)
                    sent = z.detach().clone(), y
                    descend(cross_entropy(me.model.modular(z), y), me.model.base)
                if end < 5:
                    kept[me.number].append(sent)
            if end == 5:
                continue
            for me in twins:
                z, y = kept[me.number][-1]
                descend(cross_entropy(common(z), y), common)
            if end == 4 and number % 2 == 0:
                for me in twins:
                    z, y = (torch.cat(t)[-20:] for t in zip(*kept[me.number], strict=True))
                    true = one_by_one(common, z, y).detach()
                    for _ in range(3):
                        lost = one_by_one(me.model.modular, z, y) - true
                        descend(lost.square().sum() / len(y), me.model.modular)
    play(federation, 3)
    server = federation.engine.server
    assert isinstance(server, FSLSAGEServer)
    pairs = [(server.modulars[0], common)]
    pairs += [(a.model, b.model) for a, b in zip(clients(federation), twins, strict=True)]
    for ours, theirs in pairs:
        for p, q in zip(parameters(ours), parameters(theirs), strict=True):
            assert torch.allclose(p, q, atol=1e-5)


def test_an_aligned_network_estimates_gradients_of_samples_that_it_has_not_seen(
    tiny: Build,
) -> None:
    def error(steps: int) -> float:
        method = FSLSAGE(tau=20, h=1, align_every=1, align_steps=steps, align_rows=160)
        federation = tiny(method, WIDE, SMALL, optimizer=PLAIN)
        play(federation, 3)
        me, server = clients(federation)[1], federation.engine.server
        assert isinstance(server, FSLSAGEServer)
        x, y = me.batch()
        z = me.model.base(x).detach()
        true, ours = (slopes(m, z, y) for m in (server.modulars[0], me.model.modular))
        return float((ours - true).square().sum() / true.square().sum())

    errors = [error(steps) for steps in (1, 20, 200)]
    assert errors == sorted(errors, reverse=True)
    assert errors[2] < 0.5 * errors[0]


def test_clients_hold_what_the_server_aligned_and_change_it_no_more(tiny: Build) -> None:
    federation = tiny(FSLSAGE(tau=4, h=2, align_every=3), SMALL, WIDE)
    server, everyone = federation.engine.server, clients(federation)
    assert isinstance(server, FSLSAGEServer)
    seen = []
    for number in range(1, 5):
        federation.engine.round(number)
        seen.append(parameters(everyone[1].model.modular))
        for me in everyone:
            assert equal(parameters(me.model.modular), parameters(server.auxiliary[me.number]))
    assert equal(seen[0], seen[1])
    assert equal(seen[1], seen[2])
    assert not equal(seen[2], seen[3])


@pytest.mark.parametrize("sync_base", [False, True])
def test_bytes_are_the_closed_form(sync_base: bool, tiny: Build) -> None:
    n = 3
    method = FSLSAGE(tau=7, h=3, align_every=2, sync_base=sync_base)
    federation = tiny(method, WIDE, count=n)
    model = clients(federation)[0].model
    up = n * 2 * (B * (4 * DIM + 1) + header(z=("F32", [B, DIM], 4), y=("U8", [B], 1)))
    aligned = n * (4 * sum(t.numel() for t in state(model.modular)))
    aligned += n * header(**packed(model.modular))
    down = 0
    if sync_base:
        size = 4 * sum(t.numel() for t in state(model.base))
        up += n * (size + 8 + header(samples=("I64", [], 8), **packed(model.base)))
        down = n * (size + header(**packed(model.base)))
    assert totals(federation, 3) == [(up, down + aligned), (up, down), (up, down + aligned)]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"tau": 3, "h": 4}, "method.h must be at most local.tau=3, .* got 4; lower it or raise"),
        ({"align_every": 0}, "method.align_every must be a whole number >= 1, got 0"),
        ({"align_steps": 0}, "method.align_steps must be a whole number >= 1, got 0"),
        ({"align_rows": 1.5}, "method.align_rows must be a whole number >= 1, got 1.5"),
        ({"sync_base": "yes"}, "method.sync_base must be true or false, got yes"),
        ({"sync_base": True}, "method=fsl_sage with method.sync_base=true averages parameters"),
    ],
)
def test_wrong_settings_are_sentences(wrong: dict[str, Any], sentence: str, tiny: Build) -> None:
    with pytest.raises(ConfigError, match=sentence):
        tiny(FSLSAGE(**wrong), SMALL, WIDE)
