"""Test that losses of a client's own samples are adjusted to its classes, and nothing else is."""

import math
from dataclasses import replace

import pytest
import torch
from conftest import Build, clients, composed, options, play
from torch.nn.functional import cross_entropy

from ifl.cli.build import assemble
from ifl.client.client import Client
from ifl.client.steps import log_shares
from ifl.federation.build import Federation
from ifl.methods.ifl import IFL
from ifl.runs.identity import fingerprint
from ifl.trials.faults.methods import NEEDS

AT_THE_SERVER = ("fsl", "fedlite")
SKEWED = ("partition=classes", "partition.per_client=3", "clients=mlp_homogeneous", "fusion.dim=8")


def adjusted(client: Client, factor: float) -> Client:
    client.training = replace(client.training, logit_adjustment=factor)
    return client


def test_shares_are_those_of_the_labels() -> None:
    found = log_shares(torch.tensor([2, 0, 2, 2]), 4)
    wanted = [math.log(n / 4) for n in (1, 1, 3, 1)]
    assert found.tolist() == pytest.approx(wanted)


def test_a_loss_is_the_cross_entropy_of_adjusted_logits(tiny: Build) -> None:
    me = adjusted(clients(tiny(IFL()))[0], 0.5)
    logits, y = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0])
    wanted = cross_entropy(logits + 0.5 * log_shares(me.shard.y, 4), y)
    assert me.loss(logits, y) == wanted
    assert adjusted(me, 0.0).loss(logits, y) == cross_entropy(logits, y)


def test_steps_unlearn_no_class_that_a_client_lacks(tiny: Build) -> None:
    lost = []
    for factor in (0.0, 1.0):
        me = adjusted(clients(tiny(IFL()))[0], factor)
        few = me.shard.y < 2
        me.hold(replace(me.shard, x=me.shard.x[few], y=me.shard.y[few]))
        x, _ = me.batch()
        before = me.model(x)[:, 2:].mean()
        for x, y in me.batches(10):
            me.step(x, y)
        lost.append((before - me.model(x)[:, 2:].mean()).item())
    assert lost[0] > 0.5
    assert lost[1] < lost[0] / 3


def built(method: str, factor: float) -> Federation:
    chosen = (f"method={method}", *NEEDS.get(method, ()), *SKEWED, "local.tau=2", "batch_size=4")
    return assemble(composed(*chosen, f"logit_adjustment={factor}"))


@pytest.mark.parametrize("method", sorted({*options("method")} - {*AT_THE_SERVER}))
def test_every_method_whose_clients_have_a_loss_adjusts_it(method: str) -> None:
    networks = []
    for factor in (0, 1):
        federation = built(method, factor)
        play(federation, 1)
        engine = federation.engine
        both = engine.method.blocks(engine.clients, engine.server)
        networks.append([b.state_dict() for kind in both for b in kind.values()])
    plain, changed = networks
    pairs = [(a[name], b[name]) for a, b in zip(plain, changed, strict=True) for name in a]
    assert not all(torch.equal(*pair) for pair in pairs)


def test_it_is_part_of_what_a_run_is() -> None:
    usual = fingerprint({"seed": 0})
    assert fingerprint({"logit_adjustment": 0.0, "seed": 0}) == usual
    assert fingerprint({"logit_adjustment": 1.0, "seed": 0}) != usual
