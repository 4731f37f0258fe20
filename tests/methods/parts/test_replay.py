"""Replayed pools and aligned base blocks: written out, and what they must leave alone."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import pytest
import torch
from conftest import CLASSES, DIM, PLAIN, SMALL, WIDE, Build, clients, equal, parameters, play
from torch import nn
from torch.nn.functional import cross_entropy

from ifl.client.client import Client
from ifl.comm.message import Message
from ifl.errors import ConfigError, DivergenceError
from ifl.federation.build import Federation
from ifl.methods.ifl import IFL
from ifl.methods.parts.replay import Align, Pool, Pools, Replay
from ifl.methods.parts.row_selection import Upload
from ifl.seeding import rng

ALIGNED = IFL(tau=2, replay=Replay(pools=2, steps=4), align=Align(0.5))


def descend(loss: torch.Tensor, block: nn.Module) -> None:
    weights = list(block.parameters())
    with torch.no_grad():
        for weight, grad in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            weight.sub_(0.05 * grad)


def test_replay_and_alignment_written_out(tiny: Build) -> None:
    federation = tiny(ALIGNED, SMALL, WIDE, optimizer=PLAIN)
    twins = clients(tiny(IFL(), SMALL, WIDE, optimizer=PLAIN))
    kept: list[tuple[torch.Tensor, torch.Tensor]] = []
    for number in range(1, 4):
        means: dict[int, torch.Tensor] = {}
        if kept:
            z, y = (torch.cat(tensors) for tensors in zip(*kept, strict=True))
            means = {c: z[y == c].mean(dim=0) for c in y.unique().tolist()}
        pairs = []
        for me in twins:
            for _ in range(2):
                x, y = me.batch()
                z = me.model.base(x)
                pulls = [
                    ((row - means[c]) ** 2).sum() / DIM
                    for row, c in zip(z, y.tolist(), strict=True)
                    if c in means
                ]
                loss = cross_entropy(me.model.modular(z), y)
                descend(loss + 0.5 * sum(pulls) / len(y), me.model.base)
            x, y = me.batch()
            pairs.append((me.model.base(x).detach(), y))
        z, y = (torch.cat(tensors) for tensors in zip(*pairs, strict=True))
        kept = [*kept, (z, y)][-2:]
        all_z, all_y = (torch.cat(tensors) for tensors in zip(*kept, strict=True))
        for me in twins:
            descend(cross_entropy(me.model.modular(z), y), me.model.modular)
            draws = rng(0, "client", me.number, "replay", number)
            for _ in range(3):
                rows = torch.randint(len(all_y), (len(y),), generator=draws)
                loss = cross_entropy(me.model.modular(all_z[rows]), all_y[rows])
                descend(loss, me.model.modular)
    play(federation, 3)
    for ours, theirs in zip(clients(federation), twins, strict=True):
        for p, q in zip(parameters(ours.model), parameters(theirs.model), strict=True):
            assert torch.allclose(p, q, atol=1e-5)


def sent_labels(federation: Federation, rounds: int) -> list[list[int]]:
    """Return the labels of every pool that client 0 is sent."""
    channel, pools = federation.engine.channel, []
    down = channel.down

    def watched(messages: Mapping[int, Message]) -> dict[int, Message]:
        pools.extend([message["y"].tolist() for k, message in messages.items() if k == 0])
        return down(messages)

    channel.down = watched  # type: ignore[method-assign]
    play(federation, rounds)
    return pools


def test_one_round_is_a_long_stage_1_one_upload_and_many_steps_on_that_pool(tiny: Build) -> None:
    replay, upload = Replay(pools=1, steps=30, rows=5), Upload("random", 20)
    method = IFL(tau=7, replay=replay, upload=upload)
    federation = tiny(method, SMALL, WIDE, optimizer=PLAIN)
    twins = clients(tiny(method, SMALL, WIDE, optimizer=PLAIN))
    sent = []
    for me in twins:
        for x, y in me.batches(7):
            descend(cross_entropy(me.model(x), y), me.model.base)
        x, y = upload.batch(me, 1)
        sent.append((me.model.base(x).detach(), y))
    z, y = (torch.cat(tensors) for tensors in zip(*sent, strict=True))
    assert len(y) == 40
    for me in twins:
        descend(cross_entropy(me.model.modular(z), y), me.model.modular)
        draws = rng(0, "client", me.number, "replay", 1)
        for _ in range(29):
            some = torch.randint(40, (5,), generator=draws)
            descend(cross_entropy(me.model.modular(z[some]), y[some]), me.model.modular)
    play(federation, 1)
    for ours, theirs in zip(clients(federation), twins, strict=True):
        for p, q in zip(parameters(ours.model), parameters(theirs.model), strict=True):
            assert torch.allclose(p, q, atol=1e-5)


def test_both_send_the_same_bytes_and_draw_the_same_batches(tiny: Build) -> None:
    assert play(tiny(ALIGNED, SMALL, WIDE, count=3), 4) == play(
        tiny(IFL(), SMALL, WIDE, count=3), 4
    )
    assert sent_labels(tiny(ALIGNED), 5) == sent_labels(tiny(IFL(tau=2)), 5)


def test_the_paper_keeps_nothing_and_replay_the_last_pools(tiny: Build) -> None:
    paper, replaying = tiny(IFL()), tiny(IFL(replay=Replay(pools=2)))
    sent = sent_labels(replaying, 5)
    play(paper, 5)
    assert [me.memory.state() for me in clients(paper)] == [{}, {}]
    for me in clients(replaying):
        assert [pool["y"].tolist() for pool in me.memory.of(Pools).pools] == sent[-2:]
    for me, other in zip(clients(paper), clients(replaying), strict=True):
        assert equal(parameters(me.model), parameters(other.model))  # one step is the paper's


def test_stage_1_pulls_base_blocks_alone_and_replay_moves_modular_blocks_alone(tiny: Build) -> None:
    federation = tiny(ALIGNED, SMALL, WIDE)
    play(federation, 1)
    unpulled = IFL(tau=2)
    for me in clients(federation):
        twin = deepcopy(me)
        start = parameters(me.model.base), parameters(me.model.modular)
        talk = ALIGNED.client_round(me, 2)
        upload = next(talk)
        next(unpulled.client_round(twin, 2))
        middle = parameters(me.model.base)
        assert equal(parameters(me.model.modular), start[1])
        assert not equal(middle, parameters(twin.model.base))
        with pytest.raises(StopIteration):
            talk.send(upload)
        assert equal(parameters(me.model.base), middle)
        assert not equal(parameters(me.model.modular), start[1])


def test_classes_that_no_pool_has_are_not_pulled_and_others_to_their_means(tiny: Build) -> None:
    me = clients(tiny(ALIGNED))[0]
    assert ALIGNED.align.pull(me) is None  # before the first pool
    z = torch.stack([torch.full((DIM,), value) for value in (1.0, 3.0, 10.0)])
    earlier, newest = torch.tensor([1]), torch.tensor([1, 0])
    me.memory.of(Pools).pools = [Pool(z=z[:1], y=earlier), Pool(z=z[1:], y=newest)]
    pull = ALIGNED.align.pull(me)
    assert pull is not None
    own = torch.zeros(4, DIM, requires_grad=True)
    term = pull(own, torch.tensor([0, 1, 2, 3]))
    assert term.item() == pytest.approx(0.5 * (10**2 + 2**2) / 4)
    term.backward()
    assert own.grad is not None
    assert own.grad[:, 0].tolist() == pytest.approx([-2.5 / DIM, -0.5 / DIM, 0, 0])
    assert Align().pull(me) is None


def distance(me: Client) -> float:
    """Return how far a client's z are from the class means of the pool it kept, on average."""
    (pool,) = me.memory.of(Pools).pools
    x, y = me.shard.inputs(), me.shard.y
    means = torch.stack([pool["z"][pool["y"] == c].mean(dim=0) for c in range(CLASSES)])
    with torch.no_grad():
        return float((me.model.base(x) - means[y]).norm(dim=1).mean())


def test_a_stage_1_with_alignment_ends_nearer_to_the_class_means(tiny: Build) -> None:
    federation = tiny(IFL(replay=Replay(pools=1)), SMALL, WIDE)
    play(federation, 5)
    for me in clients(federation):
        found = []
        for weight in (0.0, 1.0, 10.0):
            twin = deepcopy(me)
            next(IFL(replay=Replay(pools=1), align=Align(weight)).client_round(twin, 6))
            found.append(distance(twin))
        assert found == sorted(found, reverse=True)
        assert found[2] < found[0]


def test_a_loss_that_is_not_finite_in_a_replayed_step_ends_the_run(tiny: Build) -> None:
    federation = tiny(IFL(tau=2, replay=Replay(pools=2, steps=2)))
    play(federation, 1)
    pool = clients(federation)[1].memory.of(Pools).pools[0]
    pool["z"] = torch.full_like(pool["z"], 3e38)
    with pytest.raises(DivergenceError, match=r"round 2: .* client 1 \(small\) is \S+ in step 4,"):
        federation.engine.round(2)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"replay": {"pools": -1}}, "method.replay.pools must be a whole number >= 0, got -1"),
        ({"replay": {"pools": 1.5}}, "method.replay.pools must be a whole number >= 0, got 1.5"),
        ({"replay": {"rows": 0}}, "method.replay.rows must be a whole number >= 1, got 0"),
        ({"replay": {"steps": 0}}, "method.replay.steps must be a whole number >= 1, got 0"),
        ({"replay": {"steps": 3}}, "steps=3 needs pools to replay, got method.replay.pools=0; k"),
        ({"align": {"weight": -1}}, "method.align.weight must be a number >= 0, got -1; 0 is no"),
        ({"align": {"weight": float("nan")}}, "method.align.weight must be a number >= 0, got nan"),
        ({"align": {"weight": 1}}, "weight=1 needs pools whose class means it can take, got meth"),
    ],
)
def test_wrong_settings_are_sentences(wrong: Mapping[str, Any], sentence: str) -> None:
    kinds = {"replay": Replay, "align": Align}
    with pytest.raises(ConfigError, match=sentence):
        IFL(**{name: kinds[name](**values) for name, values in wrong.items()})
