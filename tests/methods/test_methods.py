"""Every method against exact oracles, and against the contract by its yaml."""

from copy import deepcopy

import pytest
import torch
from closed_forms import header, packed, totals
from conftest import (
    CLASSES,
    DIM,
    EVERY,
    NARROW,
    PLAIN,
    SMALL,
    TINY,
    WIDE,
    Build,
    clients,
    composed,
    equal,
    member,
    options,
    parameters,
    play,
)
from torch import Tensor
from torch.nn.functional import cross_entropy

from ifl.cli.build import assemble
from ifl.client.client import Client
from ifl.comm.message import Message
from ifl.data.dataset import Shard
from ifl.errors import ConfigError
from ifl.federation.build import Federation
from ifl.methods.centralized import Centralized
from ifl.methods.fl import FL
from ifl.methods.fsl import FSL, FSLServer
from ifl.methods.ifl import IFL, IFLServer
from ifl.methods.local import Local
from ifl.seeding import rng

B = 8  # the batch size of the tiny federation


def plain_steps(me: Client, steps: int, lr: float = 0.05) -> None:
    """The obvious SGD on the whole network, without an optimiser."""
    for _ in range(steps):
        x, y = me.batch()
        loss = cross_entropy(me.model(x), y)
        grads = torch.autograd.grad(loss, list(me.model.parameters()))
        with torch.no_grad():
            for parameter, grad in zip(me.model.parameters(), grads, strict=True):
                parameter.sub_(lr * grad)


# --- exact oracles


def test_fedavg_with_one_client_is_plain_sgd(tiny: Build) -> None:
    federation = tiny(FL(tau=3), WIDE, count=1, optimizer=PLAIN)
    alone = clients(tiny(Local(), WIDE, count=1, optimizer=PLAIN))[0]
    play(federation, 4)
    plain_steps(alone, 12)
    for ours, theirs in zip(
        parameters(clients(federation)[0].model), parameters(alone.model), strict=True
    ):
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_fedavg_of_equal_clients_is_one_of_them(tiny: Build) -> None:
    federation = tiny(FL(tau=3), SMALL, count=3)
    first = clients(federation)[0]
    alone = clients(tiny(Local(tau=3), SMALL, count=3))[0]
    for client in clients(federation):
        mine, its = client.learner, first.learner
        mine.x, mine.y, mine.shuffle = its.x, its.y, deepcopy(its.shuffle)
    play(federation, 2)
    for x, y in alone.batches(6):
        alone.step(x, y)
    assert equal(parameters(first.model), parameters(alone.model))


def test_fedavg_weighs_clients_by_their_samples(tiny: Build) -> None:
    federation = tiny(FL(tau=2), SMALL, count=2)
    a, b = clients(federation)
    b.shard = type(b.shard)(b.shard.x[:40], b.shard.y[:40])  # 120 and 40 samples
    twins = clients(tiny(FL(tau=2), SMALL, count=2))
    for twin in twins:
        for x, y in twin.batches(2):
            twin.step(x, y)
    play(federation, 1)
    expected = [
        0.75 * p + 0.25 * q
        for p, q in zip(parameters(twins[0].model), parameters(twins[1].model), strict=True)
    ]
    for ours, theirs in zip(parameters(a.model), expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-7)
    assert equal(parameters(a.model), parameters(b.model))


@pytest.mark.parametrize("server", ["shared", "per_client"])
def test_split_gradients_are_those_of_the_unsplit_network(tiny: Build, server: str) -> None:
    federation = tiny(FSL(tau=4, server=server), WIDE, count=1, optimizer=PLAIN)
    whole = clients(tiny(Local(), WIDE, count=1, optimizer=PLAIN))[0]
    play(federation, 2)
    plain_steps(whole, 8)
    assert isinstance(federation.engine.server, FSLServer)
    ours = parameters(clients(federation)[0].model.base)
    ours += parameters(federation.engine.server.modulars[0])
    for split, unsplit in zip(ours, parameters(whole.model), strict=True):
        assert torch.allclose(split, unsplit, atol=1e-6)


def test_the_shared_server_learns_from_clients_in_order(tiny: Build) -> None:
    federation = tiny(FSL(tau=1), SMALL, WIDE, count=2, optimizer=PLAIN)
    twins = clients(tiny(FSL(), SMALL, WIDE, count=2))
    modular = deepcopy(twins[0].model.modular)
    for twin in twins:
        x, y = twin.batch()
        cross_entropy(modular(twin.model.base(x)), y).backward()
        with torch.no_grad():
            for parameter in modular.parameters():
                assert parameter.grad is not None
                parameter.sub_(0.05 * parameter.grad)
                parameter.grad = None
    play(federation, 1)
    assert isinstance(federation.engine.server, FSLServer)
    for ours, theirs in zip(
        parameters(federation.engine.server.modulars[0]), parameters(modular), strict=True
    ):
        assert torch.allclose(ours, theirs, atol=1e-7)


def test_splitfed_v1_ends_a_round_with_equal_copies_and_bases(tiny: Build) -> None:
    federation = tiny(FSL(tau=2, server="per_client", sync_base=True), SMALL, count=3)
    play(federation, 2)
    assert isinstance(federation.engine.server, FSLServer)
    copies = [parameters(m) for m in federation.engine.server.modulars.values()]
    bases = [parameters(c.model.base) for c in clients(federation)]
    assert len(copies) == 3
    assert all(equal(copies[0], copy) for copy in copies)
    assert all(equal(bases[0], base) for base in bases)


def test_stage_1_moves_no_modular_weight_and_stage_2_no_base_weight(tiny: Build) -> None:
    method = IFL(tau=3)
    federation = tiny(method, SMALL, WIDE)
    for me in clients(federation):
        start = parameters(me.model.base), parameters(me.model.modular)
        talk = method.client_round(me, 1)
        upload = next(talk)
        middle = parameters(me.model.base), parameters(me.model.modular)
        assert equal(middle[1], start[1])
        assert not equal(middle[0], start[0])
        with pytest.raises(StopIteration):
            talk.send(upload)
        assert equal(parameters(me.model.base), middle[0])
        assert not equal(parameters(me.model.modular), middle[1])


def test_ifl_is_the_paper_written_out(tiny: Build) -> None:
    federation = tiny(IFL(tau=2), SMALL, WIDE, optimizer=PLAIN)
    twins = clients(tiny(IFL(), SMALL, WIDE, optimizer=PLAIN))

    def descend(loss: torch.Tensor, block: torch.nn.Module) -> None:
        weights = list(block.parameters())
        with torch.no_grad():
            for weight, grad in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                weight.sub_(0.05 * grad)

    for _ in range(3):
        pairs = []
        for me in twins:
            for _ in range(2):
                x, y = me.batch()
                descend(cross_entropy(me.model(x), y), me.model.base)
            x, y = me.batch()
            pairs.append((me.model.base(x).detach(), y))
        pool_z, pool_y = (torch.cat(tensors) for tensors in zip(*pairs, strict=True))
        for me in twins:
            descend(cross_entropy(me.model.modular(pool_z), pool_y), me.model.modular)
    play(federation, 3)
    for ours, theirs in zip(clients(federation), twins, strict=True):
        for p, q in zip(parameters(ours.model), parameters(theirs.model), strict=True):
            assert torch.allclose(p, q, atol=1e-6)


def test_modular_blocks_that_start_equal_stay_equal(tiny: Build) -> None:
    same_head = member("wide", [12], [])
    federation = tiny(IFL(), SMALL, same_head, count=3)
    first = clients(federation)[0].model.modular
    for me in clients(federation):
        me.model.modular.load_state_dict(first.state_dict())
    play(federation, 3)
    heads = [parameters(me.model.modular) for me in clients(federation)]
    assert all(equal(heads[0], head) for head in heads)


def test_the_pool_is_the_concatenation_in_client_order() -> None:
    uploads = {k: Message(z=torch.full((2, 3), k), y=torch.tensor([k, k])) for k in (2, 0, 1)}
    replies = IFLServer().reply(uploads, rng(0))
    assert replies[0]["y"].tolist() == [0, 0, 1, 1, 2, 2]
    assert replies[0]["z"][:, 0].tolist() == [0, 0, 1, 1, 2, 2]
    assert set(replies) == {0, 1, 2}


def test_per_client_takes_one_step_on_each_pair_in_client_order(tiny: Build) -> None:
    method = IFL(tau=1, stage2="per_client")
    me = clients(tiny(method, SMALL, optimizer=PLAIN))[0]
    talk = method.client_round(me, 1)
    next(talk)
    pool = Message(z=torch.randn(3 * B, DIM, generator=rng(0)), y=torch.arange(3 * B) % CLASSES)
    expected = deepcopy(me.model.modular)
    for z, y in zip(pool["z"].chunk(3), pool["y"].chunk(3), strict=True):
        expected.zero_grad()
        cross_entropy(expected(z), y).backward()
        with torch.no_grad():
            for parameter in expected.parameters():
                assert parameter.grad is not None
                parameter.sub_(0.05 * parameter.grad)
    with pytest.raises(StopIteration):
        talk.send(pool)
    for p, q in zip(parameters(me.model.modular), parameters(expected), strict=True):
        assert torch.allclose(p, q, atol=1e-7)


@pytest.mark.parametrize(("upload_batch", "drawn"), [("fresh", 3), ("last", 2)])
def test_the_upload_is_a_fresh_batch_or_the_last_one(
    tiny: Build, upload_batch: str, drawn: int
) -> None:
    method = IFL(tau=2, upload_batch=upload_batch)
    me, twin = clients(tiny(method))[0], clients(tiny(method))[0]
    upload = next(method.client_round(me, 1))
    x, y = [twin.batch() for _ in range(drawn)][-1]
    assert torch.equal(upload["y"], y)
    assert torch.equal(upload["z"], me.model.base(x))


def test_centralized_is_plain_sgd_on_all_shards_in_client_order(tiny: Build) -> None:
    federation = tiny(Centralized(tau=3, architecture=1), SMALL, WIDE, optimizer=PLAIN)
    twins = clients(tiny(Local(), SMALL, WIDE, optimizer=PLAIN))
    before = [parameters(me.model) for me in clients(federation)]
    play(federation, 2)
    everything = Shard(
        torch.cat([me.shard.x for me in twins]), torch.cat([me.shard.y for me in twins])
    )
    alone = Client("all", -1, twins[1].model, everything, twins[1].training)
    plain_steps(alone, 6)
    bases, modulars = federation.engine.method.blocks(clients(federation), federation.engine.server)
    found = parameters(bases["server"]) + parameters(modulars["server"])
    for ours, theirs in zip(found, parameters(alone.model), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)
    untouched = [parameters(me.model) for me in clients(federation)]
    assert all(equal(*pair) for pair in zip(before, untouched, strict=True))
    with pytest.raises(ConfigError, match="method.architecture must name a client from 0 to 1"):
        tiny(Centralized(architecture=2), SMALL, WIDE, count=2)


def test_averaging_methods_refuse_different_networks(tiny: Build) -> None:
    with pytest.raises(
        ConfigError, match=r"client 1 \(wide\) differs from client 0 \(small\); use"
    ):
        tiny(FL(), SMALL, WIDE)
    with pytest.raises(ConfigError, match="sync_base=true averages parameters"):
        tiny(FSL(sync_base=True), SMALL, WIDE)


# --- bytes: closed forms of the docstrings


def test_ifl_bytes_are_the_closed_form(tiny: Build) -> None:
    n = 3
    up = n * (B * (4 * DIM + 1) + header(z=("F32", [B, DIM], 4), y=("U8", [B], 1)))
    pool = n * B * (4 * DIM + 1) + header(z=("F32", [n * B, DIM], 4), y=("U8", [n * B], 1))
    assert totals(tiny(IFL(), SMALL, WIDE, count=n), 2) == [(up, n * pool)] * 2


def test_fl_bytes_are_the_closed_form(tiny: Build) -> None:
    federation, n = tiny(FL(), WIDE, count=3), 3
    model = clients(federation)[0].model
    size = 4 * sum(p.numel() for p in model.parameters())
    up = n * (size + 8 + header(samples=("I64", [], 8), **packed(model)))
    assert totals(federation, 2) == [(up, n * (size + header(**packed(model))))] * 2


@pytest.mark.parametrize("sync_base", [False, True])
def test_fsl_bytes_are_the_closed_form(tiny: Build, sync_base: bool) -> None:
    n, tau = 3, 4
    federation = tiny(FSL(tau=tau, sync_base=sync_base), WIDE, count=n)
    base = clients(federation)[0].model.base
    size = 4 * sum(p.numel() for p in base.parameters())
    z = ("F32", [B, DIM], 4)
    up = n * tau * (B * (4 * DIM + 1) + header(z=z, y=("U8", [B], 1)))
    down = n * tau * (B * 4 * DIM + header(grad=z))
    if sync_base:
        up += n * (size + 8 + header(samples=("I64", [], 8), **packed(base)))
        down += n * (size + header(**packed(base)))
    assert totals(federation, 2) == [(up, down)] * 2


def test_local_and_centralized_bytes_are_the_closed_form(tiny: Build) -> None:
    assert totals(tiny(Local()), 2) == [(0, 0)] * 2
    n = len(TINY.train) // 2
    up = 2 * (n * (36 + 1) + header(x=("U8", [n, 1, 6, 6], 1), y=("U8", [n], 1)))
    assert totals(tiny(Centralized()), 2) == [(up, 0), (0, 0)]


# --- the contract, for every yaml in conf/


def small(*overrides: str) -> Federation:
    return assemble(composed("clients.count=2", "batch_size=4", "local.tau=1", *overrides))


@pytest.mark.parametrize("option", EVERY)
def test_every_method_yaml_keeps_the_contract(option: str) -> None:
    typed = (*f"method={option}".split(), *NARROW, "fusion.dim=16")
    federation = small(*typed)
    engine = federation.engine
    outcome = engine.round(1)
    assert 0 < (outcome.train_loss or 0) < 10
    assert outcome[1:] == (2, 0)
    bases, modulars = engine.method.blocks(engine.clients, engine.server)
    owners = {"server", *(str(me.number) for me in engine.clients)}
    assert set(bases) <= owners
    assert set(modulars) <= owners
    server_tensors = {
        t.data_ptr() for m in _modules(engine.server) for t in m.state_dict().values()
    }
    client_tensors = {t.data_ptr() for me in engine.clients for t in me.model.state_dict().values()}
    assert not server_tensors & client_tensors
    again = small(*typed).engine
    assert again.round(1) == outcome
    assert engine.channel.ledger.close_round() == again.channel.ledger.close_round()


@pytest.mark.parametrize("option", EVERY)
def test_no_method_changes_a_message_that_it_received(
    option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = (*NARROW, "fusion.dim=16")
    engine = small(*f"method={option}".split(), *networks).engine
    kept: list[tuple[Tensor, Tensor]] = []
    place = engine.channel._placed

    def placed(message: Message) -> Message:
        arrived = place(message)
        kept.extend((t, t.clone()) for t in arrived.tensors.values())
        return arrived

    monkeypatch.setattr(engine.channel, "_placed", placed)
    for number in (1, 2, 3):
        engine.round(number)
    assert bool(kept) == (option != "local")
    for tensor, as_it_came in kept:
        assert not tensor.requires_grad
        assert torch.equal(tensor, as_it_came)


def _modules(held: object) -> list[torch.nn.Module]:
    if isinstance(held, torch.nn.Module):
        return [held]
    if isinstance(held, dict):
        return [m for value in held.values() for m in _modules(value)]
    ours = type(held).__module__.startswith("ifl.")
    return _modules(dict(vars(held))) if ours and hasattr(held, "__dict__") else []


@pytest.mark.parametrize("option", options("clients"))
def test_every_clients_yaml_trains_a_round_of_ifl(option: str) -> None:
    federation = assemble(composed(f"clients={option}", "batch_size=4", "local.tau=1"))
    assert len(federation.engine.clients) == 4
    assert 0 < (federation.engine.round(1).train_loss or 0) < 10


@pytest.mark.parametrize("option", options("optimizer"))
def test_every_optimizer_yaml_moves_both_blocks(option: str) -> None:
    federation = small(f"optimizer={option}")
    me = federation.engine.clients[0]
    before = parameters(me.model.base), parameters(me.model.modular)
    federation.engine.round(1)
    assert not equal(parameters(me.model.base), before[0])
    assert not equal(parameters(me.model.modular), before[1])


@pytest.mark.parametrize("group", ["fusion", "local"])
def test_every_fusion_and_local_yaml_composes(group: str) -> None:
    for option in options(group):
        config = composed(f"{group}={option}")
        assert min(config.fusion.dim, config.local.tau, config.method.tau) >= 1


def test_every_method_of_a_seed_has_the_same_shards_and_initial_weights() -> None:
    starts = []
    for method in options("method"):
        public = ("anchors=held_out", "anchors.count=300")
        me = small(f"method={method}", *public, *NARROW).engine.clients[0]
        starts.append([me.shard.x.float(), *parameters(me.model)])
    assert all(equal(starts[0], start) for start in starts)
