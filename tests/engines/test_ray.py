"""Parties in Ray's actors make the same run, and what fails is one sentence.

Ray itself is not needed here: ``scripts/engines.py`` compares tables over Ray.
"""

import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import Build
from failing import Failing
from fake_ray import FakeRay, faked
from hosts import tables

from ifl.engines.base import Packet
from ifl.engines.frames import framed, unframed
from ifl.engines.hosts import pickled
from ifl.engines.local import Local, in_turn
from ifl.engines.ray.actor import Actor, reason
from ifl.engines.ray.engine import Ray
from ifl.errors import ConfigError, MessageError, PartyError
from ifl.federation.schedule import Schedule
from ifl.methods.ifl import IFL
from ifl.methods.lg_fedavg import LGFedAvg

FOUR = Schedule(rounds=4, eval_every=3)


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRay]:
    kept = signal.getsignal(signal.SIGTERM)
    yield faked(monkeypatch)
    signal.signal(signal.SIGTERM, kept)


@pytest.mark.parametrize("method", [IFL(tau=2), LGFedAvg(tau=2)])
def test_the_tables_are_those_of_one_process(
    method: IFL | LGFedAvg, tiny: Build, ray: FakeRay, tmp_path: Path
) -> None:
    found: list[dict[str, str]] = []
    for transport in (None, Ray(hosts=2)):
        federation = tiny(method, count=3, transport=transport)
        found.append(tables(federation, tmp_path / str(len(found)), FOUR))
    assert found[0] == found[1]
    told = federation.engine.parties.transport.told()
    assert (told["name"], told["hosts"]) == ("ray", 2)
    assert told["exchanges"] > 4
    assert told["overhead_ms_per_exchange"] > 0


def test_an_actor_answers_as_parties_in_one_process_do(tiny: Build) -> None:
    parties = tiny(IFL(tau=1), count=2).engine.parties.here
    actor, local = Actor(), Local()
    assert unframed(actor.take(torch.get_num_threads(), sys.path, pickled(parties))) == {}
    asked = {k: [Packet({"op": "hello"}), Packet({"op": "begin", "round": 1})] for k in (0, 1)}
    answered = unframed(actor.answer(framed(asked)))
    local.open(parties, in_turn)
    assert answered == local.exchange(asked)
    with pytest.raises(MessageError):
        actor.answer([b"{}"])


def test_what_an_actor_cannot_make_again_is_told_as_an_answer() -> None:
    (answers,) = unframed(
        Actor().take(torch.get_num_threads(), [], b"cnowhere\nNetwork\n.")
    ).values()
    assert str(answers[0]) == "ModuleNotFoundError: No module named 'nowhere'"


def test_client_k_is_on_actor_k_mod_hosts_with_a_cpu_each(tiny: Build, ray: FakeRay) -> None:
    federation = tiny(IFL(tau=1), count=3, transport=Ray(hosts=2))
    federation.engine.round(1)
    hosted = [sorted(actor.made._guests._local._parties) for actor in ray.actors]
    assert hosted == [[0, 2], [1]]
    assert ray.placed == {"num_cpus": 1, "max_restarts": 0, "max_task_retries": 0}
    assert ray.settings["address"] == "local"
    assert ray.settings["num_cpus"] == 2


def test_ray_is_ended_where_it_was_started_and_signals_stay_as_they_were(
    tiny: Build, ray: FakeRay
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    federation = tiny(IFL(tau=1), transport=Ray(hosts=2))
    federation.engine.round(1)
    assert signal.getsignal(signal.SIGTERM) == before
    federation.engine.close()
    assert not ray.is_initialized()
    assert all(actor.dead for actor in ray.actors)


def test_a_program_that_has_joined_a_cluster_stays_there(tiny: Build, ray: FakeRay) -> None:
    ray.init(address="auto")
    federation = tiny(IFL(tau=1), transport=Ray(hosts=2))
    federation.engine.round(1)
    federation.engine.close()
    assert ray.settings == {"address": "auto"}
    assert ray.is_initialized()


def test_a_larger_federation_gets_ray_anew(tiny: Build, ray: FakeRay) -> None:
    transport = Ray(hosts=3)
    for count, cpus in ((1, 1), (2, 2), (1, 2)):
        tiny(IFL(tau=1), count=count, transport=transport).engine.round(1)
        assert ray.settings["num_cpus"] == cpus


def test_an_actor_that_dies_ends_the_run_with_the_name_of_a_client(
    tiny: Build, ray: FakeRay
) -> None:
    federation = tiny(IFL(tau=1), count=2, transport=Ray(hosts=2))
    federation.engine.round(1)
    ray.actors[1].dead = True
    with pytest.raises(PartyError) as told:
        federation.engine.round(2)
    assert str(told.value) == (
        "client 1 (small) is lost: its process ended, says Ray: its worker process has died; the "
        "same command resumes from the last checkpoint"
    )


def test_an_actor_that_is_silent_ends_the_run_once_its_time_is_over(
    tiny: Build, ray: FakeRay
) -> None:
    federation = tiny(IFL(tau=1), count=2, transport=Ray(hosts=2, timeout=0.05))
    federation.engine.round(1)  # answers are there as soon as they are asked for
    ray.actors[0].silent = True
    said = r"^client 0 \(small\) is lost: its process has not answered within 0.05 s \(engine.timeo"
    with pytest.raises(PartyError, match=said):
        federation.engine.round(2)


def test_an_actor_that_never_begins_is_a_matter_of_cpus_and_versions(
    tiny: Build, ray: FakeRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Actor, *told: object) -> None:
        raise ModuleNotFoundError("No module named 'ifl'")

    monkeypatch.setattr(Actor, "take", refuse)
    federation = tiny(IFL(tau=1), transport=Ray(hosts=2))
    said = "an actor of engine=ray ended, says Ray: No module named 'ifl' before it was ready; the "
    with pytest.raises(PartyError, match=said + "cluster has to have 2 CPUs that are free"):
        federation.engine.round(1)


def test_a_client_that_raises_ends_the_run_with_its_name_and_reason(
    tiny: Build, ray: FakeRay
) -> None:
    federation = tiny(Failing("raise"), count=3, transport=Ray(hosts=2))
    federation.engine.round(1)
    said = r"^client 1 \(small\) failed in its process: RuntimeError: the disk is full of cats; "
    with pytest.raises(PartyError, match=said):
        federation.engine.round(2)


def test_where_there_is_no_cluster_one_sentence_names_the_way_out(
    tiny: Build, ray: FakeRay
) -> None:
    with socket.socket() as held:  # bound and not listening: nobody answers
        held.bind(("127.0.0.1", 0))
        address = f"ray://127.0.0.1:{held.getsockname()[1]}"
        federation = tiny(IFL(tau=1), transport=Ray(address=address))
        with pytest.raises(ConfigError, match=f"^engine.address={address} leads to no Ray cluster"):
            federation.engine.round(1)
    ray.refuses = ConnectionError("Could not find any running Ray instance.\nPlease specify one.")
    federation = tiny(IFL(tau=1), transport=Ray(address="auto"))
    with pytest.raises(ConfigError) as told:
        federation.engine.round(1)
    assert str(told.value) == (
        "engine.address=auto leads to no Ray cluster that this program can join: Could not find "
        "any running Ray instance. Please specify one; start one (ray start --head), or let "
        "engine.address=null start Ray on this machine"
    )


def test_ray_that_does_not_start_is_one_sentence(tiny: Build, ray: FakeRay) -> None:
    ray.refuses = RuntimeError("no room in /dev/shm")
    federation = tiny(IFL(tau=1), transport=Ray(hosts=1))
    with pytest.raises(ConfigError, match="cannot start Ray on this machine: no room in /dev/shm;"):
        federation.engine.round(1)


@pytest.mark.parametrize("address", ["", "local", "head", "ray://head", "http://head:8265", 6379])
def test_what_is_no_address_of_a_cluster_is_refused(address: str, ray: FakeRay) -> None:
    with pytest.raises(ConfigError, match="^engine.address must be null, auto or the address of a"):
        Ray(address=address)


def test_addresses_of_clusters_are_taken(ray: FakeRay) -> None:
    for address in ("auto", "10.0.0.1:6379", "ray://head.example.org:10001", "ray://[::1]:10001"):
        assert Ray(address=address)._cluster.address == address


def test_without_its_package_one_sentence_names_the_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError) as told:
        Ray()
    assert str(told.value) == 'engine=ray needs the package ray: pip install "ifl[ray]"'


def test_the_reason_of_an_end_is_one_line_without_colours() -> None:
    several = "The actor died because of an error raised in its creation task, \x1b[36mray::A()\x1b"
    several += (
        "[39m (pid=1)\n  File ...\n\x1b[1mModuleNotFoundError: No module named 'ifl'\x1b[0m\n"
    )
    assert reason(Exception(several)) == "ModuleNotFoundError: No module named 'ifl'"
    node = "The actor is dead because its node has died. Node Id: 12 NodeIp: 10.0.0.1"
    assert reason(Exception(node)) == "its node has died"
    assert reason(Exception()) == "Exception"
