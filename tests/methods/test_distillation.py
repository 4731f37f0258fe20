"""FedMD, DS-FL and FedDF: methods that learn from each other on public samples."""

from collections.abc import Sequence

import pytest
import torch
from closed_forms import header, packed, totals
from conftest import CLASSES, PLAIN, SMALL, WIDE, Build, clients, equal, parameters, play
from torch.nn.functional import cross_entropy, l1_loss

from ifl.client.client import Client
from ifl.comm.message import Message
from ifl.data.anchors import HeldOut
from ifl.errors import ConfigError
from ifl.methods.base import Method
from ifl.methods.ds_fl import DSFL, DSFLServer
from ifl.methods.feddf import FedDF, FedDFServer
from ifl.methods.fedmd import FedMD
from ifl.methods.fl import FL
from ifl.methods.local import Local
from ifl.seeding import rng

PUBLIC = HeldOut(40)


def written_out(twins: Sequence[Client], rounds: int, sharp: float | None) -> None:
    """Local steps, an exchange about 12 anchors, and steps of 5 towards what was agreed."""

    def step(me: Client, loss: torch.Tensor) -> None:
        weights = list(me.model.parameters())
        grads = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            for weight, grad in zip(weights, grads, strict=True):
                weight.sub_(0.05 * grad)

    for number in range(1, rounds + 1):
        where = torch.randperm(40, generator=rng(0, "anchors", number))[:12]
        said = []
        for me in twins:
            for _ in range(2):
                x, y = me.batch()
                step(me, cross_entropy(me.model(x), y))
            assert me.anchors is not None
            with torch.no_grad():
                output = me.model(me.anchors[where])
                said.append(output if sharp is None else output.softmax(dim=1))
        agreed = torch.stack(said).mean(dim=0)
        if sharp is not None:
            agreed = (agreed / sharp).softmax(dim=1)
        for me in twins:
            assert me.anchors is not None
            draws = rng(0, "client", me.number, "anchors", number)
            for some in torch.randperm(12, generator=draws).split(5):
                now = me.model(me.anchors[where[some]])
                loss = l1_loss if sharp is None else cross_entropy
                step(me, loss(now, agreed[some]))


@pytest.mark.parametrize(
    ("method", "sharp"),
    [(FedMD(tau=2, rows=12, batch=5), None), (DSFL(tau=2, rows=12, batch=5), 0.1)],
)
def test_it_is_the_papers_algorithm_written_out(
    method: Method, sharp: float | None, tiny: Build
) -> None:
    ours, twins = (
        tiny(m, SMALL, WIDE, count=3, anchors=PUBLIC, optimizer=PLAIN) for m in (method, Local())
    )
    play(ours, 3)
    written_out(clients(twins), 3, sharp)
    for one, other in zip(clients(ours), clients(twins), strict=True):
        for p, q in zip(parameters(one.model), parameters(other.model), strict=True):
            assert torch.allclose(p, q, atol=1e-5)


def test_sharpening_makes_the_aggregate_surer_and_null_leaves_the_mean() -> None:
    p = torch.tensor([[0.5, 0.3, 0.2]])
    uploads = {0: Message(p=p), 3: Message(p=torch.tensor([[0.3, 0.5, 0.2]]))}
    mean = torch.tensor([[0.4, 0.4, 0.2]])
    assert torch.allclose(DSFLServer(1, None).reply(uploads, rng(0))[3]["p"], mean)
    sharp = DSFLServer(1, 0.1).reply(uploads, rng(0))[0]["p"]
    assert torch.allclose(sharp, (mean / 0.1).softmax(dim=1))
    assert float(sharp[0, 2]) < 0.1


def test_bytes_are_the_closed_forms(tiny: Build) -> None:
    p = ("F32", [12, CLASSES], 4)
    for method, name in ((FedMD(tau=1, rows=12), "logits"), (DSFL(tau=1, rows=12), "p")):
        each = 4 * 12 * CLASSES + header(**{name: p})
        assert (
            totals(tiny(method, SMALL, WIDE, count=3, anchors=PUBLIC), 3) == [(3 * each,) * 2] * 3
        )
    federation = tiny(FedDF(tau=1, steps=2, batch=8), count=3, anchors=PUBLIC)
    assert totals(federation, 2) == totals(tiny(FL(tau=1), count=3), 2)
    assert packed(clients(federation)[0].model)


def test_the_average_learns_from_all_clients(tiny: Build) -> None:
    federation, plain = (
        tiny(m, WIDE, count=3, anchors=PUBLIC)
        for m in (FedDF(tau=60, steps=60, batch=20), FL(tau=60))
    )
    play(federation, 1)
    play(plain, 1)
    server = federation.engine.server
    assert isinstance(server, FedDFServer)
    me = clients(federation)[0]
    assert equal(parameters(server.model), parameters(me.model))  # as its receivers have it
    assert me.anchors is not None
    uploads = {}
    for twin in clients(tiny(FL(), WIDE, count=3, anchors=PUBLIC)):
        for x, y in twin.batches(60):
            twin.step(x, y)
        uploads[twin.number] = twin.model
    with torch.no_grad():
        teacher = torch.stack([m(me.anchors) for m in uploads.values()]).mean(dim=0).softmax(dim=1)
        taught = cross_entropy(server.model(me.anchors), teacher)
        average = cross_entropy(clients(plain)[0].model(me.anchors), teacher)
    assert taught < average


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        (FedMD(), "method.rows=256 needs as many anchors, got 0; choose anchors=held_out"),
        (DSFL(), "method.rows=256 needs as many anchors, got 0; choose anchors=held_out"),
        (FedDF(), "method.batch=128 needs as many anchors, got 0; choose anchors=held_out"),
    ],
)
def test_methods_without_anchors_are_refused(method: Method, reason: str, tiny: Build) -> None:
    with pytest.raises(ConfigError, match=reason):
        tiny(method)
    with pytest.raises(ConfigError, match="method.temperature must be a number > 0, got 0"):
        DSFL(temperature=0)
