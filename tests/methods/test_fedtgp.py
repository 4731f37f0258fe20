"""FedTGP: its loss and margin written out, what they do, the nearest prototype, bytes."""

from typing import Any

import pytest
import torch
from closed_forms import header, totals
from conftest import (
    CLASSES,
    DIM,
    PLAIN,
    SMALL,
    TINY,
    WIDE,
    Build,
    clients,
    equal,
    parameters,
    play,
)
from torch.nn.functional import cross_entropy

from ifl.client.settings import Optimizers, Training
from ifl.comm.codecs import Float32
from ifl.comm.message import Message
from ifl.comm.quantise import Int4
from ifl.data.partition import Classes, Iid
from ifl.errors import ConfigError, MessageError
from ifl.federation.build import Federation, build
from ifl.methods.fedtgp import (
    FedTGP,
    FedTGPServer,
    GlobalPrototypes,
    adaptive_margin,
    contrast,
)
from ifl.methods.local import Local
from ifl.methods.parts.class_statistics import fusion_means
from ifl.methods.parts.prototypes import NearestPrototype
from ifl.seeding import rng

QUICK = FedTGP(tau=3, epochs=5)


def two_classes_each(method: FedTGP, count: int = 3) -> Federation:
    training = Training(Optimizers(PLAIN, PLAIN), batch_size=8)
    return build(TINY, Classes(2), [SMALL, WIDE], count, method, training, Float32(), DIM)


def server_of(federation: Federation) -> FedTGPServer:
    assert isinstance(federation.engine.server, FedTGPServer)
    return federation.engine.server


def test_loss_and_margin_are_the_papers_written_out() -> None:
    draws = rng(0)
    means, prototypes = torch.randn(5, 3, generator=draws), torch.randn(4, 3, generator=draws)
    y, delta = torch.tensor([0, 1, 1, 2, 0]), 0.8
    expected = 0.0
    for mean, c in zip(means, y.tolist(), strict=True):
        distances = [float((mean - p).norm()) + delta * (k == c) for k, p in enumerate(prototypes)]
        weights = torch.exp(-torch.tensor(distances))
        expected -= float(torch.log(weights[c] / weights.sum())) / 5
    assert contrast(means, y, prototypes, delta).item() == pytest.approx(expected, rel=1e-5)
    centres = [means[y == c].mean(dim=0) for c in range(3)]
    nearest = [
        min(float((a - b).norm()) for j, b in enumerate(centres) if j != i)
        for i, a in enumerate(centres)
    ]
    assert adaptive_margin(means, y, 100.0) == pytest.approx(max(nearest), rel=1e-5)
    assert adaptive_margin(means, y, 0.1) == 0.1
    assert adaptive_margin(means[:1], y[:1], 7.0) == 7.0  # a single class has no neighbour


def test_a_margin_moves_prototypes_apart() -> None:
    centres, y = 2 * torch.eye(CLASSES, DIM), torch.arange(12) % CLASSES
    means = centres[y] + 0.1 * torch.randn(12, DIM, generator=rng(0))
    moved = []
    for delta in (0.0, 1.0, 4.0):
        prototypes = centres.clone().requires_grad_()  # where the means are
        optimizer = torch.optim.SGD([prototypes], lr=0.1)
        for _ in range(100):
            optimizer.zero_grad()
            contrast(means, y, prototypes, delta).backward()
            optimizer.step()
        moved.append(float(torch.pdist(prototypes.detach()).min() - torch.pdist(centres).min()))
    assert moved == sorted(moved)
    assert moved[2] > 1.5 * moved[0] > 0


def test_a_mean_that_lies_on_its_prototype_has_a_gradient() -> None:
    prototypes = torch.randn(3, 4, generator=rng(0)).requires_grad_()
    contrast(prototypes.detach().clone(), torch.arange(3), prototypes, 1.0).backward()
    assert prototypes.grad is not None
    assert prototypes.grad.isfinite().all()


def test_clients_step_towards_the_prototypes_that_came_last() -> None:
    federation = two_classes_each(FedTGP(tau=2, lam=0.7, epochs=5))
    twins = clients(two_classes_each(QUICK))
    play(federation, 1)
    common = [me.memory.of(GlobalPrototypes).global_prototypes for me in clients(federation)]
    assert common[0] is not None
    assert common[0].shape == (CLASSES, DIM)
    play(federation, 1)
    for me, twin in zip(clients(federation), twins, strict=True):
        for step in range(4):
            x, y = twin.batch()
            z = twin.model.base(x)
            loss = cross_entropy(twin.model.modular(z), y)
            if step > 1:
                loss = loss + 0.7 * (z - common[0][y]).square().sum() / z.numel()
            weights = list(twin.model.parameters())
            grads = torch.autograd.grad(loss, weights)
            with torch.no_grad():
                for weight, grad in zip(weights, grads, strict=True):
                    weight.sub_(0.05 * grad)
        for p, q in zip(parameters(me.model), parameters(twin.model), strict=True):
            assert torch.allclose(p, q, atol=1e-5)


def test_without_a_pull_it_learns_as_without_communication(tiny: Build) -> None:
    free, alone = tiny(FedTGP(lam=0, epochs=1), SMALL, WIDE), tiny(Local(), SMALL, WIDE)
    play(free, 3)
    play(alone, 3)
    for one, other in zip(clients(free), clients(alone), strict=True):
        assert equal(parameters(one.model), parameters(other.model))


def test_a_server_trains_prototypes_towards_what_it_gets(tiny: Build) -> None:
    federation = tiny(FedTGP(tau=20), SMALL, WIDE)
    play(federation, 15)
    nearest = server_of(federation).nearest
    for me in clients(federation):
        own = fusion_means(me)
        assert nearest(own.means()).argmax(dim=1).tolist() == own.classes.tolist()
    tested = federation.engine.evaluate(TINY.test.inputs(), TINY.test.y)
    assert list(tested.accuracy) == [("0", "server"), ("1", "server")]
    assert tested.mean > 0.4  # chance is 0.25


def test_the_nearest_prototype_among_those_that_are_known() -> None:
    block = NearestPrototype(2, 3)
    block.learn(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 2]))
    logits = block(torch.tensor([[1.0, 1.0], [0.0, 0.0]]))
    expected = torch.tensor([[-1.0, -torch.inf, -2.0], [-1.0, -torch.inf, -4.0]])
    assert torch.allclose(logits, expected)


def test_it_is_tested_by_what_clients_hold_of_classes_that_were_sent(tiny: Build) -> None:
    training = Training(Optimizers(PLAIN, PLAIN), batch_size=8)
    federation = build(TINY, Iid(), [SMALL], 2, QUICK, training, Int4(), DIM)
    play(federation, 2)
    held = clients(federation)[0].memory.of(GlobalPrototypes).global_prototypes
    server = server_of(federation)
    assert held is not None
    assert torch.equal(server.nearest.prototypes, held)
    assert not torch.equal(server.prototypes(), held)  # the codec is lossy
    few = two_classes_each(QUICK)
    few.engine.clients = clients(few)[:1]
    play(few, 1)
    assert server_of(few).nearest.known.nonzero().flatten().tolist() == sorted(
        clients(few)[0].classes.tolist()
    )


def test_bytes_are_the_closed_form() -> None:
    federation, n = two_classes_each(QUICK, 4), 4
    up = 0
    for me in clients(federation):
        c = len(me.classes)
        up += c * (4 * DIM + 1) + header(z=("F32", [c, DIM], 4), y=("U8", [c], 1))
    down = CLASSES * 4 * DIM + header(prototypes=("F32", [CLASSES, DIM], 4))
    assert totals(federation, 2) == [(up, n * down)] * 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"z": torch.zeros(3, DIM)}, r"z has the shape \(3, 8\), expected \(4, 8\)"),
        ({"y": torch.tensor([0, 1, 2, 4])}, "y holds 0 to 4, allowed are 0 to 3"),
        ({"z": torch.full((4, DIM), float("nan"))}, "z is not finite"),
    ],
)
def test_wrong_means_are_refused(change: dict[str, torch.Tensor], reason: str, tiny: Build) -> None:
    engine = tiny(QUICK).engine
    upload = {"z": torch.zeros(4, DIM), "y": torch.arange(4), **change}
    _, refused = engine.channel.up({0: Message(**upload)}, {0: engine.server.expects(0)[0]})
    with pytest.raises(MessageError, match=reason):
        raise refused[0]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"lam": -1}, "method.lam must be a number >= 0, got -1"),
        ({"epochs": 0}, "method.epochs must be a whole number >= 1, got 0"),
        ({"batch": 0}, "method.batch must be a whole number >= 1, got 0"),
        ({"margin": 0}, "method.margin must be a number > 0, got 0"),
    ],
)
def test_wrong_settings_are_sentences(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        FedTGP(**wrong)
