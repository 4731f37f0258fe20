"""Members with a batch size and a learning rate of their own."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import DIM, SMALL, WIDE, Build, clients, composed, parameters, play

from ifl.cli.build import assemble
from ifl.errors import ConfigError
from ifl.federation.budget import first_uplink
from ifl.federation.identity import settings
from ifl.federation.member import Member
from ifl.federation.schedule import Schedule
from ifl.methods.base import Method
from ifl.methods.centralized import Centralized
from ifl.methods.cse_fsl import CSEFSL
from ifl.methods.feddistill import FedDistill
from ifl.methods.fedlite import FedLite
from ifl.methods.fedproto import FedProto
from ifl.methods.fedtgp import FedTGP
from ifl.methods.fl import FL
from ifl.methods.fml import FML
from ifl.methods.fsl import FSL
from ifl.methods.fsl_sage import FSLSAGE
from ifl.methods.ifl import IFL
from ifl.methods.ifl_statistics import IFLStatistics
from ifl.methods.lg_fedavg import LGFedAvg
from ifl.methods.local import Local
from ifl.methods.relative import RelativeRepresentations

LARGE = replace(SMALL, batch_size=20)  # of 8 for all


def _sent(rows: list[tuple[str, int, str, int]], kind: str) -> dict[int, int]:
    return {client: size for way, client, name, size in rows if way == "up" and name == kind}


def test_a_client_uploads_its_own_batch_size(tiny: Build) -> None:
    federation = tiny(IFL(tau=1), SMALL, LARGE)
    expected = first_uplink(federation.engine)
    (rows,) = play(federation, 1)
    assert _sent(rows, "z") == {0: 8 * DIM * 4, 1: 20 * DIM * 4}
    assert _sent(rows, "y") == {0: 8, 1: 20}
    assert sum(size for way, _, _, size in rows if way == "up") == expected
    down = {client: size for way, client, name, size in rows if (way, name) == ("down", "z")}
    assert down == {0: 28 * DIM * 4, 1: 28 * DIM * 4}


@pytest.mark.parametrize(
    "method",
    [
        FSL(tau=2), FSL(tau=2, server="per_client"), CSEFSL(tau=2, h=1), FL(tau=2), LGFedAvg(tau=2),
        FedProto(tau=2), FedDistill(tau=2), IFLStatistics(tau=2), Local(tau=2), Centralized(tau=2),
        FedLite(tau=2), FSLSAGE(tau=2, h=1), FedTGP(tau=2), FML(tau=2),
        RelativeRepresentations(tau=2),
    ],
    ids=lambda method: type(method).__name__,
)  # fmt: skip
def test_every_method_trains_clients_with_batches_and_rates_of_their_own(
    method: Method, tiny: Build
) -> None:
    own = replace(SMALL, batch_size=20, lr=0.01)
    federation = tiny(method, SMALL, own)
    before = [parameters(client.model) for client in clients(federation)]
    play(federation, 2)
    assert [len(client.batch().y) for client in clients(federation)] == [8, 20]
    if not isinstance(method, Centralized):
        for client, old in zip(clients(federation), before, strict=True):
            after = parameters(client.model)
            assert any(not torch.equal(a, b) for a, b in zip(old, after, strict=True))


def test_a_rate_is_for_both_blocks_or_for_one(tiny: Build) -> None:
    both, one = replace(SMALL, lr=0.5), replace(SMALL, lr={"modular": 0.25})
    federation = tiny(IFL(), both, one, SMALL, count=3)
    rates = [[o.defaults["lr"] for o in client.optimizers] for client in clients(federation)]
    assert rates == [[0.5, 0.5], [0.05, 0.25], [0.05, 0.05]]
    assert [o.defaults["momentum"] for o in clients(federation)[0].optimizers] == [0.9, 0.9]


def test_rates_of_their_own_fall_alike(tiny: Build) -> None:
    federation = tiny(IFL(tau=1), SMALL, replace(SMALL, lr=0.5), decay_rounds=2)
    play(federation, 2)
    rates = [o.param_groups[0]["lr"] for c in clients(federation) for o in c.optimizers]
    assert rates == pytest.approx([0.025, 0.025, 0.25, 0.25])


def test_own_settings_that_are_those_of_all_change_nothing(tiny: Build) -> None:
    same = replace(WIDE, batch_size=8, lr=0.05)
    first, second = tiny(IFL(tau=2), SMALL, WIDE), tiny(IFL(tau=2), SMALL, same)
    assert play(first, 2) == play(second, 2)
    for one, other in zip(clients(first), clients(second), strict=True):
        assert all(
            torch.equal(a, b)
            for a, b in zip(parameters(one.model), parameters(other.model), strict=True)
        )


def test_own_settings_are_part_of_what_a_run_is(tiny: Build) -> None:
    plain, own = tiny(IFL(), SMALL), tiny(IFL(), SMALL, LARGE)
    assert "own" not in settings(plain, Schedule(1))["clients"]
    assert settings(own, Schedule(1))["clients"]["own"] == {
        "client 1 (small)": {"batch_size": 20, "lr": [0.05, 0.05]}
    }


def test_uploads_of_several_sizes_cannot_be_taken_apart(tiny: Build) -> None:
    with pytest.raises(ConfigError, match="uploads of one size, got a batch_size of 8 and 20 in"):
        tiny(IFL(stage2="per_client"), SMALL, LARGE)


@pytest.mark.parametrize(
    ("own", "sentence"),
    [
        ({"batch_size": 0}, "batch_size of odd in clients.members must be a whole number >= 1"),
        ({"lr": -1}, "lr of odd in clients.members must be a number > 0, got -1; leave it out"),
        ({"lr": "fast"}, "lr of odd in clients.members must be a number > 0, got fast"),
        ({"lr": {"head": 1}}, "lr of odd in clients.members must be a number, or have base or"),
        ({"lr": {}}, "lr of odd in clients.members must be a number, or have base or modular, got"),
    ],
)
def test_own_settings_have_ranges(own: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Member("odd", SMALL.base, SMALL.modular, **own)  # type: ignore[arg-type]


def test_the_configuration_of_a_member_may_have_them(tmp_path: Path) -> None:
    folder = tmp_path / "clients"
    folder.mkdir()
    (folder / "own.yaml").write_text(
        "count: 2\nmembers:\n"
        "  - name: small\n    batch_size: 4\n    lr: 0.5\n"
        "    base: {_target_: ifl.models.mlp_base, widths: []}\n"
        "    modular: {_target_: ifl.models.mlp_modular, widths: []}\n"
        "  - name: plain\n    batch_size: null\n    lr: {base: 0.25}\n"
        "    base: {_target_: ifl.models.mlp_base, widths: []}\n"
        "    modular: {_target_: ifl.models.mlp_modular, widths: []}\n"
    )
    federation = assemble(composed("clients=own", f"hydra.searchpath=[{tmp_path}]"))
    first, second = clients(federation)
    assert [me.training.batch_size for me in (first, second)] == [4, 32]
    assert [o.defaults["lr"] for o in first.optimizers] == [0.5, 0.5]
    common = federation.engine.training.optimizers.modular([torch.nn.Parameter()]).defaults["lr"]
    assert [o.defaults["lr"] for o in second.optimizers] == [0.25, common]
