from importlib.metadata import PackageNotFoundError
from unittest.mock import Mock

import pytest
import torch
from pandas import DataFrame

from ifl.trials.bench import many
from ifl.trials.bench.changes import evaluations, relu_first, steps
from ifl.trials.bench.command import peak_memory_mb
from ifl.trials.bench.many import exponent
from ifl.trials.bench.peers import peers
from ifl.trials.bench.rounds import WORKLOADS, federation, measure
from ifl.trials.bench.scale import one


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_measurement_is_of_both_sides_and_its_shares_are_parts_of_the_whole(
    workload: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ifl.trials.bench.rounds.ROUNDS", 1)
    monkeypatch.setattr("ifl.trials.bench.rounds.TAU", 1)
    row = measure("digits", workload, blocks=1, threads=1)
    assert min(row.values()) > 0
    assert row["evaluation_share"] + row["serialisation_share"] < 1
    assert row["ratio_min"] <= row["ratio"] <= row["ratio_max"]


def test_peak_memory_is_that_of_a_process_of_its_own() -> None:
    assert 100 < peak_memory_mb("digits", "W2") < 1000


def test_a_peer_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "ifl.trials.bench.peers.version", Mock(side_effect=PackageNotFoundError("fluke"))
    )
    assert peers({}) == {}
    assert "fluke is not timed: fluke is not installed" in capsys.readouterr().out


def test_the_exponent_is_that_of_the_power_law() -> None:
    table = DataFrame({"clients": [4, 8, 16], "seconds": [0.5 * n**1.5 for n in (4, 8, 16)]})
    assert exponent(table, "seconds") == pytest.approx(1.5)


def test_a_point_of_the_scale_has_time_and_memory() -> None:
    row = one("digits", 8)
    assert row["clients"] == 8
    assert row["seconds"] > 0
    assert row["peak_mb"] > 100


@pytest.mark.parametrize("networks", many.NETWORKS)
def test_a_point_of_many_clients_has_time_and_memory(
    networks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ifl.trials.bench.many.DRAWN", 2)
    row = many.one(networks, 40, rounds=1)
    assert (row["networks"], row["clients"], row["rounds"]) == (networks, 40, 1)
    assert row["seconds"] > 0
    assert row["build_seconds"] > 0
    assert row["peak_mb"] > 100


def test_both_sides_of_a_change_are_the_same_function() -> None:
    client = federation("digits", "W1").engine.clients[0]
    x, _ = client.batch()
    swapped = relu_first(client.model.base)
    assert [type(m) for m in swapped.children()] != [type(m) for m in client.model.base.children()]
    torch.testing.assert_close(swapped(x), client.model.base(x))


def test_every_change_of_a_step_and_of_an_evaluation_can_be_timed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ifl.trials.bench.changes.STEPS", 1)
    clients = list(federation("digits", "W2").engine.clients)
    x, y = clients[0].batch()
    rows = [*steps(clients[0]), *evaluations(clients, x, y)]
    assert len({name for name, *_ in rows}) == 8
    for _, fast, slow in rows:
        fast(), slow()
