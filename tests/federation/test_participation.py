"""Rounds that not all clients finish: who comes, who is refused, and what becomes of the rest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from conftest import (
    CLASSES,
    DIM,
    EVERY,
    MOMENTUM,
    NARROW,
    SMALL,
    TINY,
    WIDE,
    Build,
    clients,
    composed,
    equal,
    options,
    parameters,
    play,
)
from liars import Liar
from torch import nn
from torch.nn.functional import cross_entropy

from ifl.cli.build import assemble
from ifl.client.client import Client
from ifl.comm.codecs import Float32
from ifl.comm.message import Message, encode
from ifl.data.dataset import Shard
from ifl.engines.outcome import Outcome
from ifl.errors import ConfigError, DivergenceError, MessageError
from ifl.federation.build import Federation
from ifl.federation.member import Member
from ifl.federation.participation import Participation
from ifl.federation.runner import run
from ifl.federation.schedule import Schedule
from ifl.methods.base import Method
from ifl.methods.centralized import Centralized, CentralizedServer
from ifl.methods.cse_fsl import CSEFSL
from ifl.methods.feddistill import FedDistill
from ifl.methods.fedgh import FedGH
from ifl.methods.fedlite import FedLite
from ifl.methods.fedproto import FedProto
from ifl.methods.fedtgp import FedTGP
from ifl.methods.fl import FL, FLServer
from ifl.methods.fml import FML
from ifl.methods.fsl import FSL, FSLServer
from ifl.methods.fsl_sage import FSLSAGE
from ifl.methods.ifl import IFL
from ifl.methods.ifl_statistics import IFLStatistics
from ifl.methods.lg_fedavg import LGFedAvg
from ifl.methods.local import Local
from ifl.methods.parts.averaging import state
from ifl.methods.parts.row_selection import Upload
from ifl.methods.parts.split_server import ModularBlocks
from ifl.runs.folder import RunFolder, read_about

HALF = Participation(0.5, 0.3)


@dataclass(frozen=True)
class Planned(Participation):
    """Who comes is written down: the numbers for each round."""

    plan: Sequence[Sequence[int]] = ()

    def present(self, clients: Sequence[Client], seed: int, round_number: int) -> list[Client]:
        return [clients[k] for k in self.plan[round_number - 1]]


# --- who takes part


@pytest.mark.parametrize(
    ("fraction", "count", "drawn"),
    [
        (1.0, 7, 7),
        (0.5, 4, 2),
        (0.5, 5, 3),
        (0.3, 4, 1),
        (0.1, 4, 1),
        (0.001, 3, 1),
        (0.29, 50, 15),
    ],
)
def test_a_share_of_the_clients_is_drawn_rounded_half_up(
    fraction: float, count: int, drawn: int, tiny: Build
) -> None:
    assert Participation(fraction).drawn(count) == drawn
    everyone = clients(tiny(Local(), count=min(count, 7)))
    for number in range(1, 9):
        present = [me.number for me in Participation(fraction).present(everyone, 0, number)]
        assert len(present) == Participation(fraction).drawn(len(everyone))
        assert present == sorted(set(present))


def test_everybody_has_the_same_chances_and_dropouts_are_independent_of_draws(tiny: Build) -> None:
    everyone = clients(tiny(Local(), count=5))

    def rounds(fraction: float, dropout: float) -> list[set[int]]:
        made = Participation(fraction, dropout)
        return [{me.number for me in made.present(everyone, 3, n)} for n in range(1, 401)]

    drawn, lucky, both = rounds(0.4, 0), rounds(1, 0.3), rounds(0.4, 0.3)
    assert both == [a & b for a, b in zip(drawn, lucky, strict=True)]
    for k in range(5):  # means of 400 draws, give or take four standard errors
        assert abs(sum(k in present for present in drawn) / 400 - 0.4) < 0.1
        assert abs(sum(k in present for present in lucky) / 400 - 0.7) < 0.1
    assert set() in both


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"fraction": 0}, "participation.fraction must be a number > 0, got 0; 1 lets all"),
        ({"fraction": "x"}, "participation.fraction must be a number > 0, got x"),
        ({"fraction": 50}, "participation.fraction must be <= 1, got 50; write 0.5 for 50 %"),
        ({"dropout": 1}, "participation.dropout must be a probability >= 0 and < 1, got 1; 0"),
        ({"dropout": -0.1}, "participation.dropout must be a probability .*, got -0.1"),
        ({"dropout": float("nan")}, "participation.dropout must be a probability .*, got nan"),
        ({"dropout": None}, "participation.dropout must be a probability .*, got None"),
    ],
)
def test_shares_out_of_range_are_sentences(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Participation(**wrong)


def test_on_bad_upload_is_stop_or_skip(tiny: Build) -> None:
    with pytest.raises(ConfigError, match="on_bad_upload must be one of stop, skip, got ignore"):
        tiny(Local(), on_bad_upload="ignore")


def test_who_comes_shifts_no_batch_of_anybody(tiny: Build) -> None:
    federation = tiny(Local(tau=2), SMALL, WIDE, count=4, participation=HALF)
    twins = clients(tiny(Local(), SMALL, WIDE, count=4))
    for number in range(1, 7):
        federation.engine.round(number)
        for me in HALF.present(twins, 0, number):
            for x, y in me.batches(2):
                me.step(x, y)
    for ours, theirs in zip(clients(federation), twins, strict=True):
        assert equal(parameters(ours.model), parameters(theirs.model))


# --- what the methods make of it


def uneven(federation: Federation) -> Sequence[Client]:
    """Let client k tell the server of 15 * (k + 1) samples, and batches come from all it has."""
    for me in clients(federation):
        me.shard = Shard(me.shard.x[: 15 * (me.number + 1)], me.shard.y[: 15 * (me.number + 1)])
    return clients(federation)


def take_over(module: nn.Module, tensors: Sequence[torch.Tensor]) -> None:
    for mine, new in zip(state(module), tensors, strict=True):
        mine.copy_(new)


def test_fedavg_averages_those_who_came_and_returning_clients_start_from_it(tiny: Build) -> None:
    plan = [(0, 2), (1,), (), (1, 2, 3), (0, 1, 2, 3)]
    federation = tiny(FL(tau=2), count=4, participation=Planned(plan=plan))
    twins = uneven(tiny(FL(), count=4))
    uneven(federation)
    newest = [t.clone() for t in state(twins[0].model)]
    for number, came in enumerate(plan, 1):
        for k in came:
            take_over(twins[k].model, newest)
            for x, y in twins[k].batches(2):
                twins[k].step(x, y)
        total = sum(15 * (k + 1) for k in came)
        states = [[15 * (k + 1) / total * t for t in state(twins[k].model)] for k in came]
        newest = [sum(tensors[1:], tensors[0]) for tensors in zip(*states, strict=True)] or newest
        assert federation.engine.round(number)[1:] == (len(came), 0)
        engine = federation.engine
        bases, modulars = engine.method.blocks(engine.clients, engine.server)
        found = state(nn.Sequential(bases["server"], modulars["server"]))
        for ours, theirs in zip(found, newest, strict=True):
            assert torch.allclose(ours, theirs, atol=1e-6)
        for k in came:
            assert equal(state(clients(federation)[k].model), found)


def test_the_newest_average_is_evaluated_whoever_was_away(tiny: Build) -> None:
    federation = tiny(FL(tau=40), count=3, participation=Planned(plan=[(1, 2)]))
    federation.engine.round(1)
    x, y = TINY.test.inputs(), TINY.test.y
    found = federation.engine.evaluate(x, y).mean
    absent, present, _ = clients(federation)
    assert found == (present.model.eval()(x).argmax(1) == y).double().mean()
    assert found != (absent.model.eval()(x).argmax(1) == y).double().mean()


def parcel(module: nn.Module, **more: torch.Tensor) -> int:
    """Bytes of a message of a module's parameters."""
    tensors = {f"params.{i}": t for i, t in enumerate(state(module))}
    return len(encode(Message(**tensors, **more), Float32(), CLASSES))


def downlinks(federation: Federation, rounds: int) -> list[int]:
    return [sum(r[3] for r in rows if r[0] == "down") for rows in play(federation, rounds)]


RETURNING = [(0, 1, 2), (0, 1), (2,), (0, 1, 2), (0, 1, 2)]
LACK = [0, 0, 1, 2, 0]  # of them, those that were away when the newest average was made


def test_fl_bytes_of_those_who_return_are_the_closed_form(tiny: Build) -> None:
    federation = tiny(FL(), WIDE, count=3, participation=Planned(plan=RETURNING))
    model = clients(federation)[0].model
    messages = [len(came) + lack for came, lack in zip(RETURNING, LACK, strict=True)]
    assert downlinks(federation, 5) == [n * parcel(model) for n in messages]


@pytest.mark.parametrize("server", ["shared", "per_client"])
def test_fsl_serves_who_is_there_and_keeps_the_base_blocks_for_the_others(
    tiny: Build, server: str
) -> None:
    plan = Planned(plan=RETURNING)
    method = FSL(tau=2, server=server, sync_base=True)
    federation = tiny(method, WIDE, count=3, participation=plan)
    base = clients(federation)[0].model.base
    grad = len(encode(Message(grad=torch.ones(8, DIM)), Float32(), CLASSES))
    for number, (came, lack) in enumerate(zip(RETURNING, LACK, strict=True), 1):
        before = federation.engine.channel.ledger.totals["down"]
        federation.engine.round(number)
        down = federation.engine.channel.ledger.totals["down"] - before
        assert down == len(came) * (2 * grad + parcel(base)) + lack * parcel(base)
        engine = federation.engine
        newest = state(engine.method.blocks(engine.clients, engine.server)[0]["0"])
        for me in clients(federation):
            assert equal(state(me.model.base), newest) == (me.number in came)
    assert isinstance(federation.engine.server, FSLServer)
    copies = [parameters(m) for m in federation.engine.server.modulars.values()]
    assert all(equal(copies[0], copy) for copy in copies)


def test_the_modular_blocks_average_those_that_learned_by_their_samples() -> None:
    blocks = ModularBlocks(nn.Linear(2, 3), {0: 30, 1: 50, 2: 10}, MOMENTUM)
    generator, expected = torch.Generator().manual_seed(0), torch.zeros(3, 2)
    for k, weight in ((0, 0.75), (2, 0.25)):
        z, y = torch.randn(4, 2, generator=generator), torch.tensor([0, 1, 2, 0])
        twin = nn.Linear(2, 3)
        twin.load_state_dict(blocks.modulars[1].state_dict())
        (grad,) = torch.autograd.grad(cross_entropy(twin(z), y), [twin.weight])
        expected += weight * (twin.weight.detach() - 0.05 * grad)
        blocks.learn({k: Message(z=z, y=y)})
    losses = blocks.end_round()
    assert losses is not None
    assert len(losses) == 2
    for block in blocks.modulars.values():
        assert torch.allclose(parameters(block)[0], expected, atol=1e-6)
    assert blocks.end_round() is None


def test_ifl_pools_what_came(tiny: Build) -> None:
    plan = [(0, 1, 2), (1,), (0, 2)]
    federation = tiny(IFL(), SMALL, WIDE, count=3, participation=Planned(plan=plan))
    pools = [
        Message(z=torch.ones(8 * n, DIM), y=torch.ones(8 * n, dtype=torch.int64)) for n in (3, 1, 2)
    ]
    sizes = [len(encode(pool, Float32(), CLASSES)) for pool in pools]
    assert downlinks(federation, 3) == [3 * sizes[0], sizes[1], 2 * sizes[2]]


def test_centralized_gets_a_clients_samples_when_it_first_comes(tiny: Build) -> None:
    plan = [(), (2,), (0, 2), (0, 1, 2), (1,)]
    federation = tiny(Centralized(tau=2), count=3, participation=Planned(plan=plan))
    server = federation.engine.server
    assert isinstance(server, CentralizedServer)
    rows = play(federation, 5)
    assert [sorted({row[1] for row in rows_}) for rows_ in rows] == [[], [2], [0], [1], []]
    assert server.came == [2, 0, 1]
    assert server.learner is not None
    shards = [clients(federation)[k].shard.y for k in server.came]
    assert torch.equal(server.learner.shard.y, torch.cat(shards))


@pytest.mark.parametrize("option", EVERY[: len(options("method"))])
def test_every_method_yaml_keeps_the_contract_when_some_are_away(
    option: str, tmp_path: Path
) -> None:
    typed = [*f"method={option}".split(), *NARROW, "fusion.dim=16", "batch_size=4"]
    typed += ["participation.fraction=0.5", "participation.dropout=0.3", "clients.count=4"]
    tables = []
    for name in ("once", "again"):
        federation = assemble(composed("local.tau=1", *typed))
        everyone = clients(federation)
        came = [len(HALF.present(everyone, 0, number)) for number in range(1, 13)]
        assert set(came) == {0, 1, 2}
        with RunFolder(tmp_path / name) as folder:
            run(federation, folder, {}, Schedule(rounds=12, eval_every=5))
        rounds = pd.read_csv(tmp_path / name / "rounds.csv")
        assert list(rounds.columns[-3:]) == ["clients", "refused", "seconds"]
        assert rounds.clients.tolist() == came
        assert rounds.refused.tolist() == [0] * 12
        for sent in (rounds.uplink_bytes.diff(), rounds.downlink_bytes.diff()):
            assert (sent[rounds.clients == 0].dropna() == 0).all()
        idle = rounds.train_loss.isna()
        assert (idle | (rounds.clients > 0)).all()
        if option != "late_vendor":  # which has nothing to do for whom is there alone and early
            assert (idle == (rounds.clients == 0)).all()
        assert rounds.accuracy_mean.notna().sum() == 3
        tables.append(rounds.drop(columns="seconds"))
    pd.testing.assert_frame_equal(tables[0], tables[1])


# --- uploads that are refused


LIES = [
    (IFL(tau=2), 0),
    (FL(tau=2), 0),
    (FSL(tau=3), 0),
    (FSL(tau=3, sync_base=True), 2),
    (FSL(tau=2, server="per_client", sync_base=True), 2),
    (LGFedAvg(tau=2), 0),
    (FedProto(tau=2), 0),
    (FedGH(tau=2), 0),
    (FML(tau=2), 0),
    (FedTGP(tau=2, epochs=2), 0),
    (FedDistill(tau=2), 0),
    (IFLStatistics(tau=2), 0),
    (FL(tau=2, send="updates", error_feedback=True), 0),
    (LGFedAvg(tau=2, send="updates"), 0),
    (FedProto(tau=2, predict="head"), 0),
    (FedGH(tau=2, epochs=2, batch_size=3), 0),
    (CSEFSL(tau=2, h=1, sync_clients=False), 0),
    (CSEFSL(tau=2, h=2), 1),
    (FedLite(tau=2), 0),
    (FSLSAGE(tau=2, h=1), 0),
    (FSLSAGE(tau=2, h=2, sync_base=True), 1),
]


@pytest.mark.parametrize(("method", "turn"), LIES)
@pytest.mark.parametrize("kind", ["shape", "nan", "name"])
def test_a_refused_client_is_out_for_the_round_and_the_others_go_on(
    method: Method, turn: int, kind: str, tiny: Build
) -> None:
    federation = tiny(Liar(method, kind, turn=turn), count=3, on_bad_upload="skip")
    rows = play(federation, 1)
    assert federation.engine.round(2)[1:] == (2, 1)
    rows.append(federation.engine.channel.ledger.close_round())
    sent = [{k: sum(r[3] for r in each if r[:2] == ("up", k)) for k in range(3)} for each in rows]
    assert sent[1][1] > 0  # counted
    assert sent[1][0] == sent[1][2] == sent[0][0]
    if turn == 0:  # as if it had not come
        absent = tiny(method, count=3, participation=Planned(plan=[(0, 1, 2), (0, 2)]))
        play(absent, 2)
        for k in (0, 2):
            ours, theirs = clients(federation)[k].model, clients(absent)[k].model
            assert equal(parameters(ours), parameters(theirs))
    third = federation.engine.round(3)
    assert third[1:] == (3, 0)
    server = federation.engine.server
    if isinstance(server, FLServer):  # it went on from the average, not from where it was left
        down = [r for r in federation.engine.channel.ledger.close_round() if r[0] == "down"]
        size = sum(r[3] for r in down) // 4
        assert [sum(r[3] for r in down if r[1] == k) // size for k in range(3)] == [1, 2, 1]
        assert equal(parameters(clients(federation)[1].model), parameters(server.model))


def test_where_all_are_refused_fl_starts_again_from_the_newest_average(tiny: Build) -> None:
    plan = Planned(plan=[(1,), (1,)])
    federation = tiny(Liar(FL(), round=1), count=2, on_bad_upload="skip", participation=plan)
    start = parameters(clients(federation)[0].model)
    assert federation.engine.round(1) == Outcome(None, 0, 1)
    assert isinstance(federation.engine.server, FLServer)
    assert equal(parameters(federation.engine.server.model), start)
    assert not equal(parameters(clients(federation)[1].model), start)
    federation.engine.round(2)
    alone = clients(tiny(Local(), count=2))[1]
    for _ in range(2):
        take_over(alone.model, start)
        for x, y in alone.batches(10):
            alone.step(x, y)
    assert equal(parameters(federation.engine.server.model), parameters(alone.model))


def test_centralized_asks_again_for_samples_that_it_refused(tiny: Build) -> None:
    method = Liar(Centralized(tau=1), "shape", round=1)
    federation = tiny(method, count=3, on_bad_upload="skip")
    assert federation.engine.round(1)[1:] == (2, 1)
    assert federation.engine.round(2)[1:] == (3, 0)
    assert isinstance(federation.engine.server, CentralizedServer)
    assert federation.engine.server.came == [0, 2, 1]
    assert federation.engine.server.learner is not None
    assert len(federation.engine.server.learner.shard) == len(TINY.train)


@pytest.mark.parametrize(
    ("kind", "error", "reason"),
    [
        (
            "shape",
            MessageError,
            "bad upload: Liar in round 2: upload 1 of client 1 (wide) is refused (z ",
        ),
        (
            "name",
            MessageError,
            "bad upload: Liar in round 2: upload 1 of client 1 (wide) is refused (it ",
        ),
        (
            "nan",
            DivergenceError,
            "diverged: Liar in round 2: upload 1 of client 1 (wide): z is not finite, the last ",
        ),
    ],
)
def test_a_bad_upload_stops_the_run_which_keeps_its_rows_and_says_why(
    kind: str, error: type[Exception], reason: str, tiny: Build, tmp_path: Path
) -> None:
    federation = tiny(Liar(IFL(), kind), SMALL, WIDE)
    with (
        RunFolder(tmp_path) as folder,
        pytest.raises(error, match="on_bad_upload=skip|lower optimizer.lr"),
    ):
        run(federation, folder, {}, Schedule(rounds=5))
    about = read_about(tmp_path) or {}
    assert about["finished"] is False
    assert about["stop_reason"].startswith(reason)
    assert len(pd.read_csv(tmp_path / "rounds.csv")) == 1


def normalised() -> nn.Module:
    return nn.Sequential(nn.Linear(DIM, 6), nn.BatchNorm1d(6), nn.Linear(6, CLASSES))


NORMED = Member("normed", SMALL.base, normalised)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        (IFL(tau=1, upload=Upload(rows=1)), {"participation": Participation(fraction=0.5)}),
        (IFL(tau=1, upload=Upload(rows=1)), {"participation": Participation(dropout=0.1)}),
        (IFL(tau=1, upload=Upload(rows=1)), {"on_bad_upload": "skip"}),
        (IFL(tau=1, upload=Upload(rows=1)), {"count": 1}),
        (IFL(tau=1, upload=Upload(rows=1), stage2="per_client"), {}),
        (IFL(tau=1, relay="sample", relay_rows=1), {}),
    ],
)
def test_a_block_that_cannot_learn_from_the_smallest_pool_is_refused_before_training(
    method: IFL, settings: Mapping[str, Any], tiny: Build
) -> None:
    with pytest.raises(ConfigError, match="modular block cannot learn from one row") as refused:
        tiny(method, NORMED, **settings)
    assert "clients in a round; raise method.relay_rows" in str(refused.value)
    play(tiny(method, SMALL, **settings), 2)  # without a normalisation it can


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        (IFL(tau=1, upload=Upload(rows=1)), {}),
        (IFL(tau=1, upload=Upload(rows=2)), {"participation": Participation(dropout=0.5)}),
        (IFL(tau=1, relay="sample", relay_rows=2), {"on_bad_upload": "skip"}),
    ],
)
def test_one_that_gets_two_rows_at_least_is_trained(
    method: IFL, settings: Mapping[str, Any], tiny: Build
) -> None:
    play(tiny(method, NORMED, **settings), 4)
