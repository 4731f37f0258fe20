"""Parties behind gRPC with TLS make the same run, and what fails is one sentence."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Build, composed
from failing import Failing
from grpc_hosts import HOST, host
from hosts import tables
from liars import Liar

from ifl.cli.build import assemble
from ifl.engines.grpc.needed import check_installed
from ifl.engines.grpc.threads import Daemons
from ifl.errors import ConfigError, PartyError
from ifl.federation.schedule import Schedule
from ifl.methods.ifl import IFL
from ifl.methods.lg_fedavg import LGFedAvg

FOUR = Schedule(rounds=4, eval_every=3)
NETWORKS = ("clients=mlp_homogeneous", "fusion.dim=16", "clients.count=3", "batch_size=4")


@pytest.mark.parametrize(
    "typed",
    [
        "method=ifl codec=int4 codec.rounding=stochastic",
        "method=fsl",
        "method=fl",
        "method=lg_fedavg",
        "method=fedgh participation.fraction=0.67",
        "method=cse_fsl",
    ],
)
def test_the_tables_are_those_of_one_process(typed: str, tmp_path: Path) -> None:
    found: list[dict[str, str]] = []
    for engine in ((), ("engine._target_=grpc_hosts.host",)):
        federation = assemble(composed(*NETWORKS, "local.tau=2", *typed.split(), *engine))
        found.append(tables(federation, tmp_path / str(len(found)), FOUR))
    assert found[0] == found[1]
    assert HOST.exchanges > 4


def test_a_refused_client_is_out_for_the_round_there_too(tiny: Build, tmp_path: Path) -> None:
    found: list[dict[str, str]] = []
    for transport in (None, host()):
        liar = Liar(LGFedAvg(tau=2), "nan")
        federation = tiny(liar, count=3, on_bad_upload="skip", transport=transport)
        found.append(tables(federation, tmp_path / str(len(found)), FOUR))
    assert found[0] == found[1]


def test_a_client_that_raises_ends_the_run_with_its_name_and_reason(tiny: Build) -> None:
    federation = tiny(Failing("raise"), count=3, transport=host())
    federation.engine.round(1)
    said = r"^client 1 \(small\) failed in its process: RuntimeError: the disk is full of cats; "
    with pytest.raises(PartyError, match=said):
        federation.engine.round(2)


def test_a_process_that_dies_ends_the_run_with_the_name_of_a_client(tiny: Build) -> None:
    federation = tiny(IFL(tau=1), count=2, transport=host())
    federation.engine.round(1)
    (running,) = HOST._running
    assert running.process.pid is not None
    os.kill(running.process.pid, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
    with pytest.raises(PartyError, match=r"^client 0 \(small\) is lost: its process ended with"):
        federation.engine.round(2)


def test_without_its_package_one_sentence_names_the_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(ConfigError) as told:
        check_installed("engine=grpc")
    assert str(told.value) == 'engine=grpc needs the package grpcio: pip install "ifl[grpc]"'


STUCK = """
from threading import Event
from ifl.engines.grpc.threads import Daemons
Daemons().submit(Event().wait)
print("end")
"""


def test_a_program_that_closes_nothing_ends() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "end\n", "")


def test_a_thread_hands_on_what_its_call_returns_or_raises() -> None:
    assert Daemons().submit(divmod, 7, 2).result(10) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        Daemons().submit(divmod, 7, 0).result(10)
