"""Parties in processes of their own make the same run, for every method and codec."""

from pathlib import Path

import pytest
from conftest import EVERY, Build, composed, options
from hosts import hosts, tables
from liars import Liar

from ifl.cli.build import assemble
from ifl.federation.schedule import Schedule
from ifl.methods.lg_fedavg import LGFedAvg

FOUR = Schedule(rounds=4, eval_every=3)
NETWORKS = ("clients=mlp_homogeneous", "fusion.dim=16", "clients.count=3", "batch_size=4")
AFAR = ("engine._target_=hosts.hosts",)


def both(tmp_path: Path, *typed: str, schedule: Schedule = FOUR) -> list[dict[str, str]]:
    """Return the tables of a configuration in this process and over others."""
    found = []
    for name, engine in (("local", ()), ("processes", AFAR)):
        federation = assemble(composed(*NETWORKS, "local.tau=2", *typed, *engine))
        found.append(tables(federation, tmp_path / name, schedule))
    return found


@pytest.mark.parametrize("option", EVERY)
def test_every_method_writes_the_same_tables(option: str, tmp_path: Path) -> None:
    here, there = both(tmp_path, *f"method={option}".split(), "participation.fraction=0.67")
    assert here == there


@pytest.mark.parametrize(
    "codec",
    [
        *options("codec"),
        "int4 codec.rounding=stochastic",
        "int8 codec.labels=packed codec.zstd=3",
    ],
)
def test_every_codec_writes_the_same_tables(codec: str, tmp_path: Path) -> None:
    here, there = both(tmp_path, *f"codec={codec}".split())
    assert here == there


@pytest.mark.parametrize(
    "typed",
    [
        "clients=paper method.stage2=per_client",
        "participation.dropout=0.7",  # rounds to which nobody comes
        "optimizer.decay_rounds=4 optimizer=adam augment=affine",
        "privacy.label_epsilon=2 privacy.clip=1 privacy.noise=1",
        "method=ifl_frugal evaluate.bases=2 evaluate.modulars=2",
        "method=fedproto evaluate.local_only=true",
        "runtime.precision=bfloat16 clients=paper augment=affine method=ifl_frugal",
        "method=fsl clients=paper_one_head method.sync_base=false",
    ],
)
def test_settings_of_all_kinds_write_the_same_tables(typed: str, tmp_path: Path) -> None:
    here, there = both(tmp_path, *typed.split(), schedule=Schedule(rounds=7, eval_every=3))
    assert here == there


@pytest.mark.parametrize("kind", ["shape", "nan", "name"])
def test_a_refused_client_is_out_for_the_round_there_too(
    kind: str, tiny: Build, tmp_path: Path
) -> None:
    found = []
    for name, transport in (("local", None), ("processes", hosts())):
        liar = Liar(LGFedAvg(tau=2), kind)
        federation = tiny(liar, count=3, on_bad_upload="skip", transport=transport)
        found.append(tables(federation, tmp_path / name, FOUR))
    assert found[0] == found[1]
    assert ",2,1" in found[0]["rounds"]  # clients, refused
